"""Attributes of image files, from a CSV file."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_LABEL = "label"


@dataclass(frozen=True)
class Table:
    """What a CSV file says about N images.

    Attributes:
        names: the A numeric columns.
        values: (N, A) float32.
        labels: the column "label", one text an image; None if there is no such column.
    """

    names: tuple[str, ...]
    values: Tensor
    labels: tuple[str, ...] | None


def read_table(path: Path, files: Sequence[Path], root: Path) -> Table:
    """Read a CSV file with a header and one line per image.

    Args:
        path: the CSV file: its first column names the image, by its path below `root` or, where no
            other image has it, by its bare name; a column "label" is the class, all others are
            numbers.
        files: the N images.
        root: the folder they lie in.

    Returns:
        The lines in the order of `files`.
    """
    header, lines = _read(path)
    by_file = _match(path, lines, files, root)
    ordered = [by_file[file] for file in files]
    numeric = [name for name in header[1:] if name != _LABEL]
    values = [[_number(path, line, name) for name in numeric] for line in ordered]
    labels = tuple(line[_LABEL] for line in ordered) if _LABEL in header[1:] else None
    return Table(tuple(numeric), torch.tensor(values).view(len(files), len(numeric)), labels)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header, and lines as dictionaries with the file name under the key ""."""
    if not path.is_file():
        raise ValueError(f"expected a CSV file of attributes, got {path}, which does not exist")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"expected a CSV file, text in UTF-8, got {path} ({error})") from error
    if not rows or len(rows[0]) < 2 or len(set(rows[0])) < len(rows[0]):
        raise ValueError(
            f"expected a header of two or more different columns in {path}, the file name first,"
            f" got {rows[0] if rows else 'an empty file'}"
        )
    header = rows[0]
    for row in rows[1:]:
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} columns in {path}, got {len(row)}: {row}")
    return header, [dict(zip(["", *header[1:]], row, strict=True)) for row in rows[1:]]


def _match(
    path: Path, lines: list[dict[str, str]], files: Sequence[Path], root: Path
) -> dict[Path, dict[str, str]]:
    """The line of every file; each line must have a file and each file one line."""
    bare = Counter(file.name for file in files)
    known = {file.name: file for file in files if bare[file.name] == 1}
    known |= {file.relative_to(root).as_posix(): file for file in files}
    unknown = [line[""] for line in lines if line[""] not in known]
    if unknown:
        raise ValueError(
            f"expected an image in {root} for each line of {path}, got {_few(unknown)}"
        )
    counts = Counter(known[line[""]] for line in lines)
    bad = [file.relative_to(root).as_posix() for file in files if counts[file] != 1]
    if bad:
        raise ValueError(
            f"expected one line in {path} for each image, got none or more for {_few(bad)}"
        )
    return {known[line[""]]: line for line in lines}


def _number(path: Path, line: dict[str, str], name: str) -> float:
    try:
        value = float(line[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"expected a number in column {name!r} of {path} for {line['']}, got {line[name]!r};"
            f" a text column must be called {_LABEL!r}"
        )
    return value


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
