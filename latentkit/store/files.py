"""Writing files whole or not at all, one or several that belong together."""

import errno
import json
import math
import os
import re
import secrets
import shutil
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
            made.append(path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}"))
            os.close(os.open(made[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield made[0]
    finally:
        with undisturbed():
            for temporary in made:
                temporary.unlink(missing_ok=True)


def remove_unfinished(*paths: Path) -> None:
    """Removes what writers who were killed left of these files, for who alone may write them."""
    for path in paths:  # one name inside another where `write_all` calls what is atomic by itself
        kind = rf"\.+{re.escape(path.stem)}(-[0-9a-f]{{8}})+{re.escape(path.suffix)}(\.before)?"
        for found in path.parent.glob(".*"):
            if re.fullmatch(kind, found.name):
                found.unlink(missing_ok=True)


def _publish(written: Mapping[Path, Path]) -> None:
    """Renames all files to their final names, or puts back those that were there before.

    But for the last one, a name never stands for nothing: a reader, and whoever comes after a kill,
    finds the old file or the new one.
    """
    last = list(written)[-1]
    before: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path in filter(Path.is_file, reversed(list(written))):
            before[path] = written[path].with_name(f"{written[path].name}.before")
            _keep(path, before[path], under_both=path != last)
        for path, temporary in written.items():
            temporary.replace(path)
            done.append(path)
    except OSError:
        _restore(before, done)
        raise
    for aside in before.values():
        with suppress(OSError):  # the new files are there: this is no failure any more
            aside.unlink()


def _restore(before: Mapping[Path, Path], done: list[Path]) -> None:
    """Puts back what was there before the first of the names was taken."""
    for path in done:
        if path not in before:
            path.unlink()
    for path, aside in before.items():
        if path.exists() and aside.exists() and aside.samefile(path):
            aside.unlink()  # not replaced yet; to rename one name to the other does nothing
        elif aside.exists():
            aside.replace(path)


def _keep(path: Path, aside: Path, under_both: bool) -> None:
    """Gives a file another name, or a second one."""
    if not under_both:
        path.replace(aside)
        return
    try:
        aside.hardlink_to(path)
    except OSError:  # a file system without
        shutil.copy2(path, aside)


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


def refused(error: OSError) -> bool:
    """Whether a disk is full or a place may not be written to."""
    return error.errno in _FULL | _CLOSED


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes `content` atomically; non-finite numbers become null, which JSON can hold."""
    with atomic(path) as temporary:
        temporary.write_text(json_text(content), encoding="utf-8")


def json_text(content: Mapping[str, Any]) -> str:
    """The text of a JSON file; non-finite numbers become null."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def read_json(path: str | Path) -> Any:  # noqa: ANN401  (whatever the file holds)
    """Reads a JSON file.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise ValueError(f"{path} is damaged: expected JSON, got other text ({error})") from error


def plain(value: Any) -> Any:  # noqa: ANN401  (JSON values have any type)
    """Turns tuples, paths and non-finite numbers into what JSON can hold, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
