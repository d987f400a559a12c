"""A direction explained in one call: against closed forms, its parts, and controls that fail."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentkit.data.batches import keyed_generator
from latentkit.explain import explanation
from latentkit.explain.directions import effect
from latentkit.explain.explanation import explain_direction
from latentkit.explain.faithfulness import direction_retrieval, with_rivals
from latentkit.explain.pattern import discriminator_readout, pattern
from latentkit.explain.scores import unit_vector
from latentkit.explain.verdicts import summary, verdict
from latentkit.metrics.bootstrap import wilson
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE
from latentkit.priors import Gaussian
from latentkit.protocols import Part


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


SHAPE = (2, 4, 6)
A, Z, D = draw(48, 6), draw(32, 6, seed=1), draw(6, seed=2)
BACK = torch.linalg.pinv(A)


def decode(z):
    """Linear: each direction changes every image alike."""
    return (z @ A.T).reshape(-1, *SHAPE)


def encode(x):
    """Undoes `decode`."""
    return x.flatten(1) @ BACK.T


KEEPS = Part(nn.Sequential(nn.Flatten(), nn.Linear(48, 20, dtype=torch.double)), ("1",))
PAIR = SimpleNamespace(decode=decode, encode=encode)
EFFECT = decode(unit_vector(D)[None])[0].norm(dim=0)


# --- closed forms


def test_a_network_that_undoes_the_generator_is_faithful():
    told = explain_direction(PAIR, Z, D)
    torch.testing.assert_close(told.effect, EFFECT.expand(32, -1, -1))
    torch.testing.assert_close(1.1 * told.readings["encoder"], told.effect)  # the ridge shrinks it
    (found,) = told.retrieval.values()
    assert (found.accuracy, found.chance, found.trials) == (1, 0.2, 32)
    assert found.interval == wilson(1, 32)
    assert found.faithful
    # Length and sign of d do not matter; the sum of the use is the change of what is read.
    other = explain_direction(PAIR, Z, -3 * D)
    torch.testing.assert_close(other.effect, told.effect)
    torch.testing.assert_close(other.readings["encoder"], told.readings["encoder"])
    change = 2 * 0.5 * Z.std(0).mean()
    torch.testing.assert_close(told.use.sum((1, 2)), change.expand(32))
    back = (unit_vector(D) @ BACK).reshape(SHAPE)
    expected = change * (back * decode(unit_vector(D)[None])[0]).sum(0)
    torch.testing.assert_close(told.use, expected.expand(32, -1, -1))
    assert told.use_error.max() < 1e-9


def test_a_network_that_takes_it_for_other_directions_is_not():
    """The control: the same network with its latents mixed up."""
    mixed = SimpleNamespace(decode=decode, encode=lambda x: encode(x) @ draw(6, 6, seed=3))
    axes = torch.eye(6).double()
    told = explain_direction(mixed, Z, axes[0], axes[1:]).retrieval["encoder"]
    blind = SimpleNamespace(decode=decode, encode=lambda x: 0 * encode(x))
    dead = explain_direction(blind, Z, axes[0], axes[1:]).retrieval["encoder"]
    sure = explain_direction(PAIR, Z, axes[0], axes[1:]).retrieval["encoder"]
    assert (told.faithful, dead.faithful, sure.faithful) == (False, False, True)
    assert told.accuracy < sure.accuracy
    assert dead.accuracy == 0
    assert told.chance == pytest.approx(1 / 6)


def test_few_images_do_not_suffice():
    found = direction_retrieval(torch.eye(2)[:, None].expand(2, 1, 2), torch.eye(2)[:, None])
    assert (found.accuracy, found.faithful) == (1, False)  # one image, won by chance half the time


# --- against its parts


def parts_of(model, z, d, latents, seed=0):
    """Retrieval of each network, put together by hand."""
    vectors = with_rivals(d[None], seed)
    truths = torch.stack([effect(model.decode, z, v) for v in vectors])
    read, offered = {}, model.explainable()
    if hasattr(model, "encode"):
        read["encoder"] = model.encode
    if "discriminator" in offered:
        part = offered["discriminator"]
        read["discriminator"] = discriminator_readout(part, model.decode, latents)
    maps = {k: pattern(v, model.decode, z, vectors).square().sum(2).sqrt() for k, v in read.items()}
    return maps, {k: direction_retrieval(m, truths) for k, m in maps.items()}


IMAGE = (1, 16, 16)
MODELS = {
    "vae": lambda: VAE(IMAGE, latent_dim=4, width=4, hidden=16),
    "dcgan": lambda: DCGAN(IMAGE, latent_dim=4, width=4, hidden=16),
    "clustergan": lambda: ClusterGAN(IMAGE, continuous=3, classes=3, width=4, hidden=16),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_of_our_models_is_read(name):
    model = MODELS[name]().train()
    with torch.no_grad():  # untrained networks change almost nothing along any direction
        for parameter in model.parameters():
            parameter.mul_(2 if parameter.ndim > 1 else 1)
    generator = torch.Generator().manual_seed(7)
    z = model.prior.sample(5, generator=generator)
    d = draw(z.shape[1], seed=5).float()
    told = explain_direction(model, z, d, seed=3)
    assert all(part.training for part in model.modules())
    model.eval()
    learn = model.prior.sample(1000, generator=keyed_generator(3, 1000))
    maps, found = parts_of(model, z, d, learn, seed=3)
    assert set(told.readings) == set(told.retrieval) == set(maps)
    for network, reading in told.readings.items():
        torch.testing.assert_close(reading, maps[network][0])
        got = told.retrieval[network]
        assert got.accuracy == found[network].per_direction[0]
        assert got.interval == wilson(got.accuracy, 5)
        assert torch.equal(got.margin[0], found[network].margin[0])
        assert 0 <= got.control <= 1
        assert not got.faithful  # no better than with random weights: it has no others
    assert (told.use is None) == (told.use_error is None) == (name == "dcgan")
    if told.use is not None:
        assert told.use.shape == told.effect.shape == (5, 16, 16)
        assert told.use_error.shape == (5,)
        assert told.use_error.median() < 0.1


def test_a_network_that_is_only_offered_is_read_too():
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 6, bias=False, dtype=torch.double))
    module[1].weight.data = BACK
    offered = {"encoder": Part(module, ("1",)), "discriminator": Part(module, ("1",))}
    model = SimpleNamespace(decode=decode, explainable=lambda: offered, prior=Gaussian(6))
    told, pair = explain_direction(model, Z, D), explain_direction(PAIR, Z, D)
    torch.testing.assert_close(told.readings["encoder"], pair.readings["encoder"])
    torch.testing.assert_close(told.use, pair.use)
    assert told.retrieval["encoder"].faithful
    assert told.retrieval["encoder"].control < 0.7
    # Its features keep everything, as those of random weights do: that is not the discriminator's.
    kept = told.retrieval["discriminator"]
    assert (kept.accuracy, kept.control) == (1, 1)
    assert kept.shortcomings == ("no better than with random weights (1.00)",)


def test_a_readout_is_judged_on_latents_that_it_was_not_learned_from(monkeypatch):
    learned, learn = [], explanation.discriminator_readout

    def spy(part, decode, z):
        learned.append(z)
        return learn(part, decode, z)

    monkeypatch.setattr(explanation, "discriminator_readout", spy)
    model = SimpleNamespace(
        decode=lambda z: decode(z.double()),
        explainable=lambda: {"discriminator": KEEPS},
        prior=Gaussian(6),
    )
    for seed in range(4):  # as anyone would draw z
        z = model.prior.sample(8, generator=torch.Generator().manual_seed(seed)).double()
        explain_direction(model, z, D)
        assert torch.cdist(learned[-1].double(), z).min() > 1e-3
        assert len(learned[-1]) == 1000
    del model.prior  # then one half of z teaches, and the other judges
    found = explain_direction(model, Z, D)
    assert torch.equal(learned[-1], Z[::2])
    assert found.retrieval["discriminator"].trials == 16
    assert found.readings["discriminator"].shape == (32, *SHAPE[1:])


# --- networks that have learned nothing


class Linear(nn.Module):
    """A pair with an encoder that undoes the generator, or one of random weights."""

    def __init__(self, seed, learned):
        super().__init__()
        weight = draw(48, 6, seed=1000 + seed)
        self.decode = lambda z: (z @ weight.T).reshape(-1, *SHAPE).tanh()
        self.net = nn.Linear(48, 6, dtype=torch.double)
        with torch.no_grad():
            random = draw(6, 48, seed=2000 + seed) / 48**0.5
            self.net.weight.copy_(torch.linalg.pinv(weight) if learned else random)
            self.net.bias.zero_()

    def encode(self, x):
        return self.net(x.flatten(1))


def told_of_pairs(learned, count=40):
    axis = torch.eye(6).double()[0]
    pairs = [Linear(seed, learned) for seed in range(count)]
    found = [explain_direction(pair, Z, axis, seed=k) for k, pair in enumerate(pairs)]
    return [one.retrieval["encoder"] for one in found]


def test_hardly_an_untrained_encoder_is_called_faithful():
    """Its luck is the same in every image: images alone would call every seventh faithful."""
    told = told_of_pairs(learned=False)
    assert sum(one.interval[0] > one.chance for one in told) >= 4  # what was asked before
    assert sum(one.faithful for one in told) <= 2
    assert all(one.control < 0.7 for one in told)


def test_an_encoder_that_undoes_the_generator_is_called_faithful():
    assert all(one.faithful for one in told_of_pairs(learned=True, count=20))


def test_without_weights_there_is_no_control():
    told = explain_direction(PAIR, Z, D).retrieval["encoder"]
    assert (told.control, told.gain, told.faithful) == (None, None, True)
    assert "without a control" in verdict(told)
    assert "without a control" in summary(told)


# --- what is missing


def test_one_latent_dimension_has_nothing_to_be_told_from():
    one = SimpleNamespace(
        decode=lambda z: (z @ A[:, :1].T).reshape(-1, *SHAPE),
        encode=lambda x: x.flatten(1)[:, :1],
    )
    told = explain_direction(one, Z[:, :1], D[:1])
    assert told.retrieval == {}
    assert told.readings["encoder"].shape == told.use.shape == (32, *SHAPE[1:])


def test_an_encoder_that_leaves_torch_has_a_reading_and_no_use():
    away = SimpleNamespace(decode=decode, encode=lambda x: encode(torch.from_numpy(x.numpy())))
    told = explain_direction(away, Z, D)
    assert told.use is None
    assert told.retrieval["encoder"].faithful


def test_a_decoder_alone_has_an_effect():
    told = explain_direction(SimpleNamespace(decode=decode), Z, D)
    torch.testing.assert_close(told.effect, EFFECT.expand(32, -1, -1))
    assert (told.readings, told.use, told.use_error, told.retrieval) == ({}, None, None, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.use = 1


def test_an_encoder_without_a_derivative_has_a_reading_and_no_use():
    model = SimpleNamespace(decode=decode, encode=torch.no_grad()(encode))
    told = explain_direction(model, Z, D)
    assert told.use is None
    assert told.use_error is None
    assert told.retrieval["encoder"].faithful


def test_rivals_are_given_or_drawn_by_seed():
    def chance(rivals):
        return explain_direction(PAIR, Z, D, rivals).retrieval["encoder"].chance

    assert chance(None) == chance(draw(2, 6, seed=8)) == 0.2
    assert chance(draw(7, 6, seed=8)) == pytest.approx(1 / 8)
    margins = [
        explain_direction(PAIR, Z, D, seed=seed).retrieval["encoder"].margin for seed in (0, 0, 1)
    ]
    assert torch.equal(margins[0], margins[1])
    assert not torch.equal(margins[0], margins[2])


# --- mistakes


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"shape of a latent \(6,\), got d of \(5,\)"):
        explain_direction(PAIR, Z, D[:5])
    with pytest.raises(ValueError, match=r"got d of \(6,\) and rivals of \(5,\)"):
        explain_direction(PAIR, Z, D, draw(3, 5))
    with pytest.raises(ValueError, match="got 'd' and 'rival 1' along one line"):
        explain_direction(PAIR, Z, D, torch.stack([draw(6), -2 * D]))
    with pytest.raises(ValueError, match="got 'rival 0' and 'rival 1' along one line"):
        explain_direction(PAIR, Z, D, torch.stack([draw(6), 3 * draw(6)]))
    critic = SimpleNamespace(decode=decode, explainable=lambda: {"discriminator": KEEPS})
    with pytest.raises(ValueError, match="expected 4 latents or more, since a discriminator"):
        explain_direction(critic, Z[:3], D)
    for z in (Z[:1], Z[:1].expand(3, -1)):
        with pytest.raises(ValueError, match="two latents or more that differ"):
            explain_direction(PAIR, z, D)
    with pytest.raises(ValueError, match="finite, positive length"):
        explain_direction(PAIR, Z, 0 * D)
