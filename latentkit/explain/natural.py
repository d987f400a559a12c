"""Question READING, without a generator: which change of the image would an encoder take for d?

Of all changes v that the encoder answers with a step along d and along nothing else (E v = d, with
E its Jacobian at the image), the most plausible one under a prior on how images change: parts move
and colours shift, both smoothly over space. With the prior's covariance C that is the posterior
mean of a Gaussian process, v = C E^T (E C E^T)^-1 d. For C = 1 it is the smallest change, the
pseudo-inverse of the encoder; with the covariance of the data and a linear encoder it is the
pattern of Haufe et al., "On the interpretation of weight vectors", NeuroImage 2014.

The prior is ours. A change is v = sum_s u_s dx/ds + c: a displacement u (pixels along each axis s)
and a shift of colour c, independent Gaussian fields with Gaussian covariance over space.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from latentkit.explain import hooks, scores
from latentkit.explain.borrow import in_full
from latentkit.explain.ridge import damped_solve


def natural_change(
    module: nn.Module,
    x: Tensor,
    directions: Tensor,
    smooth: float = 5.0,
    colour: float = 0.1,
    ridge: float = 1e-3,
) -> Tensor:
    """The most plausible change of each image that the encoder takes for a step along d.

    Args:
        module: the encoder's network, (N, C, *S) -> (N, *Z).
        x: images (N, C, *S).
        directions: (K, *Z), not zero; their length does not matter.
        smooth: standard deviation in pixels over which displacements and colours agree.
        colour: size of a colour shift that is as likely as a displacement of one pixel.
        ridge: of the inversion, relative to the mean squared response of the latents; what an
            encoder ignores is left out rather than blown up.

    Returns:
        (K, N, C, *S), signed, per unit of latent length; single precision for half.

    Raises:
        ValueError: if the directions do not fit the latents, an axis of the images has one place
            alone, or smooth, colour or ridge is not above 0.
    """
    if not (smooth > 0 and colour > 0 and ridge > 0):
        raise ValueError(
            f"expected smooth, colour and ridge above 0, got {smooth}, {colour} and {ridge}"
        )
    if x.ndim < 3 or min(x.shape[2:]) < 2:
        raise ValueError(
            "expected images (N, C, *S) with two places or more along each axis, or none can move,"
            f" got {tuple(x.shape)}"
        )
    x = hooks.normal(x)
    slopes = jacobian(module, x)
    wide = torch.promote_types(slopes.dtype, torch.float32)  # half has no solver
    slopes, x = slopes.to(wide), x.to(wide)
    flat = torch.stack([scores.unit_vector(d).flatten() for d in directions]).to(slopes)
    if flat.shape[1] != len(slopes):
        raise ValueError(
            f"expected directions with {len(slopes)} coordinates, as the network's output has, got"
            f" {tuple(directions.shape)}"
        )
    with in_full(x):
        plausible = _prior(x, smooth, colour)(slopes)
        return _solve(slopes.flatten(2), plausible.flatten(2), flat, ridge).reshape(-1, *x.shape)


def jacobian(module: nn.Module, x: Tensor) -> Tensor:
    """Slopes of every output of a module by the image: (N, C, *S) -> (D, N, C, *S).

    Args:
        module: (N, C, *S) -> (N, *Z), D numbers each.
        x: images (N, C, *S).
    """
    with hooks.borrowed(module):
        leaf = hooks.normal(x).requires_grad_()
        with torch.enable_grad():
            output = module(leaf.clone()).flatten(1)
            rows = []
            for k in range(output.shape[1]):
                seeds = torch.zeros_like(output)
                seeds[:, k] = 1
                rows.append(torch.autograd.grad(output, leaf, seeds, retain_graph=True)[0])
    with in_full(x):  # autocast cannot stack the other kind of half
        return torch.stack(rows)


def _solve(slopes: Tensor, plausible: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """Slopes E and E C, (D, N, P), wanted (K, D) -> C E^T (E C E^T + ridge)^-1 d, (K, N, P)."""
    e, c = (v.transpose(0, 1) for v in (slopes, plausible))
    return torch.einsum("ndk,ndp->knp", damped_solve(e @ c.transpose(1, 2), wanted, ridge), c)


def _prior(x: Tensor, smooth: float, colour: float) -> Callable[[Tensor], Tensor]:
    """The covariance of image changes, as a function on (K, N, C, *S)."""
    edges = torch.gradient(x, dim=list(range(2, x.ndim)))

    def apply(v: Tensor) -> Tensor:
        moved = [_blurred((v * edge).sum(2, keepdim=True), smooth) * edge for edge in edges]
        return torch.stack(moved).sum(0) + colour**2 * _blurred(v, smooth)

    return apply


def _blurred(v: Tensor, sigma: float) -> Tensor:
    """Gaussian covariance over each spatial axis of (K, N, C, *S), of value 1 at distance 0."""
    for axis in range(3, v.ndim):
        places = torch.arange(v.shape[axis], dtype=v.dtype, device=v.device)
        kernel = (-((places[:, None] - places) ** 2) / (2 * sigma**2)).exp()
        v = torch.tensordot(v, kernel, ([axis], [0])).movedim(-1, axis)
    return v
