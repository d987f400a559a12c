"""What is shipped is found by name, and gets into the wheel."""

import re
import tomllib
from pathlib import Path

import pytest

import latentkit
from latentkit.models.vae import VAE
from latentkit.shipped import config_names, find_config, find_model, model_names

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_configs_are_found_with_and_without_their_ending():
    assert (
        find_config("vae_digits")
        == find_config("vae_digits.yaml")
        == ROOT / ("configs/vae_digits.yaml")
    )
    assert len(config_names()) == len(list((ROOT / "configs").iterdir()))
    with pytest.raises(ValueError, match=r"no config at vae_digit, .* shipped: .*vae_digits"):
        find_config("vae_digit")


@pytest.mark.parametrize("name", model_names())
def test_every_shipped_model_loads_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model(name) == ROOT / "checkpoints" / f"{name}.safetensors"
    assert not latentkit.load(name).training


def test_a_file_or_folder_of_ones_own_comes_before_a_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = VAE((1, 8, 8), latent_dim=3, width=2, hidden=8)
    latentkit.save(vae, "vae_mnist.safetensors")
    assert latentkit.load("vae_mnist.safetensors").shape == vae.shape != (1, 28, 28)
    Path("vae_mnist").mkdir()
    with pytest.raises(ValueError, match="run folder vae_mnist, found neither"):
        latentkit.load("vae_mnist")


def test_an_unknown_name_is_told_the_shipped_ones():
    with pytest.raises(ValueError, match=r"no model at vae_mnst: .*shipped model .*vae_mnist"):
        latentkit.load("vae_mnst")


def test_the_wheel_holds_all_that_is_shipped():
    included = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    models = {f"checkpoints/{name}.safetensors" for name in model_names()}
    assert set(included) == {"configs", *models}
    assert all(target == f"latentkit/{source}" for source, target in included.items())


def test_the_version_stands_in_one_place_and_the_changelog_knows_it():
    assert SETTINGS["project"]["dynamic"] == ["version"]
    log = (ROOT / "CHANGELOG.md").read_text()
    named = re.findall(r"^## (\S+)", log, flags=re.MULTILINE)
    assert latentkit.__version__ in named or named[0] == "Unreleased"
