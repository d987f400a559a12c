"""How long work lets its caller look on."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

Watch: TypeAlias = Callable[[Iterable[int]], Iterable[int]]
"""Stands around the numbers that are gone through, as a progress bar does."""
