import numpy as np
import pytest
import torch
from PIL import Image

from latentkit.data.pixels import resize, resize_digits, to_channels, unit


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_unit_maps_the_ends_to_0_and_1():
    assert unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [0, 0.2, 1]
    )
    floats = torch.rand(3)
    assert unit(floats) is floats


def test_resize_cuts_out_the_centre():
    images = noise(2, 3, 6, 9)
    assert torch.equal(resize(images, 6), images[..., 1:7])
    assert torch.equal(resize(images.mT, 6), images.mT[:, :, 1:7])


def test_resize_is_pillows_antialiased_bilinear():
    images = noise(3, 1, 28, 28)
    pillow = [
        Image.fromarray(i[0].numpy()).resize((13, 13), Image.Resampling.BILINEAR) for i in images
    ]
    expected = torch.from_numpy(np.stack([np.asarray(i) for i in pillow])).int()
    got = resize(images, 13)
    assert got.dtype == torch.uint8
    assert (got[:, 0].int() - expected).abs().max() <= 1  # Pillow rounds twice


def test_resize_by_chunks_is_resize_at_once(monkeypatch):
    images = noise(7, 2, 9, 9)
    whole = resize(images, 5)
    monkeypatch.setattr("latentkit.data.pixels._CHUNK", 3)
    assert torch.equal(resize(images, 5), whole)


def test_floats_stay_floats_in_range():
    images = torch.rand(2, 3, 8, 8)
    got = to_channels(resize(images, 5), 1)
    assert got.dtype == torch.float32
    assert 0 <= got.min() <= got.max() <= 1


def test_digits_reach_32_by_a_black_border():
    images = noise(2, 1, 28, 28)
    got = resize_digits(images, 32)
    assert torch.equal(got[..., 2:30, 2:30], images)
    assert got.int().sum() == images.int().sum()
    assert torch.equal(resize_digits(images, 16), resize(images, 16))
    assert torch.equal(resize_digits(images, 28), images)


def test_grey_is_pillows_grey():
    images = noise(2, 3, 5, 5)
    pillow = [Image.fromarray(i.permute(1, 2, 0).numpy()).convert("L") for i in images]
    expected = torch.from_numpy(np.stack([np.asarray(i) for i in pillow])).int()
    assert (to_channels(images, 1)[:, 0].int() - expected).abs().max() <= 1


def test_colour_of_grey_is_grey():
    images = noise(2, 1, 5, 5)
    assert torch.equal(to_channels(images, 3), torch.cat([images] * 3, 1))
    assert to_channels(images, None) is images


def test_transparent_pixels_are_white():
    images = noise(1, 4, 1, 3)
    images[0, 3, 0] = torch.tensor([0, 255, 51])
    got = to_channels(images, 3)
    assert (got[..., 0] == 255).all()
    assert torch.equal(got[..., 1], images[:, :3, :, 1])
    expected = images[:, :3, :, 2] * 0.2 + 255 * 0.8
    assert torch.equal(got[..., 2], expected.round().to(torch.uint8))
    floats = to_channels(images.float() / 255, 3)
    assert torch.allclose(floats, got / 255, atol=1 / 255)


@pytest.mark.parametrize(("have", "want"), [(2, 1), (3, 2), (1, 4)])
def test_other_channels_are_refused(have, want):
    with pytest.raises(ValueError, match=f"got channels={want} from {have}"):
        to_channels(noise(1, have, 4, 4), want)
