"""Torchvision's data sets: MNIST and its relatives, CIFAR, SVHN, STL10, CelebA."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentkit.data.base import ImageData, Splits
from latentkit.data.files import FileImages
from latentkit.data.images import ImageSet, TensorImages
from latentkit.data.pixels import resize_digits, to_channels
from latentkit.data.splits import cut, tenth
from latentkit.data.vision_files import SETS, open_parts

_FACE_SIZE = 64


class Vision(ImageData):
    """A data set of torchvision.

    The test images are the set's own test part. The validation images are CelebA's own, else cut
    from the train part with the classes in proportion. Files that are there are used; else they are
    downloaded, in whole, before any of them lands in `root`. CelebA's pictures are decoded by the
    batch and carry 40 attributes (0 or 1) in place of a label (-1); all other sets are held in
    memory. EMNIST, which is stored transposed, is turned upright.

    Args:
        dataset: class path, such as torchvision.datasets.MNIST; also FashionMNIST, KMNIST, EMNIST,
            CIFAR10, CIFAR100, SVHN, STL10, CelebA.
        root: folder of the files, in torchvision's form.
        download: fetch the files if they are not there.
        size: height and width, None as they are (CelebA: 64): the centre square is resized
            bilinearly, but 28 pixels become 32 by a black border.
        channels: 1 (grey) or 3 (colour), None as they are.
        val_size: images cut from the train part; None for 5,000, or a tenth of it if that is less.
        split: of EMNIST (None for balanced), or the train part of STL10 (train+unlabeled) and SVHN
            (extra).
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
        num_workers: processes that decode ahead; for CelebA.

    Raises:
        ValueError: there is no such data set; when it is loaded also if its files are missing or
            damaged.
    """

    def __init__(  # noqa: PLR0913  (the arguments of nine sets and the common ones)
        self,
        dataset: str = "torchvision.datasets.MNIST",
        root: str = "data",
        download: bool = True,
        size: int | None = None,
        channels: int | None = None,
        val_size: int | None = None,
        split: str | None = None,
        batch_size: int = 128,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.save_hyperparameters(logger=False)
        self.dataset = dataset.removeprefix("torchvision.datasets.")
        if self.dataset not in SETS:
            raise ValueError(
                f"expected dataset torchvision.datasets.X with X one of {', '.join(SETS)}, got"
                f" {dataset!r}; other images are read by latentkit.data.folder.Images"
            )
        self.root, self.download = Path(root).expanduser(), download
        self.size, self.channels = size, channels
        self.val_size, self.part = val_size, split

    def prepare_data(self) -> None:
        """Read or download the files: Lightning runs this in one process before all others."""
        self.setup()

    def load(self) -> Splits:
        """Read the files."""
        parts = open_parts(self.dataset, self.root, self.part, self.download)
        if self.dataset == "CelebA":
            names = tuple(name for name in parts["train"].attr_names if name)
            train, val, test = (self._faces(parts[part]) for part in ("train", "val", "test"))
            return Splits(train, val, test, attributes=names)
        images, labels = self._tensors(parts["train"])
        val_size = min(5_000, tenth(len(images))) if self.val_size is None else self.val_size
        fit, val = (TensorImages(images[rows], labels[rows]) for rows in cut(labels, val_size))
        test = TensorImages(*self._tensors(parts["test"]))
        return Splits(fit, val, test, class_names=_class_names(parts["train"]))

    def _tensors(self, found: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401  (torchvision is untyped)
        """A data set in memory -> images (N, C, H, W) uint8 and labels (N,)."""
        images = torch.as_tensor(np.ascontiguousarray(found.data))
        if images.dim() == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2).contiguous()
        if self.dataset == "EMNIST":
            images = images.transpose(2, 3).contiguous()
        labels = torch.as_tensor(
            found.targets if hasattr(found, "targets") else found.labels
        ).long()
        if _counts_from_one(found):
            labels = labels - 1
        images = to_channels(images, self.channels)
        return (images if self.size is None else resize_digits(images, self.size)), labels

    def _faces(self, found: Any) -> ImageSet:  # noqa: ANN401  (torchvision is untyped)
        folder = Path(found.root) / found.base_folder / "img_align_celeba"
        paths = [folder / name for name in found.filename]
        unlabelled = torch.full((len(paths),), -1)
        size, channels = self.size or _FACE_SIZE, self.channels or 3
        return FileImages(paths, size, channels, unlabelled, found.attr.float())


def _counts_from_one(found: Any) -> bool:  # noqa: ANN401  (torchvision is untyped)
    """EMNIST's letters are 1 ... 26, and class 0 is a stand-in."""
    return list(getattr(found, "classes", []))[:1] == ["N/A"]


def _class_names(found: Any) -> tuple[str, ...]:  # noqa: ANN401  (torchvision is untyped)
    names = tuple(getattr(found, "classes", "0123456789"))  # SVHN names none: they are digits
    return names[1:] if _counts_from_one(found) else names
