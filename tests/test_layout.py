"""The house rules that are about files: floors, sizes, names, light imports."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import latentkit

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "latentkit").rglob("*.py"))
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "core", "base_utils"}


def python(code):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def heavy(code):
    """Which of the big packages are in memory after some code."""
    names = ["torch", "numpy", "pytorch_lightning", "matplotlib", "sklearn", "scipy", "torchvision"]
    return python(f"import sys; {code}; print(*(n for n in {names} if n in sys.modules))").split()


def test_the_floors_hold(monkeypatch):
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    monkeypatch.chdir(ROOT)
    assert linter.lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


def test_the_floors_are_watched_in_full():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = settings["contracts"][0]
    named = " ".join([*floors["layers"], *floors["exhaustive_ignores"]]).replace("|", " ").split()
    parts = {p.stem for p in (ROOT / "latentkit").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert parts - {"__init__", "__pycache__"} <= set(named)
    assert floors["exhaustive"] is True


def test_importing_the_package_imports_nothing_heavy():
    assert heavy("import latentkit") == []
    assert heavy("import latentkit; latentkit.__version__; dir(latentkit)") == []


LOW = ["store", "testing", "priors", "layers", "models.vae", "latent.render", "explain.cam"]


def test_a_verb_without_data_and_axes_starts_with_torch_alone(tmp_path):
    command = ["sample", "vae_mnist", "--out", str(tmp_path / "sheet.png")]
    loaded = heavy(f"from latentkit.cli import main; assert main({command}) == 0")
    assert loaded[-2:] == ["torch", "numpy"]  # after what the command prints


def test_what_lies_below_training_imports_no_lightning():
    loaded = heavy("import " + ", ".join(f"latentkit.{module}" for module in LOW))
    assert "torch" in loaded
    assert not {"pytorch_lightning", "matplotlib"} & set(loaded)


def test_no_file_is_long_and_no_name_is_vague():
    assert len(FILES) > 40
    assert {str(f): n for f in FILES if (n := len(f.read_text().splitlines())) > 300} == {}
    assert [f for f in FILES if f.stem in VAGUE or f.parent.name in VAGUE] == []


def test_every_module_says_what_it_is_for():
    assert [f for f in FILES if not f.read_text().startswith('"""')] == []


def test_the_checks_need_no_pytest():
    assert "pytest" not in python("import latentkit.testing, sys; print(*sys.modules)").split()


def test_the_package_offers_load_and_save():
    from latentkit import store

    assert latentkit.load is store.load
    assert latentkit.save is store.save
    assert latentkit.__version__.count(".") == 2
    assert set(latentkit.__all__) == {"__version__", "load", "save"}
    with pytest.raises(AttributeError, match="module 'latentkit' has no attribute 'lod'"):
        latentkit.lod  # noqa: B018
