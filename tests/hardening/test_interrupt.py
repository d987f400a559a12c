"""Ctrl-C and SIGTERM at any moment: nothing half-written, and a sentence that says how to go on."""

import shlex
import signal
import threading
import time

import pytest
import torch

from latentkit.cli import main
from latentkit.store import atomic, undisturbed, write_all
from tests.cli.killed import WORDS, compared, finish, write_configs
from tests.hardening.commands import LONGEST, Command
from tests.hardening.faults import contents, hidden

AGAIN = "latentkit: stopped; no file is half written; the same command starts again\n"
FIT = ("fit", "--config", "vae.yaml", *WORDS, "--trainer.max_epochs", "3")
RUN = "checkpoints/vae/version_0"


def check_whole(folder):
    """No file that was only meant for a moment, and all that have a format can be read."""
    assert not hidden(folder)
    for path in folder.rglob("*.ckpt"):
        torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    write_configs(folder)
    finish(folder, *FIT)
    return folder / RUN


def stop_fit(place, number, code):
    """Stops a fit after its first epoch; gives the words that are said to go on with it."""
    write_configs(place)
    command = Command(place, *FIT)
    command.wait_for((place / RUN / "previous.ckpt").exists)
    command.signal(number)
    ended = command.end()
    assert ended.code == code
    said, _, words = ended.err.splitlines()[-1].partition("go on with: latentkit ")
    assert said == "latentkit: stopped; "
    check_whole(place)
    return shlex.split(words)


def test_a_stopped_fit_says_how_to_go_on_and_does(tmp_path, whole):
    """What it says goes on, and ends as a run that nobody stopped."""
    finish(tmp_path, *stop_fit(tmp_path, signal.SIGINT, 130))
    assert compared(tmp_path / RUN, whole) == []


def test_a_fit_takes_sigterm_for_the_same(tmp_path):
    assert stop_fit(tmp_path, signal.SIGTERM, 143) == [*FIT, "--ckpt_path", RUN]


def test_a_fit_that_is_stopped_before_its_first_checkpoint_leaves_no_run(tmp_path):
    write_configs(tmp_path)
    before = contents(tmp_path)
    command = Command(tmp_path, *FIT)
    command.wait_for((tmp_path / RUN).exists)
    command.signal()
    ended = command.end()
    saved = (tmp_path / RUN / "last.ckpt").exists()  # on a busy machine it came so far
    assert ended.code == 130
    left = (tmp_path / RUN).exists() or contents(tmp_path) != before
    assert saved or (ended.err.endswith(AGAIN) and not left)


def test_the_command_to_go_on_has_all_that_was_typed(tmp_path, monkeypatch, capsys):
    from latentkit.cli.stopping import Stopped, go_on

    stop = Stopped(run=tmp_path / "a b" / "version_3")
    words = ["fit", "--config", "x.yaml", "--ckpt_path", "last", "--name", "one two"]
    for typed in (words, [*words[:3], "--ckpt_path=last", *words[5:]]):
        _, _, again = go_on(stop, typed).partition("go on with: latentkit ")
        wanted = [*words[:3], *words[5:], "--ckpt_path", f"{tmp_path}/a b/version_3"]
        assert shlex.split(again) == wanted
    assert go_on(stop, ["demo"]) == ""


MOMENTS = [
    "latentkit.store.load",
    "latentkit.cli.results.write_all",
    "latentkit.store.files.os.close",
]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_verb_leaves_nothing(typed, place, monkeypatch, moment, number, code):
    def stop(*_args, **_more):
        signal.raise_signal(number)

    monkeypatch.setattr(moment, stop)
    before = contents(place)
    done = typed("sample", "vae.safetensors", "--count", "4")
    assert (done.code, done.err, done.out) == (code, AGAIN, "")
    assert contents(place) == before
    assert not hidden(place)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("how", ["another error", "lost"])
def test_an_interruption_that_compiled_code_swallows_still_stops(typed, place, monkeypatch, how):
    class Leaving:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def swallow(*_args, **_more):
        if how == "lost":  # what a destructor raises goes nowhere
            Leaving()
            time.sleep(LONGEST)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of an object") from None

    monkeypatch.setattr("latentkit.store.load", swallow)
    done = typed("sample", "vae.safetensors", "--count", "4")
    assert (done.code, done.err, done.out) == (130, AGAIN, "")


def interrupt_writing(path, content):
    def write(place):
        place.write_text(content)
        signal.raise_signal(signal.SIGINT)

    return {path: lambda place: place.write_text(content), path.with_name("b"): write}


def test_files_that_belong_together_are_not_parted(tmp_path):
    write_all({tmp_path / name: lambda place: place.write_text("old") for name in "ab"})
    with pytest.raises(KeyboardInterrupt):
        write_all(interrupt_writing(tmp_path / "a", "new"))
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old", "b": "old"}


def test_no_signal_comes_between_the_renamings(tmp_path, monkeypatch):
    """It comes after them: all files are new."""
    write_all({tmp_path / name: lambda place: place.write_text("old") for name in "ab"})
    path_of = type(tmp_path)
    real, times = path_of.replace, []

    def replace(self, target):
        signal.raise_signal(signal.SIGINT)  # each time, as of somebody who is impatient
        times.append(target)
        return real(self, target)

    monkeypatch.setattr(path_of, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_all({tmp_path / name: lambda place: place.write_text("new") for name in "ab"})
    assert len(times) == 3
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def half_write(path):
    with atomic(path) as place:
        place.write_text("half")
        raise KeyboardInterrupt


def test_a_second_signal_does_not_disturb_the_cleaning_up(tmp_path, monkeypatch):
    path_of = type(tmp_path)
    real = path_of.unlink

    def unlink(self, missing_ok=False):
        signal.raise_signal(signal.SIGINT)
        real(self, missing_ok)

    monkeypatch.setattr(path_of, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        half_write(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("call", range(4))
def test_a_signal_among_the_handlers_leaves_all_as_they_were(monkeypatch, call, done):
    """Python calls the handlers of signals that wait before it exchanges one."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    real, before = signal.signal, [signal.getsignal(n) for n in numbers]
    calls = []

    def exchange(number, handler):
        calls.append(number)
        if done:
            real(number, handler)
        if len(calls) == call + 1:
            raise KeyboardInterrupt
        if not done:
            real(number, handler)

    monkeypatch.setattr(signal, "signal", exchange)
    with pytest.raises(KeyboardInterrupt), undisturbed():
        pass
    assert [signal.getsignal(n) for n in numbers] == before


def test_signals_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_command_runs_in_a_thread_too(place, capsys):
    """Signals belong to the main thread; without them it works all the same."""
    codes = []
    words = ["sample", "vae.safetensors", "--count", "4"]
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0]
