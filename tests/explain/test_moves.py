"""What a step moves: against scipy, closed forms, and how often nothing is called something."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from latentkit.explain.moves import holm, moves

NAMES = ["a", "b", "c", "d"]


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_mean_interval_and_p_are_students():
    before = draw(20, 4)
    after = before + 0.4 * draw(20, 4, seed=1) + torch.tensor([0.0, 0.1, 0.3, -5.0])
    got = moves(NAMES, before, after)
    tests = [ttest_1samp((after - before)[:, k].numpy(), 0) for k in range(4)]
    adjusted = holm(np.array([t.pvalue for t in tests]))
    for move, name, t, p, k in zip(got, NAMES, tests, adjusted, range(4), strict=True):
        assert move.name == name
        assert move.change == pytest.approx((after - before)[:, k].mean().item())
        assert move.interval == pytest.approx(tuple(t.confidence_interval(0.95)))
        assert move.p == pytest.approx(p)
        assert move.moves == (p <= 0.05)
    assert got[3].moves
    assert got[3].change == pytest.approx(-5, abs=0.3)


def test_holm_by_a_slow_rewrite():
    p = np.random.default_rng(0).uniform(size=9) ** 3
    for level in (0.01, 0.05, 0.2):
        rejected, left = set(), 9
        for k in sorted(range(9), key=lambda k: p[k]):  # step down until one is not small enough
            if p[k] > level / left:
                break
            rejected.add(k)
            left -= 1
        assert {k for k in range(9) if holm(p)[k] <= level} == rejected
    assert holm(np.array([0.4, 0.9])).tolist() == pytest.approx([0.8, 0.9])
    assert holm(np.array([0.02])).tolist() == [0.02]


def test_a_linear_world_in_closed_form():
    """Encoder undoes decoder, attributes are <z, v>: a step d moves them by 2 <d, v>, all alike."""
    z, d, vectors = draw(16, 5), draw(5, seed=1), draw(4, 5, seed=2)
    vectors[1] -= (vectors[1] @ d) / (d @ d) * d  # what d does not move
    units = vectors / vectors.norm(dim=1, keepdim=True)
    there = draw(9, 5, seed=3)
    back = torch.linalg.pinv(there)
    ends = [((z + side * d) @ there.T) @ back.T for side in (-1, 1)]
    got = moves(NAMES, *(end @ units.T for end in ends))
    for k, move in enumerate(got):
        expected = 2 * (d @ vectors[k] / vectors[k].norm()).item()
        assert move.change == pytest.approx(expected, abs=1e-9)
        assert move.interval == pytest.approx((expected, expected), abs=1e-9)
    assert [move.moves for move in got] == [True, False, True, True]
    assert got[1].p == 1


def test_rounding_is_no_change():
    before = 100 + draw(30, 4).float()
    after = before * (1 + 1e-7)  # every score a little larger, all the same way
    assert not any(move.moves for move in moves(NAMES, before, after))
    assert all(move.change == 0 for move in moves(NAMES, before, after))
    same = moves(NAMES, before, before)
    assert [(m.change, m.interval, m.p, m.moves) for m in same] == [(0, (0, 0), 1, False)] * 4


def test_turning_the_step_around_turns_the_change_around():
    before, after = draw(20, 4), draw(20, 4, seed=1) + 1
    there, back = moves(NAMES, before, after), moves(NAMES, after, before)
    for one, other in zip(there, back, strict=True):
        assert one.change == pytest.approx(-other.change)
        assert one.interval == pytest.approx(tuple(-end for end in other.interval[::-1]))
        assert (one.p, one.moves) == (pytest.approx(other.p), other.moves)


# --- how often it is wrong


@pytest.mark.parametrize("kind", ["normal", "probabilities"])
def test_what_does_not_move_is_rarely_said_to(kind):
    """Null control: ten scores of which eight do not move on average, 64 images, 1000 worlds."""
    worlds, images, scores = 1000, 64, 10
    generator = torch.Generator().manual_seed(0)
    any_wrong = single_wrong = covered = found = 0
    for _ in range(worlds):
        if kind == "normal":
            before = torch.randn(images, scores, generator=generator)
            after = before + torch.randn(images, scores, generator=generator)
        else:  # exchangeable before and after, many of them near 0 or 1
            logits = 3 * torch.randn(2, images, scores, generator=generator)
            before, after = logits.sigmoid()
        after[:, :2] += 0.5
        got = moves([str(k) for k in range(scores)], before, after)
        any_wrong += any(move.moves for move in got[2:])
        single_wrong += sum(not move.interval[0] <= 0 <= move.interval[1] for move in got[2:])
        covered += sum(move.interval[0] <= 0.5 <= move.interval[1] for move in got[:2])
        found += sum(move.moves for move in got[:2])
    assert any_wrong / worlds < 0.05 + 3 * (0.05 * 0.95 / worlds) ** 0.5
    error = (0.05 * 0.95 / (8 * worlds)) ** 0.5
    assert single_wrong / (8 * worlds) == pytest.approx(0.05, abs=4 * error)
    assert covered / (2 * worlds) == pytest.approx(0.95, abs=8 * error)
    assert found / (2 * worlds) > 0.8  # and what moves is seen


# --- mistakes


def test_scores_that_do_not_fit_are_refused():
    ones = torch.ones(3, 4)
    for before, after in ((ones, ones[:2]), (ones[:, :3], ones[:, :3]), (ones[0], ones[0])):
        with pytest.raises(ValueError, match=r"scores \(N, 4\) twice, one column a name, got"):
            moves(NAMES, before, after)
    with pytest.raises(ValueError, match="finite scores of two images or more, got 1"):
        moves(NAMES, ones[:1], ones[:1])
    with pytest.raises(ValueError, match="finite scores"):
        moves(NAMES, ones, ones * torch.nan)
