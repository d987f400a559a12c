"""The zoo of small models, and a way to type commands, as the tests of the command have them."""

from tests.cli.conftest import digits, ok, place, small, typed, zoo

__all__ = ["digits", "ok", "place", "small", "typed", "zoo"]
