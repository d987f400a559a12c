"""Smooth paths through many anchors, open or closed, and paths of constant speed in image space.

Like `interpolate.through`, which joins anchors piece by piece, a curve gives the points of each
segment one after the other, with every anchor exactly once and exactly; where neighbouring anchors
are the same, it waits there for a segment.
"""

import torch
from torch import Tensor

from latentkit.latent.classes import ClassPart
from latentkit.latent.matching import combine
from latentkit.latent.render import decode_path
from latentkit.metrics.geometry import step_lengths
from latentkit.protocols import Decode, Prior


def spline(
    points: Tensor,
    steps: int,
    closed: bool = False,
    prior: Prior | None = None,
    classes: ClassPart = "simplex",
) -> Tensor:
    """The natural cubic spline through anchors, or the periodic one; twice differentiable.

    The parameter grows by one from anchor to anchor. Each point is a sum of the anchors with
    weights that do not depend on them, so it can be matched to a prior (see `matching.combine`).

    Args:
        points: (K, *Z) anchors, K >= 2. Two give the straight line.
        steps: points of each segment, >= 2, both of its anchors included.
        closed: return from the last anchor to the first, with the same derivative as at the start.
        prior: move each point so that it follows this prior when the anchors do.
        classes: as for `matching.combine`, under a GaussianOneHot.

    Returns:
        (T, *Z) with T = S (steps - 1) + 1 for S = K - 1 segments, K if closed.

    Raises:
        ValueError: if there are fewer than two anchors, they are not finite or steps < 2; or as
            `matching.combine` does.
    """
    anchors, moves = _distinct(points, steps, closed)
    if not any(moves):
        return points[:1].repeat(len(moves) * (steps - 1) + 1, *[1] * (points.ndim - 1))
    weights = _spline_weights(len(anchors), steps, closed)
    if prior is None:
        x = anchors.to(torch.promote_types(points.dtype, torch.float32))
        path = torch.tensordot(weights.to(x), x, 1).to(points.dtype)
    else:
        path = torch.cat([combine(anchors[None], w, prior, classes) for w in weights.tolist()])
    return _waiting(path, moves, steps)


def catmull_rom(points: Tensor, steps: int, closed: bool = False) -> Tensor:
    """The centripetal Catmull-Rom curve through anchors: no loops or cusps within a segment.

    Yuksel, Schaefer and Keyser, "Parameterization and applications of Catmull-Rom curves",
    Computer-Aided Design 43, 2011. The parameter grows by the square root of the distance of
    two anchors, and the curve is once differentiable by it; beyond the ends of an open curve stand
    the mirror images of their neighbours.

    Args:
        points: (K, *Z) anchors, K >= 2. Two give the straight line.
        steps: points of each segment, >= 2, both of its anchors included.
        closed: return from the last anchor to the first, with the same derivative as at the start.

    Returns:
        (T, *Z) with T = S (steps - 1) + 1 for S = K - 1 segments, K if closed.

    Raises:
        ValueError: if there are fewer than two anchors, they are not finite or steps < 2.
    """
    anchors, moves = _distinct(points, steps, closed)
    if not any(moves):
        return points[:1].repeat(len(moves) * (steps - 1) + 1, *[1] * (points.ndim - 1))
    x = anchors.to(torch.promote_types(points.dtype, torch.float32)).flatten(1)
    before, after = (x[-1:], x[:1]) if closed else (2 * x[:1] - x[1:2], 2 * x[-1:] - x[-2:-1])
    step = torch.cat([before, x, after]).diff(dim=0)  # of K + 1 pairs of neighbours
    knot = torch.linalg.vector_norm(step, dim=1, keepdim=True).sqrt()
    slope = step / knot
    both = (step[:-1] + step[1:]) / (knot[:-1] + knot[1:])
    tangent = slope[:-1] - both + slope[1:]
    if closed:
        x, tangent = (torch.cat([v, v[:1]]) for v in (x, tangent))
        knot = knot[1:]
    else:
        knot = knot[1:-1]
    path = _hermite(x, tangent[:-1] * knot, tangent[1:] * knot, steps)
    return _waiting(path.reshape(-1, *points.shape[1:]).to(points.dtype), moves, steps)


def even(
    path: Tensor, decode: Decode, steps: int, refine: int = 8, batch_size: int | None = 256
) -> Tensor:
    """Points at equal distances in image space along a path: constant perceptual speed.

    Distances are along the path: at a sharp turn of the images, the straight step is shorter. The
    path is taken as the polyline through its points; only the places on it change.

    Args:
        path: (N, T, *Z).
        decode: latents (M, *Z) -> images, or features of them to measure the distance in, (M, ...).
        steps: points of the new path, >= 2, both ends included.
        refine: straight pieces that each leg of the path is cut into to measure it: more follow a
            decoder that bends between two points of the path.
        batch_size: latents per call of `decode`, which is given N (T - 1) refine + N in all.

    Returns:
        (N, steps, *Z), both ends exact; where the images never change, evenly along the path's
        index. Carries gradients to the path, not through the distances.

    Raises:
        ValueError: if steps or refine are too small or the path has fewer than two points or is
            not finite.
    """
    if path.ndim < 3 or path.shape[1] < 2 or steps < 2 or refine < 1:
        raise ValueError(
            "expected a path (N, T, *Z) with T >= 2, steps >= 2 and refine >= 1, got shape "
            f"{tuple(path.shape)}, steps {steps} and refine {refine}"
        )
    if not path.isfinite().all():
        raise ValueError("expected a finite path, got NaN or infinity")
    wide = path.to(torch.promote_types(path.dtype, torch.float32)).flatten(2)
    count = (path.shape[1] - 1) * refine + 1
    places = torch.linspace(0, path.shape[1] - 1, count).to(wide)
    fine = _on_polyline(wide, places.expand(len(wide), count))
    with torch.no_grad():
        latents = fine.reshape(len(fine), count, *path.shape[2:]).to(path.dtype)
        length = step_lengths(decode_path(decode, latents, batch_size)).to(wide)
    found = _on_polyline(wide, _quantiles(length, steps) / refine)
    inner = found[:, 1:-1].reshape(len(path), steps - 2, *path.shape[2:]).to(path.dtype)
    return torch.cat([path[:, :1], inner, path[:, -1:]], dim=1)


def _quantiles(length: Tensor, steps: int) -> Tensor:
    """Steps' lengths (N, M) -> places (N, steps) in [0, M] that cut their sum into equal parts."""
    start = torch.nn.functional.pad(length.cumsum(1), (1, 0))
    still = start[:, -1:] <= 0
    start = torch.where(still, torch.arange(start.shape[1]).to(start), start)
    wanted = start[:, -1:] * torch.linspace(0, 1, steps).to(start)
    before = (torch.searchsorted(start, wanted, right=True) - 1).clamp(0, length.shape[1] - 1)
    gap = start.gather(1, before + 1) - start.gather(1, before)
    part = (wanted - start.gather(1, before)) / torch.where(gap > 0, gap, 1)
    return before + part.clamp(0, 1)


def _on_polyline(x: Tensor, places: Tensor) -> Tensor:
    """Points (N, M, D) of polylines (N, T, D) at fractional indices (N, M)."""
    before = places.floor().clamp(0, x.shape[1] - 2)
    part = (places - before)[..., None]
    index = before.long()[..., None].expand(-1, -1, x.shape[2])
    return torch.lerp(x.gather(1, index), x.gather(1, index + 1), part)


def _distinct(points: Tensor, steps: int, closed: bool) -> tuple[Tensor, list[bool]]:
    """The anchors without repetitions in a row, and for each segment whether it moves at all."""
    if points.ndim < 2 or len(points) < 2:
        raise ValueError(f"expected at least 2 anchors (K, *Z), got shape {tuple(points.shape)}")
    if not points.is_floating_point() or not points.isfinite().all():
        raise ValueError("expected finite floating anchors, got others")
    if steps < 2:
        raise ValueError(f"expected steps >= 2, since both ends are included, got {steps}")
    following = points.roll(-1, dims=0)
    moves = (points != following).flatten(1).any(1)
    if not closed:
        moves[-1] = True  # its segment back to the start does not exist; the anchor does
    anchors = points[moves]
    return anchors, moves.tolist() if closed else moves[:-1].tolist()


def _waiting(path: Tensor, moves: list[bool], steps: int) -> Tensor:
    """Puts steps - 1 repetitions where a segment does not move."""
    rows, at = [], 0
    for move in moves:
        rows += [at + i * move for i in range(steps - 1)]
        at += (steps - 1) * move
    return path[[*rows, at]]


def _spline_weights(count: int, steps: int, closed: bool) -> Tensor:
    """How much of each anchor is in each point: (T, K), float64; rows of anchors are one-hot."""
    unit = torch.eye(count, dtype=torch.float64)
    system = 4 * unit + unit.roll(1, 0) + unit.roll(-1, 0)
    right = 3 * (unit.roll(-1, 0) - unit.roll(1, 0))
    if not closed:  # no bending at the ends: 2 m_0 + m_1 = 3 (p_1 - p_0)
        system[0], system[-1] = 0, 0
        system[0, 0] = system[-1, -1] = 2
        system[0, 1] = system[-1, -2] = 1
        right[0], right[-1] = 3 * (unit[1] - unit[0]), 3 * (unit[-1] - unit[-2])
    tangent = torch.linalg.solve(system, right)
    if closed:
        unit, tangent = (torch.cat([v, v[:1]]) for v in (unit, tangent))
    return _hermite(unit, tangent[:-1], tangent[1:], steps)


def _hermite(x: Tensor, leave: Tensor, arrive: Tensor, steps: int) -> Tensor:
    """Cubics between points (S + 1, D) with given derivatives by u in [0, 1], (S, D): (T, D)."""
    u = torch.linspace(0, 1, steps, dtype=x.dtype, device=x.device)[:-1, None]
    start, end = x[:-1, None], x[1:, None]
    rise = u.square() * (3 - 2 * u)
    bend = u * (1 - u).square() * leave[:, None] - u.square() * (1 - u) * arrive[:, None]
    inner = (1 - rise) * start + rise * end + bend
    return torch.cat([inner.flatten(0, 1), x[-1:]])
