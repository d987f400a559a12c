"""What callbacks that look at a training share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter


@contextmanager
def judged(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """Evaluation mode without gradients, in full precision where the weights have it.

    Compiled networks run as they are written: they have no forward derivative, and would be
    compiled for each new shape. Every part gets back the mode it had.
    """
    modes = {part: part.training for part in module.modules()}
    module.eval()
    exact = torch.autocast(module.device.type, enabled=False)
    eager = torch.compiler.set_stance("force_eager")
    try:
        with torch.no_grad(), trainer.precision_plugin.val_step_context(), exact, eager:
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def data_of(trainer: pl.Trainer) -> pl.LightningDataModule | None:
    """The data module of the run; None where loaders were given."""
    data: pl.LightningDataModule | None = getattr(trainer, "datamodule", None)
    return data


def boards(trainer: pl.Trainer) -> Iterator[SummaryWriter]:
    """TensorBoard's writers of a run."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield logger.experiment


@contextmanager
def events_kept() -> Iterator[None]:
    """Raises what TensorBoard's thread could not write, instead of a traceback on the console.

    The next event raises it, too, but the last ones would be lost in silence.
    """
    lost: list[OSError] = []
    before = threading.excepthook

    def keep(thrown: threading.ExceptHookArgs) -> None:
        if isinstance(thrown.exc_value, OSError):
            lost.append(thrown.exc_value)
        else:
            before(thrown)

    threading.excepthook = keep
    try:
        yield
    finally:
        threading.excepthook = before
    if lost:
        raise lost[0]
