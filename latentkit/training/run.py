"""Keeps the run folder: `model.safetensors` and `metrics.json`, written whole or not at all."""

from math import inf, isfinite
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from latentkit.store import MODEL_FILE, save, write_json
from latentkit.training.base import Training, arguments


class RunFolder(pl.Callback):
    """Writes the model, and the metrics it had, after each validation that improved.

    Where the objective monitors nothing (a GAN's losses do not say how good it is), the latest
    model is kept. The folder is the logger's.
    """

    def __init__(self) -> None:
        self.best = inf

    def state_dict(self) -> dict[str, float]:
        """The best value so far, for resuming."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restores the best value."""
        self.best = state_dict["best"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tells the module where its data came from, for its checkpoints."""
        if isinstance(pl_module, Training):
            pl_module.about |= _origin(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Logs at least once an epoch, however short the epochs are."""
        every = min(trainer.log_every_n_steps, trainer.num_training_batches)  # type: ignore[attr-defined]
        trainer.log_every_n_steps = max(1, int(every))  # type: ignore[attr-defined]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the model and its metrics if it is the best so far."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        scores = _scores(trainer)
        value = scores.get(getattr(pl_module, "monitor", None) or "", -inf)
        if value == -inf or value < self.best:
            self.best = value if isfinite(value) else self.best
            self._write(trainer, pl_module, scores)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the model if no validation did, or if the latest is kept."""
        if self.best == inf or _monitors_nothing(pl_module):
            self._write(trainer, pl_module, _scores(trainer))

    def _write(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, scores: dict[str, float]
    ) -> None:
        folder = folder_of(trainer)
        if folder is None or not trainer.is_global_zero or not isinstance(pl_module, Training):
            return
        iteration = int(pl_module.iteration)
        about = {**pl_module.about, "iteration": iteration, "scores": scores}
        save(pl_module.portable(), folder / MODEL_FILE, about)
        write_json(folder / "metrics.json", {"iteration": iteration, **scores})


def _monitors_nothing(module: pl.LightningModule) -> bool:
    return getattr(module, "monitor", None) is None


def folder_of(trainer: pl.Trainer) -> Path | None:
    """Where the logger writes; None without one (`logger=False`, `fast_dev_run`).

    Unlike `trainer.log_dir` it asks no other process, so one process alone may call it.
    """
    folder = trainer.loggers[0].log_dir if trainer.loggers else None
    return Path(folder) if folder else None


def _scores(trainer: pl.Trainer) -> dict[str, float]:
    return {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}


def _origin(trainer: pl.Trainer, module: Training) -> dict[str, Any]:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    origin: dict[str, Any] = {"seed": module.seed, "training": arguments(module.hparams)}
    origin["objective"] = f"{type(module).__module__}.{type(module).__qualname__}"
    if trainer.loggers:
        origin["config"] = str(trainer.loggers[0].name)
    if data is not None:
        kind = f"{type(data).__module__}.{type(data).__qualname__}"
        origin["data"] = {"class_path": kind, "init_args": arguments(data.hparams)}
        if hasattr(data, "image_shape"):  # ours have it, somebody else's may not
            origin["input_shape"] = list(data.image_shape)
    return origin
