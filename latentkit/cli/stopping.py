"""What is said when a command is cut short, and how to go on."""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Stopped(KeyboardInterrupt):
    """Somebody stopped the command.

    Attributes:
        code: what it exits with.
        run: the run folder that training can go on from; None where there is none.
    """

    def __init__(self, code: int = 130, run: Path | None = None) -> None:
        super().__init__()
        self.code, self.run = code, run


class RunFailedError(OSError):
    """A file that a training writes or reads failed it.

    Attributes:
        run: the run folder that it can go on from; None where there is none.
    """

    def __init__(self, message: str, run: Path | None) -> None:
        super().__init__(message)
        self.run = run


@contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM stop the block as Ctrl-C does, so that nothing half-written stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Stopped(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stopped(stop: KeyboardInterrupt, args: list[str]) -> tuple[int, str]:
    """The exit code, and the sentence."""
    code = stop.code if isinstance(stop, Stopped) else 130
    again = "no file is half written; the same command starts again"
    return code, f"stopped; {go_on(stop, args) or again}"


def go_on(error: BaseException, args: list[str]) -> str:
    """How to go on with the training that the error ended; empty where it ended none."""
    run: Path | None = getattr(error, "run", None)
    if run is None or args[0] != "fit":  # `demo` fits, too
        return ""
    words, skip = [], False
    for word in args:
        if not skip and word.partition("=")[0] != "--ckpt_path":
            words.append(word)
        skip = word == "--ckpt_path"
    return f"go on with: {shlex.join(['latentkit', *words, '--ckpt_path', str(run)])}"
