"""Does an explanation stay when nothing that matters has changed?

Input shift: Kindermans et al., "The (Un)reliability of Saliency Methods", 2017 (arXiv 1711.00867).
Fragility: Ghorbani et al., "Interpretation of Neural Networks Is Fragile", AAAI 2019 (arXiv
1710.10547).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latentkit.explain.agreement import Explain, spearman, top_overlap
from latentkit.explain.attribution import saliency
from latentkit.explain.gradients import values
from latentkit.explain.hooks import borrowed, normal, own
from latentkit.explain.twin import twin
from latentkit.protocols import Score

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Outputs that differ by less than this share of the largest are equal but for rounding; or by
# less than so many units in the last place of half precision.
_SAME, _UNITS = 1e-3, 8


def input_shift(explain: Explain, module: nn.Module, x: Tensor, shift: Tensor | float) -> Tensor:
    """How much the map changes when the input is shifted and the first layer takes it back.

    The shifted network computes the same of x + shift as the network of x, and its gradient is the
    same: a map that tells them apart depends on where the zero of the input happens to lie.

    Args:
        explain: module and inputs -> maps (N, ...).
        module: its first layer must be linear (Conv, Linear) and see the input alone.
        x: inputs (N, C, *S).
        shift: a number, or a tensor that broadcasts to one input (C, *S).

    Returns:
        (N,), |map - shifted map| / |map| by the Euclidean norm: 0 is invariant.

    Raises:
        ValueError: see `compensated`.
    """
    shifted = compensated(module, x, shift)
    maps = [explain(module, x), explain(shifted, normal(x) + _fitted(shift, x))]
    plain, other = (one.detach().flatten(1).double() for one in maps)
    size = plain.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    change: Tensor = (other - plain).norm(dim=1) / size
    return change


def compensated(module: nn.Module, x: Tensor, shift: Tensor | float) -> nn.Module:
    """A copy of a network that computes of x + shift what the network computes of x.

    Its first layer takes back the same for all inputs, a bias of its own for each place: so it is
    right at padded borders too, and for a shift that is not the same everywhere.

    Args:
        module: the network, which stays as it is.
        x: inputs (N, C, *S) to check it on.
        shift: a number, or a tensor that broadcasts to one input (C, *S).

    Returns:
        The copy, in the modes of the network.

    Raises:
        ValueError: no linear layer, or taking back the shift there does not restore the output.
    """
    shifted = twin(module)
    first = next((part for part in shifted.modules() if isinstance(part, _LINEAR)), None)
    if first is None:
        raise ValueError(f"expected a network with a Conv or Linear layer, got {module}")
    x, shift = normal(x), _fitted(shift, x)
    with borrowed(module), borrowed(shifted):
        expected, nothing = module(own(x)), torch.zeros_like(x[:1])
        if not isinstance(expected, Tensor):
            raise TypeError(
                f"expected a module that returns a tensor, got {type(expected).__name__}"
            )
        seen: list[Tensor] = []
        # A copy is kept: what follows may work in place.
        with first.register_forward_hook(lambda _part, _inputs, got: seen.append(got.clone())):
            for image in (nothing + shift, nothing):
                shifted(image.clone())
        if len(seen) == 2:
            offset = seen[0] - seen[1]
            first.register_forward_hook(lambda _part, _inputs, output: output - offset)
        difference = (shifted(x + shift) - expected).abs().max()
    same = max(_SAME, _UNITS * torch.finfo(expected.dtype).eps)
    if not difference <= same * expected.abs().max():
        raise ValueError(
            "expected a network whose first Conv or Linear layer alone sees the input, once, got"
            f" one whose output still differs by {float(difference):.3g} after the shift is taken"
            " back there"
        )
    return shifted


def _fitted(shift: Tensor | float, x: Tensor) -> Tensor | float:
    """A shift that does not widen half precision."""
    return shift.to(x) if isinstance(shift, Tensor) else shift


@dataclass(frozen=True)
class Perturbation:
    """How to disturb an input without changing its score.

    Attributes:
        size: largest change of one value.
        guide: "random", a random sign for each value; or "gradient", steps that turn the gradient
            away from the values that it is largest at, by its own derivative (central difference,
            so that kinks are felt too): the top-k attack of Ghorbani et al.
        trials: random perturbations, or steps.
        tolerance: the score may change by this share of its size.
        top: share of the places whose overlap is measured.
        seed: of the random signs.
    """

    size: float = 0.02
    guide: Literal["random", "gradient"] = "random"
    trials: int = 10
    tolerance: float = 0.05
    top: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.guide not in ("random", "gradient"):
            raise ValueError(f"expected guide 'random' or 'gradient', got {self.guide!r}")
        if self.trials < 1 or not self.size > 0:
            raise ValueError(
                f"expected trials >= 1 and size > 0, got {self.trials} and {self.size}"
            )


@dataclass(frozen=True, eq=False)
class Fragility:
    """What is left of a map in the worst of the perturbations that kept the score.

    Attributes:
        spearman: (N,), lowest rank correlation of |map| with the undisturbed one; nan if none kept.
        top_overlap: (N,), lowest share of the top places that stayed on top; nan if none kept.
        kept: (N,), how many of the perturbations kept the score.
    """

    spearman: Tensor
    top_overlap: Tensor
    kept: Tensor


def fragility(
    explain: Explain, module: nn.Module, x: Tensor, score: Score, how: Perturbation | None = None
) -> Fragility:
    """How far small perturbations that keep the score can change the map.

    Args:
        explain: module and inputs -> maps (N, ...).
        module: the network; it comes back as it was.
        x: inputs (N, C, *S).
        score: the module's output -> (N,), which must be kept.
        how: the perturbations.

    Returns:
        The worst that was found for each of the N images.

    Raises:
        ValueError, TypeError: a score that is not (N,), or maps that change their shape.
    """
    how = how or Perturbation()
    plain, before = explain(module, x).abs(), _score(module, x, score)
    worst = [torch.full_like(before, torch.inf, dtype=torch.double) for _ in range(2)]
    kept = torch.zeros_like(before, dtype=torch.long)
    for moved in _perturbed(module, normal(x), score, how):
        same = (_score(module, moved, score) - before).abs() <= how.tolerance * before.abs()
        maps = explain(module, moved).abs()
        found = spearman(plain, maps), top_overlap(plain, maps, how.top)
        worst = [
            torch.where(same, torch.minimum(low, new), low)
            for low, new in zip(worst, found, strict=True)
        ]
        kept += same
    rho, top = (low.masked_fill(kept == 0, torch.nan) for low in worst)
    return Fragility(rho, top, kept)


def _perturbed(module: nn.Module, x: Tensor, score: Score, how: Perturbation) -> Iterator[Tensor]:
    if how.guide == "random":
        generator = torch.Generator().manual_seed(how.seed)
        for _ in range(how.trials):
            # The same signs for every image: a result does not depend on the rest of the batch.
            noise = torch.randn(x.shape[1:], generator=generator).sign().to(x)
            yield x + how.size * noise
    else:
        slope = saliency(module, x, score)
        along, moved = how.size / 2 * _largest(slope, how.top), x
        for _ in range(how.trials):
            ends = [saliency(module, moved + side * along, score) for side in (1, -1)]
            step = 2 * how.size / how.trials * (ends[0] - ends[1]).sign()
            moved = x + (moved - step - x).clamp(-how.size, how.size)
            yield moved


def _largest(slope: Tensor, share: float) -> Tensor:
    """The signs of the largest |values| of each sample; 0 elsewhere."""
    flat = slope.flatten(1)
    top = flat.abs().topk(max(1, round(share * flat.shape[1])), dim=1).indices
    return torch.zeros_like(flat).scatter(1, top, flat.sign().gather(1, top)).view_as(slope)


def _score(module: nn.Module, x: Tensor, score: Score) -> Tensor:
    with borrowed(module):
        return values(score, module(own(x)), len(x))
