"""Runs one command within bounds, in this process, and judges what it did."""

import io
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import torch

from latentkit.cli import main
from tests.cli.conftest import logs_on_stderr, show_on_stderr

SENTINEL = "sentinel"  # the file that code hidden in a case would leave behind
SECONDS = 10  # of the processor for one case; a valid one trains a batch or draws a few pictures
WAITING = 120  # seconds by the clock, on a machine that does much else
MEGABYTES = 1500  # that a case may need more than what was in use before it
_HEADROOM = 4 * 2**30  # bytes of address space beyond what is in use: what is asked beyond fails
_STARTS = re.compile(r"os\.(system|exec|fork|forkpty|posix_spawn|spawn|startfile)|pty\.spawn|"
                     r"subprocess\.Popen|socket\.(connect|bind)|webbrowser\.open")  # fmt: skip
# Python's own words, which say nothing to somebody who typed a command.
_RAW = re.compile(
    r"^\w+(Error|Exception)\b|^'[^']*'$|^\S*$|Traceback|object at 0x|^\S* object is not|"
    r"^unsupported operand|^\w* ?index out of range|^not enough values|^too many values|"
    r"^'\w+' object |^\w+ indices must be|^argument of type|^unhashable|is not iterable$|"
    r"Sizes of tensors must|must match the size of tensor|enforce fail|"
    r"Expected all tensors|^\S+ codec can't"
)
_TOLD = ("Running in `fast_dev_run` mode", "Restoring states from")  # what Lightning does
_LONGEST = 1000  # characters of a message

_started: list[str] = []
_watched = False


class HangError(BaseException):
    """The case took too long."""


@dataclass(frozen=True)
class Case:
    """One command in a folder of its own.

    Attributes:
        kind: what was done to the input, for the counts.
        argv: the command.
        files: written into the folder before; None makes a folder of the name.
    """

    kind: str
    argv: tuple[str, ...]
    files: dict[str, bytes | None] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.argv, *self.files.items()))


@dataclass
class Outcome:
    """What a case did.

    Attributes:
        code: the exit code; None if something else than an exit came out of it.
        said: on stderr.
        seconds: of the processor that it took.
        megabytes: that it needed at most.
        faults: what is wrong with it; empty if nothing is.
    """

    code: int | None
    said: str
    seconds: float
    megabytes: float
    faults: list[str]


def attempt(case: Case, world: Path) -> Outcome:
    """Runs the case beside the files of `world`, and judges it."""
    watch()
    with _inside(_place(world)) as place:
        _put(case.files)
        before = _files(place.parent)
        _started.clear()
        code, said, seconds, megabytes = _run(case)
        after = _files(place.parent)
        faults = _judged(code, said) + _changed(case, before, after, code)
    if after != before or code is None or any((world / name).exists() for name in case.files):
        leave(world)
    else:
        _take_away(case.files, place)
    faults += [f"started {event}" for event in _started]
    if megabytes > MEGABYTES:
        faults.append(f"needed {megabytes:.0f} MB")
    return Outcome(code, said, seconds, megabytes, faults)


_places: dict[Path, Path] = {}


def _place(world: Path) -> Path:
    """A folder with links to the world's files; the last one where it is as it was."""
    if world not in _places:
        place = Path(tempfile.mkdtemp(prefix="hardening-"), "in")
        place.mkdir()
        _furnish(place, world)
        _places[world] = place
    return _places[world]


def _furnish(place: Path, world: Path) -> None:
    for path in world.iterdir():
        if path.is_dir():
            shutil.copytree(path, place / path.name, copy_function=os.symlink)
        else:
            (place / path.name).symlink_to(path)


def leave(world: Path) -> None:
    """Removes the folder of the cases."""
    if world in _places:
        shutil.rmtree(_places.pop(world).parent, ignore_errors=True)


def _put(files: dict[str, bytes | None]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.mkdir() if content is None else path.write_bytes(content)


def _take_away(files: dict[str, bytes | None], place: Path) -> None:
    for name in {Path(file).parts[0] for file in files}:
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _run(case: Case) -> tuple[int | None, str, float, float]:
    """Exit code, stderr, seconds and megabytes."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    code: int | None = None
    used, start = _peak(reset=True), time.process_time()
    with redirect_stdout(out), redirect_stderr(err), _bounded():
        try:
            code = main(list(case.argv))
            out.flush()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else int(bool(stopped.code))
        except BaseException as error:  # noqa: BLE001  (whatever it is, it is told)
            print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
    seconds, peak = time.process_time() - start, _peak()
    return code, err.buffer.getvalue().decode(), seconds, peak - used


def _judged(code: int | None, said: str) -> list[str]:
    """What is wrong with an exit code and its words."""
    if code is None:
        return [said.strip().splitlines()[-1][:300]]
    if code == 0:
        return ["a traceback beside success"] if "Traceback" in said else []
    lines = [line for line in said.splitlines() if not line.startswith(_TOLD)]
    if code != 2 or len(lines) != 1 or not lines[0].startswith("latentkit: error: "):
        return [f"code {code} with {len(lines)} lines: {said[:300]}"]
    message = lines[0].removeprefix("latentkit: error: ")
    unclear = _RAW.search(message)
    if unclear:
        return [f"unclear ({unclear[0][:40]}): {message[:300]}"]
    if len(message) > _LONGEST or not message.isprintable():
        return [f"a message of {len(message)} characters: {message[:200]!r}"]
    return []


def _files(place: Path) -> dict[str, tuple[int, int]]:
    found = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
    kept = (path for path in found if path.suffix != ".pyc")
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in kept}


def _changed(
    case: Case,
    before: dict[str, tuple[int, int]],
    after: dict[str, tuple[int, int]],
    code: int | None,
) -> list[str]:
    """Code that ran, files that were changed, and files that a mistake left behind."""
    faults = [f"code was run: {path}" for path in after if SENTINEL in Path(path).name]
    outs = {Path(word.removeprefix("--out=")).stem for word in case.argv}
    changed = [p for p, size in before.items() if after.get(p) != size and Path(p).stem not in outs]
    faults += [f"changed {Path(path).name}" for path in changed]
    new = sorted(after.keys() - before.keys())
    if code == 2 and new:
        faults.append(f"left {', '.join(Path(path).name for path in new[:3])} behind")
    return faults


def watch() -> None:
    """From now on notes, and stops, every process and connection that a case starts."""
    global _watched
    if not _watched:
        sys.addaudithook(_audit)
        _watched = True


_guarding = False


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _guarding and _STARTS.fullmatch(event):
        _started.append(f"{event}{arguments!r:.80}")
        raise PermissionError(f"{event} is not allowed here")


@contextmanager
def _bounded() -> Iterator[None]:
    """Bounds of time and memory; global settings of Python and torch are given back."""
    global _guarding

    def stop(*_: object) -> None:
        raise HangError(f"more than {SECONDS} seconds of the processor, or {WAITING} by the clock")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for alarm in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(alarm, stop)
    path, modules, environment = list(sys.path), set(sys.modules), dict(os.environ)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (in_use + _HEADROOM, hard))
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        with warnings.catch_warnings(), logs_on_stderr():
            _as_a_process_warns()
            _guarding = True
            yield
    finally:
        _guarding = False
        for timer in (signal.ITIMER_REAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        _give_back(path, modules, environment)


def _as_a_process_warns() -> None:
    warnings.simplefilter("default")
    for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)
    warnings.showwarning = show_on_stderr


def _give_back(path: list[str], modules: set[str], environment: dict[str, str]) -> None:
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(tempfile.gettempdir()):
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(environment)
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_default_dtype(torch.float32)


@contextmanager
def _inside(place: Path) -> Iterator[Path]:
    here = Path.cwd()
    os.chdir(place)
    try:
        yield place
    finally:
        os.chdir(here)


def _peak(reset: bool = False) -> float:
    """The most memory in use since the last reset, in MB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
