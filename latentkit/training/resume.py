"""Checkpoints to go on from: written whole, at the start, at every epoch's end and in between."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from latentkit.store import CHECKPOINT_FILE, atomic, explained, undisturbed
from latentkit.training.reading import reported
from latentkit.training.run import folder_of

PREVIOUS_FILE = "previous.ckpt"


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt`, and as `previous.ckpt` the one before it, in the run folder.

    A run that was killed at any moment goes on from the newest of them and ends as if it had not
    been: data order and noise are keyed by epoch and iteration, and the loader goes on in the
    middle of an epoch. So does a run that ended within an epoch (`max_steps`, `max_time`, a
    callback that stops it) and is given more to do, from this checkpoint or somebody else's.
    With `accumulate_grad_batches` a checkpoint between two steps holds the gradients so far;
    several processes go on from their mean, which is the same up to rounding. Validations by the
    clock (`val_check_interval` as a time) come when they come, and are not repeated alike.

    Args:
        minutes: between checkpoints within an epoch; at its end there always is one. None is made
            at iterations that are logged or take no step, so set `log_every_n_steps` to 2 or more.

    Raises:
        ValueError: `minutes` is not above 0.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if minutes <= 0:
            raise ValueError(f"expected minutes above 0, got {minutes}")
        self.minutes = minutes
        self._saved, self._max_steps = 0.0, -1
        self._gradients: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Hides `max_steps` while Lightning restores its counters.

        With it Lightning takes a checkpoint of an epoch's end for one in the middle of the epoch.
        """
        self._max_steps = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves the untrained model, so that a run killed early can be repeated, too."""
        _give_gradients(pl_module, self._gradients)
        trainer.fit_loop.epoch_loop.max_steps = self._max_steps
        self._saved = time.monotonic()
        start, folder = trainer.ckpt_path, folder_of(trainer)
        if start is None:
            self._save(trainer)
        elif folder and trainer.is_global_zero and Path(start).resolve().parent == folder.resolve():
            _forget_later(Path(start).resolve())

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401, ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Saves when it is time, but not where Lightning has something left to do after this hook.

        A resumed run would pass over the validation that follows the batch, or its logging. Nor is
        there a need for one between the batches whose gradients make up one step.
        """
        if reported(trainer) or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        due = time.monotonic() - self._saved >= 60 * self.minutes
        if trainer.strategy.broadcast(due) if trainer.world_size > 1 else due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Saves after every epoch and its validation."""
        self._save(trainer)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Corrects the counters of a run that was stopped within an epoch; adds its gradients.

        Lightning ends that epoch, and would begin the next one on resuming.
        """
        loop: Any = trainer.fit_loop
        if loop.epoch_loop._should_accumulate():
            checkpoint["gradients"] = _gradients(trainer, pl_module)
        batches, epochs = loop.epoch_loop.batch_progress.current, loop.epoch_progress.current
        within = batches.ready > 0 and not loop.epoch_loop._num_ready_batches_reached()
        if within and epochs.processed == epochs.ready:
            stepped = not loop.epoch_loop._should_accumulate()
            _reopen_epoch(checkpoint["loops"]["fit_loop"], stepped)

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Keeps the gradients of a step that was not complete until the training starts."""
        self._gradients = checkpoint.get("gradients", {})

    def _save(self, trainer: pl.Trainer) -> None:
        folder = folder_of(trainer)
        if folder is None or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._saved = time.monotonic()
        for logger in trainer.loggers:
            logger.save()  # what was logged until here would not be logged again
        unfinished = folder / f".{CHECKPOINT_FILE}.unfinished"
        try:
            with explained(folder / CHECKPOINT_FILE):
                trainer.save_checkpoint(unfinished, weights_only=False)
                if trainer.is_global_zero:
                    _keep_newest(unfinished)
        finally:
            if trainer.is_global_zero:
                unfinished.unlink(missing_ok=True)


def _keep_newest(unfinished: Path) -> None:
    last = unfinished.with_name(CHECKPOINT_FILE)
    with undisturbed():
        if last.exists():
            last.replace(last.with_name(PREVIOUS_FILE))
        unfinished.replace(last)


def _gradients(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Tensor]:
    """What the batches since the last step gave, by parameter, averaged over processes."""
    own = {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    return {k: trainer.strategy.reduce(v, reduce_op="mean") for k, v in own.items()}


def _give_gradients(module: pl.LightningModule, gradients: dict[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        if name in gradients:
            parameter.grad = torch.empty_like(parameter).copy_(gradients[name])
    gradients.clear()


def _reopen_epoch(loop: dict[str, Any], stepped: bool) -> None:
    """Puts a loop's saved counters back to where they were right after the last batch.

    Args:
        loop: state of Lightning's fit loop at the end of an epoch; changed in place.
        stepped: whether the batch was counted as a step, which then will be done again.
    """
    for count in loop["epoch_progress"].values():  # "total" and "current"
        count["processed"] -= 1
        count["completed"] = min(count["completed"], count["processed"])
    batches = loop["epoch_loop.batch_progress"]
    for count in (batches["total"], batches["current"]):
        count["completed"] -= 1
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= int(stepped)


def _forget_later(start: Path) -> None:
    """Leaves `start` as the newest checkpoint of its folder: what came after it is done again."""
    last, previous = start.with_name(CHECKPOINT_FILE), start.with_name(PREVIOUS_FILE)
    if start.name == PREVIOUS_FILE:
        last.unlink(missing_ok=True)
    elif start.name != CHECKPOINT_FILE:
        if last.exists():
            abandoned = start.with_name("abandoned.ckpt")
            last.replace(abandoned)
            rank_zero_info(f"what came after {start.name} is done again; it is kept in {abandoned}")
        with atomic(last) as temporary:
            shutil.copyfile(start, temporary)
        previous.unlink(missing_ok=True)
