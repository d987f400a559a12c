"""`latentkit compare`, and pictures as vector graphics."""

import re

import numpy as np
import pytest
import torch

import latentkit
from latentkit.cli.sources import open_data
from latentkit.metrics.similarity import cka, rotation_fit
from latentkit.training import classifier
from tests.cli.conftest import result
from tests.views.browser import opened

PAIR = ("vae.safetensors", "vae_b.safetensors", "--images", 40)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, place):
    monkeypatch.setattr(classifier, "_STEPS", 10)
    (place / "own.py").write_text("def pixels(x):\n    return x.flatten(1)\n")


def test_numbers_stand_side_by_side(ok, place):
    ok("compare", *PAIR, "--out", "found")
    content = result(place / "found/result.json")
    runs = content["numbers"]["runs"]
    assert list(runs) == ["vae.safetensors", "vae_b.safetensors"]
    a, b = (latentkit.load(place / name) for name in runs)
    images = open_data(None, latentkit.store.read_about(place / "vae.safetensors")).split("test")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x = images[order[:40].sort().values][0]
    with torch.no_grad():
        wanted = [(m.decode(m.encode(x)) - x).square().mean().item() for m in (a, b)]
        z = a.encode(x), b.encode(x)
    assert [run["mse"] for run in runs.values()] == pytest.approx(wanted, rel=1e-5)
    assert [run["fingerprint"] for run in runs.values()] == [
        latentkit.store.fingerprint(m) for m in (a, b)
    ]
    assert all("frechet_classifier64" in run for run in runs.values())  # one space for both
    (alike,) = content["numbers"]["latent_spaces"].values()
    assert alike["cka"] == pytest.approx(cka(*z), rel=1e-4)
    assert alike["rotation"] == pytest.approx(rotation_fit(*z), rel=1e-4)


def test_one_classifier_is_trained_for_all(ok, place, monkeypatch):
    trained, calls = classifier.Classifier.trained, []
    monkeypatch.setattr(
        classifier.Classifier, "trained", lambda *a: (calls.append(1), trained(*a))[1]
    )
    ok("compare", *PAIR, "--out", "found")
    assert len(calls) == 1


def test_a_model_is_like_itself(ok, place):
    (place / "twin.safetensors").symlink_to((place / "vae.safetensors").resolve())
    ok("compare", "vae.safetensors", "twin.safetensors", "--images", 20, "--out", "found")
    (alike,) = result(place / "found/result.json")["numbers"]["latent_spaces"].values()
    assert alike["cka"] == pytest.approx(1)
    assert alike["rotation"] == pytest.approx(1)


def test_models_of_other_kinds_leave_cells_empty(ok, place):
    words = ("ae.safetensors", "dcgan.safetensors", "--images", 20, "--out", "page.html")
    ok("compare", *words)
    text = (place / "page.html").read_text()
    assert result(place / "page.json")["numbers"]["latent_spaces"] == {}
    assert '<span class="quiet">none</span>' in text
    assert text.count("<figcaption>samples") == text.count("<figcaption>reconstructions") == 1


def test_without_labels_nothing_is_measured_in_each_ones_own_encoder(ok, place):
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16), np.uint8)
    np.savez(place / "unlabelled.npz", x=images)
    words = (*PAIR[:2], "--images", 20, "--data", "unlabelled.npz")
    ok("compare", *words, "--out", "a")
    ok("compare", *words, "--features", "own:pixels", "--out", "b")
    plain, named = (result(place / f"{k}/result.json") for k in "ab")
    assert not [k for k in plain["numbers"]["runs"]["vae.safetensors"] if "frechet" in k]
    assert all("frechet_own.pixels" in run for run in named["numbers"]["runs"].values())
    assert named["settings"]["settings_of_runs"]["vae.safetensors"]["features"] == "own.pixels"


def test_the_page_in_a_browser(ok, place):
    ok("compare", *PAIR, "--out", "page.html")
    with opened(viewport={"width": 390, "height": 800}) as watched:
        watched.page.goto((place / "page.html").as_uri())
        assert watched.page.locator("h2").all_inner_texts() == [
            "Numbers",
            "Pictures",
            "Latent spaces",
            "Provenance",
        ]
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert watched.page.evaluate(wide)
        loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt)"
        assert watched.page.evaluate(loaded)
        assert watched.errors == []
        assert watched.outside == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("vae.safetensors",), "expected two runs or more"),
        (("vae.safetensors", "vae.safetensors"), "expected different runs"),
        (("vae.safetensors", "other.safetensors"), "was trained on other data"),
        ((*PAIR[:2], "--features", "encoder"), "is another space for each model"),
        ((*PAIR[:2], "--images", 3), "--images of 20 or more"),
        ((*PAIR[:2], "--out", "page.pdf"), "folder or end in"),
        ((), "runs"),
    ],
)
def test_what_cannot_be_compared_is_said(typed, place, words, said):
    data = {"class_path": "latentkit.data.arrays.Arrays", "init_args": {"path": "small.npz"}}
    about = {"data": data, "input_shape": [1, 16, 16]}
    latentkit.save(latentkit.load(place / "vae.safetensors"), place / "other.safetensors", about)
    done = typed("compare", *words)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (place / "outputs").exists()


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_figures_as_vector_graphics(ok, place, kind):
    ok("cluster", "vae.safetensors", "--limit", 20, "--out", f"map.{kind}")
    content = (place / f"map.{kind}").read_bytes()
    head = {"svg": rb"<\?xml.*<svg", "pdf": rb"%PDF-"}[kind]
    assert re.match(head, content, re.DOTALL)
    assert not re.search(rb"dc:date|CreationDate", content)
    assert (place / "map.npz").exists()


@pytest.mark.parametrize("methods", [("lerp",), ("lerp", "slerp")])
def test_strips_as_vector_graphics(ok, place, methods):
    words = ("--from", "item:0", "--to", "item:1", "--method", *methods, "--out", "walk.svg")
    ok("interpolate", "vae.safetensors", *words)
    assert "<svg" in (place / "walk.svg").read_text()
    assert (place / "walk.gif").exists()
    assert not (place / "walk.png").exists()


def test_every_picture_of_directions_is_of_the_same_kind(ok, place):
    ok("explain", "vae.safetensors", "--images", 2, "--out", "found.svg")
    assert {p.name for p in place.glob("found*")} == {
        "found.svg",
        "found.json",
        *(f"found_direction_{k}.svg" for k in (1, 2, 3, 4)),
    }
