"""Commands in processes of their own, that are stopped at some moment."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

LONGEST = 120  # seconds that a command may take to come to its end


@dataclass
class Ended:
    """How a command ended; the code is negative after a signal that nobody took."""

    code: int
    out: str
    err: str


def _main(folder, words, limit):
    os.setsid()  # what it starts can be found by its session
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    torch.set_num_threads(1)
    from latentkit.cli import main

    if limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    Path(f"{folder}.begun").touch()
    code = main(list(words))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Command:
    """A running command.

    Args:
        folder: where it runs.
        words: what is typed.
        limit: bytes that no file may grow beyond.
    """

    def __init__(self, folder, *words, limit=None):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [
                "latentkit.cli.training.lightning",
                "latentkit.cli.results",
                "latentkit.cli.walking.paths",
                "torch.utils.tensorboard",
            ]
        )
        self.folder = Path(folder)
        words = tuple(str(word) for word in words)
        self.process = context.Process(target=_main, args=(str(folder), words, limit))
        begun = Path(f"{self.folder}.begun")
        begun.unlink(missing_ok=True)
        self.process.start()
        self.wait_for(begun.exists)
        begun.unlink()

    def signal(self, number=signal.SIGINT):
        """Sends a signal if it still runs."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait_for(self, there, longest=LONGEST):
        """Waits until `there()` holds or the command has ended."""
        end = time.monotonic() + longest
        while self.process.is_alive() and not there():
            assert time.monotonic() < end, "it never came so far"
            time.sleep(0.002)

    def end(self):
        """Waits for its end."""
        self.process.join(LONGEST)
        assert not self.process.is_alive(), f"it hangs: {self.text('err')}"
        assert not _session(self.process.pid), "it left processes behind"
        return Ended(self.process.exitcode, self.text("out"), self.text("err"))

    def text(self, name):
        return Path(f"{self.folder}.{name}").read_text()


def _session(leader):
    """Processes that are still in the session of one that ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found
