import itertools

import pytest
import torch
from scipy import ndimage

from latentkit.metrics import saliency
from latentkit.metrics.perturbation import (
    Curve,
    blurred,
    deletion,
    deletion_along,
    insertion,
    insertion_along,
    paste,
)

SIZES = [(12,), (4, 5), (2, 3, 4)]


def case(size, channels=2, count=4):
    """Images, the weights of a linear score, and what each pixel adds to it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, channels, *size, generator=generator, dtype=torch.double)
    weight = torch.randn(channels, *size, generator=generator, dtype=torch.double)
    return x, lambda x: (x * weight).flatten(1).sum(1), (x * weight).sum(1)


def analytic(parts, base=0.0):
    """AUC of deletion one pixel at a time in the order of `parts` (N, P), which add up."""
    rest = parts.flip(1).cumsum(1).flip(1)
    heights = torch.cat([rest, torch.zeros_like(rest[:, :1])], 1) + base
    return (heights.sum(1) - (heights[:, 0] + heights[:, -1]) / 2) / parts.shape[1]


@pytest.mark.parametrize("size", SIZES)
def test_the_perfect_ranking_of_a_linear_score_has_the_analytic_value(size):
    x, score, parts = case(size)
    pixels = parts[0].numel()
    got = deletion(score, x, parts, steps=pixels)
    best = analytic(parts.flatten(1).sort(dim=1, descending=True).values)
    torch.testing.assert_close(got.auc(), best)
    torch.testing.assert_close(got.fractions, torch.arange(pixels + 1) / pixels)
    torch.testing.assert_close(got.scores[:, 0], score(x))
    assert got.scores[:, -1].abs().max() < 1e-12
    worst = analytic(parts.flatten(1).sort(dim=1).values)
    torch.testing.assert_close(deletion(score, x, -parts, steps=pixels).auc(), worst)
    lot = torch.randn(parts.shape, generator=torch.Generator().manual_seed(1))
    by_lot = deletion(score, x, lot, steps=pixels).auc()
    assert ((by_lot > best) & (by_lot < worst)).all()


def test_baselines_are_constants_or_images_of_any_shape_that_fits():
    x, score, parts = case((4, 5))
    grey = torch.full_like(x, 0.25)
    expected = paste(score, x, grey, parts, steps=20).scores
    for baseline in (0.25, torch.full((2, 1, 1), 0.25), grey):
        assert torch.equal(deletion(score, x, parts, baseline, steps=20).scores, expected)
    into = insertion(score, x, parts, 0.25, steps=20).scores
    assert torch.equal(into, paste(score, grey, x, parts, steps=20).scores)
    blur = insertion(score, x, parts).scores
    assert torch.equal(blur, insertion(score, x, parts, blurred(x, 5.0)).scores)


@pytest.mark.parametrize("baseline", [0.0, "blur"])
@pytest.mark.parametrize("steps", [20, 5])
def test_insertion_is_deletion_of_the_reversed_ranking_backwards(baseline, steps):
    x, score, parts = case((4, 5))

    def curved(x):
        return torch.tanh(score(x))

    into = insertion(curved, x, parts, baseline, steps)
    out = deletion(curved, x, -parts, baseline, steps)
    torch.testing.assert_close(into.scores, out.scores.flip(1))
    torch.testing.assert_close(into.auc(), out.auc())


def test_equals_slow_loops_also_where_portions_are_uneven():
    x, score, _ = case((4, 5))
    maps = torch.randint(0, 4, (4, 4, 5), generator=torch.Generator().manual_seed(2)).float()
    end = torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    got = paste(score, x, end, maps, steps=7)
    for n in range(4):
        flat = maps[n].flatten().tolist()
        order = sorted(range(20), key=lambda p: (-flat[p], p))
        for t in range(8):
            count = round(20 * t / 7)
            image = x[n].flatten(1).clone()
            for p in order[:count]:
                image[:, p] = end[n].flatten(1)[:, p]
            expected = score(image.reshape(1, 2, 4, 5))[0]
            torch.testing.assert_close(got.scores[n, t], expected)
            assert float(got.fractions[t]) == pytest.approx(count / 20)
    f = got.fractions.tolist()
    area = sum(
        (b - a) * (got.scores[0, i] + got.scores[0, i + 1]) / 2
        for i, (a, b) in enumerate(itertools.pairwise(f))
    )
    assert float(got.auc()[0]) == pytest.approx(float(area))


def test_no_image_depends_on_its_batch_or_on_how_many_are_judged_at_once(monkeypatch):
    x, score, parts = case((4, 5))
    sizes = []

    def watched(x):
        sizes.append(len(x))
        return score(x)

    whole = insertion(watched, x, parts, steps=6)
    assert sizes == [28]
    monkeypatch.setattr(saliency, "_VALUES", 3 * x[0].numel())
    cut = insertion(watched, x, parts, steps=6)
    assert max(sizes[1:]) == 3
    torch.testing.assert_close(cut.scores, whole.scores)
    single = insertion(score, x[2:3], parts[2:3], steps=6)
    torch.testing.assert_close(single.scores, whole.scores[2:3])


def test_ties_are_broken_by_position_every_time():
    x, score, _ = case((4, 5))
    flat, falling = torch.zeros(4, 4, 5), -torch.arange(20.0).view(4, 5).expand(4, 4, 5)
    assert torch.equal(deletion(score, x, flat).scores, deletion(score, x, falling).scores)


def test_small_maps_and_more_steps_than_pixels():
    x, score, _ = case((4, 6))
    coarse = torch.rand(4, 2, 3)
    got = deletion(score, x, coarse, steps=1000)
    assert got.scores.shape == (4, 25)
    torch.testing.assert_close(
        got.scores, deletion(score, x, saliency.resize(coarse, (4, 6))).scores
    )


# --- along a direction


def test_along_a_direction_in_closed_form():
    start, score, _ = case((4, 5))
    end = torch.rand(start.shape, generator=torch.Generator().manual_seed(5), dtype=torch.double)
    pieces = torch.stack([score(torch.where(one_pixel(p), end, start)) for p in range(20)], 1)
    pieces = pieces - score(start)[:, None]  # what each pixel adds to the change of the score
    share = pieces / pieces.sum(1, keepdim=True)
    order = share.sort(dim=1, descending=True).values
    best = 1 - analytic(order)
    maps = share.reshape(4, 4, 5)
    torch.testing.assert_close(insertion_along(score, start, end, maps, steps=20), best)
    gone = 1 - analytic(share.sort(dim=1).values)
    torch.testing.assert_close(deletion_along(score, start, end, -maps, steps=20), 1 - gone)
    # Moving the score's zero or unit changes nothing.
    for other in (lambda x: -3 * score(x), lambda x: score(x) + 5):
        torch.testing.assert_close(insertion_along(other, start, end, maps, steps=20), best)


def one_pixel(p):
    mask = torch.zeros(20, dtype=torch.bool)
    mask[p] = True
    return mask.view(4, 5)


def test_maps_at_random_reach_a_half():
    start = case((8, 8), count=200)[0]
    weight = torch.rand(64, generator=torch.Generator().manual_seed(6)).double().view(8, 8)
    end = start + weight
    maps = torch.rand(200, 8, 8, generator=torch.Generator().manual_seed(7))

    def even(x):
        return x.flatten(1).sum(1)

    got = insertion_along(even, start, end, maps)
    assert got.mean().item() == pytest.approx(0.5, abs=0.01)
    right, wrong = (
        insertion_along(even, start, end, s * weight.expand(200, 8, 8)) for s in (1, -1)
    )
    assert (right > got).all()
    assert (wrong < got).all()
    assert (deletion_along(even, start, end, weight.expand(200, 8, 8)) < 0.5).all()


def test_a_score_that_does_not_change_has_no_progress():
    start, score, parts = case((4, 5))
    end = start.clone()
    end[1:] += 1
    for along in (insertion_along, deletion_along):
        got = along(score, start, end, parts)
        assert got.isnan().tolist() == [True, False, False, False]
    tiny = Curve(torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 1.0 + 1e-7], [0.0, 1e-7]]))
    assert tiny.progress().auc().isnan().tolist() == [True, False]


# --- blur


@pytest.mark.parametrize("size", [(40,), (9, 40), (5, 6, 20)])
@pytest.mark.parametrize("sigma", [1.0, 5.0])
def test_the_blur_is_scipys(size, sigma):
    x = torch.rand(2, 3, *size, dtype=torch.double)
    axes = tuple(range(2, x.ndim))
    expected = ndimage.gaussian_filter(x.numpy(), sigma, mode="nearest", truncate=3, axes=axes)
    torch.testing.assert_close(blurred(x, sigma), torch.from_numpy(expected))
    assert blurred(x.half(), sigma).dtype == torch.half


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, m: paste(len, x, x[:1], m), r"one shape, got \(2, 1, 4, 4\) and \(1, 1"),
        (lambda x, m: deletion(torch.numel, x, m, steps=0), "steps of 1 or more, got 0"),
        (lambda x, m: deletion(len, x, m, "grey"), "or 'blur' as baseline, got 'grey'"),
        (lambda x, m: deletion(len, x, m, torch.zeros(3, 3)), r"broadcasts .*got \(3, 3\)"),
        (lambda x, m: deletion(lambda x: x, x, m), "one value per image"),
        (lambda x, m: insertion(len, x, m / 0), "finite maps"),
        (lambda x, m: blurred(x, 0), "sigma above 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 1, 4, 4), torch.zeros(2, 4, 4))
