"""`augment`: what it may not do to a ClusterGAN's classes and to held-out images."""

import numpy as np
import pytest
import torch

import latentkit
from latentkit.cli.named.sources import open_data
from latentkit.metrics.geometry import energy
from tests.cli.conftest import result


def made(place):
    with np.load(place / "outputs/augment/augment.npz") as found:
        return {name: torch.from_numpy(found[name]) for name in found.files}


def off_simplex(z):
    codes = z[..., 4:]
    return max((codes.sum(-1) - 1).abs().max().item(), -codes.min().item())


@pytest.mark.parametrize(
    "method", ["smote", "gaussian", "jitter", "slerp", "geodesic", "direction"]
)
def test_new_latents_of_a_clustergan_have_classes_that_are_shares(ok, place, method):
    words = ["--data", "small.npz", "--per-class", 3, "--method", method]
    if method == "direction":
        ok("directions", "clustergan.safetensors", "--data", "small.npz", "--out", "d.safetensors")
        words += ["--directions", "d.safetensors", "--strength", 5]
    ok("augment", "clustergan.safetensors", *words)
    found = made(place)
    assert found["z"].shape == (30, 14)
    assert off_simplex(found["z"]) < 1e-5
    content = result(place / "outputs/augment/result.json")["settings"]
    assert content["per_class"] == 3
    if method == "jitter":  # the class part stays that of the parent
        images, _ = open_data("small.npz", {}).split("train")[:]
        with torch.no_grad():
            train = latentkit.load("clustergan.safetensors").encode(images)
        parents = train[found["parents"][:, 0]]
        torch.testing.assert_close(found["z"][:, 4:], parents[:, 4:])
        assert not torch.allclose(found["z"][:, :4], parents[:, :4])


@torch.no_grad()
def test_a_geodesic_of_a_clustergan_stays_on_the_simplex_and_beats_the_line(ok, typed, place):
    words = ["--from", "cluster:0", "--to", "cluster:1", "--method", "lerp", "geodesic"]
    ok("interpolate", "clustergan.safetensors", *words, "--steps", 6, "--out", "w.png")
    line, path = torch.from_numpy(np.load(place / "w_latents.npy"))
    assert off_simplex(path) < 1e-5
    assert torch.equal(path[[0, -1]], line[[0, -1]])
    decode = latentkit.load("clustergan.safetensors").decode
    ours, theirs = energy(decode(path)[None]), energy(decode(line)[None])
    assert ours <= theirs
    np.save(place / "ones.npy", np.ones(14, np.float32))
    done = typed("interpolate", "clustergan.safetensors", "--from", "ones.npy", *words[2:])
    assert done.code == 2
    assert "0 or more with sum 1" in done.err


def test_geodesics_within_a_class_start_few(ok, place):
    ok("augment", "vae.safetensors", "--data", "small.npz", "--method", "geodesic")
    found = made(place)
    assert found["x"].shape[0] == 100  # ten of each class
    _, labels = open_data("small.npz", {}).split("train")[:]
    assert (labels[found["parents"]] == found["y"][:, None]).all()


def test_copies_of_held_out_images_are_refused(ok, typed, place):
    with np.load("small.npz") as small:
        x, y = small["x"], small["y"]
    ok("augment", "vae.safetensors", "--data", "small.npz", "--per-class", 1)
    copies = x.copy()
    for label in range(10):  # one image in every split
        copies[y == label] = x[y == label][0]
    np.savez("copies.npz", x=copies, y=y)
    done = typed("augment", "vae.safetensors", "--data", "copies.npz", "--out", "new.npz")
    assert done.code == 2
    assert "that equal a held-out one" in done.err
    assert not (place / "new.npz").exists()
