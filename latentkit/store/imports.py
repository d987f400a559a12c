"""Gives what a user's own package holds, by its name."""

import importlib
import sys
from pathlib import Path
from typing import Any


def imported(spec: str, what: str) -> Any:  # noqa: ANN401
    """Gives the object named `package.module:name`.

    Args:
        spec: the name.
        what: the object is to be, for the message.

    Raises:
        ValueError: if there is none of this name.
    """
    module, _, name = spec.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, so that a local file is found
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"cannot import {spec} (expected package.module:{what}): {error}"
        ) from error
