"""Small networks that the tests look into, with weights that never change."""

import pytest
import torch
from torch import nn


@pytest.fixture
def make_encoder():
    """Build a conv encoder 3x12x10 -> 5 with batch norm, LeakyReLU and dropout, in eval mode."""

    def make(inplace=True, seed=0):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=inplace),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=inplace),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(6 * 6 * 5, 5),
        )
        with torch.no_grad():  # statistics that are not the identity
            net[3].running_mean.normal_(0, 0.2)
            net[3].running_var.uniform_(0.5, 1.5)
        return net.eval()

    return make


class Converts(nn.Sequential):
    """Takes [0, 1] to [-1, 1] first, in the memory of the input or in its own."""

    inplace = True

    def forward(self, x):
        return super().forward(x.mul_(2).sub_(1) if self.inplace else 2 * x - 1)


@pytest.fixture
def converts(make_encoder):
    """The encoder behind a conversion that works in place, and behind one that does not."""
    nets = [Converts(*make_encoder()).eval() for _ in range(2)]
    nets[1].inplace = False
    return nets


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def images():
    return torch.randn(4, 3, 12, 10, generator=torch.Generator().manual_seed(1))
