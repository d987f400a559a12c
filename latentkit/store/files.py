"""Writing files whole or not at all, one or several that belong together."""

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from latentkit.store.turns import at_once, undisturbed

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


class UnwrittenError(OSError):
    """A file could not be written.

    Attributes:
        reason: why, and what to do.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}")
        self.reason = reason


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; renames it to `path` only on success.

    Args:
        path: the final name. Its folder is made; its ending is kept on the temporary name.

    Raises:
        UnwrittenError: it cannot be written; names the path and says what to do.
    """
    path = Path(path)
    with explained(path), _temporary(path) as temporary:
        yield temporary
        with undisturbed():
            temporary.replace(path)


def write_all(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Writes files that belong together, all or none: a failure leaves what was there before.

    The last one tells of the others, as a `result.json` does: it is taken away before any of them
    changes and comes after all of them, so it never lies beside the files of another writer.

    Args:
        writers: final name -> what writes to the name that it is given. All in one folder.

    Raises:
        UnwrittenError: one cannot be written; names the path and says what to do.
    """
    with ExitStack() as stack:
        written: dict[Path, Path] = {}
        for path, write in writers.items():
            with explained(path):
                written[path] = stack.enter_context(_temporary(path))
                write(written[path])
        last = list(writers)[-1]
        with explained(last), at_once(last.parent), undisturbed():
            _publish(written)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` that is gone in the end, with the permissions of any new file."""
    made: list[Path] = []
    try:
        with undisturbed():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
            os.close(handle)
            made.append(Path(name))
            _open_to_others(made[0])
        yield made[0]
    finally:
        with undisturbed():
            for temporary in made:
                temporary.unlink(missing_ok=True)


def _open_to_others(path: Path) -> None:
    """Gives a private file the permissions that any new one has."""
    mask = os.umask(0)  # there is no way to ask without setting it
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _publish(written: Mapping[Path, Path]) -> None:
    """Renames all files to their final names, or puts back those that were there before."""
    before: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path in reversed(list(written)):
            if path.is_file():
                aside = written[path].with_name(f"{written[path].name}.before")
                path.replace(aside)
                before[path] = aside
        for path, temporary in written.items():
            temporary.replace(path)
            done.append(path)
    except OSError:
        for path in done:
            path.unlink()
        for path, aside in before.items():
            aside.replace(path)
        raise
    for aside in before.values():
        with suppress(OSError):  # the new files are there: this is no failure any more
            aside.unlink()


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turns an operating system's error while writing into a sentence that says what to do."""
    try:
        yield
    except OSError as error:
        raise UnwrittenError(path, reason(error)) from error


def reason(error: OSError) -> str:
    """What happened, in the words of the operating system, and what to do."""
    if isinstance(error, UnwrittenError):
        return error.reason
    said = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        return f"{said}; make room on that disk"
    if error.errno in _CLOSED:
        return f"{said}; choose a place that you may write to"
    if error.errno in _NO_FOLDER:
        return f"{said}; a file is where a folder must be: move it, or choose another place"
    return said


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes `content` atomically; non-finite numbers become null, which JSON can hold."""
    with atomic(path) as temporary:
        temporary.write_text(json_text(content), encoding="utf-8")


def json_text(content: Mapping[str, Any]) -> str:
    """The text of a JSON file; non-finite numbers become null."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:  # noqa: ANN401  (JSON values have any type)
    """Turns tuples, paths and non-finite numbers into what JSON can hold, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
