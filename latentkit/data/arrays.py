"""Images from a NumPy file: `.npz` or `.npy`."""

from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentkit.data.base import ImageData, Split, Splits
from latentkit.data.images import ImageSet, TensorImages
from latentkit.data.pixels import resize, to_channels, unit
from latentkit.data.splits import cut, tenth, without_copies

Layout: TypeAlias = Literal["NHW", "NHWC", "NCHW"]
_CHANNELS = (1, 3, 4)
_CHECKED = 4096  # images whose range is looked at in one go


class Arrays(ImageData):
    """Images and labels from arrays, split 0.8 / 0.1 / 0.1 with the classes in proportion.

    Images are uint8, or floats in [0, 1], of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C
    1, 3 or 4 (red, green, blue, opacity); floats are kept as float32. Labels are integers or texts
    of shape (N,): the different ones, sorted, become the classes 0, 1, ... and their names the
    class names; an integer -1 stays -1, unlabelled. Nothing is ever unpickled. Test and validation
    are a tenth each; equal images are kept in one part. Texts (N,) under "name" in an `.npz`
    are the images' names.

    Args:
        path: the file. The member of an `.npz` cannot be mapped and is loaded whole.
        images: key of the images in an `.npz`; not used for an `.npy`.
        labels: key of the labels in an `.npz`, or the path of a second `.npy`; None if unlabelled.
        size: height and width: centre square, resized bilinearly; None as they are.
        channels: 1 (grey) or 3 (colour; transparent pixels on white); None as they are.
        memory_limit_mb: an `.npy` beyond this size is left on disk and read by the batch.
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
    """

    def __init__(
        self,
        path: str,
        images: str = "x",
        labels: str | None = None,
        size: int | None = None,
        channels: int | None = None,
        memory_limit_mb: int = 1024,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters(logger=False)
        self.path, self.images, self.labels = Path(path).expanduser(), images, labels
        self.size, self.channels = size, channels
        self.memory_limit_mb = memory_limit_mb

    def load(self) -> Splits:
        """Read and check the arrays."""
        array = self._read(self.path, self.images)
        layout = _layout(array, self.path)
        _check_range(array, self.path)
        names, labels = self._labels(len(array))
        mapped = ArrayImages(array, layout, labels, self.size, self.channels)
        parts = without_copies(cut(labels, *[tenth(len(array))] * 2), _keys(array))
        in_memory = not isinstance(array, np.memmap)
        train, val, test = (mapped.part(rows, in_memory) for rows in parts)
        items = self._names(len(array))
        item_names = {
            split: tuple(items[rows.numpy()].tolist())
            for split, rows in zip(get_args(Split), parts, strict=True)
            if len(items)
        }
        return Splits(train, val, test, class_names=names, item_names=item_names)

    def _names(self, n: int) -> NDArray[Any]:
        """The texts (n,) under "name" in an `.npz`; none (0,) where there are none."""
        none = np.empty(0, str)
        if self.path.suffix != ".npz":
            return none
        try:
            with np.load(self.path, allow_pickle=False) as file:
                found = file["name"] if "name" in file.files else none
        except Exception:  # noqa: BLE001  (as below; the images can be used without names)
            return none
        known = isinstance(found, np.ndarray) and found.shape == (n,) and found.dtype.kind == "U"
        return found if known else none

    def _labels(self, n: int) -> tuple[tuple[str, ...], Tensor]:
        """Class names and labels (n,)."""
        if self.labels is None:
            return (), torch.full((n,), -1)
        in_file = self.path.suffix == ".npz"
        source = self.path if in_file else Path(self.labels).expanduser()
        found = self._read(source, self.labels)
        if found.shape != (n,) or found.dtype.kind not in "iuUS":
            raise ValueError(
                f"expected labels of shape ({n},), one integer or text per image, got {found.dtype}"
                f" of {found.shape} in {source}"
            )
        return number_labels(found)

    def _read(self, path: Path, key: str) -> NDArray[Any]:
        if path.suffix not in {".npz", ".npy"} or not path.is_file():
            raise ValueError(f"expected an existing .npz or .npy file, got {path}")
        large = path.suffix == ".npy" and path.stat().st_size > self.memory_limit_mb * 2**20
        try:
            found = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            with found:
                if key in found.files:
                    return np.asarray(found[key])
                others = ", ".join(found.files)
        except Exception as error:  # each kind of damage raises a different type
            raise ValueError(
                f"expected a file of plain NumPy arrays, got {path}, which cannot be read:"
                " write it with numpy.save or numpy.savez, without objects"
            ) from error
        raise ValueError(f"expected the array {key!r} in {path}, got {others or 'none'}")


def number_labels(found: NDArray[Any]) -> tuple[tuple[str, ...], Tensor]:
    """Integers or texts (N,) -> class names, sorted, and labels (N,) int64; an integer -1 stays."""
    texts = found.astype(str) if found.dtype.kind == "S" else found
    known = np.ones(len(texts), dtype=bool) if texts.dtype.kind == "U" else texts != -1
    values, numbers = np.unique(texts[known], return_inverse=True)
    labels = torch.full((len(texts),), -1)
    labels[torch.from_numpy(known)] = torch.from_numpy(numbers).long()
    return tuple(str(value) for value in values), labels


class ArrayImages(ImageSet):
    """Images of an array, perhaps on disk, made ready when they are asked for.

    Args:
        array: the images, in `layout`.
        layout: order of the axes.
        labels: (N,) int64.
        size: height and width, None as they are.
        channels: 1, 3, or None as they are.
        rows: which images of the array these are; None for all.
    """

    def __init__(
        self,
        array: NDArray[Any],
        layout: Layout,
        labels: Tensor,
        size: int | None,
        channels: int | None,
        rows: Tensor | None = None,
    ) -> None:
        super().__init__(labels)
        self.array, self.layout, self.size, self.channels = array, layout, size, channels
        self.rows = torch.arange(len(labels)) if rows is None else rows

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self._ready(torch.zeros(1, dtype=torch.int64)).shape
        return channels, height, width

    def pixels(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) -> images (n, C, H, W) float32 in [0, 1]."""
        return unit(self._ready(rows))

    def part(self, rows: Tensor, in_memory: bool) -> ImageSet:
        """The images of rows (n,), as a set of its own."""
        labels = self.labels[rows]
        if in_memory:
            return TensorImages(self._ready(rows), labels)
        return ArrayImages(self.array, self.layout, labels, self.size, self.channels, rows)

    def _ready(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) -> images (n, C, H, W), uint8 or float32."""
        pixels = np.array(self.array[self.rows[rows].numpy()])
        images = torch.from_numpy(
            pixels.astype(pixels.dtype.newbyteorder("="))
        )  # torch takes no other
        images = images if images.dtype == torch.uint8 else images.float()
        if self.layout == "NHW":
            images = images[:, None]
        elif self.layout == "NHWC":
            images = images.permute(0, 3, 1, 2).contiguous()
        images = to_channels(images, self.channels)
        return images if self.size is None else resize(images, self.size)


def _keys(array: NDArray[Any]) -> list[bytes]:
    """One short key for each image, equal for equal images."""
    return [blake2b(image.tobytes(), digest_size=16).digest() for image in array]


def _layout(array: NDArray[Any], path: Path) -> Layout:
    """Order of the axes, from which of them can be the channels."""
    shape = array.shape
    first = len(shape) == 4 and shape[1] in _CHANNELS
    last = len(shape) > 0 and shape[-1] in _CHANNELS
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise ValueError(
            f"expected images of uint8, or of floats in [0, 1], got {array.dtype} in {path}:"
            ' convert them with .astype("uint8")'
        )
    if len(shape) == 3 and not last:
        return "NHW"
    if len(shape) == 4 and first != last:
        return "NCHW" if first else "NHWC"
    raise ValueError(
        "expected images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) where exactly one axis"
        f" can be C = 1, 3 or 4, got {shape} in {path}"
    )


def _check_range(array: NDArray[Any], path: Path) -> None:
    """Floats must be numbers from 0 to 1."""
    if array.dtype == np.uint8:
        return
    for start in range(0, len(array), _CHECKED):
        low, high = (float(f(array[start : start + _CHECKED])) for f in (np.min, np.max))
        if not (low >= 0 and high <= 1):  # a NaN compares false
            raise ValueError(
                f"expected floats in [0, 1], got values from {low:g} to {high:g} in {path}: scale"
                " them, or give uint8"
            )
