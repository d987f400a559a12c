"""Which images train, validate and test: fixed for a data set, whatever the training seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentkit.data.batches import keyed_generator

_SPLIT_SEED = 20_260  # a constant: two runs with other seeds must be comparable on the same images


def stratified_order(labels: Tensor) -> Tensor:
    """A fixed random order in which every stretch holds the classes in their proportions.

    Each image gets its place within its class, from 0 to 1; sorting by that place deals the classes
    out evenly. Unlabelled images (-1) are one class.

    Args:
        labels: (N,) int64.

    Returns:
        (N,) a permutation.
    """
    shuffled = torch.randperm(len(labels), generator=keyed_generator(_SPLIT_SEED))
    place = torch.empty(len(labels), dtype=torch.float64)
    counts = torch.bincount(labels + 1)  # of -1, 0, 1, ...
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    place[by_class] = torch.cat(
        [(torch.arange(c, dtype=torch.float64) + 0.5) / c for c in counts.tolist()]
    )
    return shuffled[place[shuffled].argsort(stable=True)]


def cut(labels: Tensor, *sizes: int) -> tuple[Tensor, ...]:
    """Cut stratified parts of given sizes off a set.

    Args:
        labels: (N,) int64.
        sizes: images of each part; at least one image must be left.

    Returns:
        The rest, then the parts: row numbers, ascending, disjoint and together all rows.

    Raises:
        ValueError: a part is to have no image, or none would be left.
    """
    if min(sizes) < 1 or sum(sizes) >= len(labels):
        raise ValueError(
            f"expected parts of 1 image or more that leave some of {len(labels)} images to train"
            f" on, got {' + '.join(map(str, sizes))}"
        )
    parts = torch.split(stratified_order(labels), [*sizes, len(labels) - sum(sizes)])
    return tuple(part.sort().values for part in (parts[-1], *parts[:-1]))


def without_copies(parts: tuple[Tensor, ...], keys: Sequence[bytes]) -> tuple[Tensor, ...]:
    """Moves each row whose image also stands in an earlier part into that part.

    Args:
        parts: row numbers, disjoint and together all rows.
        keys: one for each row; equal for equal images.

    Returns:
        The same rows, no key in two parts; `parts` as they were if one would be left empty.
    """
    owner: dict[bytes, int] = {}
    for number, rows in enumerate(parts):
        for row in rows.tolist():
            owner.setdefault(keys[row], number)
    place = torch.tensor([owner[key] for key in keys])
    moved = tuple((place == number).nonzero()[:, 0] for number in range(len(parts)))
    return moved if all(len(rows) for rows in moved) else parts


def tenth(n: int) -> int:
    """A tenth of n images, at least one."""
    return max(1, round(n / 10))
