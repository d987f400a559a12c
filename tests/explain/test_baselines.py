import numpy as np
import pytest
import torch
from scipy import ndimage

from latentkit.explain.baselines import (
    centre,
    intensity,
    mean_change,
    random_change,
    shuffled,
    sobel,
    uniform,
)
from latentkit.explain.faithfulness import direction_retrieval

SIZES = [(9,), (8, 6), (4, 5, 6)]


@pytest.fixture
def truths():
    return torch.rand(5, 400, 8, 8, generator=torch.Generator().manual_seed(0))


# --- maps


@pytest.mark.parametrize("size", SIZES)
def test_shapes_signs_and_closed_forms(size):
    x = torch.randn(3, 2, *size)
    for maps in (uniform(x), centre(x), intensity(x), sobel(x), mean_change(x[None, :, 0])):
        assert maps.shape == (3, *size)
        assert (maps >= 0).all()
    assert torch.equal(uniform(x), torch.ones(3, *size))
    torch.testing.assert_close(intensity(x), (x[:, 0].abs() + x[:, 1].abs()) / 2)


@pytest.mark.parametrize("size", SIZES)
def test_the_centre_is_symmetric_and_has_its_width(size):
    got = centre(torch.zeros(2, 1, *size), width=0.2)
    axes = range(1, got.ndim)
    torch.testing.assert_close(got, got.flip(*axes))
    for axis in axes:
        n = size[axis - 1]
        half = [s // 2 for s in size]
        line = got[(0, *[slice(None) if a == axis else half[a - 1] for a in axes])]
        places = (np.arange(n) + 0.5) / n - 0.5
        expected = np.exp(-((places / 0.2) ** 2) / 2)
        np.testing.assert_allclose(line / line.max(), expected / expected.max(), rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_edges_are_scipys(size):
    x = torch.randn(3, 2, *size, dtype=torch.double)
    squares = np.zeros((3, *size))
    for n in range(3):
        for c in range(2):
            for axis in range(len(size)):
                squares[n] += ndimage.sobel(x[n, c].numpy(), axis, mode="nearest") ** 2
    np.testing.assert_allclose(sobel(x), np.sqrt(squares))


def test_the_mean_change_counts_absolute_values():
    got = mean_change(torch.tensor([[[1.0, -2.0]], [[-3.0, 4.0]]]))
    assert got.tolist() == [[2, 3]]


def test_the_random_change_is_that_of_one_unit_direction_for_all():
    a = torch.randn(4, 2 * 3, dtype=torch.double)
    z = torch.randn(5, 4, dtype=torch.double)

    def decode(z):
        return (z @ a).reshape(-1, 2, 3)

    got = random_change(decode, z, seed=3)
    d = torch.randn(4, generator=torch.Generator().manual_seed(3)).double()
    expected = decode((d / d.norm())[None]).norm(dim=1)
    torch.testing.assert_close(got, expected.expand(5, -1))
    assert torch.equal(got, random_change(decode, z, seed=3))
    assert not torch.allclose(got, random_change(decode, z, seed=4))


def test_direction_free_maps_never_win_and_shuffled_labels_reach_chance(truths):
    x = torch.rand(400, 3, 8, 8)
    for maps in (uniform(x), centre(x), intensity(x), sobel(x), mean_change(truths)):
        assert direction_retrieval(maps.expand(5, -1, -1, -1), truths).accuracy == 0
    assert direction_retrieval(truths, truths).accuracy == 1
    got = direction_retrieval(shuffled(truths), truths)
    assert got.accuracy == pytest.approx(got.chance, abs=0.04)
    assert got.interval[0] < got.chance < got.interval[1]


def test_shuffled_maps_are_the_same_maps_of_the_same_image(truths):
    got = shuffled(truths, seed=1)
    torch.testing.assert_close(got.sum(0), truths.sum(0))
    assert torch.equal(got, shuffled(truths, seed=1))
    assert not torch.equal(got, shuffled(truths, seed=2))
    for n in range(5):
        same = (got[:, None, n] == truths[None, :, n]).all(-1).all(-1)  # (K, K)
        assert torch.equal(same.sum(0), torch.ones(5).long())
        assert torch.equal(same.sum(1), torch.ones(5).long())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform(torch.zeros(3, 4)), r"images \(N, C, \*S\), got torch.float32 \(3, 4\)"),
        (lambda: sobel(torch.zeros(3, 1, 4, dtype=torch.uint8)), "floating-point images"),
        (lambda: centre(torch.zeros(3, 1, 4), width=0), "width > 0, got 0"),
        (lambda: mean_change(torch.zeros(3, 4)), r"changes \(K, N, \*S\), got \(3, 4\)"),
        (lambda: shuffled(torch.zeros(3, 4)), r"maps \(K, N, \*S\), got \(3, 4\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
