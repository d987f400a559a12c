"""Progress bars of the verbs, on a terminal's stderr, gone when the work is done."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def watched(items: Iterable[T], what: str, few: bool = False) -> Iterable[T]:
    """The same items, with a bar that shows how many of them are done.

    Args:
        items: to go through.
        what: is done with them, in a word or two.
        few: whether they are too few to be worth a bar.
    """
    # None is tqdm's word for "on a terminal alone".
    shown: Iterable[T] = tqdm(items, desc=what, leave=False, disable=few or None)
    return shown


def bar(what: str) -> Callable[[Iterable[T]], Iterable[T]]:
    """What shows how far work has come that lets its caller look on."""
    return partial(watched, what=what)


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Says what is being done, in one call that cannot be watched."""
    with tqdm(total=1, desc=what, leave=False, disable=None, bar_format="{desc} ...") as shown:
        yield
        shown.update()
