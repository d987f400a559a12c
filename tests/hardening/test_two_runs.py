"""Two commands that write into one folder at the same time do not mix."""

import json
import multiprocessing
import threading

import pytest

from latentkit.store import alone, write_all
from tests.cli.killed import WORDS, write_configs
from tests.hardening.commands import Command
from tests.hardening.faults import check_refused, contents, hidden

FIT = ("fit", "--config", "vae.yaml", *WORDS)
RUNS = 3


def test_fits_that_begin_at_once_get_a_folder_each(tmp_path):
    write_configs(tmp_path)
    folders = [tmp_path / f"{k}" for k in range(RUNS)]
    for folder in folders:  # one folder under several names, so that what they say is kept apart
        folder.symlink_to(tmp_path, target_is_directory=True)
    words = [(*FIT, "--trainer.max_epochs", "1", "--seed_everything", str(k)) for k in range(RUNS)]
    commands = [Command(f, *w) for f, w in zip(folders, words, strict=True)]
    ended = [command.end() for command in commands]
    assert [e.code for e in ended] == [0] * RUNS, ended
    runs = [tmp_path / e.out.partition("run: ")[2].strip() for e in ended]
    assert {r.name for r in runs} == {f"version_{k}" for k in range(RUNS)}
    for k, run in enumerate(runs):
        assert f"seed_everything: {k}\n" in (run / "config.yaml").read_text()
        assert len(list(run.glob("events.*"))) == 1
        assert not hidden(run)


@pytest.fixture
def running(tmp_path):
    """A fit that stands still in the middle, since its first checkpoint was just written."""
    write_configs(tmp_path)
    command = Command(tmp_path, *FIT, "--trainer.max_epochs", "10000")
    command.wait_for((tmp_path / "checkpoints/vae/version_0/previous.ckpt").exists)
    yield command
    command.process.kill()
    command.process.join()


def test_a_run_that_still_runs_is_not_resumed(running, tmp_path, monkeypatch, capsys):
    second = tmp_path / "second"
    second.symlink_to(tmp_path, target_is_directory=True)
    ended = Command(second, *FIT, "--ckpt_path", "last").end()
    check_refused(ended, "checkpoints/vae/version_0 is in use", "wait until it ends, or stop it")
    assert running.process.is_alive()
    running.process.kill()  # which frees the folder
    running.process.join()
    assert Command(second, *FIT, "--ckpt_path", "last").end().code == 0
    assert not hidden(tmp_path / "checkpoints")


def hammer(folder, name, times):
    """Writes a set of files again and again."""
    for k in range(times):
        text = f"{name} {k}"
        names = ("a.txt", "b.txt", "result.json")
        write_all({folder / n: lambda place, text=text: place.write_text(text) for n in names})


def test_two_writers_of_one_set_never_leave_a_mixture(tmp_path):
    context = multiprocessing.get_context("forkserver")
    writers = [context.Process(target=hammer, args=(tmp_path, n, 100)) for n in "xy"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(snapshot(tmp_path))
    assert [writer.exitcode for writer in writers] == [0, 0]
    last = {path.read_text() for path in tmp_path.iterdir()}
    assert last in ({"x 99"}, {"y 99"})
    assert len(list(tmp_path.iterdir())) == 3
    assert len(seen) > 10


def snapshot(folder):
    """What is there; whoever reads the last file before and after has read one set."""
    for _ in range(1000):
        try:
            texts = [(folder / n).read_text() for n in ("result.json", "a.txt", "b.txt")]
            again = (folder / "result.json").read_text()
        except FileNotFoundError:  # in the middle of a change, or nothing there yet
            continue
        if texts[0] == again:
            assert texts == [texts[0]] * 3
            return texts[0]
    return None


def test_two_verbs_with_one_out_leave_the_files_of_one(place, typed):
    wanted = []
    for seed in (0, 1):
        words = ["sample", "vae.safetensors", "--count", "4", "--seed", seed, "--out", f"{seed}"]
        assert typed(*words).code == 0
        wanted.append((place / f"{seed}" / "sample.png").read_bytes())
    links = [place / "one", place / "two"]
    for link in links:
        link.symlink_to(place, target_is_directory=True)
    words = ("sample", "vae.safetensors", "--count", "4", "--out", "both", "--seed")
    commands = [Command(link, *words, seed) for seed, link in enumerate(links)]
    assert [command.end().code for command in commands] == [0, 0]
    seed = json.loads((place / "both" / "result.json").read_text())["settings"]["seed"]
    assert (place / "both" / "sample.png").read_bytes() == wanted[seed]
    assert sorted(p.name for p in (place / "both").iterdir()) == ["result.json", "sample.png"]


def test_two_reports_of_a_run_do_not_mix(place, typed):
    run = place / "run"
    run.mkdir()
    (run / "model.safetensors").symlink_to(place / "vae.safetensors")
    (run / "report").mkdir()
    before = contents(run)
    with alone(run / "report", "makes a report there"):
        done = typed("report", "run")
    check_refused(done, "run/report is in use: another process makes a report there")
    assert contents(run) == before


def test_a_lock_ends_with_its_block_and_can_be_taken_anew(tmp_path):
    for _ in range(2):
        with alone(tmp_path, "works"):
            with pytest.raises(ValueError, match="is in use"), alone(tmp_path, "works"):
                pass
            assert (tmp_path / ".lock").exists()
        assert not list(tmp_path.iterdir())


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    """Threads have handles of their own, as processes do."""
    inside, most, got = [], [], []

    def work():
        mine = 0
        while mine < 25:
            try:
                with alone(tmp_path, "works"):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    got.append(1)
                    mine += 1
            except ValueError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(got) == 4 * 25
    assert not list(tmp_path.iterdir())
