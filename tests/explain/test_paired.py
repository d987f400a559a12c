from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentkit.data.shapes_render import FACTORS
from latentkit.explain import paired
from latentkit.explain.paired import factor_pairs, paired_directions
from tests.explain import trained


@pytest.fixture
def drawn_as_factors(monkeypatch):
    """Scenes are their own factors: (N, 10, 1, 1)."""

    def seen(factors, _size):
        return SimpleNamespace(image=factors[:, :, None, None])

    monkeypatch.setattr(paired, "render", seen)


@pytest.mark.parametrize("name", FACTORS[1:])
def test_one_factor_grows_and_no_other(drawn_as_factors, name):
    before, after = (scenes.flatten(1) for scenes in factor_pairs(name, 40, 16))
    column = FACTORS.index(name)
    others = [k for k in range(10) if k != column]
    assert torch.equal(before[:, others], after[:, others])
    grown = after[:, column] - before[:, column]
    torch.testing.assert_close(grown, torch.full((40,), 0.3))
    assert before.min() >= 0
    assert after.max() <= 1
    assert before[:, column].max() > 0.6  # over the whole range


def test_the_other_factors_are_the_same_for_every_name(drawn_as_factors):
    x, hue = (factor_pairs(name, 5, 16)[0].flatten(1) for name in ("x", "hue"))
    others = [k for k, name in enumerate(FACTORS) if name not in ("x", "hue")]
    assert torch.equal(x[:, others], hue[:, others])
    other = factor_pairs("x", 5, 16, seed=1)[0].flatten(1)
    assert not torch.equal(x[:, others], other[:, others])


def test_scenes_differ_where_the_factor_acts():
    before, after = factor_pairs("hue2", 6, 16)
    assert before.shape == after.shape == (6, 3, 16, 16)
    changed = (after - before).abs().sum(1) > 1e-6
    assert changed.flatten(1).any(1).all()
    assert changed.double().mean() < 0.5  # the ring alone
    with pytest.raises(ValueError, match=r"factor of x, y.*got 'shape'"):
        factor_pairs("shape", 6, 16)


def test_the_directions_of_an_encoder_that_is_the_factors_are_the_axes(drawn_as_factors):
    got = paired_directions(lambda x: x.flatten(1), 16, pairs=20)
    torch.testing.assert_close(got, torch.eye(10)[1:])
    turn = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(0)))[0]
    got = paired_directions(lambda x: 3 * x.flatten(1) @ turn + 1, 16, 20, ["hue", "x"])
    torch.testing.assert_close(got, turn[[FACTORS.index("hue"), 1]])


def test_directions_of_a_learned_encoder_are_those_of_its_generator():
    oracle, _ = trained.oracle()
    got = paired_directions(oracle.encode, trained.SIZE, 100, ["x", "y", "x2", "y2"])
    truth = torch.stack([oracle.directions[name] for name in ("x", "y", "x2", "y2")])
    cosine = got @ truth.T
    assert cosine.diagonal().min() > 0.8
    assert (cosine - cosine.diagonal().diag()).abs().max() < 0.4


def test_an_encoder_in_training_comes_back_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(768), nn.Dropout(), nn.Linear(768, 3)).eval()
    expected = paired_directions(net, 16, 5)
    net.train()
    got = paired_directions(net, 16, 5)
    assert torch.equal(got, expected)
    assert not got.requires_grad
    assert net.training
    assert net[1].running_mean.eq(0).all()
