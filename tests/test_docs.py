"""Everything that the pages in docs/ tell a reader to type is typed, and says what they show."""

import contextlib
import importlib
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch

from latentkit import cli
from latentkit.cli.parser import parser_of
from latentkit.training import classifier
from tests.cli.conftest import logs_on_stderr
from tests.pages import Block, Reader, agrees, blocks_of, needs_of

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if page.parent.name not in {"_build", "reference"}
)
README = ROOT / "README.md"


def name_of(page):
    return str(page.relative_to(ROOT).with_suffix(""))


def furnish(folder):
    """What lies in the root of the repository and the pages may use: configs and models."""
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "checkpoints").mkdir()
    for path in [*(ROOT / "checkpoints").glob("*.safetensors"), ROOT / "checkpoints/README.md"]:
        (folder / "checkpoints" / path.name).symlink_to(path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Gives the runs of a config, trained for one epoch, once for all pages."""
    folder = tmp_path_factory.mktemp("trained")

    def runs_of(config):
        runs = folder / "checkpoints" / config
        if not runs.exists():
            with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
                patch.setattr(classifier, "_STEPS", 2)  # what a page shows hangs on no distance
                words = ["fit", "--config", str(ROOT / "configs" / f"{config}.yaml")]
                assert cli.main([*words, "--trainer.max_epochs", "1"]) == 0
        return runs

    return runs_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder like the root of the repository, whose modules are forgotten afterwards."""
    furnish(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    before = set(sys.modules)
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and Path(path).is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def typed(capsys):
    """Runs a function: its exit code and what it wrote on stdout and on stderr."""

    def run(call):
        capsys.readouterr()
        with warnings.catch_warnings(), logs_on_stderr():
            warnings.simplefilter("default")  # a reader sees them, and they stop nothing
            code = call()
        return code, *capsys.readouterr()

    return run


def test_there_are_pages():
    assert ROOT / "docs/index.md" in PAGES


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_can_be_followed(page, place, typed, trained):
    for config in needs_of(page):
        shutil.copytree(trained(config), place / "checkpoints" / config)
    torch.manual_seed(0)
    Reader(page, typed).follow()


def accepted(words):
    """Parses a command without running it."""
    if words[0] in cli._VERBS:
        parser_of(cli._VERBS[words[0]], words[0]).parse_args(words[1:])
    else:
        with pytest.raises(SystemExit) as stop:
            cli.run_command([*words, "--print_config"])
        assert stop.value.code == 0


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_commands_that_are_not_run_are_commands(page, place, capsys):
    kinds = {"bash", ""}
    for block in blocks_of(page):
        for words in block.latentkit_lines if block.kind in kinds else []:
            accepted(words)
    capsys.readouterr()


@pytest.mark.parametrize("page", [README, *PAGES], ids=name_of)
def test_no_fence_is_left_open(page):
    fences = [line for line in page.read_text().splitlines() if line.strip().startswith("```")]
    assert len(fences) % 2 == 0
    assert len(fences) // 2 >= len(blocks_of(page))


def reader_of(text, folder, typed):
    page = folder / "page.md"
    page.write_text(text)
    return Reader(page, typed)


@pytest.mark.parametrize(
    "text",
    [
        "```pycon\n>>> 1 + 1\n3\n\n```\n",
        "```console\n$ latentkit --version\n99\n```\n",
        "```console\n$ latentkit no-such-verb\n```\n",
        "```console\n$ latentkit --version\nlatentkit: error: ...\n```\n",
        "```console\n$ latentkit nothing\nlatentkit: error: something else\n```\n",
        "```console\nlatentkit --version\n```\n",
        "```console\n$ python fails.py\n```\n",
        "```python\nx = 1\n```\n",
    ],
)
def test_a_page_that_tells_wrong_things_fails(text, place, typed):
    (place / "fails.py").write_text("import sys; sys.exit(3)")
    with pytest.raises(AssertionError):
        reader_of(text, place, typed).follow()


def test_blocks_of_a_page_share_folder_and_names(place, typed):
    text = (
        "```python\n# said.py\nimport sys\nprint('said', sys.argv[1])\n```\n"
        "```console\n$ python said.py \\\n    this\nsaid this\n$ ls\n...said.py\n```\n"
        "```pycon\n>>> from pathlib import Path\n>>> here = 3\n\n```\n"
        "```pycon\n>>> here, Path('said.py').exists()\n(3, True)\n\n```\n"
    )
    reader_of(text, place, typed).follow()


def test_a_command_that_is_none_is_refused():
    with pytest.raises(Exception, match="steps"):
        accepted(["interpolate", "m", "--from", "seed:0", "--to", "seed:1", "--steps", "many"])
    assert Block("bash", "srun latentkit fit \\\n  --config x\n", 1).latentkit_lines == [
        ["fit", "--config", "x"]
    ]
    assert agrees("a ... c\n", "a b c\n")
