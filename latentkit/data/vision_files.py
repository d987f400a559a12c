"""The files of torchvision's data sets: found, or downloaded, or asked for by name."""

import http.client
import pickle
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torchvision.datasets

_IDX = tuple(
    f"{part}-{kind}"
    for part in ("train", "t10k")
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)
_BY_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BY_SPLIT = {"train": {"split": "train"}, "test": {"split": "test"}}

SETS: Mapping[str, tuple[dict[str, dict[str, Any]], str, tuple[str, ...]]] = MappingProxyType(
    {
        "MNIST": (_BY_TRAIN, "MNIST/raw", _IDX),
        "FashionMNIST": (_BY_TRAIN, "FashionMNIST/raw", _IDX),
        "KMNIST": (_BY_TRAIN, "KMNIST/raw", _IDX),
        "EMNIST": (_BY_TRAIN, "EMNIST/raw", _IDX),
        "CIFAR10": (
            _BY_TRAIN,
            "cifar-10-batches-py",
            (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        ),
        "CIFAR100": (_BY_TRAIN, "cifar-100-python", ("train", "test", "meta")),
        "SVHN": (_BY_SPLIT, "", ("train_32x32.mat", "test_32x32.mat")),
        "STL10": (
            _BY_SPLIT,
            "stl10_binary",
            ("train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin"),
        ),
        "CelebA": (
            {**_BY_SPLIT, "val": {"split": "valid"}},
            "celeba",
            (
                "img_align_celeba/",
                "list_attr_celeba.txt",
                "identity_CelebA.txt",
                "list_bbox_celeba.txt",
                "list_landmarks_align_celeba.txt",
                "list_eval_partition.txt",
            ),
        ),
    }
)
"""Class name -> the arguments of each part, the folder below the root, the files in it."""

_CHOICES = MappingProxyType(
    {
        "EMNIST": ("balanced", "byclass", "bymerge", "letters", "digits", "mnist"),
        "STL10": ("train", "train+unlabeled", "unlabeled"),
        "SVHN": ("train", "extra"),
    }
)
"""Class name -> the splits a user may choose from, the usual one first."""

_UNREADABLE = (
    *(RuntimeError, ValueError, AssertionError, OSError, EOFError, KeyError, IndexError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, tarfile.TarError, zlib.error),
    http.client.HTTPException,
)


def open_parts(name: str, root: Path, split: str | None, download: bool) -> dict[str, Any]:
    """Open the parts of a data set, downloading it if it is not there.

    Args:
        name: one of `SETS`.
        root: folder of the files.
        split: of EMNIST, STL10 or SVHN; None for the usual one.
        download: whether files may be fetched.

    Returns:
        Torchvision's objects by part: "train", "test" and, for CelebA, "val".

    Raises:
        ValueError: the files are missing or damaged, or the set has no such split.
    """
    kind, arguments = getattr(torchvision.datasets, name), _arguments(name, split)
    try:
        return _open(kind, root, arguments)
    except _UNREADABLE as error:
        reason = _first_line(error)
    if download:
        try:
            _fetch(kind, root, arguments)
            return _open(kind, root, arguments)
        except _UNREADABLE as error:
            reason = f"the download failed: {_first_line(error)}"
    files = ", ".join(_files(name, split))
    raise ValueError(
        f"expected {name} in {(root / SETS[name][1]).absolute()}, which needs the files {files};"
        f" got none that can be read ({reason}): put them there"
        + ("" if download else " or set download to true")
    )


def _arguments(name: str, split: str | None) -> dict[str, dict[str, Any]]:
    """Arguments of torchvision's class, by part."""
    parts = SETS[name][0]
    choices = _CHOICES.get(name, ())
    if split is not None and split not in choices:
        raise ValueError(f"expected split {', '.join(choices) or 'None'} for {name}, got {split!r}")
    if name == "EMNIST":
        return {part: {"split": split or choices[0], **chosen} for part, chosen in parts.items()}
    return {**parts, "train": {"split": split}} if split else parts


def _open(kind: Any, root: Path, arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401
    return {part: kind(root, download=False, **chosen) for part, chosen in arguments.items()}


def _fetch(kind: Any, root: Path, arguments: dict[str, dict[str, Any]]) -> None:  # noqa: ANN401
    """Download into a folder beside, so that a broken download leaves nothing behind."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
        for chosen in arguments.values():
            kind(folder, download=True, **chosen)
        for file in [path for path in Path(folder).rglob("*") if path.is_file()]:
            target = root / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _files(name: str, split: str | None) -> list[str]:
    files = list(SETS[name][2])
    if name == "EMNIST":
        prefix = f"emnist-{split or 'balanced'}-"
        return [prefix + file.replace("t10k", "test") for file in files]
    return [*files, "extra_32x32.mat"] if split == "extra" else files


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "they are damaged").splitlines()[0].rstrip(":")
