"""Faults of a disk, brought about on purpose: full, closed, or gone at the k-th moment."""

import errno
import os
import resource
import sys
from contextlib import contextmanager
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
EVENTS = ("open", "os.rename", "os.mkdir")


class Disk:
    """Sees every file that is opened to write, renamed or made a folder of below `folder`.

    An audit hook sees them all, whatever library they come from, and an error that it raises takes
    the place of the system's. It stays for good, so it looks away between tests.
    """

    def __init__(self):
        self.folder, self.number, self.fails, self.lasting = None, 0, None, False
        self.seen, self.events = [], ()
        sys.addaudithook(self._look)

    def _look(self, event, args):
        if self.folder is None or event not in self.events:
            return
        if event == "open" and not self._writes(args):
            return
        path = args[1] if event == "os.rename" else args[0]
        if not isinstance(path, str | os.PathLike):
            return
        path = os.path.abspath(path)  # noqa: PTH100  (no pathlib within its own calls)
        if not path.startswith(self.folder):
            return
        self.seen.append((event, path))
        k = len(self.seen)
        if self.fails is not None and (k == self.fails or (self.lasting and k > self.fails)):
            raise OSError(self.number, os.strerror(self.number), path)

    @staticmethod
    def _writes(args):
        _, mode, flags = args
        return any(c in (mode or "") for c in "wxa+") or bool((flags or 0) & _WRITING)

    @contextmanager
    def watched(self, folder, fails=None, number=errno.ENOSPC, events=EVENTS, lasting=False):
        """Lets the `fails`-th of these calls fail, counted from 1; gives the list of all."""
        self.events = events
        self.fails, self.number, self.lasting, self.seen = fails, number, lasting, []
        self.folder = os.path.abspath(folder)  # noqa: PTH100
        try:
            yield self.seen
        finally:
            self.folder = None


DISK = Disk()


@contextmanager
def no_file_beyond(size):
    """Every write beyond so many bytes of a file fails, as on a disk that has just filled up.

    Python ignores the signal that would come with it, so the write gives an error.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder):
    """Every file below the folder with its content, compiled Python apart."""
    found = (p for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
    return {p.relative_to(folder): p.read_bytes() for p in found}


def put_back(folder, kept):
    """Gives a folder the contents that it had."""
    for path, content in kept.items():
        (Path(folder) / path).write_bytes(content)


def hidden(folder):
    """What was only meant to be there for a moment."""
    return [p for p in Path(folder).rglob(".*") if p.name != ".pytest_cache"]


def check_refused(done, *words):
    """Exit code 2, and one sentence that holds the words."""
    assert done.code == 2, done
    lines = [line for line in done.err.splitlines() if line.startswith("latentkit: error: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    assert "[Errno" not in lines[0], lines
    for word in words:
        assert word in lines[0], lines
