"""What to explain: functions from a module's output (N, ...) to one value per sample (N,).

A score is any such callable; these are the usual ones. The gradient of a score is what a heatmap
weighs activations with, so `fake()` shows minus the map of `real()`.
"""

import math

import torch
from torch import Tensor

from latentkit.protocols import Score


def unit(k: int) -> Score:
    """Latent unit k of an encoder: output (N, D) -> (N,)."""
    return _column(k, "latent unit")


def logit(c: int) -> Score:
    """Class c of a classifier: output (N, K) -> (N,)."""
    return _column(c, "class")


def direction(d: Tensor) -> Score:
    """The length along d: output (N, *Z) -> <output, d / |d|>, (N,).

    Args:
        d: (*Z), not zero; its length does not matter, its sign does.
    """
    flat = unit_vector(d).flatten()

    def project(output: Tensor) -> Tensor:
        rows = _rows(output, f"{flat.numel()} latent coordinates, as many as the direction has")
        if rows.shape[1] != flat.numel():
            raise ValueError(
                f"expected outputs (N, {flat.numel()}), as the direction has shape"
                f" {tuple(d.shape)}, got {tuple(output.shape)}"
            )
        # A product and a sum: a matrix product would fall to half precision under autocast.
        lengths: Tensor = (rows * flat.to(rows)).sum(1)
        return lengths

    return project


def real() -> Score:
    """How real a discriminator finds each sample: its logit (N,) or (N, 1) -> (N,)."""

    def squeeze(output: Tensor) -> Tensor:
        rows = _rows(output, "one logit per sample")
        if rows.shape[1] != 1:
            raise ValueError(f"expected one logit per sample, (N,) or (N, 1), got {_shape(output)}")
        return rows[:, 0]

    return squeeze


def fake() -> Score:
    """How fake a discriminator finds each sample: minus its logit (N,) or (N, 1) -> (N,)."""
    realness = real()
    return lambda output: -realness(output)


def unit_vector(d: Tensor) -> Tensor:
    """D of any shape -> d / |d|, in at least single precision."""
    d = d.detach().to(torch.promote_types(d.dtype, torch.float32))
    length = d.norm()
    if not 0 < float(length) < math.inf:
        raise ValueError(f"expected a direction of finite, positive length, got |d| = {length:g}")
    along: Tensor = d / length
    return along


def _column(k: int, what: str) -> Score:
    if k < 0:
        raise ValueError(f"expected a {what} counted from 0, got {k}")

    def pick(output: Tensor) -> Tensor:
        rows = _rows(output, f"more than {k} columns")
        if output.ndim == 1 or k >= rows.shape[1]:
            raise ValueError(
                f"expected outputs (N, more than {k}) to pick {what} {k}, got {_shape(output)}"
            )
        return rows[:, k]

    return pick


def _rows(output: object, expected: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim == 0:
        raise TypeError(
            f"expected the module to return a tensor with {expected}, got {_shape(output)}; for a"
            " module that returns several things, score the one you mean:"
            " lambda output: unit(3)(output[1])"
        )
    return output.flatten(1) if output.ndim > 1 else output[:, None]


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
