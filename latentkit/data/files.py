"""Image files: decoded to squares of one size, one by one or a whole set at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from latentkit.data.images import ImageSet, TensorImages
from latentkit.data.pixels import unit

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"})


def decode(path: Path, size: int, channels: int) -> Tensor:
    """Read an image: turned upright, on white where transparent, centre square, resized.

    Resizing is Pillow's bicubic, which is antialiased. Of an animation the first frame is read;
    values of 16 bits are scaled, not clipped.

    Args:
        path: the file.
        size: height and width of the result.
        channels: 1 (grey) or 3 (colour).

    Returns:
        (channels, size, size) uint8.

    Raises:
        ValueError: the file is no image that can be read.
    """
    try:
        with Image.open(path) as file:
            picture = _plain(ImageOps.exif_transpose(file), "L" if channels == 1 else "RGB")
    except Exception as error:  # each kind of damage raises a different type
        raise ValueError(
            f"expected a readable image, got {path} ({error}): replace or remove it"
        ) from error
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    pixels = torch.from_numpy(np.array(square, dtype=np.uint8))
    return pixels.view(size, size, channels).permute(2, 0, 1).contiguous()


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits; convert() would clip them at 255
        values = np.asarray(picture).clip(0, 65_535) / 257
        picture = Image.fromarray(values.round().astype(np.uint8))
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return picture.convert(mode)


class FileImages(ImageSet):
    """Images that are decoded from their files when they are asked for.

    Args:
        paths: N files.
        size: height and width.
        channels: 1 (grey) or 3 (colour).
        labels: (N,) int64, -1 where unlabelled.
        attribute_values: (N, A) floats, or None.

    Raises:
        ValueError: there is not one label for each file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        channels: int,
        labels: Tensor,
        attribute_values: Tensor | None = None,
    ) -> None:
        super().__init__(labels, attribute_values)
        if len(paths) != len(labels):
            raise ValueError(f"expected a label per file, got {len(paths)} and {len(labels)}")
        self.paths, self.size, self.channels = tuple(paths), size, channels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size

    def pixels(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) -> images (n, C, H, W) float32 in [0, 1]."""
        if len(rows) == 0:
            return torch.zeros(0, *self.image_shape)
        return unit(torch.stack([self._decode(self.paths[row]) for row in rows.tolist()]))

    def in_memory(self) -> TensorImages:
        """Decode all files, on all processors, into a set of (N, C, H, W) bytes in memory."""
        images = torch.empty(len(self), *self.image_shape, dtype=torch.uint8)
        with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
            for row, image in enumerate(pool.map(self._decode, self.paths)):
                images[row] = image
        return TensorImages(images, self.labels, self.attribute_values)

    def _decode(self, path: Path) -> Tensor:
        return decode(path, self.size, self.channels)
