"""Tiny networks and data, and a trainer that is quick and silent."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from latentkit.data.base import ImageData, Splits
from latentkit.data.digits import Digits
from latentkit.data.images import TensorImages
from latentkit.models.autoencoder import Autoencoder
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE
from latentkit.training.autoencoder import AutoencoderTraining
from latentkit.training.clustergan import ClusterGANTraining
from latentkit.training.gan import GANTraining
from latentkit.training.vae import VAETraining

SHAPE = (1, 8, 8)
SMALL = {"width": 4, "hidden": 16}


def autoencoder(**settings):
    return AutoencoderTraining(Autoencoder(SHAPE, 4, **SMALL, norm="batch"), **settings)


def vae(**settings):
    return VAETraining(VAE(SHAPE, 4, **SMALL, norm="batch"), **settings)


def gan(**settings):
    return GANTraining(DCGAN(SHAPE, 6, **SMALL), **settings)


def clustergan(**settings):
    model = ClusterGAN(SHAPE, continuous=3, classes=10, **SMALL)
    return ClusterGANTraining(model, **{"critic_steps": 2, **settings})


MAKERS = {"autoencoder": autoencoder, "vae": vae, "gan": gan, "clustergan": clustergan}


class Few(ImageData):
    """The first digits: 48 to train on (6 batches of 8), 16 to validate, 16 to test."""

    def __init__(self, labelled=True, seed=0):
        super().__init__(batch_size=8, seed=seed)
        self.labelled = labelled

    def load(self):
        images, labels = Digits(size=8).split("train")[:80]
        labels = labels if self.labelled else torch.full_like(labels, -1)
        parts = (slice(0, 48), slice(48, 64), slice(64, 80))
        return Splits(*(TensorImages(images[part], labels[part]) for part in parts))


class Stop(pl.Callback):
    """Stops a run after so many iterations."""

    def __init__(self, iterations):
        self.iterations = iterations

    def on_train_batch_end(self, trainer, module, *_):
        trainer.should_stop = int(module.iteration) == self.iterations


@pytest.fixture(scope="session")
def make():
    """Build an objective by name, always with the same initial weights."""

    def build(name, **settings):
        torch.manual_seed(0)
        return MAKERS[name](**settings)

    return build


@pytest.fixture(scope="session")
def few():
    return Few


@pytest.fixture(scope="session")
def trainer():
    """Build a silent trainer that keeps nothing unless it is told to."""

    def build(**settings):
        quiet = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "max_epochs": 1,
        }
        return pl.Trainer(**{**quiet, **settings})

    return build


def pytest_collection_modifyitems(items):
    """Hide Lightning's remarks on settings that small tests choose on purpose."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for package in ("pytorch_lightning", "lightning_fabric"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore:::{package}"))
