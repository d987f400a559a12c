"""Progress is shown on a terminal, moves, and is gone at the end."""

import io
import sys
from contextlib import contextmanager

import pytest

from latentkit.cli.progress import bar, stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


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


def test_a_mistake_after_a_stage_is_not_swallowed():
    with terminal(), pytest.raises(ValueError, match="wrong"), stage("t-SNE"):
        raise ValueError("wrong")
