"""What latents say of attributes and classes: scores by name, and how well each can be read.

A readout turns latents into scores with names. Those of attributes and classes are learned from
labelled latents, and measured on others: a score that hardly follows what it is named after must
not be called by that name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from torch import Tensor

Floats: TypeAlias = npt.NDArray[np.float64]

_ALPHAS = tuple(10.0**k for k in range(-2, 6))  # what the ridge is chosen from
_HELD_OUT = 5  # every so many-th of the shuffled latents measures the readout
_FEW = 10  # a class with fewer latents is left out
_MOST = 50  # classes, the most frequent ones


@dataclass(frozen=True, eq=False)
class Readout:
    """Scores of latents.

    Attributes:
        names: of the A scores.
        of: latents (N, *Z) -> scores (N, A) on the CPU, of the precision of the latents (single
            at least), so that their roundings can be told from changes.
        followed: correlation of each score with what it is named after, on latents that it was not
            learned from, in [-1, 1]; 1 where the score is the thing itself.
    """

    names: tuple[str, ...]
    of: Callable[[Tensor], Tensor]
    followed: tuple[float, ...]

    def well_read(self, least: float = 0.3) -> "Readout":
        """The scores alone that follow their names with a correlation of `least` or more.

        Args:
            least: in [-1, 1].
        """
        kept = [k for k, r in enumerate(self.followed) if r >= least]
        names = tuple(self.names[k] for k in kept)
        followed = tuple(self.followed[k] for k in kept)
        return Readout(names, lambda z: self.of(z)[:, kept], followed)


def learn_attributes(z: Tensor, values: Tensor, names: Sequence[str], seed: int = 0) -> Readout:
    """Ridge regression of attributes on latents, in standard deviations of the attribute.

    Args:
        z: (N, *Z).
        values: (N, A); rows with a value that is not finite are left out, and so are attributes
            that hardly have two values among the rest.
        names: of the A attributes.
        seed: of which latents measure the readout.

    Raises:
        ValueError: if there is no value for each latent and name, or too few rows are left.
    """
    if values.shape != (len(z), len(names)):
        raise ValueError(
            f"expected values ({len(z)}, {len(names)}), a row a latent and a column a name, got"
            f" {tuple(values.shape)}"
        )
    known = values.isfinite().all(1)
    x, y = _rows(z[known]).numpy(), values[known].double().cpu().numpy()
    fit, rest = _parts(len(x), seed)
    spread = y[fit].std(0)
    kept = spread > 1e-9 * np.abs(y[fit]).max(0, initial=0)
    y, spread = y[:, kept], spread[kept]
    model = RidgeCV(_ALPHAS).fit(x[fit], (y[fit] - y[fit].mean(0)) / spread) if kept.any() else None

    def read(latents: Tensor) -> Tensor:
        rows = _rows(latents)
        found = rows[:, :0]
        if model is not None:
            found = torch.from_numpy(model.predict(rows.numpy()).reshape(len(rows), -1))
        return _as_precise(found, latents)

    chosen = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    return Readout(chosen, read, _followed(read(torch.from_numpy(x[rest])).numpy(), y[rest]))


def learn_classes(z: Tensor, labels: Tensor, names: Sequence[str], seed: int = 0) -> Readout:
    """Probability of each class by logistic regression on latents.

    Args:
        z: (N, *Z).
        labels: (N,) integers, -1 where there is none; classes of fewer than 10 latents are left
            out, and the rarest beyond 50 of them.
        names: of class 0, 1, ...; a class without one is called by its number.
        seed: of which latents measure the readout.

    Returns:
        A readout of no class where fewer than two are left.

    Raises:
        ValueError: if there is not one label a latent.
    """
    if labels.shape != (len(z),) or labels.is_floating_point():
        raise ValueError(f"expected integer labels ({len(z)},), got {tuple(labels.shape)}")
    kinds, counts = torch.unique(labels[labels >= 0].cpu(), return_counts=True)
    frequent = counts.argsort(descending=True, stable=True)[:_MOST]
    kinds = kinds[frequent[counts[frequent] >= _FEW]].sort().values
    known = torch.isin(labels.cpu(), kinds)
    if len(kinds) < 2:
        return Readout((), lambda latents: _as_precise(_rows(latents)[:, :0], latents), ())
    x, y = _rows(z[known.to(z.device)]), labels.cpu()[known].numpy()
    fit, rest = _parts(len(x), seed)
    middle, scale = x[fit].mean(0), x[fit].std(0).mean().clamp_min(torch.finfo(x.dtype).tiny)
    model = LogisticRegression(max_iter=1000).fit(((x - middle) / scale)[fit].numpy(), y[fit])

    def read(latents: Tensor) -> Tensor:
        found = model.predict_proba(((_rows(latents) - middle) / scale).numpy())
        return _as_precise(torch.from_numpy(found), latents)

    found = [int(k) for k in model.classes_]
    truth = (y[rest][:, None] == model.classes_).astype(float)
    called = tuple(names[k] if k < len(names) else str(k) for k in found)
    return Readout(called, read, _followed(read(x[rest]).numpy(), truth))


def _rows(z: Tensor) -> Tensor:
    return z.detach().flatten(1).double().cpu()


def _as_precise(scores: Tensor, z: Tensor) -> Tensor:
    """Scores computed in double precision, with no more digits than the latents' are worth."""
    return scores.to(torch.promote_types(z.dtype, torch.float32))


def _parts(n: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to learn from, and rows to measure on."""
    if n < 2 * _HELD_OUT:
        raise ValueError(f"expected {2 * _HELD_OUT} latents or more with known values, got {n}")
    order = np.random.default_rng(seed).permutation(n)
    held_out = np.arange(n) % _HELD_OUT == 0
    return order[~held_out], order[held_out]


def _followed(scores: Floats, truth: Floats) -> tuple[float, ...]:
    """Correlation of each column (N, A) with its truth; 0 where one of them is constant."""
    a, b = (v - v.mean(0) for v in (scores, truth))
    size = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return tuple(((a * b).sum(0) / np.where(size > 0, size, 1.0)).tolist())
