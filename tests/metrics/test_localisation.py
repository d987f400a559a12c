import pytest
import torch
from scipy import stats

from latentkit.metrics.bootstrap import mean_interval
from latentkit.metrics.localisation import (
    energy_in_mask,
    foreground_spearman,
    iou_equal_area,
    object_attribution,
    pointing,
)

# --- pointing game


def at(*place, size=(6, 7)):
    """A map or mask (1, *size) of zeros with a one."""
    out = torch.zeros(1, *size)
    out[(0, *place)] = 1
    return out


def test_pointing_by_hand():
    mask = at(2, 3)
    assert pointing(at(2, 3), mask).tolist() == [1]
    assert pointing(-at(2, 3), mask).tolist() == [1]  # absolute values count
    assert pointing(at(2, 4), mask).tolist() == [0]
    assert pointing(at(2, 4), mask, tolerance=1).tolist() == [1]
    assert pointing(at(3, 4), mask, tolerance=1).tolist() == [0]  # further than 1: the square of 2
    assert pointing(at(3, 4), mask, tolerance=2**0.5 + 1e-6).tolist() == [1]


def test_tolerance_at_the_border_does_not_reach_around_it():
    mask = at(0, 0)
    for place in ((5, 6), (0, 6), (5, 0)):
        assert pointing(at(*place), mask, tolerance=2).tolist() == [0]
    assert pointing(at(0, 2), mask, tolerance=2).tolist() == [1]
    assert pointing(at(2, 0), mask, tolerance=2).tolist() == [1]
    assert pointing(at(5, 6), mask, tolerance=100).tolist() == [1]


@pytest.mark.parametrize("size", [(20,), (6, 9), (3, 4, 5)])
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0])
def test_pointing_equals_slow_loops(size, tolerance):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(30, *size, generator=generator)
    masks = torch.rand(30, *size, generator=generator) < 0.1
    expected = []
    for m, mask in zip(maps, masks, strict=True):
        peak = max(
            torch.cartesian_prod(*map(torch.arange, size)).view(-1, len(size)).tolist(),
            key=lambda p: abs(float(m[tuple(p)])),
        )
        near = [
            sum((a - b) ** 2 for a, b in zip(peak, place, strict=True)) <= tolerance**2
            for place in mask.nonzero().tolist()
        ]
        expected.append(float(any(near)))
    assert pointing(maps, masks, tolerance).tolist() == expected
    assert 0 < sum(expected) < 30


def test_the_first_of_several_peaks_counts_and_a_constant_map_misses():
    maps = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    masks = torch.ones(3, 3)
    masks[0, 1] = 0
    assert pointing(maps, masks).tolist() == [0, 0, 0]
    masks[0] = torch.tensor([0.0, 0.6, 0.4])  # a pixel belongs to what has most of it
    assert pointing(maps, masks).tolist() == [1, 0, 0]
    assert pointing(maps, torch.zeros(3, 3), tolerance=5).tolist() == [0, 0, 0]


def test_masks_of_an_image_are_larger_than_the_layer():
    coarse = at(1, 2, size=(3, 3))
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 2:4, 4:] = True
    assert pointing(coarse, mask).tolist() == [1]
    assert pointing(coarse.flip(1), ~mask).tolist() == [0]


# --- energy


def test_energy_by_hand():
    maps = torch.tensor([[1.0, -2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[0.0, 1.0, 0.5, 1.0]]).expand(2, -1)
    assert energy_in_mask(maps, mask).tolist() == pytest.approx([3.5 / 6, 0])
    assert energy_in_mask(maps, mask > 0.4).tolist() == pytest.approx([5 / 6, 0])


@pytest.mark.parametrize("size", [(20,), (6, 9), (3, 4, 5)])
def test_shares_of_objects_that_share_out_the_image_sum_to_one(size):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, *size, generator=generator)
    masks = torch.rand(4, 3, *size, generator=generator).softmax(1)
    got = object_attribution(maps, masks)
    torch.testing.assert_close(got.sum(1), torch.ones(4))
    for o in range(3):
        torch.testing.assert_close(got[:, o], energy_in_mask(maps, masks[:, o]))
    area = object_attribution(torch.ones(4, *size), masks)
    torch.testing.assert_close(area, masks.flatten(2).mean(2))  # chance: the share of the area


def test_intervals_over_images_tell_a_map_from_a_baseline():
    masks = torch.zeros(40, 8, 8)
    masks[:, 2:5, 2:5] = 1
    noise = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(1))
    gain = energy_in_mask(masks + noise, masks) - energy_in_mask(torch.ones(40, 8, 8), masks)
    assert mean_interval(gain)[0] > 0
    by_lot = energy_in_mask(noise, masks) - energy_in_mask(torch.ones(40, 8, 8), masks)
    low, high = mean_interval(by_lot)
    assert low < 0 < high


# --- overlap of equal areas


def test_equal_area_overlap_by_hand():
    truth = torch.zeros(1, 4, 4)
    truth[0, :2, :2] = 1.0
    truth[0, 3, 3] = 0.2  # below a quarter of the maximum: outside
    heat = torch.zeros(1, 4, 4)
    heat[0, :2, 1:3] = -5.0  # four places, two of them right
    assert iou_equal_area(heat, truth).tolist() == pytest.approx([2 / 6])
    assert iou_equal_area(truth, truth).tolist() == [1]
    assert iou_equal_area(heat, truth, threshold=0.1).tolist() == pytest.approx([3 / 7])
    assert iou_equal_area(heat, 0 * truth).tolist() == [0]
    pair = torch.cat([truth, 1e-3 * truth])  # each image by its own maximum
    assert iou_equal_area(heat.expand(2, -1, -1), pair).tolist() == pytest.approx([2 / 6] * 2)


@pytest.mark.parametrize("size", [(16,), (4, 3, 5)])
def test_equal_area_overlap_of_signals_and_volumes(size):
    truths = torch.rand(10, *size)
    assert iou_equal_area(truths, truths).tolist() == [1] * 10


def test_equal_area_overlap_is_between_zero_and_one():
    generator = torch.Generator().manual_seed(0)
    heat, truth = torch.rand(20, 4, 4, generator=generator), torch.rand(20, 8, 8)
    got = iou_equal_area(heat, truth, 0.8)
    assert ((got >= 0) & (got <= 1)).all()


# --- rank correlation on the foreground


@pytest.mark.parametrize("size", [(40,), (8, 9), (4, 4, 5)])
def test_foreground_spearman_is_scipys(size):
    generator = torch.Generator().manual_seed(0)
    truths = torch.rand(3, 4, *size, generator=generator) ** 4 * torch.tensor(
        [1.0, -5.0, 1e-3]
    ).view(3, 1, *[1] * len(size))
    noise = torch.randn(3, 4, *size, generator=generator)
    maps = (truths / truths.abs().amax() + 0.1 * noise).mul(20).round()  # with ties
    got = foreground_spearman(maps, truths)
    assert got.shape == (3, 4)
    for n in range(4):
        tops = [truths[k, n].abs() > 0.15 * truths[k, n].abs().max() for k in range(3)]
        front = tops[0] | tops[1] | tops[2]
        assert 0.1 < front.float().mean() < 0.9
        for k in range(3):
            pair = maps[k, n].abs()[front], truths[k, n].abs()[front]
            assert float(got[k, n]) == pytest.approx(stats.spearmanr(*pair).statistic, abs=1e-6)


def test_only_the_foreground_and_only_the_order_count():
    truth = torch.zeros(1, 1, 6, 6)
    truth[..., 1:4, 1:4] = torch.arange(1.0, 10).view(3, 3) + 5
    noise = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    ground = torch.where(truth == 0, 100 * noise, truth)
    assert foreground_spearman(ground, truth).item() == pytest.approx(1)
    assert foreground_spearman(truth.exp(), truth).item() == pytest.approx(1)
    reverse = torch.where(truth == 0, 0, 100 - truth)
    assert foreground_spearman(reverse, truth).item() == pytest.approx(-1)
    assert foreground_spearman((truth > 0).float(), truth).item() == 0  # constant there: no order
    assert foreground_spearman(truth, 0 * truth).item() == 0
    assert foreground_spearman(0.7 * torch.ones(1, 1, 6, 6), truth).item() == 0


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: pointing(m, m, -1), "tolerance >= 0, got -1"),
        (lambda m: pointing(m, m[:1]), "one map"),
        (lambda m: pointing(m / 0, m), "finite maps"),
        (lambda m: energy_in_mask(m, m[:, 0]), r"\(2, 1, 4\) and \(2, 4, 4\)"),
        (lambda m: object_attribution(m, m), r"\(2, 1, 4\) and \(2, 4, 4\)"),
        (lambda m: iou_equal_area(m, m, 1.0), r"threshold in \[0, 1\), got 1.0"),
        (lambda m: iou_equal_area(m[:1], m), "one map"),
        (lambda m: foreground_spearman(m, m, -0.1), "got -0.1"),
        (lambda m: foreground_spearman(m[None, :1], m[None]), "same K and N"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 4, 4))
