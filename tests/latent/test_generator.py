"""A plain generator network becomes a latent model."""

from pathlib import Path

import pytest
import torch
from torch import nn

from latentkit.cli import main
from latentkit.latent.generator import Generator
from latentkit.priors import Uniform
from latentkit.protocols import Decoder, HasPrior
from latentkit.store import fingerprint
from latentkit.testing import check_model

OWN = """
import torch
from torch import nn
from latentkit.latent.generator import Generator

def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose2d(6, 4, 4), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1),
                         nn.Tanh())

def load():
    return Generator(plain(), shape=(1, 8, 8), latent_dim=6, latent_shape=(6, 1, 1), output=(-1, 1))
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("plain_generator.py").write_text(OWN)
    import plain_generator

    return plain_generator


def test_it_is_a_decoder_with_a_prior_that_keeps_the_contract(own):
    model = own.load()
    assert isinstance(model, Decoder)
    assert isinstance(model, HasPrior)
    assert check_model(model.eval(), torch.rand(3, 1, 8, 8))
    z = model.prior.sample(5, generator=torch.Generator().manual_seed(1))
    expected = (model.network(z[:, :, None, None]) + 1) / 2
    assert torch.equal(model.decode(z), expected)


def test_the_range_of_pixels_is_part_of_its_fingerprint():
    network = nn.Linear(3, 4)
    one, other = (Generator(network, (4,), 3, output=(low, 1)) for low in (0, -1))
    assert fingerprint(one) != fingerprint(other)


def test_a_prior_of_ones_own():
    model = Generator(nn.Linear(3, 4), (4,), 3, prior=Uniform(3))
    assert isinstance(model.prior, Uniform)
    assert model.decode(torch.zeros(2, 3)).shape == (2, 4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"latent_shape": (2, 1, 1)}, r"holds 3 numbers, got \(2, 1, 1\)"),
        ({"output": (1, -1)}, r"\(lowest, highest\) of the pixels, got \(1, -1\)"),
    ],
)
def test_what_cannot_be_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Generator(nn.Linear(3, 4), (4,), 3, **settings)


def test_the_verbs_take_it_and_say_how_to_make_one(own, capsys):
    assert main(["sample", "plain_generator:load", "--count", "4", "--out", "s.png"]) == 0
    walk = "interpolate plain_generator:load --from seed:0 --to seed:1 --out i.png"
    assert main(walk.split()) == 0
    assert main(["sample", "plain_generator:plain"]) == 2
    told = capsys.readouterr().err
    assert "got Sequential" in told
    assert "latentkit.latent.generator.Generator(network, shape=..., latent_dim=...)" in told
