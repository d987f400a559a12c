"""The folder of a training: a new one or the one that is resumed, and nobody else's meanwhile."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from latentkit.cli.stopping import RunFailedError, Stopped, asked_to_stop, stoppable_at_first
from latentkit.cli.training.checkpoints import saved
from latentkit.store import (
    MODEL_FILE,
    alone,
    explained,
    reason,
    refused,
    remove_unfinished,
    undisturbed,
)
from latentkit.training.health import HEALTH_FILE
from latentkit.training.quality import QUALITY_FILE
from latentkit.training.run import METRICS_FILE, folder_of
from latentkit.training.watch import events_kept

_WRITTEN = ("config.yaml", MODEL_FILE, METRICS_FILE, QUALITY_FILE, HEALTH_FILE)
"""What a training writes beside its checkpoints, and may leave unfinished when killed."""


@contextmanager
def own_folder(trainer: pl.Trainer) -> Iterator[None]:
    """Gives a training a folder that no other one writes into.

    A new folder in which the training left neither a checkpoint nor an alarm is removed: nothing
    goes on from it, and there is nothing to learn from it.

    Raises:
        ValueError: another training is at work in it.
        RunFailedError: a file could not be written, or read.
        Stopped: somebody stopped the training.
    """
    if not trainer.is_global_zero:
        yield
        return
    made, folder, ours = None, None, False
    with stoppable_at_first(signal.SIGTERM), ExitStack() as stack:
        try:
            if trainer.loggers:
                with undisturbed():  # or a stop could fall between a new folder and its removal
                    with explained(Path(trainer.loggers[0].save_dir or ".")):
                        made = _claim(trainer.loggers[0])
                    folder = folder_of(trainer)
                    if folder is not None:
                        with explained(folder):
                            folder.mkdir(parents=True, exist_ok=True)
                            stack.enter_context(alone(folder, "trains in it"))
                            remove_unfinished(*(folder / name for name in _WRITTEN))
                        ours = True
            with told(folder):
                yield
        except BaseException:
            with undisturbed():
                if made and folder:
                    _remove(folder, made, ours)
            raise


def _remove(folder: Path, made: Path, ours: bool) -> None:
    """Removes a run folder in which a training left neither a checkpoint nor an alarm.

    And the folder that was made for it, if it is another one and empty: a logger's `sub_dir` may
    name any place, and one that was there before stays.

    Args:
        folder: of the run.
        made: by this training.
        ours: whether it is locked; if not, somebody else may have begun in it.
    """
    if not folder.resolve().is_relative_to(made.resolve()):
        folder = made
    elif ours and not any(folder.rglob("*.ckpt")) and not any(folder.rglob(HEALTH_FILE)):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (folder, *folder.parents):
        if path.is_relative_to(made):
            with suppress(OSError):
                path.rmdir()


def _claim(logger: Any) -> Path | None:  # noqa: ANN401  (any of Lightning's)
    """Makes the folder of a new run; of two that begin at once each gets its own.

    Returns:
        The folder; None where it is not made here: of another logger, or with a version given.
    """
    if not isinstance(logger, TensorBoardLogger) or logger._version is not None:
        return None
    # Lightning opens the expanded name, and looks for the next version at the other one.
    logger._root_dir = os.path.expandvars(Path(logger._root_dir).expanduser())
    version = logger._get_next_version()  # what `logger.version` would be
    while True:
        folder = Path(logger.root_dir) / f"version_{version}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():  # a file lies where the run goes
                raise
            version += 1  # asking again could give the same, where the folder may not be listed
            continue
        logger._version = version
        return folder


@contextmanager
def told(folder: Path | None = None) -> Iterator[None]:
    """Turns what ends a training from outside into errors that say how to go on.

    Lightning makes an exit of Ctrl-C and of SIGTERM.
    """
    try:
        with events_kept():
            yield
    except BaseException as end:
        code = _code_of(end)
        if code is not None:
            raise Stopped(code, _resumable(folder)) from end
        cause = end.__context__  # rich makes an exit of it
        if isinstance(end, SystemExit) and isinstance(cause, BrokenPipeError) and folder is None:
            raise cause from None
        if isinstance(end, OSError) and folder is not None:
            raise RunFailedError(_said(end, folder), _resumable(folder)) from end
        raise


def _code_of(end: BaseException) -> int | None:
    """What a training that somebody stopped exits with; None for any other end."""
    if isinstance(end, SIGTERMException):
        return 143
    for error in (end, end.__context__):
        if isinstance(error, Stopped):
            return error.code
    by_hand = isinstance(end, KeyboardInterrupt) or isinstance(end.__context__, KeyboardInterrupt)
    return 130 if by_hand or asked_to_stop() else None


def _said(error: OSError, folder: Path) -> str:
    """The sentence for what could not be written; of anything else, what the error says."""
    if error.errno is None:
        return str(error)
    if error.filename is None and not refused(error):  # no more handles, no memory, no network
        return str(error)
    path = Path(str(error.filename or folder)).absolute()
    inside = path.is_relative_to(folder.absolute())
    return f"cannot write {error.filename or folder}: {reason(error)}" if inside else str(error)


def _resumable(folder: Path | None) -> Path | None:
    return folder if folder is not None and saved(folder) else None
