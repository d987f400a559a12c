"""Whatever configs, command lines and files hold: work, or one clear line and nothing left behind.

The full counts are those of `benchmarks/hardening.py`.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.hardening import attempt as bounds
from tests.hardening.attempt import SENTINEL, Case, attempt, leave
from tests.hardening.configs import bomb, data_cases, training_cases
from tests.hardening.damage import Ends, Evil, disguises
from tests.hardening.damaged import file_cases
from tests.hardening.lines import command_cases
from tests.hardening.world import build

FEW, MANY = 12, 500  # cases of a kind: by default, and of the slow form
KINDS = {
    "data configs": lambda _: data_cases(),
    "trainings": lambda _: training_cases(),
    "command lines": lambda _: command_cases(),
    "files": file_cases,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("world"))
    yield folder
    leave(folder)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "trainings"])
def test_a_few_of_each_kind(kind, world):
    check(kind, world, FEW)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
def test_many_of_each_kind(kind, world):
    check(kind, world, MANY // 5 if kind == "trainings" else MANY)


def check(kind, world, count):
    """Draws cases, always the same, and asks that none is at fault."""

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind](world))
    def each(case):
        outcome = attempt(case, world)
        assert not outcome.faults, (case, outcome)

    each()


def of_a_process(case, world):
    """Exit code and stderr of the case in a process of its own."""
    with bounds._inside(bounds._place(world)):
        bounds._put(case.files)
        command = [sys.executable, "-m", "latentkit", *case.argv]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    leave(world)
    return done.returncode, done.stderr.decode()


IN_A_PROCESS = [
    Case("bomb", ("fit", "--config", "m.yaml"), {"m.yaml": bomb().encode()}),
    Case("evil", ("sample", "bad.ckpt"), {"bad.ckpt": disguises()["torch.save of a pickle"]}),
    Case("bytes", ("encode", "vae.safetensors", "--data", "\udcff.npz")),
]


@pytest.mark.sweep
@pytest.mark.parametrize("case", IN_A_PROCESS, ids=lambda case: case.kind)
def test_a_process_says_the_same(case, world):
    code, said = of_a_process(case, world)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert said == attempt(case, world).said


def without_end():
    while True:
        pass


# What follows must fail: the judge that finds no fault in anything is worth nothing.


@pytest.fixture
def faults(world, monkeypatch):
    """Runs a function in the place of the command, and gives the faults that are found."""

    def of(function):
        monkeypatch.setattr(bounds, "main", lambda _: function())
        return attempt(Case("control", ("control",)), world).faults

    return of


def says(text, code=2):
    def run():
        sys.stderr.write(text)
        return code

    return run


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        ("latentkit: error: expected a file, got none", 2, None),
        ("latentkit: error: 'x'", 2, "unclear"),
        ("latentkit: error: KeyError: 'x'", 2, "unclear"),
        ("latentkit: error: ", 2, "unclear"),
        ("latentkit: error: list index out of range", 2, "unclear"),
        ("latentkit: error: 'int' object is not iterable", 2, "unclear"),
        ("latentkit: error: expected one line\nand no other", 2, "2 lines"),
        ("latentkit: error: expected " + "x" * 2000, 2, "characters"),
        ("Traceback (most recent call last)", 1, "code 1"),
        ("", 2, "0 lines"),
        ("", 0, None),
    ],
)
def test_the_judge_knows_unclear_words(text, code, found, faults):
    told = faults(says(text, code))
    assert (found is None and told == []) or re.search(found, told[0])


def test_the_judge_sees_what_a_case_did(faults, monkeypatch):
    monkeypatch.setattr(bounds, "SECONDS", 0.2)
    assert "HangError" in faults(without_end)[0]
    monkeypatch.setattr(bounds, "SECONDS", 10)
    assert "KeyError" in faults(lambda: {}["x"])[0]
    assert any("code was run" in f for f in faults(lambda: Path(SENTINEL).touch() or 0))
    left = says("latentkit: error: expected a file")
    assert any("left" in f for f in faults(lambda: Path("rest.png").touch() or left()))
    assert any("started" in f for f in faults(lambda: subprocess.run(["true"]) and 0))
    assert any("MB" in f for f in faults(lambda: len(b"x" * 2_000_000_000) * 0))


def test_the_hidden_code_would_leave_its_mark(tmp_path, monkeypatch):
    """Unpickled, what the cases hide does what the judge looks for."""
    import pickle

    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil()))
    assert Path(SENTINEL).exists()
    assert pickle.dumps(Ends())
