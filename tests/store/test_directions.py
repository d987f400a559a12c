import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentkit.store import Directions, fingerprint, load_directions, save_directions


def names(folder):
    return [path.name for path in Path(folder).iterdir()]


MADE = Directions(
    vectors=torch.eye(3)[:2],
    names=("first", "second"),
    method="pca",
    fingerprint="0123456789abcdef",
    provenance={"images": 500, "data": {"size": 8}},
    uncertainty={"angle": [0.1, math.nan]},
)


@pytest.fixture
def path(tmp_path):
    save_directions(MADE, tmp_path / "d.safetensors")
    return tmp_path / "d.safetensors"


def test_round_trip(path):
    back = load_directions(path)
    assert torch.equal(back.vectors, MADE.vectors)
    assert back.names == ("first", "second")
    assert back.provenance == MADE.provenance
    assert back.uncertainty == {"angle": [0.1, None]}
    assert (back.method, back.fingerprint, back.space) == ("pca", "0123456789abcdef", "z")


def test_any_latent_shape_and_layout(tmp_path):
    for vectors in (
        torch.randn(2, 3, 4, 4).requires_grad_(),
        torch.randn(5, 2, dtype=torch.float64).T,
    ):
        save_directions(replace(MADE, vectors=vectors), tmp_path / "d.safetensors")
        assert torch.equal(load_directions(tmp_path / "d.safetensors").vectors, vectors)


def test_the_file_is_plain_safetensors(path):
    with safe_open(path, framework="pt") as file:
        assert list(file.keys()) == ["vectors"]
        assert json.loads(file.metadata()["latentkit.directions"])["method"] == "pca"


def test_another_models_directions_are_refused_naming_both(vae, make_vae):
    mine = replace(MADE, fingerprint=fingerprint(vae))
    mine.check(fingerprint(vae))
    other = fingerprint(make_vae())
    with pytest.raises(ValueError, match=f"{mine.fingerprint}.* {other}"):
        mine.check(other)


def test_a_name_for_each_direction():
    with pytest.raises(ValueError, match="expected 2 names, one for each direction, got 1"):
        replace(MADE, names=("only",))


def test_broken_files(path, tmp_path):
    with pytest.raises(ValueError, match="no directions file at"):
        load_directions(tmp_path / "absent.safetensors")
    whole = path.read_bytes()
    for size in (0, 5, 60, -3):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged or no safetensors"):
            load_directions(path)
    torch.save({"vectors": torch.eye(2)}, path)
    with pytest.raises(ValueError, match="damaged or no safetensors"):
        load_directions(path)


def test_files_that_hold_something_else(tmp_path):
    path = tmp_path / "d.safetensors"
    save_file({"weight": torch.eye(2)}, path)
    with pytest.raises(ValueError, match="holds no directions"):
        load_directions(path)


@pytest.mark.parametrize("rest", ["[1]", '{"names": ["a"]}', '{"a": 1}', "3", "{"])
def test_damaged_descriptions(tmp_path, rest):
    path = tmp_path / "d.safetensors"
    save_file({"vectors": torch.eye(3)[:1]}, path, {"latentkit.directions": rest})
    with pytest.raises(ValueError, match="damaged"):
        load_directions(path)


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    old = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_directions(MADE, path)
    assert path.read_bytes() == old
    assert names(path.parent) == [path.name]


def test_only_safetensors_are_written(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.safetensors"):
        save_directions(MADE, tmp_path / "d.json")


@pytest.mark.parametrize(
    "vectors",
    [
        torch.eye(2).long(),
        torch.eye(2) * torch.nan,
        torch.zeros(2),
        torch.eye(2) * 1j,
        torch.zeros(0, 3),
    ],
)
def test_vectors_that_no_space_has(tmp_path, vectors):
    names = ("a", "b")[: len(vectors)]
    save_directions(Directions(vectors, names, "pca", "0"), tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="expected finite vectors"):
        load_directions(tmp_path / "d.safetensors")
