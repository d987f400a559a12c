"""What callbacks that judge a model in training share."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.tensorboard import SummaryWriter


@contextmanager
def judged(trainer: pl.Trainer, module: nn.Module) -> Iterator[None]:
    """Evaluation mode and precision without gradients; every part gets back the mode it had."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def boards(trainer: pl.Trainer) -> Iterator[SummaryWriter]:
    """TensorBoard's writers of a run."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield logger.experiment
