"""Trainings whose event files are read."""

from pathlib import Path

import pytest
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.conftest import few, make, trainer

__all__ = ["few", "make", "trainer"]


@pytest.fixture
def run(trainer, tmp_path):
    """Fit 3 batches of 8 images an epoch with a logger; gives the run's folder."""

    def fit(training, data, *callbacks, ckpt_path=None, **settings):
        board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
        quick = {"limit_train_batches": 3, "limit_val_batches": 1, **settings}
        trainer(logger=board, callbacks=list(callbacks), **quick).fit(
            training, data, ckpt_path=ckpt_path
        )
        return tmp_path / "runs" / "version_0"

    return fit


@pytest.fixture(scope="session")
def events():
    """Reads a run's event file."""

    def read(folder):
        found = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
        found.Reload()
        return found

    return read


def pytest_collection_modifyitems(items):
    """Hide Lightning's remarks on settings that small tests choose on purpose."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for package in ("pytorch_lightning", "lightning_fabric"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:::{package}"))
