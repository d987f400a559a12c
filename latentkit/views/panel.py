"""What all callbacks that draw share: when they do, on which images, and into which file."""

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from latentkit.data.base import ImageData
from latentkit.training.base import Training
from latentkit.training.watch import boards, data_of, judged

_MOST = 1000  # images kept of somebody else's validation


@dataclass(frozen=True)
class HeldOut:
    """Validation images, on the CPU.

    Attributes:
        images: (n, C, *S).
        labels: (n,) int64, -1 where there is none.
        rows: their numbers in the validation set, (n,).
        chosen: how they were, in words.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    chosen: str


class Panel(pl.Callback, ABC):
    """Abstract callback: draws into TensorBoard every so many training images, and at the end.

    Counting images, not batches or epochs, lets runs of other batch sizes be compared. The step in
    TensorBoard is the module's iteration. The first process draws alone; the training does not
    notice, and goes on where something cannot be drawn. What is drawn are the same images and
    latents each time, so the slider shows progress.

    Args:
        every: training images between drawings; 0 for none at all.

    Raises:
        ValueError: `every` is below 0.
    """

    def __init__(self, every: int) -> None:
        if every < 0:
            raise ValueError(f"expected {self._name}.every of 0 or more, got {every}")
        self.every = every
        self._seen, self._drawn = 0, -1
        self._said = ""
        self._foreign: list[tuple[Tensor, Tensor]] = []
        self._collected = False

    @abstractmethod
    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Draws; the module is in evaluation mode, and gradients are off."""

    @property
    def _name(self) -> str:
        return type(self).__name__.lower()

    def state_dict(self) -> dict[str, Any]:
        """Images seen, and the iteration of the latest drawing, for resuming."""
        return {"seen": self._seen, "drawn": self._drawn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self._seen, self._drawn = state_dict["seen"], state_dict["drawn"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Draws, when it is due."""
        before, self._seen = self._seen, self._seen + len(batch[0]) * trainer.world_size
        if self.every and self._seen // self.every > before // self.every:
            self._show(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ANN401, ARG002
        batch: Any,  # noqa: ANN401
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Keeps the first images of somebody else's data, in the first whole validation.

        To read them again would draw from its random numbers. Later validations would bring the
        same images once more.
        """
        ours = isinstance(data_of(trainer), ImageData)
        if not self.every or ours or self._collected or trainer.sanity_checking:
            return
        if sum(len(x) for x, _ in self._foreign) < _MOST:
            labels = batch[1] if len(batch) > 1 else None
            self._foreign.append((batch[0].float().cpu(), _plain(labels, len(batch[0]))))

    def on_validation_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
    ) -> None:
        """Ends the keeping: what is drawn are the same images from here on."""
        self._collected = self._collected or not trainer.sanity_checking

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the last model."""
        if not self.every:
            return
        what = f"draws the last {self._name}"
        hidden = None if trainer.is_global_zero else True  # None: shown on a terminal
        with tqdm(total=1, desc=what, leave=False, disable=hidden, bar_format="{desc} ..."):
            self._show(trainer, pl_module)

    def held_out(self, trainer: pl.Trainer, n: int) -> HeldOut:
        """`n` evenly spaced validation images, or fewer; of somebody else's data the first ones."""
        data = data_of(trainer)
        if isinstance(data, ImageData):
            chosen = data.split("val")
            count = min(n, len(chosen))
            rows = torch.arange(count) * len(chosen) // max(count, 1)
            return HeldOut(*chosen[rows], rows, "evenly spaced")
        if not self._foreign:
            return HeldOut(torch.empty(0), *(torch.empty(0, dtype=torch.long),) * 2, "none")
        images, labels = (torch.cat(parts)[:n] for parts in zip(*self._foreign, strict=True))
        return HeldOut(images, labels, torch.arange(len(images)), "the first ones")

    def latents(self, trainer: pl.Trainer, module: Training, n: int) -> Tensor:
        """(n, *Z) of validation images, or of the prior without an encoder: the same each time."""
        model: Any = module.portable()
        if hasattr(model, "encode"):
            images = self.held_out(trainer, n).images
            found: Tensor = model.encode(inputs(trainer, module, images)) if len(images) else images
            return found
        return drawn(module, n)

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not isinstance(module, Training) or int(module.iteration) == self._drawn:
            return
        self._drawn = int(module.iteration)  # by all processes, whose checkpoints are alike
        board = next(boards(trainer), None) if trainer.is_global_zero else None
        if board is not None:
            with judged(trainer, module), torch.random.fork_rng(devices=[]):
                self._draw_or_say(board, trainer, module)

    def _draw_or_say(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """No picture is worth a training: what cannot be drawn is said, once."""
        try:
            self.draw(board, trainer, module)
        except Exception as error:  # noqa: BLE001  (anything may be wrong with a user's data)
            said = f"{error}"
            if said != self._said:
                self._said = said
                text = f"{self._name}: nothing drawn at iteration {self._drawn}: {said}"
                tqdm.write(text, file=sys.stderr)  # leaves a progress bar in one piece


def inputs(trainer: pl.Trainer, module: Training, images: Tensor) -> Tensor:
    """Images (N, C, *S) on the module's device, in the type of number that it computes with."""
    found: Tensor = trainer.precision_plugin.convert_input(images.to(module.device))
    return found


def drawn(module: Training, n: int) -> Tensor:
    """`n` latents (n, *Z) of the model's prior, the same each time."""
    generator = torch.Generator(module.device).manual_seed(0)
    model: Any = module.portable()
    found: Tensor = model.prior.sample(n, generator=generator)
    return found


def _plain(labels: Any, n: int) -> Tensor:  # noqa: ANN401
    """Labels (n,) int64; -1 where they are none."""
    whole = isinstance(labels, Tensor) and labels.shape == (n,) and not labels.is_floating_point()
    return labels.long().cpu() if whole else torch.full((n,), -1)
