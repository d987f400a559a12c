"""Progress is shown on a terminal, moves, and is gone at the end."""

import ast
import io
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

import latentkit.cli
from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar, stage, watched


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _no_other_bar():
    """A bar that another test has left open would push ours down a line."""
    tqdm._instances.clear()


@contextmanager
def terminal():
    """Stands for stderr; within the test, since pytest sets its own after the fixtures."""
    shown, own = Terminal(), sys.stderr
    sys.stderr = shown
    try:
        yield shown
    finally:
        sys.stderr = own


def test_a_bar_moves_and_goes():
    with terminal() as shown:
        assert [*bar("resamples")(range(3))] == [0, 1, 2]
    assert "resamples:   0%" in shown.getvalue()
    assert "| 0/3" in shown.getvalue()
    assert shown.getvalue().endswith("\r")


def test_a_stage_says_what_is_done():
    with terminal() as shown, stage("t-SNE"):
        assert "t-SNE ..." in shown.getvalue()
    assert shown.getvalue().endswith("\r")


def test_a_file_is_told_nothing(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert [*bar("resamples")([4, 5])] == [4, 5]
    with stage("t-SNE"):
        pass
    assert shown.getvalue() == ""


def test_no_bar_of_a_verb_writes_to_a_file():
    """`disable=None` is tqdm's word for it; `few or None` also hides the bar of short work.

    All other bars of the verbs are made by `watched`.
    """
    calls = [
        (path.name, node)
        for path in Path(latentkit.cli.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm"
    ]
    assert len(calls) >= 4
    loud = [
        f"{name}:{node.lineno}"
        for name, node in calls
        if not any(k.arg == "disable" and "None" in ast.unparse(k.value) for k in node.keywords)
    ]
    assert loud == []


def test_many_batches_are_watched_on_a_terminal_alone(monkeypatch):
    model = SimpleNamespace(encode=lambda x: 2 * x)
    source = Source("double", model, {}, torch.device("cpu"))
    rows = torch.arange(20.0 * 256)[:, None]
    for stream, n, seen in (
        (Terminal(), len(rows), True),
        (io.StringIO(), len(rows), False),
        (Terminal(), 19 * 256, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        assert torch.equal(source.encode(rows[:n]), 2 * rows[:n])
        assert ("encode" in stream.getvalue()) == seen


def test_few_items_have_no_bar():
    with terminal() as shown:
        assert [*watched("ab", "letters", few=True)] == ["a", "b"]
    assert shown.getvalue() == ""


def test_a_mistake_after_a_stage_is_not_swallowed():
    with terminal(), pytest.raises(ValueError, match="wrong"), stage("t-SNE"):
        raise ValueError("wrong")
