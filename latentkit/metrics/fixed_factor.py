"""Which factor was held fixed? The scores of beta-VAE and FactorVAE, from scenes made to order.

Both hold one factor fixed while the others vary, and ask a simple classifier to name it by the
latents. That needs data that can be made from its factors: `draw` gives factors, `represent` the
latents of the images that they make.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

Represent: TypeAlias = Callable[[Tensor], Tensor]
"""Factors (N, F) -> latents (N, D) of the images that they make."""
Draw: TypeAlias = Callable[[int, torch.Generator], Tensor]
"""(n, generator) -> n factors (n, F), independent of each other."""

_FOR_SPREAD = 1000  # scenes that the spread of each coordinate is measured on
_CONSTANT = 1e-6  # of the largest deviation: what varies less stands still but for rounding
_CHUNK = 4096  # scenes made at a time


def factor_vae(
    represent: Represent, draw: Draw, votes: int = 500, batch: int = 32, seed: int = 0
) -> float:
    """Share of fixed factors that the coordinate of least relative variance names.

    Kim and Mnih, "Disentangling by Factorising", ICML 2018 (arXiv 1802.05983), section 4. The name
    of each coordinate is the factor it stood still for most often; it is learned on the first half
    of the votes and measured on the second. Constant coordinates have no relative variance and are
    left out.

    Args:
        represent: factors (N, F) -> latents (N, D).
        draw: (n, generator) -> factors (n, F).
        votes: how often a factor is held fixed, >= 2.
        batch: scenes of each vote, >= 2.
        seed: of the scenes.

    Returns:
        In [0, 1]; chance is about 1 / F.

    Raises:
        ValueError: if there are too few votes or scenes, or no coordinate varies.
    """
    generator, fixed = _begin(draw, votes, batch, seed)
    spread = represent(draw(_FOR_SPREAD, generator)).std(0)
    alive = spread > _CONSTANT * spread.max()
    if not alive.any():
        raise ValueError("expected latents that vary with the factors, got constant ones")
    stillest = []
    for names in torch.split(fixed, max(1, _CHUNK // batch)):
        latents = _latents(represent, draw, names, batch, generator)[:, :, alive]
        stillest.append((latents.var(1) / spread[alive].square()).argmin(1))
    return _majority(torch.cat(stillest), fixed)


def beta_vae(
    represent: Represent, draw: Draw, votes: int = 500, pairs: int = 16, seed: int = 0
) -> float:
    """Share of fixed factors that a linear classifier names by how far pairs of latents lie apart.

    Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
    Framework", ICLR 2017, section 3: the two scenes of a pair share one factor, and a vote is the
    mean over pairs of the distance in each coordinate. The classifier, a logistic regression, sees
    them in units of their deviation over the votes; it is fitted on the first half.

    Args:
        represent: factors (N, F) -> latents (N, D).
        draw: (n, generator) -> factors (n, F).
        votes: how often a factor is shared, >= 2.
        pairs: of each vote, >= 2.
        seed: of the scenes.

    Returns:
        In [0, 1]; chance is about 1 / F. The most lenient of these scores: a factor spread over
        several coordinates passes as well as one in a single one.

    Raises:
        ValueError: if there are too few votes or pairs, or no coordinate varies.
    """
    generator, shared = _begin(draw, votes, pairs, seed)
    gaps = []
    for names in torch.split(shared, max(1, _CHUNK // (2 * pairs))):
        latents = _latents(represent, draw, names.repeat_interleave(pairs), 2, generator)
        gap = (latents[:, 0] - latents[:, 1]).abs()
        gaps.append(gap.view(len(names), pairs, -1).mean(1))
    seen = torch.cat(gaps).double()
    scale = seen.std(0)
    if not (scale > 0).any():
        raise ValueError("expected latents that vary with the factors, got constant ones")
    x, y, half = (seen / scale.where(scale > 0, 1)).numpy(), shared.numpy(), votes // 2
    if len({*y[:half].tolist()}) < 2:
        raise ValueError(f"expected votes for two factors or more, got {votes} votes for one")
    model = LogisticRegression(max_iter=10_000).fit(x[:half], y[:half])
    return float(model.score(x[half:], y[half:]))


def _begin(draw: Draw, votes: int, size: int, seed: int) -> tuple[torch.Generator, Tensor]:
    """The source of all scenes, and the factor of each vote (V,)."""
    if votes < 2 or size < 2:
        raise ValueError(f"expected 2 votes of 2 scenes or more, got {votes} of {size}")
    generator = torch.Generator().manual_seed(seed)
    count = draw(1, generator).shape[1]
    return generator, torch.randint(count, (votes,), generator=generator)


def _latents(
    represent: Represent, draw: Draw, names: Tensor, size: int, generator: torch.Generator
) -> Tensor:
    """Of groups of scenes that share one factor each: names (G,) -> (G, size, D)."""
    scenes = draw(len(names) * size, generator)
    scenes = scenes.view(len(names), size, -1)
    shared = torch.nn.functional.one_hot(names, scenes.shape[2]).bool()[:, None]
    latents = represent(torch.where(shared, scenes[:, :1], scenes).flatten(0, 1))
    return latents.reshape(len(names), size, -1)


def _majority(votes: Tensor, truth: Tensor) -> float:
    """Accuracy on the second half of the commonest truth of each vote in the first: both (V,)."""
    half, kinds = len(votes) // 2, int(truth.max()) + 1
    cells = votes * kinds + truth
    table = cells[:half].bincount(minlength=(int(votes.max()) + 1) * kinds).view(-1, kinds)
    return (table.argmax(1)[votes[half:]] == truth[half:]).double().mean().item()
