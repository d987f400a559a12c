"""A folder of image files, with or without a sub-folder per class."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import get_args

import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from latentkit.data.base import ImageData, Split, Splits
from latentkit.data.files import SUFFIXES, FileImages
from latentkit.data.images import ImageSet
from latentkit.data.splits import cut, tenth
from latentkit.data.tables import read_table

_PARTS = ("train", "val", "test")
_WHOLE = ""  # stands for the part of images that are yet to be split
_UNLABELLED = ""  # stands for the class of an image outside any sub-folder


class Images(ImageData):
    """Image files (png, jpg, jpeg, bmp, webp, gif), centre-cropped and resized.

    Sub-folders are classes; images directly in the folder are unlabelled (-1). If `root` holds a
    folder `train` and nothing but `train`, `val` and `test`, these are the parts, and a missing one
    is a tenth of `train`; else the images are split 0.8 / 0.1 / 0.1 with the classes in proportion.
    A training begins with the classes that each part was found to hold, one line a part. Hidden
    files are ignored. An image's name is its path in `root` without the ending.

    Args:
        root: the folder.
        size: height and width.
        channels: 3 (colour) or 1 (grey).
        attributes: a CSV file with a header and a line per image: the file name, relative to
            `root`, then numbers; a column "label" gives classes by name instead of sub-folders.
        memory_limit_mb: up to this size the decoded images are held in memory, beyond it every
            batch is decoded anew.
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
        num_workers: processes that decode ahead, where images are not in memory.

    Raises:
        ValueError: `channels` is neither 1 nor 3, or `size` below 1; when it is loaded also if the
            folder holds no images, or some that cannot be read or have no clear class.
    """

    def __init__(
        self,
        root: str,
        size: int = 64,
        channels: int = 3,
        attributes: str | None = None,
        memory_limit_mb: int = 1024,
        batch_size: int = 128,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, num_workers)
        self.save_hyperparameters(logger=False)
        if channels not in {1, 3} or size < 1:
            raise ValueError(
                f"expected channels 1 or 3 and size of 1 or more, got {channels} and {size}"
            )
        self.root, self.size, self.channels = Path(root).expanduser(), size, channels
        self.table = None if attributes is None else Path(attributes).expanduser()
        self.memory_limit_mb = memory_limit_mb

    def setup(self, stage: str | None = None) -> None:
        """Read the data set, the first time; a training says what it found."""
        super().setup(stage)
        if stage == "fit":
            for part in get_args(Split):
                _say(f"{self.root} {part}: {_describe(self.split(part).labels, self.class_names)}")

    def load(self) -> Splits:
        """Find the files, and decode them if they fit the memory limit."""
        found = _find_parts(self.root)
        paths = [path for files in found.values() for path, _ in files]
        classes = [name for files in found.values() for _, name in files]
        values: Tensor | None = None
        attributes: tuple[str, ...] = ()
        if self.table is not None:
            table = read_table(self.table, paths, self.root)
            values, attributes = table.values, table.names
            classes = self._classes(classes, table.labels)
        names, labels = _number_classes(self.root, classes)
        everything = FileImages(paths, self.size, self.channels, labels, values)
        rows = _part_rows({part: len(files) for part, files in found.items()}, labels)
        train, val, test = (self._part(everything, part) for part in rows)
        items = [path.relative_to(self.root).with_suffix("").as_posix() for path in paths]
        item_names = {
            split: tuple(items[row] for row in part.tolist())
            for split, part in zip(get_args(Split), rows, strict=True)
        }
        return Splits(train, val, test, names, attributes, item_names)

    def _classes(self, folders: list[str], column: tuple[str, ...] | None) -> list[str]:
        if column is None:
            return folders
        if any(folders):
            raise ValueError(
                f"expected classes from sub-folders or from a column, got both: {self.root} has"
                f" sub-folders and {self.table} a column 'label'; rename the column or"
                " move the files"
            )
        return list(column)

    def _part(self, everything: FileImages, rows: Tensor) -> ImageSet:
        paths = [everything.paths[row] for row in rows.tolist()]
        labels, values = everything.labels[rows], everything.attribute_values[rows]
        part = FileImages(paths, self.size, self.channels, labels, values)
        megabytes = len(everything) * self.channels * self.size**2 / 2**20
        return part if megabytes > self.memory_limit_mb else part.in_memory()


def _find_parts(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """Files and their classes, by the part they belong to."""
    if not root.is_dir():
        raise ValueError(
            f"expected root to be a folder of images, got {root}, which is not a folder"
        )
    folders = {folder.name for folder in _visible(root) if folder.is_dir()}
    if "train" in folders and folders <= set(_PARTS):
        return {part: _find(root / part) for part in _PARTS if part in folders}
    return {_WHOLE: _find(root)}


def _find(folder: Path) -> list[tuple[Path, str]]:
    """The images of a folder and the classes its sub-folders make, in the order of their paths."""
    inside = _visible(folder)
    loose = [(path, _UNLABELLED) for path in inside if path.suffix.lower() in SUFFIXES]
    in_classes = [(path, sub.name) for sub in inside if sub.is_dir() for path in _below(sub)]
    if loose and in_classes:
        raise ValueError(
            f"expected images in {folder} or in its sub-folders, got both"
            f" ({loose[0][0].name} and {in_classes[0][0].relative_to(folder)}): move one kind away"
        )
    if not loose and not in_classes:
        kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise ValueError(f"expected images ({kinds}) in {folder}, got none")
    return loose or in_classes


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _below(folder: Path) -> list[Path]:
    """All images of a class, however deep."""
    paths = [
        path
        for path in sorted(folder.rglob("[!.]*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not paths:
        raise ValueError(f"expected images in every class folder, got none in {folder}: remove it")
    return paths


def _number_classes(root: Path, classes: list[str]) -> tuple[tuple[str, ...], Tensor]:
    """Class names, sorted, and labels (N,)."""
    names = tuple(sorted(set(classes)))
    if names == (_UNLABELLED,):
        return (), torch.full((len(classes),), -1)
    if _UNLABELLED in names:
        raise ValueError(f"expected a class for all images of {root} or for none, got some without")
    number = {name: index for index, name in enumerate(names)}
    return names, torch.tensor([number[name] for name in classes])


def _part_rows(counts: dict[str, int], labels: Tensor) -> list[Tensor]:
    """Row numbers of train, val and test, where rows lie part after part."""
    rows = dict(
        zip(counts, torch.split(torch.arange(len(labels)), [*counts.values()]), strict=True)
    )
    whole = rows["train" if "train" in rows else _WHOLE]
    missing = [part for part in ("val", "test") if part not in rows]
    rows["train"] = whole
    if missing:
        pieces = cut(labels[whole], *[tenth(len(whole))] * len(missing))
        rows |= {
            part: whole[piece] for part, piece in zip(["train", *missing], pieces, strict=True)
        }
    return [rows[part] for part in _PARTS]


def _describe(labels: Tensor, names: tuple[str, ...]) -> str:
    """What a part holds, in a short line."""
    if not names:
        return f"{len(labels)} images, unlabelled"
    counts = Counter(labels.tolist())
    each = [counts[index] for index in range(len(names))]
    if len(names) > 12:
        return f"{len(labels)} images of {len(names)} classes, {min(each)} to {max(each)} each"
    listed = ", ".join(f"{name} {count}" for name, count in zip(names, each, strict=True))
    return f"{len(labels)} images: {listed}"


@rank_zero_only
def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads it, or the disk of its log is full
        print(line)  # noqa: T201  (without these lines a folder read as one class goes unnoticed)
