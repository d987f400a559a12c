"""Trains an autoencoder on squared error."""

from typing import cast

import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn
from torch.optim import Optimizer

from latentkit.metrics.reconstruction import psnr
from latentkit.protocols import Decoder, Encoder
from latentkit.training.base import Training, adam


class AutoencoderTraining(Training):
    """Minimises the squared error of the reconstruction, averaged over pixels.

    Args:
        model: has `encode` and `decode`, such as `latentkit.models.autoencoder.Autoencoder`.
        lr: Adam's learning rate.
        seed: of the noise (none is drawn here; every objective has it).
    """

    monitor = "val/mse"

    def __init__(self, model: nn.Module, lr: float = 1e-3, seed: int = 0) -> None:
        super().__init__(model, seed)
        self.save_hyperparameters(ignore=["model"])
        self.lr = lr

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> (N, *Z)."""
        return cast("Encoder", self.model).encode(x)

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, *Z) -> (N, C, *S)."""
        return cast("Decoder", self.model).decode(z)

    def portable(self) -> nn.Module:
        """The model itself."""
        return self.model

    def weight_prefixes(self) -> dict[str, str]:
        """The model's weights as they are."""
        return {"": "model."}

    def configure_optimizers(self) -> Optimizer:
        """Adam."""
        return adam(self.model, self.lr, (0.9, 0.999))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """One batch, images (N, C, *S) first -> its loss, a scalar."""
        loss = F.mse_loss(self.decode(self.encode(batch[0])), batch[0])
        self.report({"train/mse": loss}, prog_bar=True)
        self.iteration += 1
        return self.finite(loss)

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str) -> None:
        x, rebuilt = batch[0], self.decode(self.encode(batch[0]))
        loss, n = F.mse_loss(rebuilt, x), len(x)
        self.log(f"{stage}/mse", loss, prog_bar=True, batch_size=n, sync_dist=True)
        self.log(f"{stage}/psnr", psnr(rebuilt, x).mean(), batch_size=n, sync_dist=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: ARG002
        """Logs error and PSNR, in decibels, on held-out images."""
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: ARG002
        """Logs error and PSNR, in decibels, on test images."""
        self._evaluate(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Latents of a batch (N, D)."""
        return self.encode(batch[0])
