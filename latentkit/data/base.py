"""What all data modules share: four loaders, the splits, and what is known about the images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from latentkit.data.batches import BatchIndices, batch_loader
from latentkit.data.images import ImageSet

Split: TypeAlias = Literal["train", "val", "test"]
Loader: TypeAlias = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, which share no image.

    Attributes:
        train: to fit on.
        val: to choose and stop by.
        test: to report.
        class_names: name of label 0, 1, ...; empty if unlabelled.
        attributes: names of the columns of `attribute_values`.
        item_names: of the images of each part, in their order; empty if they have none.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    class_names: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    item_names: Mapping[Split, tuple[str, ...]] = field(default_factory=dict)


class ImageData(pl.LightningDataModule, ABC):
    """Images (N, C, H, W) float32 in [0, 1] with labels (N,) int64, -1 where unlabelled.

    A concrete class says in `load` where they come from. The splits do not depend on `seed`, which
    only orders the batches.

    Args:
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
        num_workers: processes that read ahead; worth it where images are decoded from files.

    Raises:
        ValueError: `batch_size` is below 1.
    """

    def __init__(self, batch_size: int = 128, seed: int = 0, num_workers: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"expected batch_size of 1 or more, got {batch_size}")
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self._splits: Splits | None = None

    @abstractmethod
    def load(self) -> Splits:
        """Read the data set; called once, by `setup`."""

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  (all stages need the same)
        """Read the data set, the first time; everything below does so by itself if it must."""
        if self._splits is None:
            self._splits = self.load()

    @property
    def splits(self) -> Splits:
        """The three parts."""
        if self._splits is None:
            self._splits = self.load()
        return self._splits

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.splits.train.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of label 0, 1, ...; empty if unlabelled."""
        return self.splits.class_names

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the A attributes; empty if there are none."""
        return self.splits.attributes

    def split(self, name: Split) -> ImageSet:
        """The images of one part, by name: "train", "val" or "test".

        Raises:
            ValueError: there is no such part.
        """
        parts = {"train": self.splits.train, "val": self.splits.val, "test": self.splits.test}
        if name not in parts:
            raise ValueError(f"expected split {', '.join(parts)}, got {name!r}")
        return parts[name]

    def attribute_values(self, split: Split) -> Tensor:
        """Attributes of the images of one part, in their order: (N, A).

        Raises:
            ValueError: the images have none.
        """
        if not self.attributes:
            raise ValueError(f"expected data with attributes, got {type(self).__name__} without")
        return self.split(split).attribute_values

    def item_names(self, split: Split) -> tuple[str, ...]:
        """Names of the images of one part, in their order; empty if they have none."""
        return self.splits.item_names.get(split, ())

    def train_dataloader(self) -> Loader:
        """Shuffled; an incomplete last batch is left out unless it is the only one."""
        images = self.splits.train
        batches = BatchIndices(len(images), self.batch_size, True, self.seed, drop_last=True)
        return batch_loader(images, batches, self.num_workers)

    def val_dataloader(self) -> Loader:
        """All images of the part, in order."""
        return self._in_order(self.splits.val)

    def test_dataloader(self) -> Loader:
        """All images of the part, in order."""
        return self._in_order(self.splits.test)

    def predict_dataloader(self) -> Loader:
        """The test images, in order."""
        return self._in_order(self.splits.test)

    def _in_order(self, images: ImageSet) -> Loader:
        batches = BatchIndices(len(images), self.batch_size, False, self.seed)
        return batch_loader(images, batches, self.num_workers)
