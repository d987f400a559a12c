"""The examples in train/: short, and each is the command it stands for."""

import runpy
import sys
from pathlib import Path

import pytest

import latentkit
from latentkit.models.vae import VAE

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "train").glob("*.py"))


def run(path, *words):
    """Runs a script as a user would, and gives its exit code."""
    sys.argv = [str(path), *words]
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    return stop.value.code


@pytest.fixture(autouse=True)
def _arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)


def test_the_examples_are_there():
    names = {path.stem for path in SCRIPTS}
    expected = {"__main__", "interpolate", "cluster", "mix_styles", "augment", "explain"}
    assert expected | {"invert", "edit"} <= names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(path, capsys):
    assert len(path.read_text().splitlines()) <= 25
    assert run(path, "--help") == 0
    assert capsys.readouterr().out.startswith("usage: latentkit ")


def test_an_example_takes_the_options_of_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    latentkit.save(VAE((1, 8, 8), 2, 2, 4), "vae.safetensors")
    words = ["vae.safetensors", "--from", "seed:0", "--to", "seed:1", "--steps", "3"]
    assert run(ROOT / "train" / "interpolate.py", *words) == 0
    assert (tmp_path / "outputs" / "interpolate" / "latents.npy").is_file()
    assert run(ROOT / "train" / "interpolate.py", "vae.safetensors") == 2


def test_the_folder_is_a_command(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", ["train", "fit", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("train", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: latentkit fit ")
