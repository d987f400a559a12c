"""What collapse looks like in numbers, and the alarms that say so: tensors in, plain words out."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.metrics.likelihood import ACTIVE


@dataclass(frozen=True)
class Alarm:
    """Something that is going wrong.

    Attributes:
        name: of the kind of alarm.
        text: what is seen, why it matters and what to try.
        value: what was measured.
        threshold: the bound it is beyond.
    """

    name: str
    text: str
    value: float
    threshold: float


def diversity(generated: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """How much images (N, *S) differ among themselves, beside how much real ones (N, *S) do.

    Returns:
        The ratios of the mean distance of two images, and of the mean distance of an image to its
        nearest neighbour (which depends on N: take as many of both). 1 is as diverse as the data.
    """
    (pairs, nearest), (real_pairs, real_nearest) = _distances(generated), _distances(real)
    return pairs / real_pairs, nearest / real_nearest


def _distances(x: Tensor) -> tuple[Tensor, Tensor]:
    flat = x.flatten(1).float()
    distance = torch.cdist(flat, flat)
    pairs = distance.sum() / (len(x) * (len(x) - 1))
    return pairs, distance.fill_diagonal_(torch.inf).amin(1).mean()


def balance(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The discriminator's share of right answers, and its mean logit gap: logits (N,), (M,)."""
    accuracy = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
    return accuracy, (real.mean() - fake.mean()).float()


def cluster_usage(clusters: Tensor, classes: int) -> Tensor:
    """Effective number of clusters exp(H) of assignments (N,): 1 to `classes`."""
    share = clusters.bincount(minlength=classes) / len(clusters)
    effective: Tensor = torch.special.entr(share).sum().exp()
    return effective


def posterior_collapse(active: int, units: int, fewest: int) -> Alarm | None:
    """Rings where fewer than `fewest` of a VAE's units carry information."""
    fewest = min(fewest, units)
    if active >= fewest:
        return None
    text = (
        f"posterior collapse: {active} of {units} latent units carry information (variance of the "
        f"posterior mean above {ACTIVE}), so the latent says next to nothing about the image; try "
        "a smaller beta, warmup or free_bits"
    )
    return Alarm("posterior_collapse", text, active, fewest)


def mode_collapse(ratio: float, least: float) -> Alarm | None:
    """Rings where generated images differ less than `least` times as much as real ones."""
    if ratio >= least:  # false for NaN, which is as bad
        return None
    text = (
        f"mode collapse: generated images differ {ratio:.2f} times as much as real ones (below "
        f"{least:g}), so the generator gives nearly the same image for every latent; try a larger "
        "penalty, a smaller lr, or more critic_steps"
    )
    return Alarm("mode_collapse", text, ratio, least)


def flat_reconstructions(ratio: float, least: float) -> Alarm | None:
    """Rings where reconstructions differ less than `least` times as much as the images."""
    if ratio >= least:
        return None
    text = (
        f"flat reconstructions: they differ {ratio:.2f} times as much as the images (below "
        f"{least:g}), so the latent is lost on the decoder; try a smaller lr, or norm: batch"
    )
    return Alarm("flat_reconstructions", text, ratio, least)


def discriminator_wins(accuracy: float, gap: float, widest: float) -> Alarm | None:
    """Rings where the discriminator is nearly always right, by a gap above `widest`."""
    if accuracy <= 0.99 or gap <= widest:
        return None
    text = (
        f"the discriminator wins always: it is right on {accuracy:.1%} of the images, with a gap "
        f"of {gap:.1f} between the mean logits of real and generated ones (above {widest:g}), so "
        "the generator has nothing to learn from; try a larger penalty, or a smaller lr"
    )
    return Alarm("discriminator_wins", text, gap, widest)


def lost_clusters(used: float, classes: int, least: float) -> Alarm | None:
    """Rings where the effective number of clusters is below the share `least` of them."""
    if used >= least * classes:
        return None
    text = (
        f"lost clusters: the encoder spreads the images over {used:.1f} of {classes} clusters "
        f"(effective number, below {least * classes:g}), so unlike images share one; try a larger "
        "beta_c, consistency above 0, or fewer classes"
    )
    return Alarm("lost_clusters", text, used, least * classes)
