import json
import os
from io import BytesIO
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import latentkit
from latentkit.models.autoencoder import Autoencoder
from latentkit.models.vae import VAE
from latentkit.store import describe, load, read_about, save

ABOUT = {
    "data": {"class_path": "x.Y", "init_args": {"size": 8}},
    "input_shape": (1, 8, 8),
    "seed": 3,
}


def names(folder):
    return [path.name for path in Path(folder).iterdir()]


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(
        torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items()
    )


def rewritten(source, target, **changes):
    """Copy a model file with changed metadata."""
    with safe_open(source, framework="pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        content = json.loads(file.metadata()["latentkit"])
    save_file(tensors, target, {"latentkit": json.dumps({**content, **changes})})
    return target


@pytest.fixture
def path(vae, tmp_path):
    save(vae, tmp_path / "m.safetensors", ABOUT)
    return tmp_path / "m.safetensors"


def test_round_trip(model, tmp_path):
    path = tmp_path / "m.safetensors"
    save(model.train(), path)
    back = latentkit.load(path)
    assert type(back) is type(model)
    assert same(model, back)
    assert describe(back) == describe(model)
    assert not any(m.training for m in back.modules())
    if hasattr(model, "prior"):
        z = model.prior.sample(3)
        assert torch.equal(model.eval().decode(z), back.decode(z))


def test_about_comes_back_with_the_versions(path):
    about = read_about(path)
    assert about["versions"]["latentkit"] == latentkit.__version__
    assert about["versions"]["torch"] == torch.__version__
    assert {k: v for k, v in about.items() if k != "versions"} == {
        **ABOUT,
        "input_shape": [1, 8, 8],
    }


def test_the_file_is_plain_safetensors(path, vae):
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(vae.state_dict())
        content = json.loads(file.metadata()["latentkit"])
    assert content["class_path"] == "latentkit.models.vae.VAE"
    assert content["init_args"]["likelihood"] == "gaussian"
    assert content["init_args"]["shape"] == [1, 8, 8]


def test_saving_does_not_move_the_model_or_the_random_state(vae, tmp_path):
    vae.train()
    before, weights = torch.get_rng_state(), {k: v.clone() for k, v in vae.state_dict().items()}
    save(vae, tmp_path / "m.safetensors")
    assert vae.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, weights[k]) for k, v in vae.state_dict().items())


def test_views_and_shared_memory_are_saved_whole(tmp_path):
    model = Autoencoder((1, 8, 8), latent_dim=8, width=2, hidden=8)
    model.encoder.head.weight = nn.Parameter(model.encoder.head.weight.detach().T)  # not contiguous
    save(model, tmp_path / "m.safetensors")
    assert same(model, load(tmp_path / "m.safetensors"))


def test_other_number_types_survive(make_vae, tmp_path):
    for dtype in (torch.float64, torch.bfloat16):
        model = make_vae().to(dtype)
        save(model, tmp_path / "m.safetensors")
        back = load(tmp_path / "m.safetensors", model=make_vae().to(dtype))
        assert same(model, back)


@pytest.mark.parametrize("name", ["m.pt", "m", "m.safetensors.bak"])
def test_only_safetensors_are_written(vae, tmp_path, name):
    with pytest.raises(ValueError, match=r"ending in \.safetensors"):
        save(vae, tmp_path / name)
    assert names(tmp_path) == []


def test_a_class_that_forgets_its_arguments_cannot_be_saved(tmp_path):
    class Forgetful(nn.Module):
        def __init__(self, size, depth=2):
            super().__init__()
            self.depth = depth

    with pytest.raises(ValueError, match=r"Forgetful to keep its argument.* size as attributes"):
        save(Forgetful(3), tmp_path / "m.safetensors")


def test_a_failed_write_keeps_the_old_file(path, make_vae, monkeypatch):
    old = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save(make_vae(), path)
    assert path.read_bytes() == old
    assert names(path.parent) == [path.name]


# ------------------------------------------------------------------------------------- run folders


def test_a_run_folder_gives_its_model_file(path, vae):
    path.rename(path.parent / "model.safetensors")
    (path.parent / "last.ckpt").write_bytes(b"never read")
    assert same(load(path.parent), vae)
    assert read_about(path.parent)["seed"] == 3


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"model.safetensors or last.ckpt .* found neither"):
        load(tmp_path)


# ------------------------------------------------------------------------------------ broken files


def test_missing_files(tmp_path):
    with pytest.raises(ValueError, match=r"no model at .*absent.safetensors"):
        load(tmp_path / "absent.safetensors")
    (tmp_path / "a.pt").touch()
    with pytest.raises(ValueError, match=r"ending in \.safetensors or \.ckpt"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize("size", [0, 4, 100, -10])
def test_truncated_files(path, size):
    path.write_bytes(path.read_bytes()[:size])
    for read in (load, read_about):
        with pytest.raises(ValueError, match=r"damaged|cannot read"):
            read(path)


def test_foreign_safetensors(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="not written by latentkit"):
        load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("metadata", ["{", "null", "[1]", '"text"', "{}"])
def test_damaged_metadata(path, metadata):
    save_file({"a": torch.zeros(2)}, path, {"latentkit": metadata})
    with pytest.raises(ValueError, match="damaged metadata"):
        load(path)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt"])
def test_a_pickle_is_not_executed(tmp_path, name):
    trace = tmp_path / "executed"
    torch.save({"latentkit": Bomb(trace), "state_dict": {}}, tmp_path / name)
    for read in (load, read_about):
        with pytest.raises(ValueError, match=r"damaged or no safe"):
            read(tmp_path / name)
    assert not trace.exists()
    torch.load(BytesIO((tmp_path / name).read_bytes()), weights_only=False)  # the bomb does work
    assert trace.exists()


FOREIGN = [
    ("torch.nn.Linear", "outside latentkit"),
    ("os.system", "outside latentkit"),
    ("latentkit_evil.models.Model", "outside latentkit"),
    ("VAE", "outside latentkit"),
    ("", "outside latentkit"),
    ("latentkit.store.models.torch", "nn.Module"),
    ("latentkit.store.models.json.loads", "does not exist"),
    ("latentkit.store.models.save", "nn.Module"),
    ("latentkit.store.models.nn", "nn.Module"),
    ("latentkit.protocols.Part", "nn.Module"),
    ("latentkit.models.vae.Nothing", "does not exist"),
    ("latentkit.models.nothing.VAE", "does not exist"),
]


@pytest.mark.parametrize(("class_path", "message"), FOREIGN)
def test_classes_that_are_not_built(path, class_path, message):
    rewritten(path, path, class_path=class_path)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_foreign_class_behind_one_of_our_modules_is_not_built(path, monkeypatch):
    monkeypatch.setattr("latentkit.models.vae.Linear", nn.Linear, raising=False)
    rewritten(path, path, class_path="latentkit.models.vae.Linear", init_args={"in_features": 1})
    with pytest.raises(ValueError, match="not latentkit's own class"):
        load(path)


@pytest.mark.parametrize(
    "init_args",
    [
        {"shape": [1, 8, 8], "depth": 3},
        {},
        {"shape": [1, 7, 7]},
        {"shape": 5},
        {"shape": [1, 8, 8], "latent_dim": -1},
        [1, 2],
    ],
)
def test_arguments_that_do_not_fit(path, init_args):
    rewritten(path, path, init_args=init_args)
    with pytest.raises(
        ValueError, match=r"arguments do not fit latentkit.models.vae.VAE|to be mappings"
    ):
        load(path)


def test_weights_that_do_not_fit(path, vae):
    content = describe(vae)["init_args"]
    rewritten(path, path, init_args={**content, "latent_dim": 4})
    with pytest.raises(ValueError, match=r"weights in .* do not fit VAE: size mismatch"):
        load(path)
    rewritten(path, path, init_args={**content, "likelihood": "bernoulli"})
    with pytest.raises(ValueError, match=r"do not fit VAE: .*log_scale"):
        load(path)


# ---------------------------------------------------------------------------- the caller's own word


def test_a_model_of_the_callers_is_filled(path, vae, make_vae):
    mine = make_vae().train()
    assert not same(mine, vae)
    assert load(path, model=mine) is mine
    assert same(mine, vae)
    assert not mine.training
    with pytest.raises(ValueError, match="do not fit Autoencoder"):
        load(path, model=Autoencoder((1, 8, 8)))


OWN = """
from torch import nn
from types import SimpleNamespace


class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size, self.linear = size, nn.Linear(size, size)

    def encode(self, x):
        return self.linear(x)


def make():
    return Net(3).train()


def pair():
    return SimpleNamespace(encode=lambda x: x, decode=lambda z: z)


def nothing():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package of the user's beside the current folder."""
    name = f"own_{os.path.basename(tmp_path)}"  # noqa: PTH119  (a fresh module for each test)
    name = "".join(c if c.isalnum() else "_" for c in name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "nets.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p])
    return name


def test_a_factory(own):
    built = load(f"{own}.nets:make")
    assert type(built).__name__ == "Net"
    assert not built.training
    assert load(f"{own}.nets:pair").decode(3) == 3
    assert read_about(f"{own}.nets:pair") == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nets:absent", "cannot import"),
        ("absent:make", "cannot import"),
        ("nets:nothing", "to return an object with `encode` and/or `decode`, got int"),
    ],
)
def test_a_factory_that_makes_no_model(own, name, message):
    with pytest.raises(ValueError, match=message):
        load(f"{own}.{name}")


def test_a_package_is_built_only_when_it_is_trusted(own, tmp_path):
    built = load(f"{own}.nets:make")
    save(built, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=rf"{own}.nets.Net, which is outside .*trust='{own}'"):
        load(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="outside latentkit"):
        load(tmp_path / "m.safetensors", trust="own")
    assert same(load(tmp_path / "m.safetensors", trust=own), built)


def test_trust_covers_no_other_package(path):
    rewritten(
        path, path, class_path="torch.nn.Linear", init_args={"in_features": 1, "out_features": 1}
    )
    with pytest.raises(ValueError, match="outside latentkit"):
        load(path, trust="torchvision")
    with pytest.raises(ValueError, match="do not fit Linear"):
        load(path, trust="torch")


# ------------------------------------------------------------------------------------- checkpoints


def checkpoint(model, path, **changes):
    entry = {**describe(model), "about": {"seed": 5}, "weights": [["", "model."]]}
    state = {f"model.{k}": v for k, v in model.state_dict().items()} | {
        "iteration": torch.tensor(1)
    }
    torch.save({"latentkit": {**entry, **changes}, "state_dict": state}, path)
    return path


def test_a_checkpoint(model, tmp_path):
    path = checkpoint(model, tmp_path / "last.ckpt")
    assert same(load(path), model)
    assert same(load(tmp_path), model)
    assert read_about(path) == {"seed": 5}


def test_later_prefixes_of_a_checkpoint_win(vae, make_vae, tmp_path):
    average = make_vae()
    state = {f"model.{k}": v for k, v in vae.state_dict().items()}
    state |= {f"ema.{k}": v for k, v in average.decoder.state_dict().items()}
    entry = {**describe(vae), "weights": [["", "model."], ["decoder.", "ema."]]}
    torch.save({"latentkit": entry, "state_dict": state}, tmp_path / "a.ckpt")
    built = load(tmp_path / "a.ckpt")
    assert same(built.decoder, average.decoder)
    assert same(built.encoder, vae.encoder)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_a_checkpoint_of_somebody_else(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="not written by latentkit's training"):
        load(tmp_path / "a.ckpt")


@pytest.mark.parametrize("entry", [3, {}, {"weights": 3}, {"weights": [["a"]]}])
def test_a_checkpoint_with_a_damaged_entry(tmp_path, entry):
    torch.save({"latentkit": entry, "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "a.ckpt")


def test_a_truncated_checkpoint(vae, tmp_path):
    path = checkpoint(vae, tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="damaged or no safe checkpoint"):
        load(path)


def test_a_checkpoint_builds_no_foreign_class(vae, tmp_path):
    path = checkpoint(vae, tmp_path / "a.ckpt", class_path="torch.nn.Linear")
    with pytest.raises(ValueError, match="outside latentkit"):
        load(path)


def test_the_package_names():
    assert latentkit.load is load
    assert latentkit.save is save
    assert VAE((1, 8, 8)).latent_dim == 16
