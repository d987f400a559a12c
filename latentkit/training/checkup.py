"""Measures what applies to a model in training, and compares it with the thresholds."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.metrics.likelihood import active_units
from latentkit.training.alarms import (
    Alarm,
    balance,
    cluster_usage,
    discriminator_wins,
    diversity,
    flat_reconstructions,
    lost_clusters,
    mode_collapse,
    posterior_collapse,
)
from latentkit.training.base import Training

FEWEST = 16  # images: with fewer, chance alone takes the measures far
_Found = tuple[dict[str, Tensor], list[Alarm | None]]


@dataclass(frozen=True)
class Checkup:
    """What the alarms ring at; see `latentkit.training.health.Health` for the reasons.

    Attributes:
        active_units: fewest units of a VAE that vary with the image.
        diversity: least mean distance of two images made, as a share of that of real ones.
        gap: widest gap between a discriminator's mean logits.
        cluster_usage: least effective number of clusters, as a share of all.
    """

    active_units: int
    diversity: float
    gap: float
    cluster_usage: float

    def __call__(self, module: Training, x: Tensor) -> tuple[dict[str, Tensor], list[Alarm]]:
        """Measures whatever the module offers on real images x (N, C, *S).

        Returns:
            The values by name, and the alarms that they give.
        """
        found = list(self._found(module, module.portable(), x))
        values = {k: v.float() for some, _ in found for k, v in some.items()}
        return values, [a for _, alarms in found for a in alarms if a is not None]

    def _found(self, module: Training, model: Any, x: Tensor) -> list[_Found]:  # noqa: ANN401
        found = []
        if hasattr(model, "posterior"):
            found.append(self._latents(model, x))
        if hasattr(module, "discriminate") and hasattr(module, "prior"):
            found.append(self._game(module, x))
        clusters = hasattr(model, "cluster") and bool(getattr(module, "adopted", True))
        if clusters and len(x) >= 2 * model.classes:  # fewer cannot use them all
            found.append(self._clusters(model, x))
        if hasattr(module, "encode") and not hasattr(module, "prior"):
            found.append(self._reconstructions(module, x))
        return found

    def _latents(self, model: Any, x: Tensor) -> _Found:  # noqa: ANN401  (a VAE)
        mean, log_var = model.posterior(x)
        active, kl = active_units(mean.float()), kl_to_standard_normal(mean, log_var).mean(0)
        values = {"active_units": torch.tensor(active), "kl": kl.sum(), "kl_per_unit": kl}
        return values, [posterior_collapse(active, len(kl), self.active_units)]

    def _game(self, module: Any, x: Tensor) -> _Found:  # noqa: ANN401  (an adversarial objective)
        same = torch.Generator(module.device).manual_seed(0)  # the same latents each time
        fake = module.decode(module.prior.sample(len(x), generator=same))
        ratio, nearest = diversity(fake, x)
        accuracy, gap = balance(module.discriminate(x), module.discriminate(fake))
        values = {"diversity": ratio, "nearest": nearest, "accuracy": accuracy, "gap": gap}
        alarms = [mode_collapse(float(ratio), self.diversity)]
        if module.loss.kind != "wasserstein":  # a critic has no such scale, and should be ahead
            alarms.append(discriminator_wins(float(accuracy), float(gap), self.gap))
        return values, alarms

    def _clusters(self, model: Any, x: Tensor) -> _Found:  # noqa: ANN401  (a ClusterGAN)
        used = cluster_usage(model.cluster(x), model.classes)
        alarm = lost_clusters(float(used), model.classes, self.cluster_usage)
        return {"cluster_usage": used}, [alarm]

    def _reconstructions(self, module: Any, x: Tensor) -> _Found:  # noqa: ANN401  (an autoencoder)
        ratio, _ = diversity(module.decode(module.encode(x)), x)
        return {"diversity": ratio}, [flat_reconstructions(float(ratio), self.diversity)]
