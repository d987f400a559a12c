"""A full disk and a closed folder, at every write: one sentence, and the old files as they were."""

import errno
import os

import pytest
import torch

from latentkit.views.projector import write_projector
from tests.hardening.faults import DISK, check_refused, contents, hidden, no_file_beyond, put_back

ENDS = "--from seed:0 --to seed:1 --steps 3"
VERBS = {
    "sample": "sample vae.safetensors --count 4",
    "interpolate": f"interpolate vae.safetensors {ENDS}",
    "directions": "directions dcgan.safetensors --method jacobian --count 2",
}
MORE = {
    "reconstruct": "reconstruct vae.safetensors --random true --count 4",
    "encode": "encode vae.safetensors",
    "video": f"interpolate vae.safetensors {ENDS}",
    "drawn": f"interpolate vae.safetensors {ENDS} --method lerp slerp",
    "geodesic": f"interpolate vae.safetensors {ENDS} --method geodesic",
    "mix": "mix vae.safetensors --rows 1 --columns 1",
    "cluster": "cluster vae.safetensors --data small.npz --clusters 2",
    "augment": "augment vae.safetensors --data small.npz",
    "edit": "edit vae.safetensors --directions axes.safetensors --count 1 --steps 1",
    "invert": "invert vae.safetensors --data small.npz --count 1 --steps 1 --starts 1",
    "explain": "explain vae.safetensors --data small.npz --images 2",
    "scored": "explain vae.safetensors --data small.npz --images 2 --score unit:0",
    "evaluate": "evaluate vae.safetensors --data small.npz --importance-samples 1",
    "compare": "compare vae.safetensors vae_b.safetensors --images 20",
    "bench": "bench directions --model vae.safetensors --images 4",
}
HEAVY = ("explain", "scored", "compare", "bench", "evaluate")  # seconds each
OUT = {"video": "out/walk.mp4"}


class Verb:
    """A verb that wrote all its files once, and can do so again with another seed."""

    def __init__(self, typed, place, name):
        words = {**VERBS, **MORE}[name]
        self.words = [*words.split(), "--out", OUT.get(name, "out")]
        self.typed, self.folder = typed, place / "out"
        self.done = typed(*self.words, "--seed", "0")
        assert self.done.code == 0, self.done.err
        self.before = contents(self.folder)

    def again(self):
        return self.typed(*self.words, "--seed", "1")

    def check(self, done, why):
        """It refused, and all is as it was; or it wrote everything. Tells which."""
        assert not hidden(self.folder), why
        after = contents(self.folder)
        if done.code == 0:
            assert after[self.result] != self.before[self.result], why
            put_back(self.folder, self.before)
            return True
        assert after == self.before, why
        check_refused(done, "cannot write out")
        return False

    @property
    def result(self):
        (path,) = (p for p in self.before if p.suffix == ".json")
        return path


@pytest.fixture
def verb(typed, place):
    return lambda name: Verb(typed, place, name)


def sweep(verb, folder, step=1, **fault):
    """Lets one call after the other fail, until none is left; gives how many were refused."""
    refused = 0
    for k in range(1, 1000, step):
        with DISK.watched(folder, k, **fault) as seen:
            done = verb.again()
        refused += not verb.check(done, seen[-1:])
        if len(seen) < k:
            return refused
    raise AssertionError("no end")


def fill(verb, most=None):
    """Lets files grow to no more than just below the size of each; gives the number of sizes."""
    sizes = {100, *(len(content) - 1 for content in verb.before.values())}
    for size in sorted(sizes)[:most]:
        with no_file_beyond(size):
            done = verb.again()
        verb.check(done, size)
    return len(sorted(sizes)[:most])


@pytest.mark.parametrize("name", ["sample", "interpolate", "directions"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_whatever_call_fails_the_old_files_stay(verb, place, name, number):
    """The sweep goes on until nothing is left to fail, so it has met every call."""
    found = verb(name)
    assert sweep(found, place / "out", number=number) >= 3 * len(found.before)


def test_a_disk_that_stays_full(verb, place):
    """Nothing can be made any more; what is there can still be renamed and removed."""
    found = verb("sample")
    assert sweep(found, place / "out", events=("open", "os.mkdir"), lasting=True) > 2


@pytest.mark.parametrize("name", VERBS)
def test_a_file_that_does_not_fit(verb, name):
    """Real errors of real writes."""
    assert fill(verb(name)) >= 2


def project(folder, shift):
    """The sentence of the failure, if there was one."""
    points = torch.arange(10.0).view(5, 2) + shift
    try:
        write_projector(folder, points, torch.rand(5, 1, 8, 8), torch.zeros(5).long(), ["a"])
    except OSError as error:
        return str(error)
    return None


@pytest.mark.parametrize("fault", [{}, {"lasting": True, "events": ("open", "os.mkdir")}])
def test_a_projector_is_written_whole_or_not_at_all(tmp_path, fault):
    assert project(tmp_path, 0) is None
    before, failed = contents(tmp_path), 0
    for k in range(1, 1000):
        with DISK.watched(tmp_path, k, **fault) as seen:
            said = project(tmp_path, 1)
        if len(seen) < k:
            break
        assert not hidden(tmp_path), seen[-1]
        if said is None:
            put_back(tmp_path, before)
        failed += said is not None
        assert said is None or said.startswith(f"cannot write {tmp_path}"), said
        assert contents(tmp_path) == before, seen[-1]
    assert failed > 10


@pytest.mark.sweep
@pytest.mark.parametrize("name", MORE)
def test_so_does_every_verb(verb, typed, place, name):
    assert typed("directions", "vae.safetensors", "--method", "axes", "--out", "axes").code == 0
    (place / "axes.safetensors").symlink_to(place / "axes" / "directions.safetensors")
    found, heavy = verb(name), name in HEAVY
    refused = sweep(found, place / "out", 5 if heavy and len(found.before) > 1 else 1)
    print(f"{name}: refused at {refused} calls, at {fill(found, 2 if heavy else None)} sizes")
    assert refused >= (1 if heavy else 3 * len(found.before))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_made(typed, place, number):
    with DISK.watched(place / "new", 1, number, lasting=True):
        done = typed(*VERBS["sample"].split(), "--out", "new/deep")
    check_refused(done, "cannot write new/deep/", os.strerror(number).lower())
    assert not (place / "new").exists()


def test_a_closed_folder_is_found_before_the_work(typed, place, monkeypatch):
    (place / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path))
    monkeypatch.setattr("latentkit.store.load", lambda *_: 1 / 0)
    done = typed(*VERBS["sample"].split(), "--out", "closed/deep/sheet.png")
    check_refused(done, "cannot write closed/deep/sheet.png", "choose another --out")


def test_a_folder_is_where_a_file_must_be(typed, place):
    (place / "sheet.png" / "inside").mkdir(parents=True)
    (place / "out" / "result.json" / "inside").mkdir(parents=True)
    done = typed(*VERBS["sample"].split(), "--out", "out")
    check_refused(done, "cannot write out/result.json: it is a folder")
