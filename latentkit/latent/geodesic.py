"""Shortest paths: of the metric that a decoder pulls back, and of one that avoids rare latents.

Both start from the straight line, bend it by a natural cubic spline of offsets, and keep for each
pair the best path so far, so none is ever longer in energy than the line.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentkit.latent.curves import spline
from latentkit.latent.interpolate import lerp
from latentkit.latent.render import decode_path
from latentkit.latent.watch import Watch
from latentkit.metrics.geometry import energy
from latentkit.protocols import Decode

_BETTER = 1e-5  # relative gain below which a path is the line's equal up to rounding


def geodesic(
    a: Tensor,
    b: Tensor,
    steps: int,
    decode: Decode,
    *,
    knots: int = 8,
    iterations: int = 200,
    watch: Watch = iter,
) -> Tensor:
    """The path whose images change least: it minimises K sum |g(z_{i+1}) - g(z_i)|^2.

    Shao, Kumar and Fletcher, "The Riemannian Geometry of Deep Generative Models", 2017 (arXiv
    1711.08014), section 3: their discrete energy, here over the coefficients of a spline (as in
    Yang et al., arXiv 1809.04747) by Adam. Of the K = steps - 1 legs, each ends up equally long.

    Args:
        a: (N, *Z) starts.
        b: (N, *Z) ends.
        steps: T >= 2, both ends included. The energy is measured at these points alone: few of
            them see little of a decoder's bends.
        decode: latents (M, *Z) -> images or features (M, ...), differentiable, deterministic,
            sample by sample. Its parameters get no gradients.
        knots: inner points of the spline, at most T - 2.
        iterations: each decodes N T latents and goes back once.
        watch: given the iterations; a progress bar, for example.

    Returns:
        (N, T, *Z), both ends exact, without gradients; the line itself for a pair where nothing
        better was found. `metrics.geometry.gain` says how much better each is.

    Raises:
        ValueError: if the ends differ in shape, dtype or device, are not finite, steps < 2, knots
            or iterations < 1, or no gradient passes through `decode`.
    """

    def measured(path: Tensor) -> Tensor:
        return energy(decode_path(decode, path))

    return _shortest(a, b, steps, measured, knots, iterations, watch)


def density_geodesic(
    a: Tensor,
    b: Tensor,
    steps: int,
    log_prob: Callable[[Tensor], Tensor],
    alpha: float = 1.0,
    *,
    iterations: int = 200,
) -> Tensor:
    """The path that is short where latents are likely: a cheap stand-in that decodes nothing.

    The metric is p(z)^(-2 alpha / D) times the identity, with D the size of a latent: the sum of
    K |z_{i+1} - z_i|^2 weighted by it at the middle of each leg is minimised.

    Args:
        a: (N, *Z) starts.
        b: (N, *Z) ends.
        steps: T >= 2, both ends included.
        log_prob: latents (M, *Z) -> log densities (M,), differentiable, sample by sample.
        alpha: 0 or more: how strongly to keep to likely places; 0 gives the line.
        iterations: each evaluates N (T - 1) densities and goes back once.

    Returns:
        (N, T, *Z), both ends exact, without gradients.

    Raises:
        ValueError: if alpha < 0, or as `geodesic` does.
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"expected alpha of 0 or more, got {alpha}")
    if alpha == 0:
        return lerp(a, b, steps).detach()

    def measured(path: Tensor) -> Tensor:
        middle = (path[:, 1:] + path[:, :-1]) / 2
        density = log_prob(middle.flatten(0, 1)).reshape(middle.shape[:2])
        weight = (-2 * alpha / a[:1].numel() * density).exp()
        leg = path.diff(dim=1).flatten(2).square().sum(2)
        return (steps - 1) * (weight * leg).sum(1)

    return _shortest(a, b, steps, measured, 8, iterations, iter)


def _shortest(
    a: Tensor,
    b: Tensor,
    steps: int,
    measured: Callable[[Tensor], Tensor],
    knots: int,
    iterations: int,
    watch: Watch,
) -> Tensor:
    """The best of the line and of what Adam makes of it; pairs do not know each other.

    Args:
        a: (N, *Z).
        b: (N, *Z).
        steps: T.
        measured: paths (N, T, *Z) -> energies (N,).
        knots: inner points of the spline.
        iterations: of Adam.
        watch: given the iterations.
    """
    if knots < 1 or iterations < 1:
        raise ValueError(f"expected knots and iterations >= 1, got {knots} and {iterations}")
    a, b = a.detach(), b.detach()
    line = lerp(a, b, steps)
    if steps == 2 or line.numel() == 0:
        return line
    with torch.enable_grad():
        bend = _Bend(line, min(knots, steps - 2))
        optimizer = torch.optim.Adam([bend.offsets], lr=0.05)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
        found, best = measured(bend()), line
        if not found.requires_grad:
            raise ValueError(
                "no gradient passes through decode: expected one that is differentiable, outside "
                "of torch.no_grad and without numpy"
            )
        start = least = found.detach()
        for _ in watch(range(iterations)):
            bend.offsets.grad = _gradient(found / torch.where(start > 0, start, 1), bend.offsets)
            optimizer.step()
            slower.step()
            path = bend()
            found = measured(path)
            better = found.detach() < torch.minimum(least, (1 - _BETTER) * start)
            best = torch.where(better.reshape(-1, *[1] * (line.ndim - 1)), path.detach(), best)
            least = torch.where(better, found.detach(), least)
    return best


class _Bend:
    """Paths around lines: offsets of a natural spline that is zero at both ends.

    Args:
        line: (N, T, *Z).
        knots: K inner points.

    Attributes:
        offsets: (N, K, *Z), in units of the root mean square distance of the ends' coordinates, so
            that one rate of learning fits all scales.
    """

    def __init__(self, line: Tensor, knots: int) -> None:
        self.line = line
        wide = torch.promote_types(line.dtype, torch.float32)
        steps = line.shape[1]
        self.basis = _spline_basis(steps, knots).to(line.device, wide)
        apart = (line[:, -1] - line[:, 0]).to(wide).flatten(1).square().mean(1).sqrt()
        self.scale = apart.reshape(-1, *[1] * (line.ndim - 1))
        self.offsets = torch.zeros(
            len(line), knots, *line.shape[2:], dtype=wide, device=line.device, requires_grad=True
        )

    def __call__(self) -> Tensor:
        """The bent paths (N, T, *Z), in the lines' dtype."""
        bent = torch.einsum("tk,nk...->nt...", self.basis, self.scale * self.offsets)
        inner = (self.line + bent).to(self.line.dtype)[:, 1:-1]
        return torch.cat([self.line[:, :1], inner, self.line[:, -1:]], dim=1)


def _spline_basis(steps: int, knots: int) -> Tensor:
    """(T, K), float64: the natural splines that are one at one of K inner knots, zero at others."""
    unit = torch.eye(knots + 2, dtype=torch.float64)
    fine = 64  # of each segment: the linear rest between two of them is below 1e-4
    dense = spline(unit, fine + 1)
    places = torch.linspace(0, len(dense) - 1, steps, dtype=torch.float64)
    before = places.floor().clamp(max=len(dense) - 2).long()
    mixed = torch.lerp(dense[before], dense[before + 1], (places - before)[:, None])
    return mixed[:, 1:-1]


def _gradient(energies: Tensor, offsets: Tensor) -> Tensor:
    """Of the sum; zero where an energy is no number, which no step can mend."""
    return torch.autograd.grad(energies.sum(), offsets)[0].nan_to_num(0, 0, 0)
