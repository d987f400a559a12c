"""The long sweep: every verb and every training stopped at many moments."""

import json
import random
import signal
import time

import pytest

import latentkit
from latentkit.store import read_about
from tests.cli.killed import EPOCHS, WORDS, finish, write_configs
from tests.hardening.commands import Command
from tests.hardening.faults import contents, hidden, put_back
from tests.hardening.test_disk import HEAVY, MORE, OUT, VERBS
from tests.hardening.test_interrupt import AGAIN, RUN, check_whole

pytestmark = pytest.mark.sweep
MOMENTS = 12
FIT = ("fit", "--config", "vae.yaml", *WORDS)


def stop_after(seconds, call):
    """Calls, with a Ctrl-C after so many seconds; gives what it gives, None after a late one."""
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        done = call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:  # it came after the end of the command
        return None
    return done


def moments(name, seconds):
    chance = random.Random(name)
    return [seconds * (k + chance.random()) / MOMENTS for k in range(MOMENTS)]


def check_stopped(done):
    assert done.code in {0, 130}, done
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err
    assert done.code == 0 or done.err.splitlines()[-1] + "\n" == AGAIN


@pytest.mark.parametrize("name", [*VERBS, *MORE])
def test_a_verb_writes_all_or_nothing(typed, place, name):
    typed("directions", "vae.safetensors", "--method", "axes", "--out", "axes.safetensors")
    words = [*{**VERBS, **MORE}[name].split(), "--out", OUT.get(name, "out"), "--seed"]
    assert typed(*words, 0).code == 0
    before = contents(place / "out")
    begun = time.perf_counter()
    assert typed(*words, 1).code == 0
    seconds, wanted = time.perf_counter() - begun, contents(place / "out")
    stopped = 0
    tried = moments(name, seconds)[:: 4 if name in HEAVY else 1]
    for moment in tried:
        put_back(place / "out", before)
        done = stop_after(moment, lambda: typed(*words, 1))
        found = contents(place / "out")
        assert not hidden(place)
        assert found in (before, wanted)
        if done is not None:
            check_stopped(done)
            stopped += done.code == 130
    print(f"{name}: stopped {stopped} of {len(tried)} times")
    assert stopped >= len(tried) // 4


def test_a_report_goes_on_where_it_was_stopped(typed, place):
    run = place / "run"
    run.mkdir()
    (run / "model.safetensors").symlink_to(place / "vae.safetensors")
    words = ["report", "run", "--data", "small.npz", "--images", "20"]
    begun = time.perf_counter()
    assert typed(*words).code == 0
    for k, moment in enumerate(moments("report", time.perf_counter() - begun)[::2]):
        done = stop_after(moment, lambda k=k: typed(*words, "--seed", k + 1))
        assert not hidden(run)
        for path in run.rglob("result.json"):
            content = json.loads(path.read_text())
            assert all((path.parent / name).is_file() for name in content["files"])
        if done is not None:
            check_stopped(done)
    assert typed(*words, "--seed", 99).code == 0
    for path in run.rglob("result.json"):
        assert json.loads(path.read_text())["settings"]["seed"] == 99


def check_run(run):
    """What is there can be read, and the model is the one that its metrics are of."""
    check_whole(run)
    for path in run.glob("*.json"):
        json.loads(path.read_text())
    if (run / "metrics.json").exists():
        latentkit.load(run)
        about = read_about(run / "model.safetensors")
        assert about["iteration"] == json.loads((run / "metrics.json").read_text())["iteration"]


def duration(place, *words):
    begun = time.perf_counter()
    assert Command(place, *words).end().code == 0
    return time.perf_counter() - begun


@pytest.mark.parametrize("name", ["vae", "clustergan"])
def test_a_fit_can_be_stopped_at_any_moment(tmp_path, name):
    place = tmp_path / "place"
    place.mkdir()
    write_configs(place)
    words = ("fit", "--config", f"{name}.yaml", *WORDS)
    seconds = min(duration(place, *words) for _ in range(2))  # the first one warms up
    runs = place / "checkpoints" / name
    codes = []
    for k, moment in enumerate(moments(name, seconds)):
        before = set(runs.iterdir())
        command = Command(place, *words)
        time.sleep(moment)
        number = signal.SIGTERM if k % 3 == 2 else signal.SIGINT
        command.signal(number)
        if k % 3 == 1:  # somebody who is impatient
            time.sleep(0.05)
            command.signal(number)
        ended = command.end()
        codes.append(ended.code)
        assert ended.code in {0, 128 + number, -number}, ended  # the last one: not yet at work
        assert "Traceback" not in ended.err, ended
        for run in set(runs.iterdir()) - before:
            check_run(run)
            assert (run / "last.ckpt").exists()
            assert ended.code == 0 or f"--ckpt_path checkpoints/{name}/{run.name}\n" in ended.err
    print(f"{name}: {codes}")
    assert sum(code not in {0, -2, -15} for code in codes) >= MOMENTS // 3


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_the_other_training_commands_change_nothing(tmp_path, verb):
    place = tmp_path / "place"
    place.mkdir()
    write_configs(place)
    finish(place, *FIT)
    words = (verb, "--config", "vae.yaml", "--ckpt_path", "last")
    seconds, before = duration(place, *words), contents(place)
    for moment in moments(verb, seconds)[::2]:
        command = Command(place, *words)
        time.sleep(moment)
        command.signal()
        ended = command.end()
        assert ended.code in {0, 130, -2}, ended
        assert "Traceback" not in ended.err
        assert contents(place) == before
        assert not hidden(place)
    assert int(WORDS[1]) == EPOCHS


@pytest.mark.parametrize("limit", [600, 3000, 10_000, 20_000, 25_000])
def test_a_fit_on_a_full_disk_keeps_what_it_had(tmp_path, limit):
    place = tmp_path / "place"
    place.mkdir()
    write_configs(place)
    ended = Command(place, *FIT, limit=limit).end()
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert "file too large; make room on that disk" in ended.err
    assert len([line for line in ended.err.splitlines() if "error" in line]) == 1
    if (place / RUN).exists():
        check_run(place / RUN)
        _, _, words = ended.err.partition("go on with: latentkit ")
        finish(place, *words.split())
        check_run(place / RUN)


def test_a_demo_can_be_stopped(tmp_path):
    command = Command(tmp_path, "demo", "--out", "shown")
    command.wait_for(lambda: any(tmp_path.rglob("last.ckpt")))
    command.signal()
    ended = command.end()
    assert ended.code == 130, ended
    assert ended.err.splitlines()[-1] + "\n" == AGAIN
    check_whole(tmp_path)
