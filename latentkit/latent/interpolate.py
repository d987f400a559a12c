"""Paths between latents: straight, along the sphere, or true to the prior.

Every path is `(a, b, steps) -> (N, steps, *Z)`; it begins at `a` and ends at `b` exactly, keeps
dtype and device, and is differentiable. Half precision is computed in single.
"""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from latentkit.latent.classes import ClassPart, check_class_part, split_checked
from latentkit.latent.points import check_size
from latentkit.latent.uniform_sums import check_support, trapezoid_cdf
from latentkit.priors import Gaussian, GaussianOneHot, Uniform
from latentkit.protocols import Prior

Norm: TypeAlias = Literal["blend", "unit", "log"]
"""What `slerp` does with the lengths of its ends."""
Interpolation: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
"""(a (N, *Z), b (N, *Z), steps) -> (N, steps, *Z)."""


def lerp(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """The straight line (1 - t) a + t b.

    Under a Gaussian prior its middle is too short: variance (1 - t)^2 + t^2, half at t = 0.5.

    Args:
        a: (N, *Z) starts.
        b: (N, *Z) ends.
        steps: T >= 2, both ends included.

    Returns:
        (N, T, *Z).

    Raises:
        ValueError: if the ends differ in shape, dtype or device, are not finite, or steps < 2.

    >>> lerp(torch.zeros(1, 1), torch.ones(1, 1), 3).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    x, y, t = _open(a, b, steps)
    return _close(a, (1 - t) * x + t * y, b)


def slerp(a: Tensor, b: Tensor, steps: int, norm: Norm = "blend") -> Tensor:
    """The arc of constant angular speed over the flattened *Z, the shorter way round.

    Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985; White, "Sampling
    Generative Networks", 2016 (arXiv 1609.04468). Ends with almost one direction are joined by
    the straight line. Ends that point in opposite directions define no plane: the arc then bends
    towards the coordinate axis least aligned with `a` (the first of equals), with the length of
    "blend" linear in t. They are opposite if their angle is within the square root of the machine
    epsilon of pi, the epsilon of the dtype they come in, since rounding to it moved them: 0.0003
    radians in single precision, 0.03 in float16, 0.09 in bfloat16. With D = 1 there is no such
    axis, and the path passes through zero.

    Args:
        a: (N, *Z) starts.
        b: (N, *Z) ends.
        steps: T >= 2, both ends included.
        norm: "blend", White's plain formula on a and b themselves: unequal lengths bulge as the
            angle nears pi, and where a path would pass twice the length of its longer end its
            length is linear in t instead; "unit", both ends and the path on the unit sphere, as in
            StyleGAN's path length (arXiv 1812.04948); "log", length |a|^(1-t) |b|^t.

    Returns:
        (N, T, *Z); never NaN for finite ends.

    Raises:
        ValueError: if the ends differ in shape, dtype or device, are not finite, steps < 2, the
            norm is unknown, or a latent of length zero has no direction ("unit" and "log"; "blend"
            goes straight).
    """
    if norm not in get_args(Norm):
        raise ValueError(f"expected norm to be one of {get_args(Norm)}, got {norm!r}")
    x, y, t = _open(a, b, steps)
    long_x, unit_x = _polar(x)
    long_y, unit_y = _polar(y)
    directed = (long_x > 0) & (long_y > 0)
    if norm != "blend" and not directed.all():
        raise ValueError(f"expected latents of non-zero length for norm={norm!r}, got a zero")
    angle = torch.where(directed, _angle(unit_x, unit_y), 0)
    weight_x, weight_y = _weights(angle, t)
    if norm == "blend":
        length = (1 - t) * long_x + t * long_y
        arc = weight_x * x + weight_y * y
        bulges = _polar(arc)[0] > 2 * torch.maximum(long_x, long_y)
        even = length * (weight_x * unit_x + weight_y * unit_y)
        arc = torch.where(bulges.any(1, keepdim=True), even, arc)
    else:
        length = long_x ** (1 - t) * long_y**t if norm == "log" else torch.ones_like(t)
        arc = length * (weight_x * unit_x + weight_y * unit_y)
    opposite = angle > math.pi - _tiny(a.dtype)
    path = torch.where(opposite, length * _half_turn(unit_x, t), arc)
    if norm == "unit":
        a, b = (u.reshape(a.shape).to(a.dtype) for u in (unit_x, unit_y))
    return _close(a, path, b)


def matched(a: Tensor, b: Tensor, steps: int, prior: Prior) -> Tensor:
    """The straight line, moved coordinate by coordinate so that every point follows the prior.

    Agustsson et al., "Optimal transport maps for distribution preserving operations on latent
    spaces of Generative Models", ICLR 2019 (arXiv 1711.01970): T = F_prior^-1 o F_t, where F_t is
    the distribution of the line's point at t for independent ends from the prior.

    Args:
        a: (N, *Z) starts.
        b: (N, *Z) ends.
        steps: T >= 2, both ends included.
        prior: a Gaussian, a Uniform or a GaussianOneHot (see `mixed`).

    Returns:
        (N, T, *Z).

    Raises:
        ValueError: if the ends differ in shape, dtype or device, are not finite, steps < 2, the
            prior is another or of another size, a latent lies outside a Uniform's bounds or its
            class part off the simplex.
    """
    if isinstance(prior, GaussianOneHot):
        return mixed(a, b, steps, prior)
    x, y, t = _open(a, b, steps)
    check_size(a, prior)
    if isinstance(prior, Gaussian):
        return _close(a, _balanced(x, y, t), b)
    if isinstance(prior, Uniform):
        width = prior.high - prior.low
        check_support(torch.stack([a, b]), prior)
        line = ((1 - t) * (x - prior.low) + t * (y - prior.low)) / width
        return _close(a, prior.low + width * trapezoid_cdf(line.clamp(0, 1), t), b)
    raise ValueError(
        "expected a Gaussian, a Uniform or a GaussianOneHot prior, got "
        f"{type(prior).__name__}; use lerp or slerp"
    )


def mixed(
    a: Tensor, b: Tensor, steps: int, prior: GaussianOneHot, classes: ClassPart = "simplex"
) -> Tensor:
    """A path of mixed latents: the Gaussian part matched to its prior, the class part as a class.

    Args:
        a: (N, D) starts.
        b: (N, D) ends.
        steps: T >= 2, both ends included.
        prior: ClusterGAN's, of any sigma: the matching does not depend on it.
        classes: "simplex", the class probabilities go straight from a's to b's; "switch", they are
            a's before t = 0.5 and b's from there on, so that every point is a sample of the prior.

    Returns:
        (N, T, D).

    Raises:
        ValueError: if the ends differ in shape, dtype or device, are not finite, have another size
            than the prior or class parts that are no probabilities; or steps < 2.
    """
    check_class_part(classes)
    _open(a, b, steps)
    (x, code_a), (y, code_b) = (split_checked(z, prior) for z in (a, b))
    wide_x, wide_y, t = _open(x, y, steps)
    gaussian = _close(x, _balanced(wide_x, wide_y, t), y)
    if classes == "simplex":
        return torch.cat([gaussian, lerp(code_a, code_b, steps)], dim=2)
    late = 2 * torch.arange(steps, device=a.device) >= steps - 1
    codes = torch.where(late[:, None], code_b[:, None], code_a[:, None])
    return torch.cat([gaussian, codes], dim=2)


def through(points: Tensor, steps: int, kind: Interpolation = lerp) -> Tensor:
    """One path through many anchors, segment by segment.

    Args:
        points: (K, *Z) anchors, K >= 2.
        steps: points of each segment, >= 2, both of its anchors included.
        kind: how to join two anchors: `lerp`, `slerp`, or a partial of them or of `matched`.

    Returns:
        (T, *Z) with T = (K - 1) (steps - 1) + 1; anchor i is point i (steps - 1).

    Raises:
        ValueError: if there are fewer than two anchors, or as `kind` does.
    """
    if len(points) < 2:
        raise ValueError(f"expected at least 2 anchors (K, *Z), got shape {tuple(points.shape)}")
    segments = kind(points[:-1], points[1:], steps)
    # A segment's last point is the next one's first: keep it once.
    return torch.cat([segments[:, :-1].flatten(0, 1), segments[-1, -1:]])


def _open(a: Tensor, b: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Checked ends, flat and at least single (N, 1, D), and the inner fractions t (T - 2, 1)."""
    if a.shape != b.shape or a.dtype != b.dtype or a.device != b.device:
        raise ValueError(
            "expected two ends of one shape, dtype and device, got "
            f"{tuple(a.shape)} {a.dtype} on {a.device} and {tuple(b.shape)} {b.dtype} on {b.device}"
        )
    if a.ndim < 2 or not a.is_floating_point():
        raise ValueError(
            f"expected floating latents (N, *Z), got {a.dtype} of shape {tuple(a.shape)}; "
            "a single latent becomes a batch with z[None]"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("expected finite ends, got NaN or infinity")
    if steps < 2:
        raise ValueError(f"expected steps >= 2, since both ends are included, got {steps}")
    wide = torch.promote_types(a.dtype, torch.float32)
    t = torch.linspace(0, 1, steps, dtype=wide, device=a.device)[1:-1, None]
    return a.to(wide).flatten(1)[:, None], b.to(wide).flatten(1)[:, None], t


def _balanced(x: Tensor, y: Tensor, t: Tensor) -> Tensor:
    """The line over its standard deviation for independent normal ends of any sigma."""
    return ((1 - t) * x + t * y) / ((1 - t).square() + t.square()).sqrt()


def _close(a: Tensor, middle: Tensor, b: Tensor) -> Tensor:
    """Put the ends, which are never computed and so exact, around the points between them."""
    between = middle.reshape(*middle.shape[:2], *a.shape[1:]).to(a.dtype)
    return torch.cat([a[:, None], between, b[:, None]], dim=1)


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, D) -> length (N, T, 1) and direction (N, T, D); zero has the direction zero."""
    scale = x.detach().abs().amax(-1, keepdim=True)  # so that no square over- or underflows
    scale = torch.where(scale > 0, scale, 1)
    length = scale * torch.linalg.vector_norm(x / scale, dim=-1, keepdim=True)
    return length, x / torch.where(length > 0, length, 1)


def _angle(u: Tensor, v: Tensor) -> Tensor:
    """Angle between unit vectors, in [0, pi], sharp where the arc cosine loses digits or is NaN.

    Kahan, "How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?", 2006.
    """
    apart = torch.linalg.vector_norm(u - v, dim=-1, keepdim=True)
    return 2 * torch.atan2(apart, torch.linalg.vector_norm(u + v, dim=-1, keepdim=True))


def _weights(angle: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Slerp's weights of both ends, (N, T, 1); those of lerp where sin(angle) is next to zero."""
    sine = angle.sin()
    flat = sine < _tiny(angle.dtype)
    sine = torch.where(flat, 1, sine)  # divided by even where unused: keeps gradients finite
    weight_x = torch.where(flat, 1 - t, ((1 - t) * angle).sin() / sine)
    return weight_x, torch.where(flat, t, (t * angle).sin() / sine)


def _half_turn(u: Tensor, t: Tensor) -> Tensor:
    """From u to -u on the unit sphere, by way of the axis least aligned with u: (N, T, D)."""
    axis = torch.nn.functional.one_hot(u.abs().argmin(-1), u.shape[-1]).to(u)
    _, side = _polar(axis - (axis * u).sum(-1, keepdim=True) * u)
    return (math.pi * t).cos() * u + (math.pi * t).sin() * side


def _tiny(dtype: torch.dtype) -> float:
    """The angle whose square is lost in rounding to the dtype."""
    return math.sqrt(torch.finfo(dtype).eps)
