"""What is said when a command is cut short, and how to go on."""

import _thread
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


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


_asked: list[int] = []  # signals that came while a command was at work


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Ends the block as Ctrl-C does when one of these signals comes, wherever it finds the block.

    Compiled code can lose the interruption, or make another error of it.

    Args:
        numbers: of the signals; those that are ignored stay so.

    Raises:
        Stopped: one came.
    """
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    handlers = {number: signal.getsignal(number) for number in numbers}
    handlers = {n: kept for n, kept in handlers.items() if kept not in {None, signal.SIG_IGN}}
    hook = sys.unraisablehook
    for number in handlers:
        signal.signal(number, _stop)
    _asked.clear()
    sys.unraisablehook = _again(hook)
    try:
        yield
    except Exception as error:
        if _asked:
            raise Stopped(_asked[0] + 128) from error
        raise
    finally:
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def stoppable_at_first(number: int) -> Iterator[None]:
    """Ends the block when the signal comes, until the block has a handler of its own.

    Such a one may call the handlers that it found, as Lightning's does.

    Args:
        number: of the signal; if somebody handles or ignores it already, that stays so.

    Raises:
        Stopped: it came.
    """

    def stop(came: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if signal.getsignal(came) is stop:
            raise Stopped(128 + came)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    try:
        signal.signal(number, stop)
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _asked.append(number)
    raise Stopped(128 + number)


def _again(before: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook that interrupts once more where an interruption was lost, as in a destructor."""

    def hook(lost: Any) -> None:  # noqa: ANN401
        if isinstance(lost.exc_value, Stopped):
            threading.Timer(0.01, _interrupt).start()  # now would be within the hook
        else:
            before(lost)

    return hook


def _interrupt() -> None:
    """Stops the main thread, also where it waits for something."""
    main = threading.main_thread().ident
    if main is None or not hasattr(signal, "pthread_kill"):  # Windows: once the wait is over
        _thread.interrupt_main()
    else:
        signal.pthread_kill(main, signal.SIGINT)


def drop_unwritten() -> None:
    """Sends nowhere what nobody took of the output, of which Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def asked_to_stop() -> bool:
    """Whether a signal came, even if its interruption was lost."""
    return bool(_asked)


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
