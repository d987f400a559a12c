"""Whose a run folder is, and what becomes of it when its training does not begin."""

import shutil
import signal
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import TensorBoardLogger

from latentkit.cli.stopping import Stopped
from latentkit.cli.training import runs
from latentkit.cli.training.runs import own_folder
from latentkit.store import alone


def trainer_of(*loggers):
    """As much of a trainer as is asked."""
    return SimpleNamespace(is_global_zero=True, loggers=list(loggers))


@pytest.fixture
def trainer(tmp_path):
    return trainer_of(TensorBoardLogger(tmp_path, "vae"))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_beside_the_lock_leaves_no_folder(trainer, tmp_path, monkeypatch, moment):
    def stopped(folder, doing):
        if moment == "before":
            signal.raise_signal(signal.SIGINT)
        lock = alone(folder, doing)
        enter = type(lock).__enter__

        def entered(self):
            enter(self)
            signal.raise_signal(signal.SIGINT)

        if moment == "after":
            monkeypatch.setattr(type(lock), "__enter__", entered)
        return lock

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(runs, "alone", stopped)
    with pytest.raises(KeyboardInterrupt), own_folder(trainer):
        pytest.fail("the training began")
    monkeypatch.undo()
    assert not list((tmp_path / "vae").iterdir())
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_who_comes_before_the_lock_keeps_the_folder(trainer, tmp_path, monkeypatch):
    def taken(folder, doing):
        (folder / "config.yaml").touch()
        raise ValueError("is in use")

    monkeypatch.setattr(runs, "alone", taken)
    with pytest.raises(ValueError, match="in use"), own_folder(trainer):
        pytest.fail("the training began")
    assert (tmp_path / "vae/version_0/config.yaml").exists()


def test_versions_count_on_in_a_folder_that_may_not_be_listed(trainer, tmp_path, monkeypatch):
    (tmp_path / "vae/version_0").mkdir(parents=True)
    monkeypatch.setattr(TensorBoardLogger, "_get_next_version", lambda _: 0)
    with own_folder(trainer):
        assert (tmp_path / "vae/version_1/.lock").exists()


@pytest.mark.parametrize("kept", [None, "last.ckpt", "health.json"])
def test_a_folder_with_nothing_to_learn_from_goes_whole(tmp_path, kept):
    def fail():
        with own_folder(trainer_of(TensorBoardLogger(tmp_path, "vae", sub_dir="sub"))):
            if kept:
                (tmp_path / "vae/version_0/sub" / kept).touch()
            raise ValueError("no use")

    with pytest.raises(ValueError, match="no use"):
        fail()
    assert (tmp_path / "vae/version_0").exists() == bool(kept)


def test_a_stop_without_a_folder_is_told_too():
    with pytest.raises(Stopped), own_folder(trainer_of()):
        raise KeyboardInterrupt


def test_the_lock_of_the_next_owner_stays(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with alone(folder, "works"):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / ".lock").touch()
    assert (folder / ".lock").exists()
