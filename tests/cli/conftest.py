"""Small saved models of every kind, and a way to type commands."""

import json
import logging
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import pytorch_lightning  # noqa: F401  (its log handlers must be there to be redirected)
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


@pytest.fixture
def place(tmp_path, monkeypatch, zoo, small):
    """An empty working folder in which the zoo and the small data lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))  # loading a factory adds the folder
    for path in [*zoo.iterdir(), small]:
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.fixture
def typed(place, capsys):
    """Types a command in `place`: what a user would see on stdout and on stderr."""

    def run(*words):
        capsys.readouterr()
        with warnings.catch_warnings(), logs_on_stderr():
            warnings.simplefilter("default")
            for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)  # as Python does by itself
            warnings.showwarning = show_on_stderr
            code = main([str(word) for word in words])
        return Typed(code, *capsys.readouterr())

    return run


def show_on_stderr(message, category, *_where, **_more):
    sys.stderr.write(f"{category.__name__}: {message}\n")


@contextmanager
def logs_on_stderr():
    """Lightning's logs keep the stderr of their import, which is not the one of a test."""
    handlers = [
        handler
        for name in ("pytorch_lightning", "lightning_fabric")
        for handler in logging.getLogger(name).handlers
        if type(handler) is logging.StreamHandler
    ]
    for handler in handlers:
        handler.stream = sys.stderr
    try:
        yield
    finally:
        for handler in handlers:
            handler.stream = sys.__stderr__


@pytest.fixture
def ok(typed):
    """Types a command that must succeed, and gives what it printed on stdout."""

    def run(*words):
        done = typed(*words)
        assert done.code == 0, done.err
        return done.out

    return run


def random_part(images, n, seed=0):
    """`n` random rows of a split, in order."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[sorted(order[:n].tolist())]


def result(path):
    """Reads a result.json strictly: NaN and infinity are no JSON."""

    def refuse(name):
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)
