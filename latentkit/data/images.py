"""A set of images that is read by the batch: no Python runs per image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from latentkit.data.pixels import unit


def random_rows(total: int, n: int | None, seed: int) -> Tensor:
    """Chooses images at random, always the same for one seed.

    Args:
        total: N, how many there are.
        n: how many to choose; None for all.
        seed: of the choice.

    Returns:
        (n,) int64 different row numbers below N, ascending; all of them where n is no fewer.
    """
    if n is None or n >= total:
        return torch.arange(total)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order[:n].sort().values


class ImageSet(Dataset[tuple[Tensor, Tensor]], ABC):
    """Images with labels, indexed by batch.

    Args:
        labels: (N,) int64 class of each image, -1 where there is none.
        attribute_values: (N, A) floats, one column an attribute; None for no attributes.

    Attributes:
        labels: (N,) int64.
        attribute_values: (N, A) float32.

    Raises:
        ValueError: the labels are not (N,) int64, or the attributes not (N, A).
    """

    def __init__(self, labels: Tensor, attribute_values: Tensor | None = None) -> None:
        if labels.dim() != 1 or labels.dtype != torch.int64:
            raise ValueError(
                f"expected int64 labels of shape (N,), got {labels.dtype} of {tuple(labels.shape)}"
            )
        values = torch.zeros(len(labels), 0) if attribute_values is None else attribute_values
        if values.dim() != 2 or len(values) != len(labels):
            raise ValueError(
                f"expected attributes of shape ({len(labels)}, A), one row a label,"
                f" got {tuple(values.shape)}"
            )
        self.labels, self.attribute_values = labels, values.float()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @abstractmethod
    def pixels(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) int64, from 0 -> images (n, C, H, W) float32 in [0, 1]."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | Sequence[int] | slice) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W) and labels (n,) of n rows."""
        rows = self._rows(index)
        return self.pixels(rows), self.labels[rows]

    def _rows(self, index: object) -> Tensor:
        """Any index of several images -> row numbers (n,), none negative."""
        if isinstance(index, slice):
            return torch.from_numpy(np.arange(*index.indices(len(self))))
        rows = torch.as_tensor(index)
        if rows.dim() != 1 or (rows.dtype != torch.int64 and len(rows)):
            raise ValueError(
                f"expected the indices of a batch (n,) int64 or a slice, got {index!r:.60};"
                " one image is [i], and Lightning's overfit_batches, which asks for single images,"
                " does not work here: use limit_train_batches"
            )
        if len(rows) and not -len(self) <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"expected indices below {len(self)}, got {index!r:.60}")
        return rows.long() % max(len(self), 1)


class TensorImages(ImageSet):
    """Images in memory.

    Args:
        images: (N, C, H, W), uint8, or float32 in [0, 1].
        labels: (N,) int64, -1 where unlabelled.
        attribute_values: (N, A) floats, or None.

    Raises:
        ValueError: the images are not (N, C, H, W) uint8 or float32, or there is not one label for
            each.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, attribute_values: Tensor | None = None
    ) -> None:
        super().__init__(labels, attribute_values)
        if images.dim() != 4 or images.dtype not in {torch.uint8, torch.float32}:
            raise ValueError(
                "expected uint8 or float32 images of shape (N, C, H, W), got"
                f" {images.dtype} of {tuple(images.shape)}"
            )
        if len(images) != len(labels):
            raise ValueError(f"expected a label per image, got {len(images)} and {len(labels)}")
        self.images = images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def pixels(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) -> images (n, C, H, W) float32 in [0, 1]."""
        return unit(self.images[rows])
