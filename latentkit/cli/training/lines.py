"""Progress where there is no terminal: lines for a log file instead of a bar that is redrawn."""

import math
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from torch import Tensor

from latentkit.cli.stopping import drop_unwritten

_SILENCE = 60.0  # seconds between two lines of one epoch, which may take hours


class Lines(ProgressBar):
    """Prints a line when a training epoch ends, with its metrics, and one a minute in between.

    Metrics of a validation stand only on lines that come after it in the same epoch; others are the
    last that were logged, which may be those of the epoch before. A validation itself is silent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_enabled = True  # Lightning asks for it, too
        self._spoke = time.monotonic()
        self._began: float | None = None  # None in an epoch whose beginning another process saw
        self._validated = False

    def disable(self) -> None:
        """Says nothing any more, as on all processes but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Speaks again."""
        self.is_enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints what other callbacks say."""
        if self.is_enabled:
            say(*args, **kwargs)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Takes the time; Lightning does not call it where a run goes on within an epoch."""
        self._spoke = self._began = time.monotonic()
        self._validated = False

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
            total = trainer.num_training_batches
            of = f" of {total:,}" if math.isfinite(total) else ""
            self._say(f"{_epoch(trainer)}, {batch_idx + 1:,}{of} batches", trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Notes that there are new scores."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Says how the epoch ended, validation included, and how long it took."""
        took = "" if self._began is None else f" in {time.monotonic() - self._began:.1f} s"
        self._say(f"{_epoch(trainer)}{took}", trainer)

    def _say(self, begin: str, trainer: pl.Trainer) -> None:
        self._spoke = time.monotonic()
        known = trainer.progress_bar_metrics.items()  # also those of epochs before
        new = [(k, v) for k, v in known if self._validated or not k.startswith("val/")]
        said = ", ".join(f"{k} {v:.4g}" for k, v in new)
        if self.is_enabled:
            say(f"{begin}: {said}" if said else begin)


def say(*words: object, **how: Any) -> None:
    """Prints; a training goes on where its reader left or the disk of its log is full."""
    try:
        print(*words, **{**how, "flush": True})
    except BrokenPipeError:
        drop_unwritten()  # for good, so that nobody else's line ends the training
    except OSError:
        return  # the disk may have room again


def _epoch(trainer: pl.Trainer) -> str:
    of = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{of}"
