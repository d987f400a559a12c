"""One small model of each kind, with weights that are not the initial ones."""

import pytest
import torch

from latentkit.models.autoencoder import Autoencoder
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE

SMALL = {"width": 2, "hidden": 8}
SHAPE = (1, 8, 8)
MAKERS = {
    "autoencoder": lambda: Autoencoder(SHAPE, latent_dim=3, **SMALL),
    "vae": lambda: VAE(SHAPE, latent_dim=3, **SMALL, norm="batch", likelihood="gaussian"),
    "dcgan": lambda: DCGAN(SHAPE, latent_dim=3, **SMALL, norm="spectral"),
    "clustergan": lambda: ClusterGAN(SHAPE, continuous=2, classes=3, sigma=0.25, **SMALL),
}


def used(model):
    """Move every parameter and buffer, as training would."""
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(torch.rand_like(value.float()).to(value.dtype) if value.ndim else 1)
    return model.eval()


@pytest.fixture(params=MAKERS)
def model(request):
    return used(MAKERS[request.param]())


@pytest.fixture
def vae():
    return used(MAKERS["vae"]())


@pytest.fixture
def make_vae():
    return MAKERS["vae"]
