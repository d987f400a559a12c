"""What all callbacks that draw share: when they do, on which images, and into which file."""

import sys
from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from latentkit.data.base import ImageData
from latentkit.training.base import Training
from latentkit.training.watch import boards, judged


class Panel(pl.Callback, ABC):
    """Abstract callback: draws into TensorBoard every so many training images, and at the end.

    Counting images, not batches or epochs, lets runs of other batch sizes be compared. The step in
    TensorBoard is the module's iteration. The first process draws alone; the training does not
    notice. What is drawn are the same images and latents each time, so the slider shows progress.

    Args:
        every: training images between drawings; 0 for none at all.
    """

    def __init__(self, every: int) -> None:
        if every < 0:
            name = type(self).__name__.lower()
            raise ValueError(f"expected {name}.every of 0 or more, got {every}")
        self.every = every
        self._seen = 0
        self._drawn = -1

    @abstractmethod
    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Draws; the module is in evaluation mode, and gradients are off."""

    def state_dict(self) -> dict[str, int]:
        """Images seen, and the iteration of the latest drawing, for resuming."""
        return {"seen": self._seen, "drawn": self._drawn}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
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

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the last model."""
        if self.every:
            self._show(trainer, pl_module)

    def _show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not isinstance(module, Training) or int(module.iteration) == self._drawn:
            return
        self._drawn = int(module.iteration)  # by all processes, whose checkpoints are alike
        board = next(boards(trainer), None) if trainer.is_global_zero else None
        if board is not None:
            # Compiled networks have no forward derivative, and would be compiled for each shape.
            eager = torch.compiler.set_stance("force_eager")
            with eager, judged(trainer, module), torch.random.fork_rng(devices=[]):
                self._draw_or_say(board, trainer, module)

    def _draw_or_say(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """No picture is worth a training: what cannot be drawn is said, and the run goes on."""
        try:
            self.draw(board, trainer, module)
        except (RuntimeError, ValueError) as error:
            name = type(self).__name__.lower()
            text = f"{name}: nothing drawn at iteration {self._drawn}: {error}"
            tqdm.write(text, file=sys.stderr)  # leaves a progress bar in one piece


def held_out(trainer: pl.Trainer, n: int) -> tuple[Tensor, Tensor]:
    """`n` evenly spaced validation images (n, C, *S) with labels (n,), on the CPU; or fewer.

    Of somebody else's data module, the first ones.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(data, ImageData):
        chosen = data.split("val")
        count = min(n, len(chosen))
        return chosen[torch.arange(count) * len(chosen) // max(count, 1)]
    loaders: Any = trainer.val_dataloaders
    if not loaders:
        return torch.empty(0), torch.empty(0, dtype=torch.long)
    images, labels = next(iter(loaders))[:2]
    return images[:n].cpu(), labels[:n].cpu()


def fixed_latents(trainer: pl.Trainer, module: Training, n: int) -> Tensor:
    """Latents of `n` validation images, or of the prior without an encoder: the same each time."""
    model: Any = module.portable()
    if hasattr(model, "encode"):
        images = held_out(trainer, n)[0]
        found: Tensor = model.encode(images.to(module.device)) if len(images) else images
        return found
    generator = torch.Generator(module.device).manual_seed(0)
    drawn: Tensor = model.prior.sample(n, generator=generator)
    return drawn
