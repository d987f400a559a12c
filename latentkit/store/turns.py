"""One after the other: moments that no signal may cut in two, and folders with one writer."""

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows, where nothing keeps two commands apart
    fcntl = None  # type: ignore[assignment]

_LOCKLESS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EINVAL}
"""What file systems without locks answer."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Holds Ctrl-C and SIGTERM back until the end of the block, which must be short."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    came: list[int] = []
    try:
        with _noted(signal.SIGINT, came), _noted(signal.SIGTERM, came):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def _noted(number: int, came: list[int]) -> Iterator[None]:
    """Notes a signal instead of obeying it; one that is ignored stays so.

    Another signal may end the block at any moment: afterwards this one is obeyed all the same.
    """
    handler = signal.getsignal(number)
    if handler in {None, signal.SIG_IGN}:
        yield
        return
    try:
        signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        try:
            signal.signal(number, handler)
        except BaseException:  # of another signal's handler, which Python calls before it
            signal.signal(number, handler)
            raise


@contextmanager
def at_once(folder: Path) -> Iterator[None]:
    """Lets one process at a time into the block; the others wait. Keep it short."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _take(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Keeps a folder for this process until the end of the block.

    The lock is the operating system's and ends with the process, however that ends; a file
    `.lock` that a killed one leaves behind locks nothing. File systems without locks, neither.

    Args:
        folder: that exists.
        doing: what another process does in it where it is taken, for the message.

    Raises:
        ValueError: another process has it.
    """
    if fcntl is None:
        yield
        return
    path = folder / ".lock"
    handle = _open_locked(path)
    if handle is None:
        raise ValueError(
            f"{folder} is in use: another process {doing}; wait until it ends, or stop it"
        )
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays locks nothing
            if os.path.samestat(path.stat(), os.fstat(handle)):  # in a new folder it is another's
                path.unlink()
        os.close(handle)


def _open_locked(path: Path) -> int | None:
    """The handle of a lock that is ours; None where another process has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(path.stat(), os.fstat(handle)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # the one before us has just removed it


def _take(handle: int, how: int) -> None:
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
