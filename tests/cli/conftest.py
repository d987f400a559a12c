"""Small saved models of every kind, and a way to type commands."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import latentkit
from latentkit.cli import main
from latentkit.data.digits import Digits
from latentkit.models.autoencoder import Autoencoder
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE

SIDE = 16
SHAPE = (1, SIDE, SIDE)
DATA = {"class_path": "latentkit.data.digits.Digits", "init_args": {"size": SIDE}}


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits of 16x16 pixels, the data of every model in the zoo."""
    return Digits(size=SIDE)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """A folder with an untrained model of each kind, and the odd ones out."""
    folder = tmp_path_factory.mktemp("zoo")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = {
            "vae": VAE(SHAPE, latent_dim=6, width=4, hidden=16),
            "vae_b": VAE(SHAPE, latent_dim=6, width=4, hidden=16),
            "ae": Autoencoder(SHAPE, latent_dim=6, width=4, hidden=16),
            "dcgan": DCGAN(SHAPE, latent_dim=6, width=4, hidden=16),
            "clustergan": ClusterGAN(SHAPE, continuous=4, classes=10, width=4, hidden=16),
        }
        # Untrained networks change almost nothing along any direction: make them livelier.
        with torch.no_grad():
            for model in models.values():
                for name, parameter in model.named_parameters():
                    if parameter.ndim > 1 and not name.startswith("discriminator"):
                        parameter.mul_(2)
    about = {"data": DATA, "input_shape": list(SHAPE), "config": "zoo"}
    for name, model in models.items():
        latentkit.save(model, folder / f"{name}.safetensors", about)
    latentkit.save(models["vae"], folder / "homeless.safetensors", {})
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory, digits):
    """An .npz of 60 labelled digits, 6 of each class: 48 to train on, 6 to test."""
    images, labels = digits.split("train")[:]
    rows = torch.cat([(labels == k).nonzero().flatten()[:6] for k in range(10)])
    path = tmp_path_factory.mktemp("small") / "small.npz"
    pixels = (images[rows, 0] * 255).round().byte().numpy()
    np.savez(path, x=pixels, y=labels[rows].numpy())
    return path


@dataclass
class Typed:
    """What a command did."""

    code: int
    out: str
    err: str
    folder: Path


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys, zoo, small):
    """Types a command in an empty folder in which the zoo and the small data lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    for path in [*zoo.iterdir(), small]:
        (tmp_path / path.name).symlink_to(path)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Typed(code, out, err, tmp_path)

    return run


@pytest.fixture
def ok(typed):
    """Types a command that must succeed, and gives what it printed."""

    def run(*words):
        done = typed(*words)
        assert done.code == 0, done.err
        return done.out

    return run


@pytest.fixture(autouse=True)
def _no_leftover_threads():
    yield
    shutil.rmtree("lightning_logs", ignore_errors=True)
