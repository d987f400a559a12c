"""Clusters of latents that do not fit in memory: only batches of them are ever held."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from latentkit.latent.cluster import Clustering, kmeans, margin
from latentkit.latent.points import check_points

Batches: TypeAlias = Callable[[], Iterable[Tensor]]
"""Begins anew at each call: the same latents (B, D) in the same order, in batches of any size."""


def kmeans_stream(
    batches: Batches, k: int, seed: int = 0, passes: int = 20, sample: int = 20_000
) -> Clustering:
    """K-means over batches: the steps of Lloyd's method, exactly, in memory for one batch.

    Starts from `kmeans` on a uniform sample of the latents (so their order does not matter), then
    takes a whole pass for each step: every batch adds to the sums and counts of its clusters. The
    squared distance falls with each pass, and ends as `kmeans` does, where no centre moves.
    Sculley's "Web-scale k-means clustering" (2010) saves passes by steps on single batches, and
    pays with centres that depend on the order. Beside a batch, the memory holds the sample, the
    centres, and 12 bytes a latent for what is returned.

    Args:
        batches: a function that begins the latents anew, for example
            `lambda: (encode(x) for x in loader)`; called up to `passes` + 2 times.
        k: number of clusters, at most the number of latents.
        seed: of the sample and of the starts on it.
        passes: steps, at most; none is taken after one that moved nothing.
        sample: latents to start from, at least k (all, if there are fewer).

    Returns:
        As `kmeans` does, on the CPU; labels and confidence in the order of the batches.

    Raises:
        ValueError: if a batch is not (B, D) and finite, the batches differ in D or in number from
            one call to the next, there are fewer latents than k, or a number is out of range.
    """
    if passes < 0 or sample < k:
        raise ValueError(
            f"expected passes >= 0 and a sample of k={k} or more, got {passes} and {sample}"
        )
    start, total = _sample(batches, sample, seed)
    centres = kmeans(start, k, seed).centres
    centres = centres.to(torch.promote_types(centres.dtype, torch.float32))  # half stands still
    for _ in range(passes):
        moved = _step(batches, centres, total)
        # A move is measured by how far apart the centres lie, whatever the unit and the origin.
        apart = (centres - centres.mean(0)).abs().max()
        still = (moved - centres).abs().max() <= 1e-5 * apart
        centres = moved
        if still:
            break
    labels, confidence = _assign(batches, centres, total)
    return Clustering("kmeans", labels, centres.to(start.dtype), confidence.to(start.dtype))


def _checked(batches: Batches, width: int | None = None) -> Iterator[Tensor]:
    """The batches on the CPU, each one checked."""
    for batch in batches():
        check_points(batch, "each batch")
        width = width or batch.shape[1]
        if batch.shape[1] != width:
            raise ValueError(f"expected batches (B, {width}) as before, got {tuple(batch.shape)}")
        yield batch.detach().cpu()


def _sample(batches: Batches, size: int, seed: int) -> tuple[Tensor, int]:
    """A uniform sample (size, D) without replacement in one pass, and how many latents there are.

    Every latent gets a random key, and those with the least keys are kept.
    """
    generator, total = torch.Generator().manual_seed(seed), 0
    kept, keys = torch.empty(0), torch.empty(0, dtype=torch.float64)
    for batch in _checked(batches):
        new = torch.rand(len(batch), generator=generator, dtype=torch.float64)
        keys, kept = torch.cat([keys, new]), torch.cat([kept, batch]) if total else batch
        if len(keys) > size:
            keys, order = keys.topk(size, largest=False, sorted=False)
            kept = kept[order]
        total += len(batch)
    if total == 0:
        raise ValueError(
            "expected at least one batch of latents (B, D), got none; `batches` must "
            "begin anew at each call, a generator that is used up does not"
        )
    return kept.clone(), total


def _distances(batch: Tensor, centres: Tensor) -> Tensor:
    """(B, D) and (K, D) -> (B, K), in the centres' precision.

    From the middle of the centres: cdist takes a matrix product, which far from zero rounds away
    what tells the centres apart.
    """
    middle = centres.mean(0)
    return torch.cdist(batch.to(centres.dtype) - middle, centres - middle)


def _step(batches: Batches, centres: Tensor, total: int) -> Tensor:
    """One step of Lloyd's: each centre to the mean of its latents; one without stays."""
    sums = torch.zeros(centres.shape, dtype=torch.float64)
    counts = torch.zeros(len(centres), dtype=torch.float64)
    for batch in _checked(batches, centres.shape[1]):
        nearest = _distances(batch, centres).argmin(1)
        sums.index_add_(0, nearest, batch.double())
        counts += nearest.bincount(minlength=len(centres))
    _check_count(int(counts.sum()), total)
    means = sums / counts.clamp(min=1)[:, None]
    return torch.where(counts[:, None] > 0, means, centres.double()).to(centres.dtype)


def _assign(batches: Batches, centres: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """The nearest centre of every latent (N,), and its confidence (N,)."""
    labels = torch.empty(total, dtype=torch.int64)
    confidence, at = torch.empty(total), 0
    for batch in _checked(batches, centres.shape[1]):
        _check_count(at + len(batch), total, at_most=True)
        distances = _distances(batch, centres)
        labels[at : at + len(batch)] = distances.argmin(1)
        confidence[at : at + len(batch)] = torch.from_numpy(margin(distances.double().numpy()))
        at += len(batch)
    _check_count(at, total)
    return labels, confidence


def _check_count(got: int, total: int, at_most: bool = False) -> None:
    if got > total or (got < total and not at_most):
        raise ValueError(
            f"expected the same {total} latents at each call of `batches`, got "
            f"{'more' if got > total else got}; it must begin anew at each call"
        )
