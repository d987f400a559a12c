"""Which iterations' values somebody reads: logging the others would only cost time.

A callback that reads `callback_metrics` in `on_train_batch_start` is not among the readers: it may
get those of an iteration before the latest.
"""

import math
import time
from typing import Any

import pytorch_lightning as pl

# Whose callbacks read no values after a batch, or only show the latest that were reported.
_QUIET = {"pytorch_lightning", "latentkit"}


def reported(trainer: pl.Trainer) -> bool:
    """Whether Lightning logs, validates or ends the epoch after this batch."""
    loop: Any = trainer.fit_loop.epoch_loop
    index = loop.batch_idx if trainer.check_val_every_n_epoch else loop.total_batch_idx
    validated = (index + 1) % (trainer.val_check_batch or math.inf) == 0
    written = trainer._logger_connector.should_update_logs  # its own rule
    ended = trainer.is_last_batch or loop._is_training_done
    return bool(written or validated or ended or _time_to_validate(trainer))


def awaited(trainer: pl.Trainer) -> bool:
    """Whether somebody reads the values of the step that is about to end.

    Unlike `reported` it is asked within the step, counts the last of `max_steps`, and knows the
    callbacks that read at the end of a batch: a `ModelCheckpoint` whose step it is, or one that
    goes by the clock, and whatever callback of somebody else looks at the batch's end. Where the
    clock decides on validation, too, it may do so after any batch.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    steps = trainer.global_step  # with manual optimization those of this batch are counted already
    if trainer.lightning_module.automatic_optimization and not loop._should_accumulate():
        steps += 1
    return (
        reported(trainer)
        or 0 <= loop.max_steps <= steps
        or _seconds(trainer) is not None
        or any(_reads(callback, steps) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    )


def _reads(callback: pl.Callback, steps: int) -> bool:
    every = getattr(callback, "_every_n_train_steps", 0)
    if every and steps % every == 0:
        return True
    if getattr(callback, "_train_time_interval", None) is not None:
        return True
    return callback.on_train_batch_end.__module__.partition(".")[0] not in _QUIET


def _seconds(trainer: pl.Trainer) -> float | None:
    """Between validations, where `val_check_interval` is a time."""
    seconds: float | None = trainer._val_check_time_interval  # type: ignore[attr-defined]
    return seconds


def _time_to_validate(trainer: pl.Trainer) -> bool:
    seconds = _seconds(trainer)
    return seconds is not None and time.monotonic() - trainer._last_val_time >= seconds  # type: ignore[attr-defined]
