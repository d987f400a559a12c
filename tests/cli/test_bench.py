"""`latentkit bench directions`: every reading of the oracle and of trained models, in numbers."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import latentkit
from latentkit.cli import dirbench
from latentkit.data.shapes_render import FACTORS
from latentkit.explain.oracle import Oracle, train_encoder
from latentkit.explain.readings import DISCRIMINATOR, ENCODER, controls
from latentkit.models.vae import VAE
from tests.cli.conftest import result

MEASURES = {"retrieval", "margin", "spearman", "iou", "pointing", "energy"}


@pytest.fixture
def small_oracle(monkeypatch):
    monkeypatch.setattr(dirbench, "Oracle", partial(Oracle, 16, 4))
    monkeypatch.setattr(dirbench, "train_encoder", partial(train_encoder, scenes=100, batch=8))


def check(rows, readings):
    """Every reading and every control of a table, in numbers that can be."""
    assert list(rows) == list({**readings, **controls(readings)})
    for row in rows.values():
        assert set(row) == MEASURES
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
    check(numbers["tables"]["oracle encoder, factors"], ENCODER)
    assert numbers["directions"] == list(FACTORS[1:])
    assert 0 < numbers["encoder_error"] < 1
    for name, stages in numbers["cascade"].items():
        assert name in ENCODER
        assert next(iter(stages)) == "head"
        assert all(0 <= share <= 1 for share in stages.values())
    table = numbers["tables"]["oracle encoder, factors"]["pattern"]["retrieval"]
    assert f"{'pattern':<40} {table['mean']:.2f} ({table['low']:.2f}" in said


def test_a_seed_gives_the_same_table(ok, place, small_oracle, monkeypatch):
    few = ("pattern", "natural change", "guided backpropagation")
    monkeypatch.setattr(dirbench, "ENCODER", {name: ENCODER[name] for name in few})
    monkeypatch.setattr(dirbench, "controls", lambda _: {})
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
    encoder = {f"clustergan.safetensors encoder, {kind}" for kind in ("random", "principal")}
    assert {title for title in tables if " encoder" in title} == encoder
    assert "dcgan.safetensors discriminator, random" in tables
    for title, rows in tables.items():
        check(rows, ENCODER if title in encoder else DISCRIMINATOR)
    said = content["settings"]["fingerprints"]
    assert said == {m: latentkit.store.fingerprint(latentkit.load(m)) for m in models}


def test_directions_of_known_factors_are_measured_where_the_data_has_them(ok, place):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE((3, 16, 16), latent_dim=3, width=2, hidden=4)
    about = {"data": {"class_path": "latentkit.data.shapes.Shapes", "init_args": {"size": 16}}}
    latentkit.save(model, "s.safetensors", about)
    ok("bench", "directions", "--model", "s.safetensors", "--images", 2)
    tables = result(place / "outputs/bench-directions/result.json")["numbers"]["tables"]
    kinds = ["random", "principal", "factors"]
    assert list(tables) == [f"s.safetensors encoder, {kind}" for kind in kinds]
