"""Whose a run folder is, and what becomes of it when its training does not begin."""

import errno
import shutil
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import TensorBoardLogger

from latentkit.cli.stopping import RunFailedError, Stopped
from latentkit.cli.training import runs
from latentkit.cli.training.runs import own_folder, told
from latentkit.store import alone


def trainer_of(*loggers):
    """As much of a trainer as is asked."""
    return SimpleNamespace(is_global_zero=True, loggers=list(loggers))


@pytest.fixture
def trainer(tmp_path):
    return trainer_of(TensorBoardLogger(tmp_path, "vae"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_beside_the_lock_leaves_no_folder(trainer, tmp_path, monkeypatch, moment, number):
    @contextmanager
    def stopped(folder, doing):
        if moment == "before":
            signal.raise_signal(number)
        with alone(folder, doing):
            if moment == "after":
                signal.raise_signal(number)
            yield

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(runs, "alone", stopped)
    with pytest.raises(KeyboardInterrupt), own_folder(trainer):
        pytest.fail("the training began")
    monkeypatch.undo()
    assert not list((tmp_path / "vae").iterdir())
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_sigterm_before_lightning_is_at_work_leaves_no_folder(trainer, tmp_path):
    with pytest.raises(Stopped) as stop, own_folder(trainer):
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert not list((tmp_path / "vae").iterdir())
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_sigterm_is_lightnings_as_soon_as_it_handles_it(trainer):
    called = []
    with own_folder(trainer):
        before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *of: (called.append(of), before(*of)))
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
    assert len(called) == 1


@pytest.mark.parametrize("sub_dir", [None, "sub"])
@pytest.mark.parametrize("begun", [True, False])
def test_who_comes_before_the_lock_keeps_the_folder(tmp_path, monkeypatch, begun, sub_dir):
    def taken(folder, doing):
        if begun:
            (folder / "config.yaml").touch()
        raise ValueError("is in use")

    monkeypatch.setattr(runs, "alone", taken)
    trainer = trainer_of(TensorBoardLogger(tmp_path, "vae", sub_dir=sub_dir))
    with pytest.raises(ValueError, match="in use"), own_folder(trainer):
        pytest.fail("the training began")
    assert (tmp_path / "vae/version_0").exists() == begun
    assert len(list(tmp_path.rglob("config.yaml"))) == begun


def test_versions_count_on_in_a_folder_that_may_not_be_listed(trainer, tmp_path, monkeypatch):
    (tmp_path / "vae/version_0").mkdir(parents=True)
    monkeypatch.setattr(TensorBoardLogger, "_get_next_version", lambda _: 0)
    with own_folder(trainer):
        assert (tmp_path / "vae/version_1/.lock").exists()


@pytest.mark.parametrize("sub_dir", ["..", "absolute"])
def test_a_folder_that_was_there_before_stays(tmp_path, sub_dir):
    """What a logger's `sub_dir` names may lie anywhere."""
    before = tmp_path / ("vae" if sub_dir == ".." else "board")
    before.mkdir()
    (before / "notes.txt").touch()
    sub_dir = sub_dir if sub_dir == ".." else str(before)
    with pytest.raises(ValueError, match="no use"):
        fail_in(TensorBoardLogger(tmp_path, "vae", sub_dir=sub_dir))
    assert (before / "notes.txt").exists()
    assert not (tmp_path / "vae/version_0").exists()


def fail_in(logger):
    with own_folder(trainer_of(logger)):
        raise ValueError("no use")


@pytest.mark.parametrize("kept", [None, "last.ckpt", "health.json", "epoch=1-val/nll=2.ckpt"])
def test_a_folder_with_nothing_to_learn_from_goes_whole(tmp_path, kept):
    def fail():
        with own_folder(trainer_of(TensorBoardLogger(tmp_path, "vae", sub_dir="sub"))):
            if kept:
                path = tmp_path / "vae/version_0/sub" / kept
                path.parent.mkdir(exist_ok=True)
                path.touch()
            raise ValueError("no use")

    with pytest.raises(ValueError, match="no use"):
        fail()
    assert (tmp_path / "vae/version_0").exists() == bool(kept)


def test_what_a_killed_training_left_unfinished_goes(tmp_path):
    folder = tmp_path / "vae/version_0"
    folder.mkdir(parents=True)
    unfinished = [".quality-0123abcd.json", "..model-0123abcd-0123abcd.safetensors"]
    unfinished += [".model-0123abcd.safetensors.before", ".config-0123abcd.yaml"]
    for name in (*unfinished, ".model-0123abcd.safetensors", ".my-notes.json"):
        (folder / name).touch()
    with own_folder(trainer_of(TensorBoardLogger(tmp_path, "vae", version=0))):
        assert {path.name for path in folder.iterdir()} == {".my-notes.json", ".lock"}


def test_a_stop_without_a_folder_is_told_too():
    with pytest.raises(Stopped), own_folder(trainer_of()):
        raise KeyboardInterrupt


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1)])
def test_a_reader_who_left_is_no_failure(error):
    """Rich, which may draw the bar, makes an exit of it."""
    if isinstance(error, SystemExit):
        error.__context__ = BrokenPipeError()
    with pytest.raises(BrokenPipeError), told():
        raise error


def test_a_pipe_that_broke_a_training_is_told(tmp_path):
    """Its lines do without a reader, so it was another one."""
    with pytest.raises(RunFailedError), told(tmp_path):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_the_lock_of_the_next_owner_stays(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with alone(folder, "works"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / ".lock").touch()
    assert (folder / ".lock").exists()
