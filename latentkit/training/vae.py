"""Trains a VAE on the evidence lower bound."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from latentkit.losses.elbo import free_bits, kl_to_standard_normal, reparameterise
from latentkit.metrics.reconstruction import psnr
from latentkit.models.vae import VAE
from latentkit.training.alarms import active_units
from latentkit.training.base import Training, adam


class VAETraining(Training):
    """Minimises nll + beta * KL in nats per image, summed over pixels and coordinates.

    Validation and test always report the plain bound (beta 1, no free bits), whatever is trained.

    Args:
        model: the VAE.
        beta: weight of the KL (Higgins et al., beta-VAE, ICLR 2017).
        free_bits: KL per coordinate, in nats, that costs nothing more to use.
        warmup: iterations over which beta rises from 0 (Bowman et al., 2016); 0 for none.
        lr: Adam's learning rate.
        seed: of the posterior samples.
    """

    monitor = "val/negative_elbo"
    model: VAE

    def __init__(
        self,
        model: VAE,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup: int = 0,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(model, seed)
        self.save_hyperparameters(ignore=["model"])
        self.beta, self.free_bits, self.warmup, self.lr = beta, free_bits, warmup, lr
        self._means: list[Tensor] = []

    @property
    def prior(self) -> object:
        """The model's prior."""
        return self.model.prior

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> posterior mean (N, D)."""
        return self.model.encode(x)

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S)."""
        return self.model.decode(z)

    def portable(self) -> VAE:
        """The model itself."""
        return self.model

    def weight_prefixes(self) -> dict[str, str]:
        """The model's weights as they are."""
        return {"": "model."}

    def configure_optimizers(self) -> Optimizer:
        """Adam."""
        return adam(self.model, self.lr, (0.9, 0.999))

    def _bound(self, x: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.model.posterior(x)
        normal = self.share(len(x), lambda n: self.model.prior.sample(n, generator=noise))
        nll = self.model.nll(x, reparameterise(mean, log_var, normal)).mean()
        return nll, kl_to_standard_normal(mean, log_var), mean

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """One batch -> its loss in nats per image."""
        nll, kl, _ = self._bound(batch[0], self.noise())
        beta = self.beta * (min(1.0, (int(self.iteration) + 1) / self.warmup) if self.warmup else 1)
        loss = nll + beta * free_bits(kl, self.free_bits)
        total = kl.sum(1).mean()
        self.report({"train/loss": loss, "train/nll": nll, "train/kl": total, "train/beta": beta})
        self.iteration += 1
        return self.finite(loss)

    def _evaluate(self, x: Tensor, index: int, stage: str) -> None:
        nll, kl, mean = self._bound(x, self.noise(index))
        total = kl.sum(1).mean()
        values = {"negative_elbo": nll + total, "nll": nll, "kl": total}
        named = {f"{stage}/{k}": v for k, v in values.items()}
        self.log_dict(named, prog_bar=True, batch_size=len(x), sync_dist=True)
        decibels = psnr(self.decode(mean), x).mean()
        self.log(f"{stage}/psnr", decibels, batch_size=len(x), sync_dist=True)
        self._means.append(mean)

    def _log_active(self, stage: str) -> None:
        active = active_units(self.gathered(self._means, stage))
        self.log(f"{stage}/active_units", active.float(), sync_dist=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the bound, and the reconstruction's PSNR in decibels, on held-out images."""
        self._evaluate(batch[0], index, "val")

    def on_validation_epoch_end(self) -> None:
        """Logs how many coordinates carry information."""
        self._log_active("val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the bound, and the reconstruction's PSNR in decibels, on test images."""
        self._evaluate(batch[0], index, "test")

    def on_test_epoch_end(self) -> None:
        """Logs how many coordinates carry information."""
        self._log_active("test")

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Posterior means of a batch (N, D)."""
        return self.encode(batch[0])
