import itertools
import math

import numpy as np
import pytest
import torch

from latentkit.metrics import reconstruction
from latentkit.metrics.reconstruction import mse, psnr, ssim


@pytest.mark.parametrize("size", [(5,), (4, 3), (2, 3, 2)])
def test_mse_is_the_mean_over_each_image(size):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 2, *size, generator=generator)
    expected = [
        sum((p - q) ** 2 for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
        / a.numel()
        for a, b in zip(x, y, strict=True)
    ]
    assert torch.allclose(mse(x, y), torch.tensor(expected))


def test_psnr_by_hand():
    x = torch.zeros(3, 1, 2, 2)
    y = torch.stack([torch.full((1, 2, 2), value) for value in (0.1, 1.0, 0.0)])
    assert psnr(x, y).tolist() == pytest.approx([20, 0, math.inf], abs=1e-5)


def test_psnr_drops_by_six_decibels_when_the_error_doubles():
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    drop = psnr(x, x + 0.1) - psnr(x, x + 0.2)
    assert torch.allclose(drop, torch.full((4,), 20 * math.log10(2)), atol=1e-4)


def test_half_precision_does_not_underflow():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float16)
    error = mse(x, x + 1e-4)
    assert error.dtype == torch.float32
    assert error.item() == pytest.approx(1e-8, rel=0.01)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"got \(2, 1, 4\) and \(2, 1, 5\)"):
        mse(torch.zeros(2, 1, 4), torch.zeros(2, 1, 5))
    with pytest.raises(ValueError, match=r"one shape, got \(4,\)"):
        psnr(torch.zeros(4), torch.zeros(4))


def slow_ssim(x, y):
    """Wang et al.'s index of one channel (H, W), window by window, the border reflected."""
    near = torch.arange(11.0) - 5
    line = torch.exp(-(near**2) / (2 * 1.5**2)).double()
    window = line[:, None] * line / line.sum() ** 2
    a, b = (np.pad(v.double().numpy(), 5, mode="reflect") for v in (x, y))
    found = []
    for i, j in itertools.product(range(x.shape[0]), range(x.shape[1])):
        p, q = (torch.from_numpy(v[i : i + 11, j : j + 11]) for v in (a, b))
        m, n = (window * p).sum(), (window * q).sum()
        s, t = (window * (p - m) ** 2).sum(), (window * (q - n) ** 2).sum()
        both = (window * (p - m) * (q - n)).sum()
        top = (2 * m * n + 0.01**2) * (2 * both + 0.03**2)
        found.append(top / ((m * m + n * n + 0.01**2) * (s + t + 0.03**2)))
    return torch.stack(found).mean().item()


def test_ssim_window_by_window():
    x, y = torch.rand(2, 2, 3, 12, 14, generator=torch.Generator().manual_seed(0))
    y = 0.7 * x + 0.3 * y
    expected = [np.mean([slow_ssim(x[i, c], y[i, c]) for c in range(3)]) for i in range(2)]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_of_two_flat_images_by_hand():
    a, b = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (12, 11, 13)])
def test_ssim_is_one_for_equals_about_zero_for_noise_and_symmetric(size):
    x, y = torch.rand(2, 4, 1, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ssim(x, x), torch.ones(4), atol=1e-5)
    assert ssim(x, y).abs().max() < 0.15
    assert torch.allclose(ssim(x, y), ssim(y, x), atol=1e-6)
    assert (ssim(x, 0.8 * x + 0.2 * y) > ssim(x, 0.5 * x + 0.5 * y)).all()
    assert ssim(x.half(), x.half()).dtype == torch.float32


@pytest.mark.parametrize("shape", [(2, 1, 16), (2, 1, 10, 16), (1, 16, 16)])
def test_ssim_of_images_too_small(shape):
    with pytest.raises(ValueError, match="2 or 3 sizes of 11 or more, got"):
        ssim(torch.zeros(shape), torch.zeros(shape))


def test_many_images_are_compared_a_few_at_a_time(monkeypatch):
    x, y = torch.rand(2, 150, 1, 16, 16)
    sizes, whole = [], reconstruction._ssim
    monkeypatch.setattr(
        reconstruction, "_ssim", lambda a, b: (sizes.append(len(a)), whole(a, b))[1]
    )
    found = reconstruction.ssim(x, y)
    assert max(sizes) <= 64
    assert sum(sizes) == 150
    assert torch.allclose(found[140], reconstruction.ssim(x[140:141], y[140:141])[0])
