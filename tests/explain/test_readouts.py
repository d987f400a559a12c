"""Readouts of attributes and classes, where the truth is known, and where there is none."""

import pytest
import torch

from latentkit.explain.moves import moves
from latentkit.explain.readouts import learn_attributes, learn_classes


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


Z, NEW = draw(500, 2, 3), draw(200, 2, 3, seed=1)


def test_linear_attributes_are_found_in_standard_deviations():
    truth = Z.flatten(1) @ draw(6, 2, seed=3) * torch.tensor([1.0, 100.0]) + 50
    got = learn_attributes(Z, truth, ["small", "large"])
    assert got.names == ("small", "large")
    assert min(got.followed) > 0.999
    expected = NEW.flatten(1) @ draw(6, 2, seed=3) * torch.tensor([1.0, 100.0]) + 50
    standard = (expected - truth.mean(0)) / truth.std(0)
    torch.testing.assert_close(got.of(NEW).float(), standard, rtol=0.05, atol=0.15)


def test_what_latents_do_not_tell_is_not_well_read():
    known = Z.flatten(1)[:, :1]
    values = torch.cat([known, draw(500, 1, seed=4), known + 2 * draw(500, 1, seed=5)], 1)
    got = learn_attributes(Z, values, ["known", "unknown", "noisy"])
    assert got.followed[0] > 0.99
    assert abs(got.followed[1]) < 0.3
    assert got.followed[2] == pytest.approx(1 / 5**0.5, abs=0.2)
    sure = got.well_read()
    assert sure.names[0] == "known"
    assert "unknown" not in sure.names
    torch.testing.assert_close(sure.of(NEW)[:, 0], got.of(NEW)[:, 0])
    assert got.well_read(1.1).of(NEW).shape == (200, 0)


def test_attributes_without_values_are_left_out():
    values = torch.cat([Z.flatten(1)[:, :1], torch.full((500, 1), 3.0)], 1)
    values[::3, 0] = torch.nan
    got = learn_attributes(Z, values, ["some", "constant"])
    assert got.names == ("some",)
    assert got.followed[0] > 0.99
    assert learn_attributes(Z, values[:, 1:], ["constant"]).of(NEW).shape == (200, 0)
    with pytest.raises(ValueError, match="10 latents or more with known values, got 0"):
        learn_attributes(Z, values * torch.nan, ["some", "constant"])
    with pytest.raises(ValueError, match=r"values \(500, 1\), a row a latent and a column a name"):
        learn_attributes(Z, values, ["some"])


@pytest.mark.parametrize("kinds", [2, 4])
def test_probabilities_of_normal_classes_are_bayess(kinds):
    """Classes N(m_k, 1) of equal frequency: P(k | z) is the softmax of z m_k - |m_k|^2 / 2."""
    middles = 1.5 * draw(kinds, 3, seed=6)
    labels = torch.arange(4000) % kinds
    z = middles[labels] + draw(4000, 3, seed=7)
    names = [f"kind {k}" for k in range(kinds)]
    got = learn_classes(z, labels, names)
    assert got.names == tuple(names)
    new = middles[labels[:200]] + draw(200, 3, seed=8)
    expected = (new @ middles.T - middles.square().sum(1) / 2).softmax(1)
    probability = got.of(new).float()
    torch.testing.assert_close(probability.sum(1), torch.ones(200))
    assert (probability - expected).abs().mean() < 0.03
    assert min(got.followed) > 0.5
    assert got.well_read().names == tuple(names)


@pytest.mark.parametrize("kind", ["attributes", "classes"])
def test_roundings_of_latents_move_no_score(kind):
    """Read in double precision, scores keep the roundings of latents in single precision."""
    z = draw(500, 4) + torch.tensor([3.0, -2, 1, 5])  # all images off zero the same way
    if kind == "attributes":
        readout = learn_attributes(z, z[:, :2] + z[:, 2:], ["a", "b"])
    else:
        readout = learn_classes(z, (z[:, 0] + z[:, 1] > 1).long(), ["a", "b"])
    new = z[:64].float()
    rounded = new * (1 + 1.2e-7)
    assert not torch.equal(new, rounded)
    for move in moves(readout.names, readout.of(new), readout.of(rounded)):
        assert (move.change, move.p, move.moves) == (0, 1, False)
    new = new.double()  # where latents have the digits, the same step is a change
    exact = moves(readout.names, readout.of(new), readout.of(new * (1 + 1.2e-7)))
    assert all(move.moves and move.change for move in exact)


def test_labels_drawn_by_lot_are_not_well_read():
    labels = torch.randint(0, 4, (500,), generator=torch.Generator().manual_seed(9))
    got = learn_classes(Z, labels, list("abcd"))
    assert max(map(abs, got.followed)) < 0.3
    assert got.well_read().names == ()


def test_rare_classes_and_unlabelled_latents_are_left_out():
    labels = torch.full((500,), -1)
    labels[:100] = (Z.flatten(1)[:100, 0] > 0).long() * 3  # 0 and 3
    labels[100:109] = 1  # nine: too few
    got = learn_classes(Z, labels, ("zero", "one"))
    assert got.names == ("zero", "3")
    assert learn_classes(Z, labels.clamp(max=0), ("zero",)).names == ()
    nothing = learn_classes(Z, torch.full((500,), -1), ())
    assert (nothing.names, nothing.of(NEW).shape) == ((), (200, 0))
    for wrong in (labels[:9], labels.float()):
        with pytest.raises(ValueError, match=r"integer labels \(500,\), got"):
            learn_classes(Z, wrong, ())
