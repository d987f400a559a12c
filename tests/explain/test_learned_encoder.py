"""An encoder learned for a generator that has none."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentkit.explain.learned_encoder import encoder_for, train_encoder
from latentkit.priors import Gaussian

LATENTS, SEEN = 8, 2


class Redundant(nn.Module):
    """A generator of 8x8 images that looks at two directions of eight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(LATENTS, SEEN)
        self.paint = nn.Linear(SEEN, 64)
        self.prior = Gaussian(LATENTS)

    def decode(self, z):
        return (2 * self.paint(self.mix(z))).sigmoid().view(-1, 1, 8, 8)


def trained(rebuild):
    """The generator, an encoder after some steps, and its errors of latents and of images."""
    model, part = Redundant().train(), encoder_for((1, 8, 8), LATENTS, width=4)
    options = {"steps": 400, "images": 2000, "batch": 32, "rebuild": rebuild}
    error = train_encoder(part.module, model, **options)
    z = torch.randn(300, LATENTS, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        x = model.decode(z)
        again = model.decode(part.module(x))
    return model, error, float((again - x).square().mean() / x.var(0).mean())


def test_what_no_image_shows_is_not_what_it_learns():
    _, plain, lost = trained(rebuild=0.0)
    _, error, kept = trained(rebuild=1.0)
    assert kept < 0.7 * lost
    # No encoder can know six of eight directions; the rebuilding one is not paid for in latents.
    assert error == pytest.approx(1 - SEEN / LATENTS, abs=0.1)
    assert error < plain + 0.05


def test_the_generator_is_left_alone():
    model, *_ = trained(rebuild=1.0)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    for given, fresh in zip(model.parameters(), Redundant().parameters(), strict=True):
        assert torch.equal(given, fresh)


def test_a_generator_of_one_image_gives_finite_errors():
    part = encoder_for((1, 8, 8), 2, width=4)
    options = {"steps": 2, "images": 16, "batch": 8, "rebuild": 1.0}
    grey = SimpleNamespace(
        decode=lambda z: torch.full((len(z), 1, 8, 8), 0.5) + 0 * z.sum(), prior=Gaussian(2)
    )
    assert torch.tensor(train_encoder(part.module, grey, **options)).isfinite()


def test_a_frozen_layer_stays_and_a_decoder_may_work_in_place():
    part, grey = encoder_for((1, 8, 8), 2, width=4), nn.Linear(2, 64)
    frozen = next(part.module.parameters()).requires_grad_(False).clone()
    model = SimpleNamespace(
        decode=lambda z: grey(torch.relu_(z)).sigmoid().view(-1, 1, 8, 8), prior=Gaussian(2)
    )
    net = nn.Sequential(part.module, nn.Tanh())
    train_encoder(net, model, steps=2, images=16, batch=8, rebuild=1.0)
    assert torch.equal(next(part.module.parameters()), frozen)
