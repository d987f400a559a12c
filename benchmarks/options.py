"""Options that several benchmarks take, each said once."""

import argparse
from pathlib import Path
from typing import Any

_SHARED: dict[str, dict[str, Any]] = {
    "root": {"type": Path, "default": Path("data"), "help": "folder of MNIST, as torchvision's"},
    "runs": {
        "type": Path,
        "default": Path(__file__).parent / "runs",
        "help": "folder of trainings, which are not repeated",
    },
    "seeds": {"type": int, "nargs": "+", "default": [0, 1, 2], "help": "of the trainings"},
    "epochs": {"type": int, "help": "of the trainings, instead of the published ones"},
    "checkpoints": {"type": Path, "default": Path("checkpoints"), "help": "folder of the models"},
}


def parser(doc: str, *shared: str) -> argparse.ArgumentParser:
    """A parser with some of the shared options, described by the first line of a docstring."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name in shared:
        made.add_argument(f"--{name}", **_SHARED[name])
    return made
