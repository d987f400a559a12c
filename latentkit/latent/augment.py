"""New labelled latents between old ones. All randomness comes from the generator.

They take `TrainLatents` alone, so nothing that is held out can be blended in.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentkit.latent.interpolate import Interpolation, slerp
from latentkit.latent.training_set import Augmented, TrainLatents, check_train, each_class


def smote(
    train: TrainLatents,
    per_class: int,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
) -> Augmented:
    """New latents on the segments between a latent and a near one of its class.

    Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002 (arXiv
    1106.1813).

    Args:
        train: (N, *Z) training latents.
        per_class: number of new latents of each class.
        neighbours: how many nearest of the class to choose from (all, if the class has fewer).
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; two parents each.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if a number is below 1, or a class has a single member.
    """
    if neighbours < 1:
        raise ValueError(f"expected neighbours >= 1, got {neighbours}")

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        chosen = integers(len(members), (per_class,), generator, members.device)
        near = _nearest(members, chosen, neighbours)
        pick = integers(near.shape[1], (per_class, 1), generator, members.device)
        other = near.gather(1, pick).squeeze(1)
        weight = uniform(per_class, generator).to(members)
        return _blend(members, other, chosen, weight), torch.stack([chosen, other], 1)

    return each_class(train, per_class, 2, make)


def deep_smote(
    train: TrainLatents,
    decode: Callable[[Tensor], Tensor],
    per_class: int,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
    batch: int = 256,
) -> tuple[Tensor, Augmented]:
    """SMOTE between the codes of images, decoded.

    Dablain, Krawczyk and Chawla, "DeepSMOTE", 2021 (arXiv 2105.02340), over an encoder and decoder
    that are trained already; the penalty with which the paper trains its own is not part of this.

    Args:
        train: (N, *Z) training latents, what the encoder gives for the training images.
        decode: (B, *Z) -> (B, C, *S).
        per_class: number of new images of each class.
        neighbours: as in `smote`.
        generator: as in `smote`.
        batch: latents that are decoded at once.

    Returns:
        Images (K * per_class, C, *S), without gradients, and their latents, labels and parents.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if a number is below 1, or a class has a single member.
    """
    if batch < 1:
        raise ValueError(f"expected batch >= 1, got {batch}")
    new = smote(train, per_class, neighbours, generator)
    with torch.no_grad():
        return torch.cat([decode(part) for part in torch.split(new.z, batch)]), new


def between(
    train: TrainLatents,
    per_class: int,
    path: Interpolation = slerp,
    steps: int = 9,
    generator: torch.Generator | None = None,
) -> Augmented:
    """Random points on paths between two members of a class.

    Args:
        train: (N, *Z) training latents.
        per_class: number of new latents of each class.
        path: (a, b, steps) -> (n, steps, *Z) with both ends included: `slerp`, `lerp`, a geodesic
            of the decoder's metric, ...
        steps: points of each path, >= 3; one between the ends is taken.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        K * per_class latents, class by class, ascending; two parents each.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if a number is too small, a class has a single member, or the path gives another
            shape.
    """
    if steps < 3:
        raise ValueError(f"expected steps >= 3, for a point between the ends, got {steps}")

    def make(members: Tensor) -> tuple[Tensor, Tensor]:
        first = integers(len(members), (per_class,), generator, members.device)
        # Another member: one of the n - 1 places after it, round the end.
        ahead = 1 + integers(len(members) - 1, (per_class,), generator, members.device)
        second = (first + ahead) % len(members)
        a, b = (members[i].reshape(-1, *train.z.shape[1:]) for i in (first, second))
        walk = path(a, b, steps)
        if walk.shape != (per_class, steps, *a.shape[1:]):
            wanted = (per_class, steps, *a.shape[1:])
            raise ValueError(f"expected a path of shape {wanted}, got {tuple(walk.shape)}")
        at = 1 + integers(steps - 2, (per_class,), generator, members.device)
        points = walk[torch.arange(per_class, device=walk.device), at.to(walk.device)]
        return points.detach().flatten(1), torch.stack([first, second], 1)

    return each_class(train, per_class, 2, make)


def mixup(
    train: TrainLatents,
    n: int,
    classes: int,
    alpha: float = 0.4,
    generator: torch.Generator | None = None,
) -> Augmented:
    """Blends of two random latents, and the same blends of their labels.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018 (arXiv 1710.09412); on
    hidden states, Verma et al., "Manifold Mixup", ICML 2019 (arXiv 1806.05236).

    Args:
        train: (N, *Z) training latents, with labels in [0, classes).
        n: number of blends.
        classes: K.
        alpha: the weight follows Beta(alpha, alpha): small is near one of the two.
        generator: of the choices, on its own device; None takes the global random state.

    Returns:
        n latents with shares (n, K) whose rows sum to 1, in their dtype; two parents each.

    Raises:
        TypeError: if `train` is no `TrainLatents`.
        ValueError: if a label is outside [0, classes), n < 1 or alpha <= 0.
    """
    check_train(train)
    if n < 1 or not alpha > 0:
        raise ValueError(f"expected n >= 1 and alpha > 0, got n={n} and alpha={alpha}")
    z, labels = train.z, train.labels
    if labels.min() < 0 or labels.max() >= classes:
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(f"expected labels in [0, {classes}), got some in [{low}, {high}]")
    first, second = integers(len(z), (2, n), generator, z.device)
    weight = _beta(alpha, n, generator).to(z)
    code = torch.nn.functional.one_hot(labels.long(), classes).to(z)
    new, soft = (_blend(x, first, second, weight) for x in (z, code))
    return Augmented(new, soft, train.rows[torch.stack([first, second], 1).cpu()].unbind(0))


def integers(
    high: int, size: tuple[int, ...], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Integers in [0, high) of the generator, moved to the device.

    Args:
        high: K.
        size: of the result.
        generator: None takes the global random state.
        device: where the result lies.

    Returns:
        Of the size given, int64.
    """
    source = generator.device if generator else None
    return torch.randint(high, size, generator=generator, device=source).to(device)


def uniform(n: int, generator: torch.Generator | None) -> Tensor:
    """Numbers (n,) in [0, 1), on the generator's device."""
    return torch.rand(n, generator=generator, device=generator.device if generator else None)


def _nearest(members: Tensor, chosen: Tensor, neighbours: int) -> Tensor:
    """Indices of the nearest members of each chosen one, itself left out: (n, neighbours)."""
    wide = members.to(torch.promote_types(members.dtype, torch.float32))
    # Not by matrix product: that loses the digits by which close neighbours differ.
    distance = torch.cdist(wide[chosen], wide, compute_mode="donot_use_mm_for_euclid_dist")
    distance.scatter_(1, chosen[:, None], torch.inf)
    return distance.topk(min(neighbours, len(members) - 1), largest=False).indices


def _blend(x: Tensor, first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Points weight * x[first] + (1 - weight) * x[second], for indices and weights (n,)."""
    weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    return weight * x[first] + (1 - weight) * x[second]


def _beta(alpha: float, n: int, generator: torch.Generator | None) -> Tensor:
    """Draws (n,) of Beta(alpha, alpha); torch's own takes no generator, so that seeds numpy's."""
    seed = integers(2**63 - 1, (), generator, torch.device("cpu"))
    return torch.from_numpy(np.random.default_rng(int(seed)).beta(alpha, alpha, n))
