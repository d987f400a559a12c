"""Reads the JSON files of runs and results, and says which one is damaged."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from latentkit.store import read_json

T = TypeVar("T")


def told(path: Path, tell: Callable[[Mapping[str, Any]], T]) -> T:
    """What is told of a file's content."""
    with understood(path):
        return tell(_read(path))


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Says which file holds something else than what latentkit writes."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged: it is not as latentkit writes it ({error!r})"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    return content if isinstance(content, dict) else {}


def ours(path: Path) -> dict[str, Any]:
    """The content of a result; nothing of a file that is no JSON, or somebody else's."""
    if path.name == "result.json":  # ours for sure, so its loss is told
        return _read(path)
    try:
        content = read_json(path)
    except (ValueError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
