"""docs/comparison.md says what was found, and every command that it names is there."""

import argparse
import ast
import json
import re
import runpy
import shlex
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentkit import cli
from latentkit.cli.training.verbs import TRAINING

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "comparison.md").read_text()
COMMANDS = sorted(set(re.findall(r"`((?:python|pytest|latentkit) [^`]*)`", PAGE)))
FOUND = json.loads((ROOT / "benchmarks" / "peers.json").read_text())
PARTS = runpy.run_path(str(ROOT / "benchmarks" / "__main__.py"))
SLOW = {"threads", "resume", "measured", "collapse", "broken"}  # seconds and processes
NAMES = [(group, name) for group, rows in FOUND.items() if group != "torch" for name in rows]


def test_the_tables_are_made_of_the_json(script):
    assert script("page_peers").filled(PAGE) == PAGE, "run benchmarks/page.py"


def test_every_row_has_its_command_or_where_it_was_read():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    last = [line.rstrip(" |").rsplit(" | ", 1)[1] for line in rows]
    claims = [cell for cell in last if cell not in ("checked by", "measured by", "read")]
    assert len(claims) > 60
    for cell in claims:
        assert "https://github.com/" in cell or any(f"`{c}`" in cell for c in COMMANDS), cell


def parsed(script, monkeypatch, words):
    """Parse the options of a script of benchmarks, or fail as it would."""
    usual = argparse.ArgumentParser.parse_args

    class Parsed(Exception):  # noqa: N818  (it ends the script, as no error)
        pass

    def parse(self, *arguments):
        found = usual(self, *arguments)
        raise Parsed(found)

    # likelihood.py imports pythae, which need not be there.
    monkeypatch.setitem(sys.modules, "pythae_side", SimpleNamespace(pythae_best=None))
    module = script(words[0].removesuffix(".py"))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", words)
        patched.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed) as ended:
            module.main()
    return ended.value.args[0]


def functions(file):
    """Names of the test functions of a file, with what their parameters may add."""
    tree = ast.parse(file.read_text())
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_exists(script, monkeypatch, command, capsys):
    program, *words = shlex.split(command)
    if program == "pytest":
        tests = functions(ROOT / words[0])
        assert not words[1:] or (words[1] == "-k" and any(words[2] in name for name in tests))
    elif program == "latentkit":
        assert words[0] in {*cli._VERBS, *TRAINING}
        assert words[1:] == ["--help"]
    elif words[0] == "benchmarks":
        PARTS["main"]([*words[1:], "--list"])
        assert capsys.readouterr().out
    else:
        file = words[0].removeprefix("benchmarks/")
        chosen = parsed(script, monkeypatch, [file, *words[1:]])
        if file == "peers.py":
            assert set(chosen.names) <= {name for _, name in NAMES}


def test_there_is_a_row_for_every_check(script):
    groups = script("peers").groups()
    assert [(group, name) for group, rows in groups.items() for name in rows] == NAMES
    for group, name in NAMES:
        assert FOUND[group][name]["claim"] == groups[group][name][0]
        assert list(FOUND[group][name]["sides"]) == list(groups[group][name][1])


def outcome_of(script, group, name, side):
    """Run one side of a check."""
    return script("peers_outcome").tried(script("peers").groups()[group][name][1][side])


OURS = [(g, n) for g, n in NAMES if "latentkit" in FOUND[g][n]["sides"]]


@pytest.mark.parametrize(
    ("group", "name"),
    [pytest.param(g, n, marks=[pytest.mark.slow] if n in SLOW else []) for g, n in OURS],
)
@pytest.mark.filterwarnings("ignore:::pytorch_lightning", "ignore:::lightning_fabric")
def test_we_do_what_the_page_says_of_us(script, group, name):
    side, outcome = (
        FOUND[group][name]["sides"]["latentkit"],
        outcome_of(script, group, name, "latentkit"),
    )
    assert (outcome.ok, outcome.said) == (side["ok"], side["said"])
    if group != "tools":
        assert outcome.ok


def installed():
    """The sides of peers that are here in the version of the JSON."""
    here = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return [
        (group, name, side)
        for group, name in NAMES
        for side, about in FOUND[group][name]["sides"].items()
        if here.get(side) == about["version"] and name != "threads"
    ]


@pytest.mark.slow
def test_the_peers_that_are_here_do_what_the_page_says_of_them(script):
    script("peers").quiet()
    for group, name, side in installed():
        wanted, outcome = FOUND[group][name]["sides"][side], outcome_of(script, group, name, side)
        assert (name, side, outcome.ok) == (name, side, wanted["ok"])


def test_the_parts_have_scripts_and_their_options_are_known(script, monkeypatch):
    folder = ROOT / "benchmarks"
    assert {f"{name}.json" for name in PARTS["PARTS"]} == {f.name for f in folder.glob("*.json")}
    for quick in (False, True):
        for _, words in PARTS["lines"](list(PARTS["PARTS"]), quick):
            parsed(script, monkeypatch, [word.format(root="data") for word in words])


def test_what_was_done_is_not_repeated_and_a_failure_stops(tmp_path, capsys):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "good.py").write_text("open('ran', 'a').write('x')")
    (tmp_path / "b" / "bad.py").write_text("raise SystemExit(1)")
    todo = [("good", ["good.py"]), ("bad", ["bad.py"])]
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"bad.py failed .*repeat the command"):
            PARTS["measure"](todo, tmp_path / "b", tmp_path, tmp_path / "notes" / "done.json")
    assert (tmp_path / "ran").read_text() == "x"
    assert "[1/2] good.py: done before" in capsys.readouterr().out


def test_a_side_is_told_right_from_wrong(script):
    """The controls of the checks: other maps than by hand are called wrong."""
    outcome, maps = script("peers_outcome"), torch.rand(2, 8, 8)
    assert outcome.compared(3 * maps, maps).ok
    assert not outcome.compared(maps.flip(-1), maps).ok
    assert not outcome.compared(maps[:1], maps).ok
    assert outcome.tried(lambda: 1 / 0) == outcome.Outcome(
        False, "ZeroDivisionError: division by zero"
    )
