"""Keeps the run folder: `model.safetensors` and its `metrics.json`, written together or not."""

import json
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from latentkit.store import MODEL_FILE, json_text, save, write_all
from latentkit.training.base import Training, arguments
from latentkit.training.watch import data_of

METRICS_FILE = "metrics.json"


class RunFolder(pl.Callback):
    """Writes the model, and the metrics it had, after each validation that improved.

    Where the objective monitors nothing (a GAN's losses do not say how good it is), the latest
    model is kept. The folder is the logger's.
    """

    def __init__(self) -> None:
        self.best = inf
        self._scores: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and the latest scores, for resuming."""
        return {"best": self.best, "scores": self._scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self.best, self._scores = state_dict["best"], state_dict.get("scores", {})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tells the module where its data came from, for its checkpoints."""
        if isinstance(pl_module, Training):
            pl_module.about |= _origin(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Logs at least once an epoch, however short the epochs are, unless told not to (0)."""
        if trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            return
        every = min(trainer.log_every_n_steps, trainer.num_training_batches)  # type: ignore[attr-defined]
        trainer.log_every_n_steps = max(1, int(every))  # type: ignore[attr-defined]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Keeps the scores for the checkpoint that follows."""
        self._scores = _scores(trainer)

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
            self._write(trainer, pl_module, _scores(trainer) or self._scores)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Does the same where a resumed run had nothing left to do but this."""
        if _written(trainer) != int(getattr(pl_module, "iteration", -1)):
            self.on_train_end(trainer, pl_module)

    def _write(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, scores: dict[str, float]
    ) -> None:
        folder = folder_of(trainer)
        if folder is None or not trainer.is_global_zero or not isinstance(pl_module, Training):
            return
        iteration = int(pl_module.iteration)
        about = {**pl_module.about, "iteration": iteration, "scores": scores}
        text = json_text({"iteration": iteration, **scores})
        model = partial(save, pl_module.portable(), about=about)
        metrics = partial(Path.write_text, data=text, encoding="utf-8")
        write_all({folder / MODEL_FILE: model, folder / METRICS_FILE: metrics})


def _written(trainer: pl.Trainer) -> int | None:
    """The iteration of the model that the run folder holds."""
    folder = folder_of(trainer)
    if folder is None or not (folder / METRICS_FILE).exists():
        return None
    iteration: int = json.loads((folder / METRICS_FILE).read_text())["iteration"]
    return iteration


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
    data = data_of(trainer)
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
