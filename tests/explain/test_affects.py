import math

import numpy as np
import pytest
import torch

from latentkit.explain.affects import Affected, affected, monotonicity, moved_clusters, reach


def uniform_variance(places, size):
    """Variance of `places` neighbouring cells of a side with `size` of them, in sides."""
    return (places**2 - 1) / 12 / size**2


# --- where


def test_a_block_in_closed_form():
    effects = torch.zeros(3, 8, 10)
    effects[:, 2:5, 4:8] = torch.tensor([1.0, 7.0, 0.01]).view(3, 1, 1)  # size does not matter
    got = affected(effects)
    assert got.area == pytest.approx(12 / 80)
    assert got.centre == pytest.approx((3.5 / 8, 6 / 10))
    assert got.spread == pytest.approx(
        math.sqrt(uniform_variance(3, 8) + uniform_variance(4, 10)), rel=1e-5
    )


@pytest.mark.parametrize("size", [(5,), (4, 5), (3, 4, 5)])
def test_a_point_has_no_spread_and_all_of_an_image_has_most(size):
    point = torch.zeros(1, *size)
    point[(0, *[1] * len(size))] = 3
    got = affected(point)
    assert got.area == pytest.approx(1 / math.prod(size))
    assert got.centre == pytest.approx([1.5 / n for n in size])
    assert got.spread == pytest.approx(0, abs=1e-7)
    whole = affected(torch.ones(2, *size))
    assert whole.area == 1
    assert whole.centre == pytest.approx([0.5] * len(size))
    expected = math.sqrt(sum(uniform_variance(n, n) for n in size))
    assert whole.spread == pytest.approx(expected, rel=1e-5)


def test_weights_by_a_slow_rewrite():
    effects = torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(0)).square()
    areas, centres, variances = [], [], []
    for image in effects.double().numpy():
        rows, columns = np.mgrid[:6, :7] + 0.5
        place = np.stack([rows / 6, columns / 7])
        middle = (place * image).sum((1, 2)) / image.sum()
        far = ((place - middle[:, None, None]) ** 2).sum(0)
        areas.append((image > image.max() / 4).mean())
        centres.append(middle)
        variances.append((far * image).sum() / image.sum())
    got = affected(effects)
    assert got.area == pytest.approx(np.mean(areas))
    assert got.centre == pytest.approx(np.mean(centres, 0))
    assert got.spread == pytest.approx(np.sqrt(np.mean(variances)))
    mirrored = affected(effects.flip(1))
    assert mirrored.centre == pytest.approx((1 - got.centre[0], got.centre[1]))
    assert mirrored.spread == pytest.approx(got.spread)
    symmetric = affected(effects + effects.flip(1, 2))
    assert symmetric.centre == pytest.approx((0.5, 0.5))


def test_images_that_do_not_change_say_nothing():
    effects = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert affected(torch.cat([effects, torch.zeros(3, 4, 4)])) == affected(effects)
    assert affected(torch.zeros(3, 4, 4)) == Affected(0.0, None, None)


@pytest.mark.parametrize(
    "effects", [torch.zeros(3), -torch.ones(1, 2, 2), torch.full((1, 2, 2), torch.nan)]
)
def test_effects_are_finite_and_not_negative(effects):
    with pytest.raises(ValueError, match=r"finite effects \(N, \*S\) of 0 or more, got \("):
        affected(effects)


# --- walks


def test_monotonicity_of_walks_that_rise_fall_and_turn():
    t = torch.linspace(-1, 1, 9)
    assert monotonicity(torch.stack([t, t.exp(), t**3])) == pytest.approx(1)
    assert monotonicity(torch.stack([-t, (-t).exp()])) == pytest.approx(-1)
    assert monotonicity((t**2)[None]) == pytest.approx(0, abs=1e-9)
    assert monotonicity(torch.zeros(2, 9)) == 0
    assert monotonicity(torch.stack([t, t, -t])) == pytest.approx(1 / 3)
    for wrong in (t, t[None, :1]):
        with pytest.raises(ValueError, match=r"values \(N, T\) at two steps or more"):
            monotonicity(wrong)


def test_reach_is_the_median_of_the_first_lengths_that_are_objected_to():
    lengths = torch.tensor([2.0, 1.0, 0.0, 1.0, 2.0])  # of a walk to both sides
    logits = torch.tensor(
        [
            [5.0, 5.0, 5.0, 5.0, -1.0],  # at 2
            [-9.0, -1.0, 5.0, 5.0, 5.0],  # at 1, on the other side
            [5.0, 5.0, 5.0, 5.0, 5.0],  # never
        ]
    )
    assert reach(logits, lengths, 0.0) == 2
    assert reach(logits[1:2], lengths, 0.0) == 1
    assert reach(logits[2:], lengths, 0.0) == math.inf
    assert reach(logits, lengths, 6.0) == 0
    assert reach(logits, lengths, -1.0) == math.inf  # as good as the limit is good enough
    for wrong in (lengths[:4], lengths[None]):
        with pytest.raises(ValueError, match=r"logits \(N, T\) and lengths \(T,\), got \(3, 5\)"):
            reach(logits, wrong, 0.0)


def test_moved_clusters_counts_changes_of_the_most_likely_one():
    before = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
    after = torch.tensor([[1.0, 0.9, 0.0], [5.0, 1.0, 0.0], [0.0, 0.0, 9.0], [0.0, 0.0, 1.0]])
    assert moved_clusters(before, after) == 0.5
    assert moved_clusters(before, before + 7) == 0
    with pytest.raises(ValueError, match=r"scores \(N, K\) twice, got \(4, 3\) and \(4, 2\)"):
        moved_clusters(before, after[:, :2])
