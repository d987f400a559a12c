"""What to explain: functions from a module's output (N, ...) to one value per sample (N,).

A score is any such callable; these are the usual ones, each with a name (`__qualname__`) such as
"unit(3)". The gradient of a score is what a heatmap weighs activations with, so `fake()` shows
minus the map of `real()`, and what a score keeps for itself, such as a reference, is a constant.
`references` has the scores that compare with something.
"""

import math

import torch
from torch import Tensor

from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.protocols import Score


def unit(k: int) -> Score:
    """Latent unit k of an encoder: output (N, D) -> (N,).

    Raises:
        ValueError: a negative number; from the score, an output without that column.
        TypeError: from the score, an output that is no tensor.
    """
    return named(f"unit({k})", _column(k, "latent unit"))


def logit(c: int) -> Score:
    """Class c of a classifier: output (N, K) -> (N,).

    Raises:
        ValueError: a negative number; from the score, an output without that column.
        TypeError: from the score, an output that is no tensor.
    """
    return named(f"logit({c})", _column(c, "class"))


def direction(d: Tensor) -> Score:
    """The length along d: output (N, *Z) -> <output, d / |d|>, (N,).

    Args:
        d: (*Z), not zero; its length does not matter, its sign does.

    Raises:
        ValueError: a direction that is zero or not finite; from the score, an output of another
            size.
        TypeError: from the score, an output that is no tensor.
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

    return named("direction", project)


def real() -> Score:
    """How real a discriminator finds each sample: its logit (N,) or (N, 1) -> (N,).

    Raises:
        ValueError, TypeError: from the score, if the output is not one logit per sample.
    """

    def squeeze(output: Tensor) -> Tensor:
        rows = _rows(output, "one logit per sample")
        if rows.shape[1] != 1:
            raise ValueError(f"expected one logit per sample, (N,) or (N, 1), got {_shape(output)}")
        return rows[:, 0]

    return named("real", squeeze)


def fake() -> Score:
    """How fake a discriminator finds each sample: minus its logit (N,) or (N, 1) -> (N,).

    Raises:
        ValueError, TypeError: as `real` does.
    """
    realness = real()
    return named("fake", lambda output: -realness(output))


def cluster(k: int, clusters: int | Tensor) -> Score:
    """How much each sample belongs to cluster k.

    Args:
        k: from 0.
        clusters: for an encoder that ends with one logit per cluster, as ClusterGAN's does (z_n,
            then the logits of z_c), how many there are: output (N, D) -> logit (N,). For any other,
            their centres (K, *Z): output (N, *Z) -> -|output - centre k|^2, (N,).

    Raises:
        ValueError: no such cluster; from the score, an output of another width.
        TypeError: from the score, an output that is no tensor.
    """
    count = clusters if isinstance(clusters, int) else len(clusters)
    if not 0 <= k < count:
        raise ValueError(f"expected a cluster in 0 ... {count - 1}, got {k}")
    centre = None if isinstance(clusters, int) else clusters[k].detach().flatten()

    def belong(output: Tensor) -> Tensor:
        rows = _rows(output, "one logit per cluster, or latents")
        if centre is None and rows.shape[1] >= count:
            return rows[:, k - count]
        if centre is None or rows.shape[1] != centre.numel():
            width = f"at least {count}" if centre is None else centre.numel()
            raise ValueError(f"expected outputs (N, {width}), got {_shape(output)}")
        distance: Tensor = (rows - centre.to(rows)).square().sum(1)
        return -distance

    return named(f"cluster({k})", belong)


def kl(k: int | None = None) -> Score:
    """KL divergence of a VAE's normal posterior from the standard normal prior, in nats.

    The output is (mean, log variance), both (N, D), or the two side by side, (N, 2 D), as
    `VAE.encoder` gives them. Kingma and Welling, ICLR 2014 (arXiv 1312.6114), appendix B.

    Args:
        k: the term of one latent unit; the sum of all if not given.

    Raises:
        ValueError, TypeError: from the score, if the output is no mean and log variance.
    """

    def divergence(output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        if isinstance(output, tuple | list) and len(output) == 2:
            mean, log_var = (_rows(half, "latents") for half in output)
        else:
            rows = _rows(output, "a mean and a log variance, (N, 2 D)")
            if rows.shape[1] % 2:
                raise ValueError(f"expected an even width, (N, 2 D), got {_shape(output)}")
            mean, log_var = rows.chunk(2, dim=1)
        terms = kl_to_standard_normal(mean, log_var)
        return terms.sum(1) if k is None else unit(k)(terms)

    return named("kl" if k is None else f"kl({k})", divergence)


def named(name: str, score: Score) -> Score:
    """The same score, with a name for labels.

    Args:
        name: such as "unit(3)"; see `heatmap.name_of`.
        score: a function, which is changed.
    """
    score.__qualname__ = name
    return score


def unit_vector(d: Tensor) -> Tensor:
    """D of any shape -> d / |d|, in at least single precision.

    Raises:
        ValueError: if the length is zero or not finite.
    """
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
