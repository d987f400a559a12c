"""Checkpoints to go on from: written whole, at the start, at every epoch's end and in between."""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from latentkit.store import CHECKPOINT_FILE
from latentkit.training.run import folder_of

PREVIOUS_FILE = "previous.ckpt"


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt`, and as `previous.ckpt` the one before it, in the run folder.

    A run that was killed at any moment goes on from the newest of them and ends as if it had not
    been: data order and noise are keyed by epoch and iteration, and the loader goes on in the
    middle of an epoch.

    Args:
        minutes: between checkpoints within an epoch; at its end there always is one. None is made
            at iterations that are logged, so set `log_every_n_steps` to 2 or more.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if minutes <= 0:
            raise ValueError(f"expected minutes above 0, got {minutes}")
        self.minutes = minutes
        self._saved = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Saves the untrained model, so that a run killed early can be repeated, too."""
        self._saved = time.monotonic()
        start, folder = trainer.ckpt_path, folder_of(trainer)
        if start is None:
            self._save(trainer)
        elif folder and Path(start).resolve() == (folder / PREVIOUS_FILE).resolve():
            # What came after it was damaged and is done again; it must not replace it.
            last = folder / CHECKPOINT_FILE
            last.unlink(missing_ok=True)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,  # noqa: ANN401  (a Training)
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,
    ) -> None:
        """Saves when it is time, but not where Lightning has something left to do after this hook.

        A resumed run would pass over the validation that follows the batch, or its logging.
        """
        every_epoch = trainer.check_val_every_n_epoch is not None
        index = batch_idx if every_epoch else trainer.fit_loop.total_batch_idx
        validated = (index + 1) % (trainer.val_check_batch or math.inf) == 0
        logged = int(pl_module.iteration) % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if trainer.is_last_batch or validated or logged:
            return
        due = time.monotonic() - self._saved >= 60 * self.minutes
        if trainer.strategy.broadcast(due) if trainer.world_size > 1 else due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Saves after every epoch and its validation."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        folder = folder_of(trainer)
        if folder is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._saved = time.monotonic()
        for logger in trainer.loggers:
            logger.save()  # what was logged until here would not be logged again
        unfinished = folder / f".{CHECKPOINT_FILE}.unfinished"
        trainer.save_checkpoint(unfinished, weights_only=False)
        if trainer.is_global_zero:
            last = folder / CHECKPOINT_FILE
            if last.exists():
                last.replace(folder / PREVIOUS_FILE)
            unfinished.replace(last)
