"""A page of the documentation: its blocks of code, and how each is run."""

import doctest
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from latentkit.cli import main

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_NEEDS = re.compile(r"<!-- needs: (\w+) -->")
_FILE = re.compile(r"# (\S+\.\w+)\n")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_PROGRAMS = {"ls", "cat", "head", "tail", "mkdir", "cp", "mv", "rm"}


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Args:
        kind: the word after the fence.
        text: what it holds.
        line: where it begins.
    """

    kind: str
    text: str
    line: int

    @property
    def file(self):
        """The name of the file that it is, from a first line like `# my_models.py`."""
        named = _FILE.match(self.text)
        return named[1] if named else None

    @property
    def commands(self):
        """Each command with the output shown below it, of a block with prompts."""
        shown = re.sub(r"\\\n\s*", "", self.text)
        pieces = re.split(r"^\$ (.*)\n", shown, flags=re.M)
        assert not pieces[0].strip(), f"line {self.line}: expected a command, got {pieces[0]!r}"
        return list(zip(pieces[1::2], pieces[2::2], strict=True))

    @property
    def latentkit_lines(self):
        """The words of each `latentkit` command, of a block without prompts."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        lines = [re.sub(r" \$\w+", "", line) for line in lines]  # variables of a script
        found = (re.match(r"(?:srun )?latentkit (.*)", line) for line in lines)
        return [shlex.split(command[1], comments=True) for command in found if command]


def blocks_of(page):
    """The blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(
            found["kind"],
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.M),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def needs_of(page):
    """The configs that a page wants a trained run of."""
    return _NEEDS.findall(page.read_text())


def agrees(expected, got):
    """Whether output is as shown, where `...` stands for anything and spaces do not count."""
    return doctest.OutputChecker().check_output(expected.rstrip() + "\n", got + "\n", _FLAGS)


@dataclass
class Reader:
    """Follows a page in the working folder, with one namespace for all its Python.

    Args:
        page: the file.
        typed: gives (exit code, stdout, stderr) of a function.
        names: the namespace.
    """

    page: Path
    typed: object
    names: dict = field(default_factory=dict)

    def follow(self):
        """Writes each file and runs each command and example, in order."""
        for block in blocks_of(self.page):
            if block.file:
                path = Path(block.file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            elif block.kind == "pycon":
                self._examples(block)
            elif block.kind == "console":
                for command, shown in block.commands:
                    self._command(command, shown, block)
            else:
                assert block.kind != "python", f"{self.page}:{block.line}: name the file, or pycon"

    def _examples(self, block):
        parser = doctest.DocTestParser()
        test = parser.get_doctest(block.text, self.names, str(self.page), None, block.line)
        told = []
        runner = doctest.DocTestRunner(optionflags=_FLAGS, verbose=False)
        assert test.examples, f"{self.page}:{block.line}: no example"
        failed, _ = runner.run(test, out=told.append, clear_globs=False)
        self.names = test.globs
        assert not failed, "".join(told)

    def _command(self, command, shown, block):
        wrong = shown.startswith("latentkit: error:")
        code, out, err = self.typed(lambda: self._run(shlex.split(command)))
        where = f"{self.page}:{block.line}: {command}\n"
        assert code == (2 if wrong else 0), where + out + err
        got = err if wrong else out
        assert not shown.strip() or agrees(shown, got), f"{where}expected\n{shown}got\n{got}"

    def _run(self, words):
        if words[0] == "latentkit":
            return main(words[1:])
        if words[0] == "python" and words[1] != "-m":
            return _script(words[1:])
        if words[:3] == ["python", "-m", "pytest"]:
            return pytest.main(words[3:])  # a process of its own takes seconds to import torch
        assert words[0] == "python" or words[0] in _PROGRAMS, words
        program = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
        print(done.stdout, end="")
        print(done.stderr, end="", file=sys.stderr)
        return done.returncode


def _script(words):
    """Runs a file of Python as a program of its own would be, in this process."""
    before = sys.argv
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = before
    return 0
