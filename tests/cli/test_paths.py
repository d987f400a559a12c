"""`latentkit interpolate` by every method, curve and file."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import latentkit
from latentkit.latent.curves import catmull_rom, spline
from latentkit.latent.interpolate import lerp, matched, mixed, slerp
from latentkit.metrics.geometry import energy, path_length, step_lengths
from latentkit.views.pixels import grid, to_pil
from tests.cli.conftest import result

ENDS = ["--from", "seed:0", "--to", "seed:1"]
MANY = [*ENDS, "--through", "seed:2", "seed:3"]


def seeds(model, *numbers):
    draws = [model.prior.sample(1, generator=torch.Generator().manual_seed(n)) for n in numbers]
    return torch.cat(draws)


def latents(folder):
    return torch.from_numpy(np.load(folder / "latents.npy"))


@torch.no_grad()
def decoded(model, path):
    return model.decode(path)[None]


@pytest.mark.parametrize(
    ("name", "extra", "method"),
    [
        ("vae", [], "matched"),
        ("dcgan", [], "matched"),
        ("clustergan", [], "matched"),
        ("ae", ["--from", "item:0", "--to", "item:1"], "lerp"),
        ("vae", ["--curve", "catmull-rom"], "lerp"),
    ],
)
def test_the_default_method_follows_the_prior_and_is_said(ok, place, name, extra, method):
    ok("interpolate", f"{name}.safetensors", *(ENDS if name != "ae" else []), *extra, "--out", "w")
    assert result(place / "w" / "result.json")["settings"]["method"] == [method]


def test_several_methods_give_a_row_each(ok, place):
    words = ["--method", "lerp", "slerp", "matched", "geodesic", "--steps", 5]
    printed = ok("interpolate", "vae.safetensors", *ENDS, *words, "--out", "w")
    model, paths = latentkit.load("vae.safetensors"), latents(place / "w")
    a, b = seeds(model, 0, 1).split(1)
    assert paths.shape == (4, 5, 6)
    for path, method in zip(paths, (lerp, slerp), strict=False):
        assert torch.allclose(path, method(a, b, 5)[0], atol=1e-6)
    assert torch.allclose(paths[2], matched(a, b, 5, model.prior)[0], atol=1e-6)
    numbers = result(place / "w" / "result.json")["numbers"]
    for path, method in zip(paths, ("lerp", "slerp", "matched", "geodesic"), strict=True):
        images = decoded(model, path)
        assert numbers[f"{method}_energy"] == pytest.approx(energy(images).item(), rel=1e-4)
        assert numbers[f"{method}_path_length"] == pytest.approx(
            path_length(images).item(), rel=1e-4
        )
    gain = 1 - numbers["geodesic_energy"] / numbers["lerp_energy"]
    assert gain > 0
    assert numbers["geodesic_gain"] == pytest.approx(gain, abs=1e-4)
    assert f"geodesic_gain: {gain:.2g}"[:-1] in printed
    with Image.open(place / "w" / "interpolate.gif") as gif:
        assert gif.n_frames == 5 + 3


def test_a_geodesic_alone_prints_its_gain_with_plain_names(ok, place):
    printed = ok("interpolate", "vae.safetensors", *MANY, "--method", "geodesic", "--out", "w")
    numbers = result(place / "w" / "result.json")["numbers"]
    assert set(numbers) == {"points", "path_length", "energy", "gain"}
    assert numbers["gain"] >= 0
    assert "  gain: " in printed
    anchors = seeds(latentkit.load("vae.safetensors"), 0, 2, 3, 1)
    assert torch.equal(latents(place / "w")[::8], anchors)


@pytest.mark.parametrize("loop", ["true", "false"])
def test_curves_through_many_anchors(ok, place, loop):
    model, closed = latentkit.load("vae.safetensors"), loop == "true"
    anchors = seeds(model, 0, 2, 3, 1)
    expected = {
        "spline --method lerp": spline(anchors, 5, closed),
        "spline": spline(anchors, 5, closed, model.prior),
        "catmull-rom": catmull_rom(anchors, 5, closed),
    }
    for words, path in expected.items():
        extra = ["--curve", *words.split(), "--loop", loop, "--steps", 5, "--out", "w"]
        ok("interpolate", "vae.safetensors", *MANY, *extra)
        assert torch.allclose(latents(place / "w"), path, atol=1e-6)


def test_a_loop_comes_back_and_its_animation_goes_round(ok, place):
    ok("interpolate", "vae.safetensors", *MANY, "--loop", "true", "--steps", 4, "--out", "w")
    path = latents(place / "w")
    assert path.shape == (4 * 3 + 1, 6)
    assert torch.equal(path[0], path[-1])
    with Image.open(place / "w" / "interpolate.gif") as gif:
        assert gif.n_frames == 12


@pytest.mark.parametrize("methods", [["lerp"], ["lerp", "slerp"]])
def test_a_strip_of_a_long_walk_shows_some_of_it(ok, place, methods):
    ends = ("--from", "seed:0", "--to", "seed:2", "--method", *methods)
    ok("interpolate", "vae.safetensors", *ends, "--steps", 130, "--out", "w")
    path = latents(place / "w")
    assert path.shape[-2] == 130
    with Image.open(place / "w" / "interpolate.gif") as gif:
        assert gif.n_frames == 130 + 128
    if methods == ["lerp"]:
        shown = path[torch.linspace(0, 129, 40).round().long()]
        wanted = to_pil(grid(decoded(latentkit.load("vae.safetensors"), shown)[0], 40))
        with Image.open(place / "w" / "interpolate.png") as strip:
            assert np.abs(np.asarray(strip, int) - np.asarray(wanted, int)).max() <= 1


@pytest.mark.parametrize("method", ["lerp", "slerp", "geodesic"])
def test_an_even_walk_has_steps_of_one_length(ok, place, method):
    spread = {}
    for even in ("false", "true"):
        words = ["--method", method, "--even", even, "--steps", 12, "--out", even]
        ok("interpolate", "vae.safetensors", *ENDS, *words)
        steps = step_lengths(decoded(latentkit.load("vae.safetensors"), latents(place / even)))
        spread[even] = (steps.std() / steps.mean()).item()
        assert steps.shape == (1, 11)
    # A geodesic of few points has corners, across which a step is shorter than along the path.
    assert spread["true"] < (0.08 if method == "geodesic" else 0.05)
    if method != "geodesic":  # which is almost even by itself
        assert spread["false"] > 0.05


@pytest.mark.parametrize("classes", ["simplex", "switch"])
def test_classes_of_a_clustergan_share_or_switch(ok, place, classes):
    words = ["--class-part", classes, "--steps", 5, "--out", "w"]
    ends = ["--from", "seed:1", "--to", "cluster:9"]
    ok("interpolate", "clustergan.safetensors", *ends, *words)
    model, path = latentkit.load("clustergan.safetensors"), latents(place / "w")
    assert torch.allclose(path[:, 4:].sum(1), torch.ones(5))
    assert torch.equal(path, mixed(path[:1], path[-1:], 5, model.prior, classes)[0])
    assert set(path[:, 4:].flatten().tolist()) <= {0, 0.25, 0.5, 0.75, 1}
    assert (path[1, 4:].max() == 1) == (classes == "switch")


def test_a_film(ok, place):
    av = pytest.importorskip("av")
    ok("interpolate", "vae.safetensors", *ENDS, "--steps", 6, "--out", "walk.mp4")
    files = {"walk.png", "walk.gif", "walk.mp4", "walk_latents.npy"}
    assert set(result(place / "walk.json")["files"]) == files
    with av.open(str(place / "walk.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 6 + 4
    assert frames[0].shape == (256, 256, 3)
    with Image.open(place / "walk.gif") as gif:
        gif.seek(5)
        last = np.asarray(gif.convert("RGB")).astype(float)
    assert np.abs(frames[5] - last).mean() < 8  # lossy, but the same picture
    assert np.abs(frames[0] - last).mean() > np.abs(frames[5] - last).mean()


def test_a_film_without_its_package_is_refused_before_the_work(typed, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for words in (["interpolate", *ENDS], ["edit", "--directions", "none.safetensors"]):
        done = typed(*words, "vae.safetensors", "--out", "walk.mp4")
        assert done.code == 2
        assert "needs the package av: pip install 'latentkit-lightning[video]'" in done.err
        assert not [*place.glob("walk*")]
