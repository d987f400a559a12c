"""Batches of indices whose order depends on (seed, epoch) alone, and the loader that reads them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, DistributedSampler

from latentkit.data.images import ImageSet


def keyed_generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on all numbers of the key (0 or more each) and nothing else."""
    if min(key) < 0:
        raise ValueError(f"expected seeds of 0 or more, got {key}")
    # SeedSequence mixes the numbers: with a sum, seed 0 in epoch 1 would be seed 1 in epoch 0.
    # It takes missing numbers for zeros, hence the length.
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class BatchIndices(DistributedSampler[Tensor]):
    """Gives the indices of one batch after the other.

    The order comes from a generator keyed by (seed, epoch): an epoch has the same batches whatever
    ran before, and the global random state is neither read nor moved. On several processes each
    gets its own share of the images, all shares equally long: shuffled orders leave out the rest
    (at most one image a process), others repeat their first images.

    It is a `DistributedSampler` so that Lightning leaves it in place on several devices:
    Lightning's own wrapper would hide `set_epoch` and give every epoch the same batches.

    Args:
        n: number of images.
        batch_size: images of a batch, per process.
        shuffle: draw a new order each epoch; else 0 ... n - 1.
        seed: first half of the key.
        drop_last: leave out the last batch if it is incomplete and not the only one.
    """

    def __init__(
        self, n: int, batch_size: int, shuffle: bool, seed: int = 0, drop_last: bool = False
    ) -> None:
        # The parent's __init__ is not called: it fixes rank and size before there are processes.
        if batch_size < 1:
            raise ValueError(f"expected batch_size of 1 or more, got {batch_size}")
        self.n, self.batch_size = n, batch_size
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = 0
        self.done = (0, 0)  # in this epoch so many batches were given before: see `start`

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; Lightning calls this."""
        self.epoch = epoch

    @property
    def start(self) -> int:
        """The batch that the next pass begins with: not the first one where an epoch goes on."""
        epoch, given = self.done
        return given if epoch == self.epoch else 0

    def __iter__(self) -> Iterator[Tensor]:
        start, self.done = self.start, (0, 0)
        yield from torch.split(self._share(), self.batch_size)[start : len(self)]

    def __len__(self) -> int:
        full, rest = divmod(self._share_size(), self.batch_size)
        return full if rest == 0 or (self.drop_last and full > 0) else full + 1

    def _share(self) -> Tensor:
        """The indices of this process, in order."""
        rank, world = process()
        order = torch.arange(self.n)
        if self.shuffle:
            order = torch.randperm(self.n, generator=keyed_generator(self.seed, self.epoch))
        places = torch.arange(self._share_size()) * world + rank
        return order[places % max(self.n, 1)]

    def _share_size(self) -> int:
        _, world = process()
        return self.n // world if self.shuffle else -(-self.n // world)


def process() -> tuple[int, int]:
    """Rank and number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


class ResumableLoader(DataLoader[tuple[Tensor, Tensor]]):
    """A DataLoader over `BatchIndices` whose place within an epoch Lightning saves and restores."""

    _given = 0

    def __iter__(self) -> Any:  # noqa: ANN401  (the parent's type is private)
        self._given = getattr(self.sampler, "start", 0)  # Lightning may have put in one of its own
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were given."""
        return {"epoch": getattr(self.sampler, "epoch", 0), "given": self._given}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Makes the next pass go on after them."""
        if isinstance(self.sampler, BatchIndices):
            self.sampler.done = state_dict["epoch"], state_dict["given"]


def batch_loader(
    images: ImageSet, batches: BatchIndices, num_workers: int = 0
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A DataLoader that asks the set for whole batches and leaves the global random state alone.

    Args:
        images: the set.
        batches: its batches.
        num_workers: processes that read ahead; worth it where images are decoded from files.

    Returns:
        A loader of (images (n, C, H, W), labels (n,)).
    """
    return ResumableLoader(
        images,
        sampler=batches,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        generator=keyed_generator(batches.seed),  # each pass draws the workers' seed from it
    )
