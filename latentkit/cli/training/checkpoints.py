"""Finds the checkpoint that `--ckpt_path` means."""

import re
import sys
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from latentkit.store import CHECKPOINT_FILE, read_about
from latentkit.training.resume import PREVIOUS_FILE


def find_checkpoint(wanted: str, runs: Path) -> Path:
    """The file to go on from.

    Args:
        wanted: "last", a `.ckpt` file or a run folder.
        runs: folder of this config's runs.

    Raises:
        ValueError: there is none, or the newest run has none.
    """
    path = Path(wanted)
    if wanted == "last":
        return _newest_in(_newest_run(runs))
    if path.is_dir() and saved(path):
        return _newest_in(path)
    if not path.is_file() or path.suffix != ".ckpt":
        raise ValueError(f"expected --ckpt_path last, a .ckpt file or a run folder, got {wanted}")
    return path


def _newest_run(runs: Path) -> Path:
    found = sorted(runs.glob("version_*"), key=_version)
    kept = [run for run in found if saved(run)]
    if not kept:
        raise ValueError(f"--ckpt_path last found no {CHECKPOINT_FILE} under {runs}")
    if kept[-1] != found[-1]:
        raise ValueError(
            f"the newest run, {found[-1]}, has no {CHECKPOINT_FILE}: remove it, or give "
            f"--ckpt_path {kept[-1]} to go on with the one before"
        )
    return kept[-1]


def saved(run: Path) -> list[Path]:
    """The run's checkpoints, newest first."""
    return [p for p in (run / CHECKPOINT_FILE, run / PREVIOUS_FILE) if p.is_file()]


def _newest_in(run: Path) -> Path:
    """The newest checkpoint of the run that can be read."""
    newest, *older = saved(run)
    try:
        read_about(newest)
    except ValueError as damaged:
        if not older:
            raise
        note = f"note: {damaged}: going on from {older[0]}, the one before"
        rank_zero_only(print)(note, file=sys.stderr)
        return older[0]
    return newest


def _version(run: Path) -> int:
    number = re.search(r"version_(\d+)$", run.name)
    return int(number.group(1)) if number else -1
