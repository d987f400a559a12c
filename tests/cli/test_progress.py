"""Progress is shown on a terminal, moves, and is gone at the end."""

import io
import sys

import pytest

from latentkit.cli.progress import bar, stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    return shown


def test_a_bar_moves_and_goes(terminal):
    seen = []
    for k in bar("resamples")(range(3)):
        seen.append((k, terminal.getvalue().count("resamples")))
    assert [k for k, _ in seen] == [0, 1, 2]
    assert "| 0/3" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_stage_says_what_is_done(terminal):
    with stage("t-SNE"):
        assert "t-SNE ..." in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_file_is_told_nothing(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    assert [*bar("resamples")([4, 5])] == [4, 5]
    with stage("t-SNE"):
        pass
    assert shown.getvalue() == ""


def test_a_mistake_after_a_stage_is_not_swallowed(terminal):
    with pytest.raises(ValueError, match="wrong"), stage("t-SNE"):
        raise ValueError("wrong")
