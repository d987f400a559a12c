import pytest
import torch

from latentkit.data.shapes_render import FACTORS, render
from latentkit.explain.learned_encoder import train_encoder
from latentkit.explain.oracle import Oracle
from latentkit.protocols import Decoder, Encoder, Explainable, HasPrior
from tests.explain import trained

SIZE = 16


@pytest.fixture
def oracle():
    return Oracle(SIZE, width=4)


@pytest.fixture
def latents(oracle):
    return oracle.prior.sample(50, generator=torch.Generator().manual_seed(1))


def test_it_offers_all_that_is_needed(oracle, latents):
    for protocol in (Encoder, Decoder, HasPrior, Explainable):
        assert isinstance(oracle, protocol)
    assert oracle.decode(latents).shape == (50, 3, SIZE, SIZE)
    assert oracle.encode(oracle.decode(latents)).shape == latents.shape
    part = oracle.explainable()["encoder"]
    assert part.module is oracle.encoder
    for layer in part.layers:
        part.module.get_submodule(layer)


def test_the_prior_is_uniform_over_the_factors(oracle):
    z = oracle.prior.sample(4000, generator=torch.Generator().manual_seed(0))
    factors = oracle.factors(z)
    half = torch.tensor([0.35 if name in ("rotation", "phase") else 0.5 for name in FACTORS])
    assert (factors >= 0.5 - half - 1e-6).all()
    assert (factors <= 0.5 + half + 1e-6).all()
    torch.testing.assert_close(factors.mean(0), torch.full((10,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(factors.std(0), half / 3**0.5, atol=0.02, rtol=0)
    assert (torch.corrcoef(factors.T) - torch.eye(10)).abs().max() < 0.06
    assert (torch.corrcoef(z.T) - torch.eye(10)).abs().max() < 0.06
    again = oracle.prior.sample(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, z)


def test_decoding_draws_the_factors(oracle, latents):
    drawn = render(oracle.factors(latents), SIZE).image
    assert torch.equal(oracle.decode(latents), drawn)
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_each_direction_moves_its_factor_and_no_other(oracle, latents):
    assert list(oracle.directions) == list(FACTORS[1:])
    z, start = latents.double(), oracle.double().factors(latents.double())
    for name, d in oracle.directions.items():
        assert d.norm() == pytest.approx(1, abs=1e-6)
        assert (d.abs() > 0.01).sum() > 3  # no coordinate is a factor
        moved = oracle.factors(z + 0.2 * d) - start
        expected = torch.zeros(10).double()
        expected[FACTORS.index(name)] = 0.2 * (0.35 if name in ("rotation", "phase") else 0.5)
        torch.testing.assert_close(moved, expected.expand_as(moved), atol=1e-6, rtol=0)


def test_a_direction_changes_its_own_object_alone(oracle, latents):
    """Seen in the picture: the ring's hue changes nothing where no ring is."""
    moved = oracle.decode(latents + 0.3 * oracle.directions["hue2"])
    change = (moved - oracle.decode(latents)).abs().sum(1)
    ring = render(oracle.factors(latents), SIZE).masks[:, 1]
    assert change[ring == 0].max() < 1e-5
    assert change[ring > 0.5].mean() > 0.01


def test_a_seed_gives_the_same_oracle_and_leaves_the_random_state_alone(oracle):
    state = torch.get_rng_state()
    same, other = Oracle(SIZE, 4), Oracle(SIZE, 4, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    ours = oracle.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in same.state_dict().items())
    for name, value in other.state_dict().items():
        assert not torch.equal(ours[name], value) or name.endswith("bias")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_training_is_repeatable_and_leaves_the_random_state_alone(steps):
    state, seen, errors, nets = torch.get_rng_state(), [], [], []

    def watch(numbers):
        for number in numbers:
            seen.append(number)
            yield number

    for seed in (0, 0, 1):
        oracle = Oracle(SIZE, width=4)
        small = {"images": 64, "batch": 8, "seed": seed, "watch": watch}
        errors.append(train_encoder(oracle.encoder, oracle, steps, **small))
        nets.append(oracle.encoder.head.weight)
        assert not oracle.encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert seen == 3 * list(range(steps))
    assert errors[0] == errors[1] != errors[2]
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


def test_the_encoder_learns():
    oracle, error = trained.oracle()
    untrained = Oracle(trained.SIZE, trained.WIDTH)
    z = oracle.prior.sample(200, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        errors = [(one.encode(one.decode(z)) - z).square().mean() for one in (oracle, untrained)]
    variance = 1 / 3
    assert error < 0.5 * variance
    assert errors[0] == pytest.approx(error, rel=0.2)
    assert errors[1] > 0.9 * variance
