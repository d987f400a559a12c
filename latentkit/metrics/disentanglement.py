"""Does each latent coordinate stand for one known factor? MIG, SAP and DCI, from samples.

Latents are (N, D), factors (N, F): row i of both belongs to the same image, and the factors were
drawn independently of each other. `mig` warns where they were not: the coordinate of one factor
then tells of another, so that no code has the whole gap (Almudevar et al., "Defining and Measuring
Disentanglement for non-Independent Factors of Variation", 2024). 1 is perfect; no score depends on
the order or the scale of the coordinates. A factor that is an angle needs two coordinates to be
told without a jump, so no code can have both its gap (MIG, SAP) and its neighbours right.
"""

import math
import warnings
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.svm import LinearSVC
from torch import Tensor

_CHUNK = 4096  # samples counted at a time
_DEPENDENT = 0.05  # share of a factor's entropy that another may tell, beyond what noise tells


class DCI(NamedTuple):
    """Shares, in [0, 1].

    Attributes:
        disentanglement: 1 if each coordinate matters to one factor only.
        completeness: 1 if one coordinate only matters to each factor.
    """

    disentanglement: float
    completeness: float


def mig(latents: Tensor, factors: Tensor, bins: int = 20) -> float:
    """Mutual information gap: how far the best coordinate of a factor leads the second best.

    Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018
    (arXiv 1802.04942), eq. 6, with coordinates in bins of equal width as in Locatello et al. (arXiv
    1811.12359). Counting in bins finds some information in noise, alike in all coordinates; what
    that adds to the gap, `mig_of_noise` says.

    Args:
        latents: (N, D), D >= 2.
        factors: (N, F), each of them varying.
        bins: of each coordinate, and of each factor with more values than that.

    Returns:
        The gap over the factor's entropy, averaged over factors.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, a factor is constant, or there
            is one coordinate.

    Warns:
        UserWarning: if one factor tells of another.
    """
    code, kind = _coded(latents, factors, bins)
    _warn_of_dependence(kind)
    return _gap(code, kind)


def mig_of_noise(
    latents: Tensor, factors: Tensor, bins: int = 20, repeats: int = 10, seed: int = 0
) -> float:
    """The `mig` of latents that know nothing: the same ones, shuffled against the factors.

    What is left of it by chance, in samples of this size: it falls as 1 / N.

    Args:
        latents: (N, D), D >= 2.
        factors: (N, F), each of them varying.
        bins: as for `mig`.
        repeats: shuffles to average over, >= 1.
        seed: of the shuffles.

    Raises:
        ValueError: as `mig` does, or if repeats < 1.
    """
    if repeats < 1:
        raise ValueError(f"expected repeats >= 1, got {repeats}")
    code, kind = _coded(latents, factors, bins)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(code), generator=generator) for _ in range(repeats)]
    return sum(_gap(code[order.to(code.device)], kind) for order in orders) / repeats


def _coded(latents: Tensor, factors: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    _check(latents, factors)
    if latents.shape[1] < 2 or bins < 2:
        raise ValueError(
            f"expected two coordinates and two bins or more, got {latents.shape[1]} and {bins}"
        )
    return _binned(latents, bins), _levels(factors, bins)


def _gap(code: Tensor, kind: Tensor) -> float:
    best = mutual_information(code, kind).topk(2, dim=0).values
    entropy = mutual_information(kind, kind).diagonal()
    return ((best[0] - best[1]) / entropy).mean().item()


def _warn_of_dependence(kind: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(kind), generator=generator) for _ in range(20)]
    noise = torch.stack([mutual_information(kind[order.to(kind.device)], kind) for order in orders])
    told = mutual_information(kind, kind)
    entropy, excess = told.diagonal().clone(), told - noise.mean(0)
    share = torch.where(excess > 5 * noise.std(0), excess / entropy, 0).fill_diagonal_(0)
    if share.max() > _DEPENDENT:
        first, second = divmod(int(share.argmax()), kind.shape[1])
        warnings.warn(
            f"expected independent factors, but factor {first} tells {share.max().item():.0%} of "
            f"factor {second}: a perfect code scores below 1; draw them independently",
            stacklevel=3,
        )


def mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """Between all pairs of columns, from counts: (N, D), (N, F) int64 from 0 -> (D, F) nats."""
    sizes = int(a.max()) + 1, int(b.max()) + 1
    cells = a.shape[1] * sizes[0], b.shape[1] * sizes[1]
    joint = torch.zeros(cells, dtype=torch.float64, device=a.device)
    for x, y in zip(torch.split(a, _CHUNK), torch.split(b, _CHUNK), strict=True):
        left, right = (
            torch.nn.functional.one_hot(part, size).flatten(1).float()
            for part, size in zip((x, y), sizes, strict=True)
        )
        joint += left.T @ right  # exact: the counts of a chunk are small whole numbers
    both = joint.view(a.shape[1], sizes[0], b.shape[1], sizes[1]).transpose(1, 2) / len(a)
    of_a, of_b, of_both = (_entropy(x) for x in (both.sum(3), both.sum(2), both.flatten(2)))
    return of_a + of_b - of_both


def sap(latents: Tensor, factors: Tensor, categorical: Collection[int] = ()) -> float:
    """Separated attribute predictability: how far the best single predictor leads the second best.

    Kumar et al., "Variational Inference of Disentangled Latent Concepts from Unlabeled
    Observations", ICLR 2018 (arXiv 1711.00848), section 3: the squared correlation for a continuous
    factor; for a categorical one the accuracy of a linear classifier on the coordinate, fitted on
    the first half of the samples and measured on the second.

    Args:
        latents: (N, D), D >= 2.
        factors: (N, F), each of them varying.
        categorical: which columns of the factors are kinds, not amounts.

    Returns:
        The gap in score, averaged over factors. It sees straight relations only.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, a factor is constant, there is
            one coordinate, or no factor has a column's number.
    """
    _check(latents, factors, categorical)
    if latents.shape[1] < 2:
        raise ValueError(f"expected two coordinates or more, got {latents.shape[1]}")
    scores = _correlation(latents.double(), factors.double()).square()
    for j in categorical:
        scores[:, j] = _accuracies(latents, factors[:, j])
    best = scores.topk(2, dim=0).values
    return (best[0] - best[1]).mean().item()


def importance(
    latents: Tensor, factor: Tensor, categorical: bool = False, seed: int = 0
) -> tuple[Tensor, float]:
    """How much each coordinate matters to a predictor of one factor, for `dci`.

    The predictor is scikit-learn's gradient boosting (100 trees of depth 3), fitted on the first
    half of the samples; its importances are the mean decreases of impurity.

    Args:
        latents: (N, D), N >= 4.
        factor: (N,).
        categorical: whether the factor is a kind, not an amount.
        seed: of the predictor.

    Returns:
        The importances (D,), at least 0 and with the sum 1, or 0 where nothing was found; and how
        informative the latents are on the second half: accuracy, or R^2 (below 0 is called 0).

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or the factor is constant.
    """
    _check(latents, factor[:, None] if factor.ndim == 1 else factor)
    x, y, half = _array(latents), _array(factor), len(latents) // 2
    kind = GradientBoostingClassifier if categorical else GradientBoostingRegressor
    model = kind(random_state=seed).fit(x[:half], y[:half])
    held_out = max(0.0, float(model.score(x[half:], y[half:])))
    return torch.as_tensor(model.feature_importances_), held_out


def dci(importances: Tensor) -> DCI:
    """Disentanglement and completeness of a table of importances.

    Eastwood and Williams, "A Framework for the Quantitative Evaluation of Disentangled
    Representations", ICLR 2018, section 2: one less the entropy of each row (column), to the base
    of its length, weighted by its share of all importance.

    Args:
        importances: (D, F), at least 0; D and F at least 2.

    Raises:
        ValueError: if the table is too small, has a value below 0, or is all 0.
    """
    if importances.ndim != 2 or min(importances.shape) < 2:
        raise ValueError(
            "expected importances (D, F) of 2 coordinates and 2 factors or more, got "
            f"{tuple(importances.shape)}"
        )
    if not (importances >= 0).all() or not importances.sum() > 0:
        raise ValueError("expected importances of 0 or more and one above 0, got others")
    return DCI(*(_purity(table.double()) for table in (importances, importances.T)))


def _purity(table: Tensor) -> float:
    """One less the entropy of each row over its largest, averaged by the weight of the row."""
    weight = table.sum(1)
    used = table[weight > 0]
    spread = _entropy(used / used.sum(1, keepdim=True)) / math.log(table.shape[1])
    return ((1 - spread) * weight[weight > 0]).sum().item() / weight.sum().item()


def _entropy(shares: Tensor) -> Tensor:
    """(..., K) -> (...) nats."""
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy


def _binned(x: Tensor, bins: int) -> Tensor:
    """Each column (N, K) in bins of equal width over its range: int64; a constant one is all 0."""
    x = x.double()
    low, high = x.amin(0), x.amax(0)
    width = torch.where(high > low, high - low, 1)
    return ((x - low) / width * bins).long().clamp(0, bins - 1)


def _levels(factors: Tensor, bins: int) -> Tensor:
    """Each column (N, F) as 0, 1, ...: its values where they are few, else bins of equal width."""
    columns = []
    for column in factors.unbind(1):
        values, index = torch.unique(column, return_inverse=True)
        columns.append(index if len(values) <= bins else _binned(column[:, None], bins)[:, 0])
    return torch.stack(columns, dim=1)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Between all pairs of columns: (N, D), (N, F) -> (D, F); 0 for a constant column."""
    x, y = (v - v.mean(0) for v in (x, y))
    scale = x.norm(dim=0)[:, None] * y.norm(dim=0)
    return torch.where(scale > 0, x.T @ y / scale.where(scale > 0, 1), 0)


def _accuracies(latents: Tensor, factor: Tensor) -> Tensor:
    """Accuracy on the second half of a linear classifier on each coordinate alone (D,)."""
    x, y, half = _array(latents), _array(factor), len(latents) // 2
    # The settings are those of Locatello et al. (arXiv 1811.12359).
    found = [
        LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        .fit(x[:half, i : i + 1], y[:half])
        .score(x[half:, i : i + 1], y[half:])
        for i in range(x.shape[1])
    ]
    return torch.tensor(found, dtype=torch.float64)


def _array(x: Tensor) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = x.detach().to("cpu", torch.float64).numpy()
    return array


def _check(latents: Tensor, factors: Tensor, categorical: Collection[int] = ()) -> None:
    if latents.ndim != 2 or factors.ndim != 2 or len(latents) != len(factors) or len(latents) < 4:
        raise ValueError(
            "expected latents (N, D) and factors (N, F) of 4 samples or more, got "
            f"{tuple(latents.shape)} and {tuple(factors.shape)}"
        )
    if not (latents.isfinite().all() and factors.isfinite().all()):
        raise ValueError("expected finite latents and factors, got NaN or infinity")
    if (factors.amin(0) == factors.amax(0)).any():
        raise ValueError("expected factors that vary, got a constant one")
    if not all(0 <= j < factors.shape[1] for j in categorical):
        raise ValueError(f"expected columns below {factors.shape[1]}, got {list(categorical)}")
