import itertools

import numpy as np
import pytest
import torch

from latentkit.metrics import saliency
from latentkit.metrics.road import impute, road


def dense(image, removed):
    """The linear system of the paper, pixel by pixel: image (C, H, W), removed (H, W)."""
    places = list(zip(*np.nonzero(removed), strict=True))
    index = {p: i for i, p in enumerate(places)}
    a, b = np.zeros((len(places),) * 2), np.zeros((len(places), len(image)))
    for i, (row, column) in enumerate(places):
        total = 0.0
        for dr, dc in itertools.product((-1, 0, 1), repeat=2):
            near = (row + dr, column + dc)
            inside = 0 <= near[0] < removed.shape[0] and 0 <= near[1] < removed.shape[1]
            if (dr, dc) == (0, 0) or not inside:
                continue
            weight = 1 / 6 if 0 in (dr, dc) else 1 / 12
            total += weight
            if near in index:
                a[i, index[near]] -= weight
            else:
                b[i] += weight * image[:, near[0], near[1]]
        a[i, i] = total
    out = image.copy()
    for place, values in zip(places, np.linalg.solve(a, b), strict=True):
        out[:, place[0], place[1]] = values
    return out


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_solves_the_papers_system(share):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 7, 9, generator=generator, dtype=torch.double)
    removed = torch.rand(3, 7, 9, generator=generator) < share
    removed[0, :, :5] = True  # a hole with a border
    got = impute(x, removed)
    expected = np.stack([dense(i.numpy(), r.numpy()) for i, r in zip(x, removed, strict=True)])
    torch.testing.assert_close(got, torch.from_numpy(expected), atol=1e-7, rtol=0)
    assert torch.equal(got[~removed[:, None].expand_as(x)], x[~removed[:, None].expand_as(x)])
    torch.testing.assert_close(impute(x.float(), removed), got.float(), atol=1e-4, rtol=0)


def test_signals_are_interpolated_linearly():
    x = torch.rand(1, 1, 30, dtype=torch.double)
    known = torch.tensor([3, 4, 11, 25])
    removed = torch.ones(1, 30, dtype=torch.bool)
    removed[0, known] = False
    expected = np.interp(np.arange(30), known, x[0, 0, known])  # flat outside, as ours
    np.testing.assert_allclose(impute(x, removed)[0, 0], expected, atol=1e-7)


@pytest.mark.parametrize("size", [(11, 12), (6, 7, 8)])
def test_a_hole_in_a_slope_is_filled_exactly(size):
    axes = torch.meshgrid(*(torch.arange(s, dtype=torch.double) for s in size), indexing="ij")
    slope = sum(0.1 * (i + 1) * axis for i, axis in enumerate(axes))[None, None]
    removed = torch.zeros(1, *size, dtype=torch.bool)
    removed[(0, *[slice(2, 5)] * len(size))] = True
    torch.testing.assert_close(impute(slope * ~removed, removed), slope, atol=1e-7, rtol=0)


def test_what_was_removed_does_not_matter_and_a_broken_image_breaks_alone():
    x = torch.rand(3, 1, 8, 8, dtype=torch.double)
    removed = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    got = impute(x, removed)
    assert torch.equal(impute(x.masked_fill(removed[:, None], torch.nan), removed), got)
    broken = x.clone()
    broken[0] = torch.nan
    assert torch.equal(impute(broken, removed)[1:], got[1:])
    assert torch.equal(impute(x[1:2], removed[1:2]), got[1:2])  # no image depends on its batch
    assert torch.equal(impute(x, torch.zeros_like(removed)), x)


def linear(size=(8, 8), count=5):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 2, *size, generator=generator)
    weight = torch.randn(2, *size, generator=generator)
    return x, lambda x: (x * weight).flatten(1).sum(1)


def test_equals_slow_loops():
    x, score = linear()
    maps = torch.randint(0, 5, (5, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    for order in ("morf", "lerf"):
        got = road(score, x.double(), maps, order, (0.25, 0.5, 0.8), noise=0)
        assert got.fractions.tolist() == pytest.approx([16 / 64, 32 / 64, 51 / 64])
        for n, t in itertools.product(range(5), range(3)):
            flat = maps[n].flatten().tolist()
            places = sorted(range(64), key=lambda p: (-flat[p], p))
            places = places if order == "morf" else places[::-1]
            removed = np.zeros(64, bool)
            removed[places[: (16, 32, 51)[t]]] = True
            image = dense(x[n].double().numpy(), removed.reshape(8, 8))
            expected = score(torch.from_numpy(image)[None])[0]
            torch.testing.assert_close(got.scores[n, t], expected, atol=1e-5, rtol=0)


def test_noise_has_its_size_falls_on_removed_pixels_alone_and_follows_the_seed(monkeypatch):
    x, _ = linear((30, 30))
    maps = torch.rand(5, 30, 30, generator=torch.Generator().manual_seed(2))
    seen = []

    def watch(x):
        seen.append(x)
        return x.flatten(1).sum(1)

    shares = (0.3, 0.6)
    clean, noisy, again = (
        road(watch, x, maps, fractions=shares, noise=s, seed=3).scores for s in (0, 0.05, 0.05)
    )
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, road(watch, x, maps, fractions=shares, noise=0.05, seed=4).scores)
    noise = seen[1] - seen[0]
    touched = (noise != 0).float().mean((1, 2, 3))
    assert touched.tolist() == pytest.approx([0.3, 0.6] * 5, abs=0.01)
    assert noise[noise != 0].std().item() == pytest.approx(0.05, rel=0.05)
    monkeypatch.setattr(saliency, "_VALUES", 3 * x[0].numel())
    cut = road(watch, x, maps, fractions=shares, noise=0.05, seed=3).scores
    torch.testing.assert_close(cut, noisy)
    assert len(clean) == 5


@pytest.mark.parametrize("size", [(40,), (12, 12), (5, 6, 7)])
def test_the_right_map_beats_chance_in_both_orders(size):
    generator = torch.Generator().manual_seed(0)
    x = 0.1 * torch.rand(6, 1, *size, generator=generator)
    bright = torch.rand(6, *size, generator=generator) < 0.15
    x = x + bright[:, None]  # what the score sees are single bright pixels

    def score(x):
        return x.clamp_min(0.5).flatten(1).sum(1)

    by_lot = torch.rand(6, *size, generator=generator)
    right = bright.float()
    for order, sign in (("morf", -1), ("lerf", 1)):
        ours, theirs = (road(score, x, maps, order).auc() for maps in (right, by_lot))
        assert (sign * (ours - theirs) > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "most"}, "'morf' or 'lerf'.*'most'"),
        ({"noise": -1.0}, "noise >= 0.*-1.0"),
        ({"fractions": (0.5,)}, "2 or more rising"),
        ({"fractions": (0.5, 0.2)}, "rising"),
        ({"fractions": (0.0, 0.5)}, "inside"),
        ({"fractions": (0.5, 1.0)}, "inside"),
        ({"fractions": (0.5, 0.501)}, "one pixel more of 64"),
    ],
)
def test_bad_settings(settings, message):
    x, score = linear()
    with pytest.raises(ValueError, match=message):
        road(score, x, torch.rand(5, 8, 8), **settings)


def test_bad_holes():
    x, _ = linear()
    with pytest.raises(ValueError, match="one pixel left in each image"):
        impute(x, torch.ones(5, 8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"bool \(5, \*S\).*float32 \(5, 8, 8\)"):
        impute(x, torch.ones(5, 8, 8))
