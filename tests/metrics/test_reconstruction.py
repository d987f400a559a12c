import math

import pytest
import torch

from latentkit.metrics.reconstruction import mse, psnr


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
