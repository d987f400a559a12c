"""The verbs on a foreign object that holds networks and whose latents are feature maps."""

import numpy as np
import pytest
import torch

import latentkit
from latentkit.cli.named.sources import open_data
from latentkit.latent.cluster import kmeans
from latentkit.store import load_directions
from tests.cli.conftest import result

FACTORIES = """
import torch
from torch import nn

class Maps:
    shape = (1, 16, 16)

    def __init__(self):
        torch.manual_seed(0)
        self.down = nn.Conv2d(1, 2, 4, 4)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(2, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1)
        )

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(2 * z).sigmoid()

@torch.no_grad()
def maps():
    with torch.random.fork_rng():
        return Maps()
"""
DATA = ["--data", "small.npz"]
METHODS = {
    "pca": [],
    "sefa": ["--normalize", "true"],
    "jacobian": [],
    "region": ["--region", "left"],
    "axes": [],
    "attribute": ["--start", "label:0", "--end", "label:1"],
}


@pytest.fixture
def maps(place):
    (place / "foreign_maps.py").write_text(FACTORIES)
    yield "foreign_maps:maps"
    __import__("sys").modules.pop("foreign_maps", None)


@pytest.mark.parametrize("method", METHODS)
def test_directions_of_feature_maps_have_their_shape_and_edit_them(ok, place, maps, method):
    words = ["--method", method, *METHODS[method], "--count", 2, "--out", "d.safetensors"]
    ok("directions", maps, *DATA, *words)
    found = load_directions("d.safetensors")
    assert found.vectors.shape == (1 if method == "attribute" else 2, 2, 4, 4)
    lengths = found.vectors.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(len(lengths)))
    words = ["--directions", "d.safetensors", "--count", 2, "--strengths", "-1", "2"]
    ok("edit", maps, *DATA, *words)
    with np.load(place / "outputs/edit/latents.npz") as arrays:
        step = found.provenance["scale"][0] * found.vectors[0]
        moved = torch.from_numpy(arrays["edited"] - arrays["z"][:, None])
    torch.testing.assert_close(moved[:, 1], (2 * step).expand(2, 2, 4, 4), atol=1e-5, rtol=0)
    other = "axes" if method == "pca" else "pca"
    ok("directions", maps, *DATA, "--method", other, "--conditions", "d.safetensors")
    again = load_directions(place / "outputs/directions/directions.safetensors")
    assert (again.vectors.flatten(1) @ found.vectors.flatten(1).T).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["smote", "mixup", "gaussian", "direction", "slerp", "geodesic"])
def test_every_augmentation_takes_feature_maps(ok, place, maps, method):
    words = ["--method", method, "--per-class", 2]
    if method == "direction":
        ok("directions", maps, *DATA, "--count", 1, "--out", "d.safetensors")
        words += ["--directions", "d.safetensors"]
    ok("augment", maps, *DATA, *words)
    with np.load(place / "outputs/augment/augment.npz") as found:
        assert found["z"].shape == (20, 2, 4, 4)


def test_networks_that_an_object_holds_are_mixed_at_their_layers(ok, typed, place, maps):
    ok("mix", maps, *DATA, "--rows", 2, "--columns", 2)
    said = result(place / "outputs/mix/result.json")["numbers"]["mixed"]
    assert said == "activation mixing of half of the channels at layer 1.0"
    ok("mix", maps, *DATA, "--rows", 2, "--columns", 2, "--layers", "1.1", "--region", "left")
    said = result(place / "outputs/mix/result.json")["numbers"]["mixed"]
    assert said == "activation mixing of the left half at layer 1.1"
    done = typed("mix", maps, *DATA, "--rows", 2, "--columns", 2, "--layers", "0")
    assert done.code == 2
    assert "was not reached" in done.err


def test_feature_maps_are_inverted_walked_and_explained(ok, place, maps):
    ok("invert", maps, *DATA, "--steps", 3, "--reference", 0, "--count", 2)
    with np.load(place / "outputs/invert/invert.npz") as found:
        assert found["z"].shape == (2, 2, 4, 4)
    ok("interpolate", maps, *DATA, "--from", "item:0", "--to", "item:1", "--method", "geodesic")
    ok("explain", maps, *DATA, "--images", 1)


@torch.no_grad()
def test_every_endpoint_takes_feature_maps(ok, typed, place, maps):
    images = open_data("small.npz", {}, (1, 16, 16)).split("train")[:][0]
    z = latentkit.load(maps).encode(images)
    centres = kmeans(z.flatten(1), 10, 0).centres.reshape(10, 2, 4, 4)
    np.save("row.npy", z[0].numpy())
    np.save("one.npy", z[:1].numpy())
    np.save("two.npy", z[:2].numpy())
    words = ["interpolate", maps, *DATA, "--method", "lerp", "--steps", 3, "--to", "cluster:3"]
    for name, start in (("row.npy", z[0]), ("one.npy", z[0]), ("cluster:2", centres[2])):
        ok(*words, "--from", name)
        path = torch.from_numpy(np.load(place / "outputs/interpolate/latents.npy"))
        assert path.shape == (3, 2, 4, 4)
        torch.testing.assert_close(path[0], start, atol=1e-5, rtol=0)
        torch.testing.assert_close(path[2], centres[3], atol=1e-5, rtol=0)
    done = typed(*words, "--from", "two.npy")
    assert done.code == 2
    assert "of one latent size, got two.npy (2, 2, 4, 4)" in done.err


def test_values_that_are_no_images_are_told(typed, place, maps):
    (place / "foreign_maps.py").write_text(FACTORIES.replace(".sigmoid()", ".tanh() - 1"))
    done = typed("reconstruct", maps, *DATA)
    assert done.code == 0
    told = done.err
    assert told.startswith("note: decode of foreign_maps:maps gives values from -")
    assert "images are in [0, 1]" in told


MINE = """
from latentkit.data.arrays import Arrays

class Mine(Arrays):
    def __init__(self, root, size=16, **others):
        super().__init__(root, size=size, **others)
"""


def test_a_data_module_of_ones_own_takes_what_it_is_given(ok, place, monkeypatch):
    monkeypatch.syspath_prepend(str(place))
    (place / "my_data.py").write_text(MINE)
    arguments = "{root: small.npz, labels: y, batch_size: 8}"
    (place / "mine.yaml").write_text(f"{{class_path: my_data.Mine, init_args: {arguments}}}")
    ok("reconstruct", "vae.safetensors", "--data", "mine.yaml")


def test_a_text_in_a_models_file_cannot_stand_for_too_many_values(typed, place):
    levels = ["&a0 [" + "x, " * 10 + "]"]
    levels += [f"&a{i} [" + f"*a{i - 1}, " * 10 + "]" for i in range(1, 8)]
    bomb = {"class_path": "latentkit.data.arrays.Arrays"}
    bomb["init_args"] = {"path": "small.npz", "batch_size": "[" + ", ".join(levels) + "]"}
    latentkit.save(latentkit.load("vae.safetensors"), "bomb.safetensors", {"data": bomb})
    done = typed("reconstruct", "bomb.safetensors")
    assert (done.code, done.err.count("expected at most 100,000 values")) == (2, 1)
