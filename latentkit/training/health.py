"""Watches a training for collapse and says so in plain words, on the console and in TensorBoard."""

import math
import sys
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentkit.store import write_json
from latentkit.training.alarms import Alarm
from latentkit.training.base import NonFiniteLossError, Training
from latentkit.training.checkup import FEWEST, Checkup
from latentkit.training.run import folder_of
from latentkit.training.watch import boards, judged

HEALTH_FILE = "health.json"


class Health(pl.Callback):
    """Measures after validations whether the model collapses, and rings an alarm if it does.

    An alarm is said once, on the console and as text in TensorBoard, until it clears. `health.json`
    in the run folder holds the latest values, the alarms that ring, all that ever rang, and how
    many measurements were judged: with fewer than `patience`, silence means nothing. (Not
    `metrics.json`, which describes the best model: a run often collapses after it.) The values are
    logged as `health/...` at the module's iteration.

    What is measured goes by what the model offers: a `posterior` (VAE), `discriminate` (GAN),
    `cluster` (ClusterGAN), or `encode` and `decode` without a prior (autoencoder). It is done by
    the first process alone, and takes about as long as one training iteration: at most 0.2 % of
    an epoch of MNIST with the shipped configs, on one core.

    The thresholds lie between what runs reach when nothing is wrong and what collapses reach.

    Args:
        every: validations between measurements; 0 switches the alarms off.
        count: images to measure with, evenly spaced in the validation set; fewer than 16 are not
            judged. With 256, the error of every measure is a few per cent.
        grace: updates (of a GAN's generator) before the first alarm. Every model begins collapsed:
            the latents of the shipped VAEs come alive within 100 updates, and the slowest GAN
            (Wasserstein, lr 1e-4) is as diverse as `diversity` asks after 200.
        patience: measurements in a row that must agree to ring an alarm, or to clear it. GANs
            swing, and a collapse that matters lasts.
        active_units: fewest units of a VAE that vary with the image. With fewer than two, the
            images lie on a line at best. Wide latents may well leave most units unused.
        diversity: least mean distance of two generated images (or reconstructions), as a share of
            that of real ones. A trained GAN has 0.9 and more, two images in equal parts have
            about 0.5, one image with a little noise has less than 0.1.
        gap: widest gap between the mean logits of real and generated images, where the
            discriminator is right on 99 % of them. At 10, it gives odds of 20,000 to 1. Not for
            Wasserstein losses, whose critic has no such scale and should be ahead.
        cluster_usage: least effective number of clusters exp(entropy), as a share of all. A
            ClusterGAN of digits has 0.85 in the end, and from iteration 100 on never less than
            0.53.

    Raises:
        ValueError: `every` or `grace` is below 0, `count` below 16 or `patience` below 1.
    """

    def __init__(
        self,
        every: int = 1,
        count: int = 256,
        grace: int = 500,
        patience: int = 3,
        active_units: int = 2,
        diversity: float = 0.3,
        gap: float = 10.0,
        cluster_usage: float = 0.4,
    ) -> None:
        if every < 0 or count < FEWEST or grace < 0 or patience < 1:
            raise ValueError(
                f"expected health.every and health.grace of 0 or more, health.count of {FEWEST} "
                "or more and health.patience of 1 or more, "
                f"got every {every}, grace {grace}, count {count} and patience {patience}"
            )
        self.every, self.count, self.grace, self.patience = every, count, grace, patience
        self.checkup = Checkup(active_units, diversity, gap, cluster_usage)
        self._seen = self._judged = 0
        self._against: dict[str, int] = {}  # measurements in a row against what the alarm says now
        self._rang: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._images: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """Validations seen, latest values, and the alarms with their history, for resuming."""
        alarms = {"against": dict(self._against), "rang": [dict(r) for r in self._rang]}
        counts = {"seen": self._seen, "judged": self._judged}
        return {**counts, "values": dict(self._values), **alarms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self._seen, self._values = state_dict["seen"], dict(state_dict["values"])
        self._judged = state_dict.get("judged", 0)  # older checkpoints have none
        self._against = dict(state_dict["against"])
        self._rang = [dict(record) for record in state_dict["rang"]]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Keeps evenly spaced images, since sets are often sorted, so that none are read again."""
        missing = self.count - sum(len(x) for x in self._images)
        ours = isinstance(pl_module, Training) and trainer.is_global_zero
        if self.every and ours and missing > 0:
            x = batch[0]
            whole = sum(trainer.num_val_batches) * len(x)  # infinite where nobody knows
            step = math.ceil(whole / self.count) if math.isfinite(whole) else 1
            kept = x[-batch_idx * len(x) % step :: step][:missing]
            self._images.append(kept.clone())  # a view would keep the whole batch in memory

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures, when it is due, and says what changed."""
        images, self._images = self._images, []
        if trainer.state.fn != "fit" or trainer.sanity_checking or not self.every:
            return
        self._seen += 1
        few = sum(len(x) for x in images) < FEWEST  # always so on the other processes
        if few or (self._seen - 1) % self.every or not isinstance(pl_module, Training):
            return
        with judged(trainer, pl_module):
            values, alarms = self.checkup(pl_module, torch.cat(images))
        self._values = {k: v.tolist() for k, v in values.items()}
        iteration = int(pl_module.iteration)
        updates = iteration // int(getattr(pl_module, "critic_steps", 1))
        _log_values(trainer, values, iteration)
        judged_now = updates >= self.grace
        self._judged += judged_now
        for text in self.update(alarms if judged_now else [], iteration):
            tqdm.write(text, file=sys.stderr)  # leaves a progress bar in one piece
            _log_text(trainer, text, iteration)
        self._write(trainer, iteration)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Records a loss that is no number; the console has the exception itself."""
        if not self.every or not trainer.is_global_zero:
            return
        if isinstance(pl_module, Training) and isinstance(exception, NonFiniteLossError):
            iteration = int(pl_module.iteration)
            alarm = Alarm("non_finite_loss", str(exception), exception.value, math.inf)
            _log_text(trainer, self._ring(alarm, iteration), iteration)
            self._write(trainer, iteration)

    def update(self, alarms: list[Alarm], iteration: int) -> list[str]:
        """Takes in one measurement's alarms; gives the texts of those that rang or cleared now."""
        now = {alarm.name: alarm for alarm in alarms}
        ringing = {record["name"]: record for record in self._rang if record["cleared"] is None}
        before, self._against = self._against, {}
        said = []
        for name in sorted(k for k in {*now, *ringing} if (k in now) != (k in ringing)):
            row = before.get(name, 0) + 1
            if row < self.patience:
                self._against[name] = row
            elif name in now:
                said.append(self._ring(now[name], iteration))
            else:
                ringing[name]["cleared"] = iteration
                said.append(f"cleared at iteration {iteration}: {name.replace('_', ' ')}")
        return said

    def _ring(self, alarm: Alarm, iteration: int) -> str:
        self._rang.append({**asdict(alarm), "iteration": iteration, "cleared": None})
        return f"alarm at iteration {iteration}: {alarm.text}"

    def _write(self, trainer: pl.Trainer, iteration: int) -> None:
        folder = folder_of(trainer)
        if folder is not None:
            ringing = [record["name"] for record in self._rang if record["cleared"] is None]
            content = {"iteration": iteration, "values": self._values, "ringing": ringing}
            content |= {"judged": self._judged, "needed": self.patience}
            write_json(folder / HEALTH_FILE, {**content, "alarms": self._rang})


def _log_values(trainer: pl.Trainer, values: dict[str, Tensor], iteration: int) -> None:
    named = {f"health/{k}": v for k, v in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics({k: float(v) for k, v in named.items() if v.ndim == 0}, iteration)
    for board in boards(trainer):
        for name, value in named.items():
            if value.ndim and value.isfinite().all():  # TensorBoard refuses others
                board.add_histogram(name, value, iteration)


def _log_text(trainer: pl.Trainer, text: str, iteration: int) -> None:
    for board in boards(trainer):
        board.add_text("health", text, iteration)
