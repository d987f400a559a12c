"""Progress bars of the verbs, on a terminal's stderr, gone when the work is done."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from latentkit.latent.watch import Watch


def bar(what: str) -> Watch:
    """Shows how far work that can be watched has come."""

    def watch(numbers: Iterable[int]) -> Iterable[int]:
        shown: Iterable[int] = tqdm(numbers, desc=what, leave=False, disable=None)
        return shown

    return watch


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Says what is being done, in one call that cannot be watched."""
    with tqdm(total=1, desc=what, leave=False, disable=None, bar_format="{desc} ...") as shown:
        yield
        shown.update()
