"""New labelled latents from old ones. All randomness comes from the generator."""

import numpy as np
import torch
from torch import Tensor

from latentkit.latent.points import check_labels, check_points


def smote(
    z: Tensor,
    labels: Tensor,
    per_class: int,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """New latents on the segments between a latent and a near one of its class.

    Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002 (arXiv
    1106.1813); in latent spaces, Dablain et al., "DeepSMOTE", 2021 (arXiv 2105.02340). Give the
    training latents only: a test latent given here is blended into what you train on.

    Args:
        z: (N, D) latents.
        labels: (N,) integers.
        per_class: number of new latents of each class.
        neighbours: how many nearest of the class to choose from (all, if the class has fewer).
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        New latents (K * per_class, D) and their labels (K * per_class,), class by class, ascending.

    Raises:
        ValueError: if the shapes do not fit, a number is below 1, or a class has a single member.
    """
    check_points(z)
    check_labels(labels, len(z))
    if per_class < 1 or neighbours < 1:
        raise ValueError(
            f"expected per_class >= 1 and neighbours >= 1, got {per_class} and {neighbours}"
        )
    names, sizes = torch.unique(labels, return_counts=True)
    single = names[sizes == 1].tolist()
    if single:
        raise ValueError(
            f"expected at least 2 latents of every class, got 1 of class {single}; add some or "
            "leave the class out"
        )
    new = [_between(z[labels == name], per_class, neighbours, generator) for name in names]
    return torch.cat(new), names.repeat_interleave(per_class)


def mixup(
    z: Tensor,
    labels: Tensor,
    classes: int,
    n: int,
    alpha: float = 0.4,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Blends of two random latents, and the same blends of their labels.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018 (arXiv 1710.09412); on
    hidden states, Verma et al., "Manifold Mixup", ICML 2019 (arXiv 1806.05236).

    Args:
        z: (N, *Z) latents.
        labels: (N,) integers in [0, classes).
        classes: K.
        n: number of blends.
        alpha: the weight follows Beta(alpha, alpha): small is near one of the two.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        Latents (n, *Z) and soft labels (n, K) whose rows sum to 1, in z's dtype.

    Raises:
        ValueError: if the shapes do not fit, a label is outside [0, classes), n < 1 or alpha <= 0.
    """
    check_points(z.flatten(1) if z.ndim > 2 else z)
    check_labels(labels, len(z))
    if n < 1 or not alpha > 0:
        raise ValueError(f"expected n >= 1 and alpha > 0, got n={n} and alpha={alpha}")
    if labels.min() < 0 or labels.max() >= classes:
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(f"expected labels in [0, {classes}), got some in [{low}, {high}]")
    first, second = _integers(len(z), (2, n), generator, z.device)
    weight = _beta(alpha, n, generator).to(z)
    code = torch.nn.functional.one_hot(labels.to(z.device).long(), classes).to(z)
    return _blend(z, first, second, weight), _blend(code, first, second, weight)


def _between(members: Tensor, n: int, neighbours: int, generator: torch.Generator | None) -> Tensor:
    """(M, D) of one class, M >= 2 -> n points between a member and one of its nearest, (n, D)."""
    device = members.device
    chosen = _integers(len(members), (n,), generator, device)
    near = _nearest(members, chosen, neighbours)
    pick = _integers(near.shape[1], (n, 1), generator, device)
    other = near.gather(1, pick).squeeze(1)
    source = generator.device if generator else None
    weight = torch.rand(n, generator=generator, device=source).to(members)
    return _blend(members, other, chosen, weight)


def _nearest(members: Tensor, chosen: Tensor, neighbours: int) -> Tensor:
    """Indices of the nearest members of each chosen one, itself left out: (n, neighbours)."""
    wide = members.detach().to(torch.promote_types(members.dtype, torch.float32))
    # Not by matrix product: that loses the digits by which close neighbours differ.
    distance = torch.cdist(wide[chosen], wide, compute_mode="donot_use_mm_for_euclid_dist")
    distance.scatter_(1, chosen[:, None], torch.inf)
    return distance.topk(min(neighbours, len(members) - 1), largest=False).indices


def _blend(x: Tensor, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Points weight * x[first] + (1 - weight) * x[second], for indices and weights (n,)."""
    weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    return weight * x[first] + (1 - weight) * x[second]


def _integers(
    high: int, size: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    source = generator.device if generator else None
    return torch.randint(high, size, generator=generator, device=source).to(device)


def _beta(alpha: float, n: int, generator: torch.Generator | None) -> Tensor:
    """Draws (n,) of Beta(alpha, alpha); torch's own takes no generator, so that seeds numpy's."""
    seed = _integers(2**63 - 1, (), generator, torch.device("cpu"))
    return torch.from_numpy(np.random.default_rng(int(seed)).beta(alpha, alpha, n))
