"""Progress where there is no terminal: lines for a log file instead of a bar that is redrawn."""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from torch import Tensor

_SILENCE = 60.0
"""Seconds without a word, at most: an epoch may take hours."""


class Lines(ProgressBar):
    """Prints a line when an epoch ends, with its metrics, and one a minute in between."""

    def __init__(self) -> None:
        super().__init__()
        self._silent = False
        self._spoke = self._began = 0.0

    def disable(self) -> None:
        """Says nothing any more, as on all processes but the first."""
        self._silent = True

    def enable(self) -> None:
        """Speaks again."""
        self._silent = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Takes the time."""
        self._spoke = self._began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Tensor | Mapping[str, Any] | None,  # noqa: ARG002
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,
    ) -> None:
        """Says how far the epoch is, if nothing was said for a minute."""
        if time.monotonic() - self._spoke > _SILENCE:
            done = f"{batch_idx + 1:,} of {self.total_train_batches:,} batches"
            self._say(f"{self._epoch(trainer)}, {done}", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Says how the epoch ended, validation included, and how long it took."""
        took = time.monotonic() - self._began
        self._say(f"{self._epoch(trainer)} in {took:.1f} s", trainer)

    def _epoch(self, trainer: pl.Trainer) -> str:
        of = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        return f"epoch {trainer.current_epoch + 1}{of}"

    def _say(self, begin: str, trainer: pl.Trainer) -> None:
        self._spoke = time.monotonic()
        if not self._silent:
            said = ", ".join(f"{k} {v:.4g}" for k, v in trainer.progress_bar_metrics.items())
            print(f"{begin}: {said}" if said else begin, flush=True)
