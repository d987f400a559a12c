"""TensorBoard pictures during training: samples, reconstructions, and the originals beside them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from latentkit.views.figures import alternate, grid

_LARGEST_SPRITE = 8192


class ImageGrids(pl.Callback):
    """Logs a grid of samples and one of reconstructions after every `every`-th validation.

    The latents and images are the same each time, so that the slider shows progress.

    Args:
        every: validations between pictures; 0 for none.
        count: images in each grid.
    """

    def __init__(self, every: int = 1, count: int = 32) -> None:
        if every < 0 or count < 1:
            raise ValueError(
                "expected pictures.every of 0 or more and pictures.count of 1 or more, "
                f"got {every} and {count}"
            )
        self.every, self.count = every, count
        self._seen = 0

    def state_dict(self) -> dict[str, int]:
        """How many validations there were, for resuming."""
        return {"seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restores the count."""
        self._seen = state_dict["seen"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the grids, when they are due."""
        board = next((x for x in trainer.loggers if isinstance(x, TensorBoardLogger)), None)
        if board is None or trainer.sanity_checking or not self.every or not trainer.is_global_zero:
            return
        self._seen += 1
        if (self._seen - 1) % self.every:
            return
        step = int(getattr(pl_module, "iteration", trainer.global_step))
        for name, images in self._pictures(trainer, pl_module).items():
            board.experiment.add_image(name, grid(images.clamp(0, 1), 8), step)

    @torch.no_grad()
    def _pictures(self, trainer: pl.Trainer, module: Any) -> dict[str, Tensor]:  # noqa: ANN401
        pictures = {}
        if hasattr(module, "prior"):
            generator = torch.Generator(module.device).manual_seed(0)
            pictures["samples"] = module.decode(
                module.prior.sample(self.count, generator=generator)
            )
        if hasattr(module, "encode"):
            x = self._first_images(trainer).to(module.device)
            pictures["reconstructions"] = alternate(x, module.decode(module.encode(x)))
        return pictures

    def _first_images(self, trainer: pl.Trainer) -> Tensor:
        loaders: Any = trainer.val_dataloaders
        images: Tensor = next(iter(loaders))[0][: self.count]
        return images


def write_projector(
    folder: str | Path,
    latents: Tensor,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str] = (),
) -> None:
    """Writes latents (N, *Z) for TensorBoard's projector, with thumbnails where they fit.

    The projector reads no sprite larger than 8,192 pixels, so for many images the thumbnails are
    made smaller, and left out where they would be smaller than 8 pixels.

    Args:
        folder: of the event files.
        latents: (N, *Z).
        images: (N, C, H, W) in [0, 1].
        labels: (N,), -1 where there is none.
        class_names: of the labels.
    """
    per_side = math.ceil(math.sqrt(len(images)))
    size = min(images.shape[-1], _LARGEST_SPRITE // per_side)
    small = functional.interpolate(images, size=(size, size)) if size >= 8 else None
    names = [class_names[i] if 0 <= i < len(class_names) else str(i) for i in labels.tolist()]
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(latents.flatten(1), metadata=names, label_img=small)
