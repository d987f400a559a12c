"""Mix and truncate styles, in a decoder that takes one style vector at each of L places.

For any other decoder see `latentkit.latent.activations` (mixing) and `latentkit.latent.truncation`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentkit.latent.points import check_finite
from latentkit.latent.render import pairs
from latentkit.protocols import Prior, StyleDecoder

THIRDS = ("coarse", "middle", "fine")


def mix(a: Tensor, b: Tensor, layers: Sequence[int]) -> Tensor:
    """The styles of `a`, with those of `b` at some layers.

    Karras et al., "A Style-Based Generator Architecture for GANs", CVPR 2019 (arXiv 1812.04948),
    section 3.1.

    Args:
        a: (N, L, W) styles.
        b: (N, L, W) styles.
        layers: indices in [0, L) to take from `b`.

    Returns:
        (N, L, W).

    Raises:
        ValueError: if the shapes differ, a style is not finite, or an index is out of range.
    """
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(
            f"expected two sets of styles (N, L, W) of one shape, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
    check_finite(a=a, b=b)
    outside = [layer for layer in layers if not 0 <= layer < a.shape[1]]
    if outside:
        raise ValueError(f"expected style layers in [0, {a.shape[1]}), got {outside}")
    from_b = torch.zeros(a.shape[1], 1, dtype=torch.bool, device=a.device)
    from_b[list(layers)] = True
    return torch.where(from_b, b, a)


def parse_layers(spec: str | Sequence[str], count: int) -> list[int]:
    """Style layers from their names.

    Args:
        spec: one or several of "coarse", "middle", "fine" (the thirds, coarse first), a range
            "0-3" with both ends included, and a number "2".
        count: L, how many style layers the decoder has.

    Returns:
        Their indices, ascending, each once.

    Raises:
        ValueError: if a name is unknown, selects nothing, or a number is out of range.

    >>> parse_layers(["coarse", "4-5"], 6)
    [0, 1, 4, 5]
    """
    specs = [spec] if isinstance(spec, str) else spec
    return sorted({layer for one in specs for layer in _layers_of(one, count)})


def _layers_of(spec: str, count: int) -> range:
    first, dash, last = spec.partition("-")
    if spec in THIRDS:
        third = THIRDS.index(spec)
        found = range(round(count * third / 3), round(count * (third + 1) / 3))
    elif first.isdecimal() and (last.isdecimal() or not dash):
        found = range(int(first), int(last or first) + 1)
    else:
        raise ValueError(f'expected layers as one of {THIRDS}, "0-3" or "2", got {spec!r}')
    if not found or found[-1] >= count:
        raise ValueError(f"expected layers among the decoder's 0-{count - 1}, got {spec!r}")
    return found


def style_grid(
    model: StyleDecoder, z_rows: Tensor, z_cols: Tensor, layers: Sequence[int]
) -> Tensor:
    """Every row's image, with every column's styles at some layers.

    Args:
        model: gives styles and decodes them.
        z_rows: (R, *Z) latents that keep the other layers.
        z_cols: (K, *Z) latents that give `layers`.
        layers: indices in [0, L).

    Returns:
        Images (R, K, C, *S).

    Raises:
        ValueError: if an index is out of range.
    """
    rows, cols = pairs(model.to_styles(z_rows), model.to_styles(z_cols))
    images = model.from_styles(mix(rows, cols, layers))
    return images.reshape(len(z_rows), len(z_cols), *images.shape[1:])


def truncate(w: Tensor, mean: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Styles moved towards their mean, w' = mean + psi (w - mean): less variety, safer images.

    Karras et al., "A Style-Based Generator Architecture for GANs", CVPR 2019 (arXiv 1812.04948),
    appendix B. Without a cutoff plain latents (N, *Z) are shrunk the same way; under a Gaussian
    prior they then lie too close to its centre, which `truncation.truncated` avoids.

    Args:
        w: (N, L, W) styles, or (N, *Z) latents.
        mean: broadcasts to one sample of `w`: (L, W) as `mean_style` gives it, (W,) or (*Z).
        psi: 1 changes nothing, 0 gives the mean; a negative one goes past it.
        cutoff: number of layers to truncate, the coarsest first; None for all.

    Returns:
        The shape, dtype and device of `w`.

    Raises:
        ValueError: if the mean does not fit, a number is not finite, or the cutoff is outside
            [0, L] or given for latents without layers.

    >>> truncate(torch.tensor([[[4.0], [4.0]]]), torch.tensor([2.0]), 0.5, cutoff=1).flatten()
    tensor([3., 4.])
    """
    if not math.isfinite(psi):
        raise ValueError(f"expected a finite psi, got {psi}")
    check_finite(w=w, mean=mean)
    try:
        centre = mean.to(w).expand(w.shape[1:])
    except RuntimeError as error:
        raise ValueError(
            f"expected a mean of one sample's shape {tuple(w.shape[1:])}, got {tuple(mean.shape)}"
        ) from error
    moved = torch.lerp(centre, w, psi)  # exact for psi = 0 and 1
    if cutoff is None:
        return moved
    if w.ndim != 3 or not 0 <= cutoff <= w.shape[1]:
        raise ValueError(
            f"expected a cutoff from 0 to the number of layers L of styles (N, L, W), got {cutoff} "
            f"for shape {tuple(w.shape)}"
        )
    return torch.cat([moved[:, :cutoff], w[:, cutoff:]], dim=1)


@torch.no_grad()
def mean_style(
    to_styles: Callable[[Tensor], Tensor],
    prior: Prior,
    n: int = 10_000,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> Tensor:
    """The mean of the styles of `n` latents of the prior: what `truncate` moves towards.

    Args:
        to_styles: latents (N, *Z) -> styles (N, L, W), on the generator's device.
        prior: where the latents come from.
        n: how many.
        generator: of the latents; None takes the global random state.
        batch_size: latents per call of `to_styles`.

    Returns:
        (L, W), in single precision.

    Raises:
        ValueError: if n or batch_size < 1.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"expected n and batch_size of 1 or more, got {n} and {batch_size}")
    batches = torch.split(prior.sample(n, generator=generator), batch_size)
    # In double: a sum over many batches loses digits.
    sums = [to_styles(z).sum(0, dtype=torch.float64) for z in batches]
    mean: Tensor = torch.stack(sums).sum(0) / n
    return mean.float()
