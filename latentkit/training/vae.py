"""Trains a VAE on the evidence lower bound."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentkit.losses.attention import attention_maps, attention_overlap
from latentkit.losses.elbo import free_bits, kl_to_standard_normal, reparameterise
from latentkit.metrics.likelihood import active_units
from latentkit.metrics.reconstruction import psnr
from latentkit.models.vae import VAE
from latentkit.protocols import Prior
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
        seed: of the posterior samples, and of the units that are drawn.
        attention_disentanglement: weight of the share, from 0 to 1, that the attention maps of two
            latent units have in common in the encoder's last feature map; the units are drawn anew
            in each iteration (Liu et al., CVPR 2020, arXiv 1911.07389). 0 for none; about 1 pulls
            small maps apart, and much more costs the latents their use.

    Raises:
        ValueError: attention disentanglement is below 0, or is asked of fewer than two units.
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
        attention_disentanglement: float = 0.0,
    ) -> None:
        super().__init__(model, seed)
        if not attention_disentanglement >= 0:
            raise ValueError(
                f"expected attention_disentanglement of 0 or more, got {attention_disentanglement}"
            )
        if attention_disentanglement and model.latent_dim < 2:
            raise ValueError(
                "attention_disentanglement compares two latent units, got a model with "
                f"{model.latent_dim}: give it more, or 0 for the weight"
            )
        self.save_hyperparameters(ignore=["model"])
        self.beta, self.free_bits, self.warmup, self.lr = beta, free_bits, warmup, lr
        self.attention_disentanglement = attention_disentanglement
        self._means: list[Tensor] = []

    @property
    def prior(self) -> Prior:
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

    def _attentive_layer(self) -> nn.Module:
        """The encoder's last layer that still has space."""
        part = self.model.explainable()["encoder"]
        return part.module.get_submodule(part.layers[-1])

    def _overlap(self, mean: Tensor, features: Tensor, noise: torch.Generator) -> Tensor:
        """What the attention maps of two units, drawn by lot, have in common: in [0, 1]."""
        pair = torch.randperm(mean.shape[1], generator=noise, device=mean.device)[:2]
        maps = attention_maps(mean[:, pair], features)
        return attention_overlap(maps[:, 0], maps[:, 1])

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:  # noqa: ARG002
        """One batch, images (N, C, *S) first -> its loss in nats per image, a scalar."""
        noise, weight = self.noise(), self.attention_disentanglement
        with returned(self._attentive_layer() if weight else None) as features:
            nll, kl, mean = self._bound(batch[0], noise)
        beta = self.beta * (min(1.0, (int(self.iteration) + 1) / self.warmup) if self.warmup else 1)
        loss = nll + beta * free_bits(kl, self.free_bits)
        if weight:
            overlap = self._overlap(mean, features[0], noise)
            loss = loss + weight * overlap
            self.note({"train/attention_overlap": overlap})
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
        means = self.gathered(self._means, stage).float()
        active = active_units(means) if len(means) > 1 else 0  # of one image none varies
        self.log(f"{stage}/active_units", float(active), sync_dist=True)

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


@contextmanager
def returned(layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """Inside: what a layer returns, call by call, with its graph; nothing of None."""
    kept: list[Tensor] = []
    if layer is None:
        yield kept
        return
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    try:
        yield kept
    finally:
        hook.remove()
