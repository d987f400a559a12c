"""Derivatives of a decoder without forming its Jacobian."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def pushforward(decode: Callable[[Tensor], Tensor], z: Tensor, v: Tensor) -> Tensor:
    """The change of each image when its latent moves along v: the product J(z) v, exactly.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S), sample by sample.
        z: (N, *Z).
        v: (N, *Z), one tangent for each latent.

    Returns:
        (N, C, *S), per unit of v.

    Raises:
        TypeError: if `decode` returns no tensor.
        ValueError: if no derivative passes through `decode` (a part of it leaves torch).
    """
    with warnings.catch_warnings():
        # torch's first forward-mode call warns of its own use of torch.jit: nobody can act on it.
        warnings.filterwarnings("ignore", ".*torch.jit.*deprecated.*", FutureWarning)
        change = _passing(lambda: torch.func.jvp(_apart(decode), (z,), (v,)))[1]
    if not isinstance(change, Tensor):
        raise TypeError(f"expected decode to return a tensor, got {type(change).__name__}")
    return change


def pullback(decode: Callable[[Tensor], Tensor], z: Tensor, u: Tensor) -> Tensor:
    """The latent gradient of each image's projection on u: the product J(z)^T u, exactly.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S), sample by sample.
        z: (N, *Z).
        u: (N, C, *S), one cotangent for each image.

    Returns:
        (N, *Z).

    Raises:
        TypeError: if `decode` returns no tensor.
        ValueError: if no derivative passes through `decode` (a part of it leaves torch).
    """
    image, back, *_ = _passing(lambda: torch.func.vjp(_apart(decode), z))
    if not isinstance(image, Tensor):
        raise TypeError(f"expected decode to return a tensor, got {type(image).__name__}")
    gradient: Tensor = back(u)[0]
    return gradient


def _apart(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same of a copy of the latents: the first operation may work in place."""
    return lambda z: decode(z.clone())


def _passing(differentiate: Callable[[], Any]) -> Any:  # noqa: ANN401  (what torch returns)
    try:
        return differentiate()
    except RuntimeError as error:
        raise ValueError(
            f"no derivative passes through decode ({error}): it must be made of torch's "
            "operations from the latents to the images"
        ) from error
