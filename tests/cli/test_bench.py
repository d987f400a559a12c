"""`latentkit bench directions`: every reading of the oracle and of trained models, in numbers."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import latentkit
from latentkit.cli.judging import cases, dirbench
from latentkit.data.shapes_render import FACTORS
from latentkit.explain.learned_encoder import train_encoder
from latentkit.explain.oracle import Oracle
from latentkit.explain.readings import CEILING, DISCRIMINATOR, ENCODER, controls
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE
from tests.cli.conftest import result

MEASURES = {"retrieval", "margin", "spearman", "iou", "pointing", "energy"}


@pytest.fixture
def small_oracle(monkeypatch):
    monkeypatch.setattr(dirbench, "Oracle", partial(Oracle, 16, 4))
    monkeypatch.setattr(dirbench, "train_encoder", partial(train_encoder, images=100, batch=8))


def check(rows, readings, more=frozenset(), scenes=False):
    """Every reading and every control of a table, in numbers that can be."""
    assert list(rows) == list({**readings, **controls(readings), **(CEILING if scenes else {})})
    for row in rows.values():
        assert set(row) == MEASURES | more
        for measure in row.values():
            assert measure["low"] <= measure["mean"] <= measure["high"]
    assert rows["uniform"]["retrieval"]["mean"] == 0


def test_the_oracle_scores_every_reading(ok, place, small_oracle):
    said = ok("bench", "directions", "--steps", 5, "--images", 4)
    folder = place / "outputs" / "bench-directions"
    assert {p.name for p in folder.iterdir()} == {"bench-directions.png", "result.json"}
    assert np.array(Image.open(folder / "bench-directions.png").convert("L")).std() > 5
    numbers = result(folder / "result.json")["numbers"]
    assert list(numbers["tables"]) == ["oracle encoder, factors"]
    table = numbers["tables"]["oracle encoder, factors"]
    check(table, ENCODER, {"owner", "insertion"}, scenes=True)
    assert table["change of the drawn scene"]["retrieval"]["mean"] == 1  # the oracle draws scenes
    assert set(numbers["completeness"]["oracle encoder, factors"]) == {"use", "use_along"}
    assert numbers["directions"] == list(FACTORS[1:])
    assert 0 < numbers["encoder_error"] < 1
    for name, stages in numbers["cascade"].items():
        assert name in ENCODER
        assert next(iter(stages)) == "head"
        for stage in stages.values():
            assert 0 <= stage["retrieval"] <= 1
            assert -1 <= stage["similarity"] <= 1
    found = table["pattern"]["retrieval"]
    assert f"{'pattern':<40} {found['mean']:.2f} ({found['low']:.2f}" in said


def some(monkeypatch, *names, controlled=False):
    """Leaves these readings, and controls if asked for: other tests run all of them."""
    for kind in ("ENCODER", "DISCRIMINATOR"):
        readings = getattr(dirbench, kind)
        monkeypatch.setattr(dirbench, kind, {k: readings[k] for k in names if k in readings})
    if not controlled:
        monkeypatch.setattr(dirbench, "controls", lambda _: {})


@pytest.mark.slow
def test_a_seed_gives_the_same_table(ok, place, small_oracle, monkeypatch):
    some(monkeypatch, *dirbench._CASCADED)
    found = []
    for seed in (3, 3, 4):
        ok("bench", "directions", "--steps", 2, "--images", 2, "--seed", seed)
        found.append(result(place / "outputs/bench-directions/result.json")["numbers"])
    assert found[0] == found[1]
    assert found[0]["encoder_error"] != found[2]["encoder_error"]


def test_models_are_measured_network_by_network(ok, place):
    models = ["clustergan.safetensors", "dcgan.safetensors"]
    ok("bench", "directions", "--images", 3, "--model", *models, "--out", "bench")
    content = result(place / "bench" / "result.json")
    tables = content["numbers"]["tables"]
    kinds = ("random", "principal", "sefa")
    encoder = {f"clustergan.safetensors encoder, {kind}" for kind in kinds}
    assert {title for title in tables if " encoder" in title} == encoder
    assert "dcgan.safetensors discriminator, random" in tables
    for title, rows in tables.items():
        check(rows, ENCODER if title in encoder else DISCRIMINATOR)
    said = content["settings"]["fingerprints"]
    assert said == {m: latentkit.store.fingerprint(latentkit.load(m)) for m in models}


@pytest.fixture
def scenes(place):
    """Two small models of scenes that no training has touched."""
    about = {"data": {"class_path": "latentkit.data.shapes.Shapes", "init_args": {"size": 16}}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = {
            "v": VAE((3, 16, 16), latent_dim=3, width=2, hidden=4),
            "g": DCGAN((3, 16, 16), latent_dim=4, width=2, hidden=4),
        }
        for name, model in models.items():
            with torch.no_grad():  # untrained networks change hardly more than rounding errors
                for parameter in model.parameters():
                    parameter.mul_(3 if parameter.ndim > 1 else 1)
            latentkit.save(model, f"{name}.safetensors", about)


def test_directions_of_known_factors_are_measured_where_the_data_has_them(ok, place, scenes):
    ok("bench", "directions", "--model", "v.safetensors", "--images", 2)
    tables = result(place / "outputs/bench-directions/result.json")["numbers"]["tables"]
    kinds = ["random", "principal", "sefa", "factors"]
    assert list(tables) == [f"v.safetensors encoder, {kind}" for kind in kinds]
    check(tables["v.safetensors encoder, factors"], ENCODER)  # it shows no scene: owners unknown


def test_a_gan_of_other_images_needs_no_data(ok, place, monkeypatch):
    """Its latents come from its prior; MNIST may not be there."""
    some(monkeypatch, "pattern")
    about = {
        "data": {
            "class_path": "latentkit.data.vision.Vision",
            "init_args": {"dataset": "torchvision.datasets.MNIST", "root": "nowhere"},
        }
    }
    latentkit.save(DCGAN((1, 8, 8), latent_dim=4, width=2, hidden=4), "g.safetensors", about)
    ok("bench", "directions", "--model", "g.safetensors", "--images", 2)


def test_no_model_is_measured_twice_or_judges_itself(ok, typed, place, scenes, monkeypatch):
    some(monkeypatch, "pattern")
    done = typed("bench", "directions", "--model", "v.safetensors", "v.safetensors")
    assert done.code == 2
    assert "expected different models" in done.err
    (place / "same.safetensors").write_bytes((place / "v.safetensors").read_bytes())
    ok("bench", "directions", "--model", "v.safetensors", "same.safetensors", "--images", 2)
    tables = result(place / "outputs/bench-directions/result.json")["numbers"]["tables"]
    assert all("insertion" not in row for rows in tables.values() for row in rows.values())


def test_a_generator_of_scenes_without_an_encoder_is_given_one(ok, place, scenes, monkeypatch):
    monkeypatch.setattr(cases, "train_encoder", partial(train_encoder, images=50, batch=8))
    some(monkeypatch, "pattern", "HiRes-CAM, first layer", controlled=True)
    models = ["g.safetensors", "v.safetensors"]
    ok("bench", "directions", "--model", *models, "--images", 2, "--steps", 2)
    numbers = result(place / "outputs/bench-directions/result.json")["numbers"]
    for kind in ("random", "sefa", "factors"):
        more = {"insertion"} if kind == "factors" else set()  # the VAE judges
        tables = numbers["tables"]
        check(tables[f"g.safetensors learned encoder, {kind}"], dirbench.ENCODER, more)
        check(tables[f"g.safetensors discriminator, {kind}"], dirbench.DISCRIMINATOR, more)
    assert "insertion" in tables["v.safetensors encoder, factors"]["pattern"]
    assert "g.safetensors learned encoder, factors" in numbers["completeness"]
    assert "g.safetensors discriminator, factors" not in numbers["completeness"]
