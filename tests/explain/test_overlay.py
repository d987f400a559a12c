import io

import numpy as np
import pytest
import torch
from PIL import Image

from latentkit.explain.heatmap import Heatmap
from latentkit.explain.overlay import colours, overlay, pictures, to_pil

PALETTES = pytest.mark.parametrize("palette", ["diverging", "sequential"])


def heatmap(raw):
    raw = torch.as_tensor(raw, dtype=torch.float32)
    return Heatmap(raw, "conv", "grad-cam", torch.zeros(len(raw)))


def table(palette, values):
    """Colours of values between -1 and 1, (len(values), 3)."""
    raw = torch.tensor([[1.0, *values, -1.0]])  # the ends, so that values are not rescaled
    return colours(heatmap(raw), palette)[0, :, 1:-1].T.double()


def lab(rgb):
    """CIE Lab, D65, by the standard's formulas."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
    matrix = torch.tensor([*matrix, [0.0193339, 0.1191920, 0.9503041]], dtype=torch.double)
    ratio = linear @ matrix.T / torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.double)
    d = 6 / 29
    f = torch.where(ratio > d**3, ratio ** (1 / 3), ratio / (3 * d * d) + 4 / 29)
    return torch.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1
    )


SEEN_BY = {  # Machado, Oliveira and Fernandes, 2009, severity 1, in linear RGB
    "everyone": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
JUST_NOTICEABLE = 2.3  # difference in CIE Lab


def seen(rgb, eye):
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = (linear @ torch.tensor(SEEN_BY[eye], dtype=torch.double).T).clamp(0, 1)
    back = torch.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return lab(back)


def jet(values):
    v = torch.tensor(values)[:, None]
    return (1.5 - (4 * v - torch.tensor([3.0, 2.0, 1.0])).abs()).clamp(0, 1).double()


def steps(rgb, eye):
    """How lightness changes, and how different neighbours look."""
    points = seen(rgb, eye)
    return points[:, 0].diff(), points.diff(dim=0).norm(dim=1)


@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_sequential_palette_gets_lighter_in_steps_that_show(eye):
    values = torch.linspace(0, 1, 17).tolist()
    lighter, different = steps(table("sequential", values), eye)
    assert lighter.min() > 0
    assert different.min() > 2 * JUST_NOTICEABLE
    assert steps(jet(values), eye)[0].min() < -10  # the usual palette gets darker in between


@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_diverging_palette_tells_signs_apart(eye):
    values = torch.linspace(0.125, 1, 8)
    plus, minus = (seen(table("diverging", (s * values).tolist()), eye) for s in (1, -1))
    apart = (plus - minus).norm(dim=1)
    assert (apart > 4 * JUST_NOTICEABLE * 8 * values / 4).all()
    assert (plus[:, 0].diff() < 0).all()  # darker away from zero
    assert (minus[:, 0].diff() < 0).all()
    middle = table("diverging", [0.0])[0]
    assert middle.max() == middle.min()  # grey


def test_steps_are_even_and_neither_sign_looks_larger():
    for palette, low in (("sequential", 0.0), ("diverging", -1.0)):
        _, different = steps(table(palette, torch.linspace(low, 1, 17).tolist()), "everyone")
        assert different.max() < 1.3 * different.min()
    _, uneven = steps(jet(torch.linspace(0, 1, 17).tolist()), "everyone")
    assert uneven.max() > 2 * uneven.min()
    values = torch.linspace(0.125, 1, 8)
    plus, minus = (lab(table("diverging", (s * values).tolist())) for s in (1, -1))
    assert (plus[:, 0] - minus[:, 0]).abs().max() < 1


@PALETTES
def test_the_ends_of_the_palettes(palette):
    got = table(palette, [1.0, 0.0, -1.0])
    if palette == "diverging":
        assert got[0, 0] > 2 * got[0, 2]  # red
        assert got[2, 2] > 2 * got[2, 0]  # blue
    else:
        assert torch.equal(got[0], got[2])  # sizes
        assert got[0].sum() > 2
        assert got[1].sum() < 0.5


@pytest.mark.parametrize("channels", [1, 3, 4])
@PALETTES
def test_an_image_shows_through_unchanged_where_the_map_is_zero(channels, palette):
    raw = torch.zeros(2, 4, 4)
    raw[:, 0, 0] = torch.tensor([2.0, -3.0])
    dim = torch.rand(2, channels, 4, 4) * 0.1  # peers stretch a dim image to full brightness
    if channels == 4:
        dim[:, 3] = 1
    got = overlay(heatmap(raw), dim, palette)
    clear = raw == 0
    expected = dim[:, :3].expand(2, 3, 4, 4)
    assert torch.equal(got.movedim(1, -1)[clear], expected.movedim(1, -1)[clear])
    corner = got[:, :, 0, 0]
    assert (corner - expected[:, :, 0, 0]).abs().amax(1).min() > 0.3
    assert got.dtype == torch.float32
    assert got.shape == (2, 3, 4, 4)


@PALETTES
def test_an_overlay_is_the_mixture_by_hand(palette):
    raw = torch.tensor([[[1.0, 0.5], [0.25, 0.0]]])
    image = torch.rand(1, 3, 2, 2)
    colour = colours(heatmap(raw), palette)
    share = 0.6 * raw[:, None]
    expected = (1 - share) * image + share * colour
    torch.testing.assert_close(overlay(heatmap(raw), image, palette, opacity=0.6), expected)
    assert torch.equal(overlay(heatmap(raw), image, palette, opacity=0.0), image)


def test_transparent_images_are_put_on_white():
    image = torch.tensor([0.2, 0.4, 0.6, 0.5]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    got = overlay(heatmap(torch.zeros(1, 2, 2)), image)
    assert got[0, :, 0, 0].tolist() == pytest.approx([0.6, 0.7, 0.8])


def test_colours_end_at_the_image_the_batch_or_a_limit():
    raw = torch.tensor([[[4.0, 1.0]], [[2.0, 0.5]]])
    ends = table("sequential", [1.0, 0.5, 0.25, 0.125]).float()
    own = colours(heatmap(raw), "sequential")[:, :, 0]
    torch.testing.assert_close(own[0], ends[[0, 2]].T)
    torch.testing.assert_close(own[1], ends[[0, 2]].T)
    shared = colours(heatmap(raw), "sequential", "batch")[:, :, 0]
    torch.testing.assert_close(shared[0], ends[[0, 2]].T)
    torch.testing.assert_close(shared[1], ends[[1, 3]].T)
    fixed = colours(heatmap(raw), "sequential", limit=2.0)[:, :, 0]
    torch.testing.assert_close(fixed[0], ends[[0, 1]].T)  # beyond the limit as at the limit
    torch.testing.assert_close(fixed[1], ends[[0, 2]].T)
    alone = colours(heatmap(raw[1:]), "sequential", limit=2.0)[:, :, 0]
    assert torch.equal(alone[0], fixed[1])  # whatever else is in the batch


@PALETTES
@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize("limit", [None, 1e-3])
def test_maps_that_show_nothing_leave_the_image(palette, per, limit):
    raw = torch.tensor([[0.0, 0.0], [5.0, 5.0], [float("nan"), 1.0], [1.0, 2.0]])[:, None]
    image = torch.rand(4, 1, 1, 2)
    got = overlay(heatmap(raw), image, palette, per, limit)
    assert torch.equal(got[:3], image[:3].expand(3, 3, 1, 2))
    assert not torch.equal(got[3], image[3].expand(3, 1, 2))
    zero = table(palette, [0.0]).float()
    assert torch.equal(colours(heatmap(raw), palette, per, limit)[2, :, 0, 0], zero[0])


@pytest.mark.parametrize("size", [(9,), (4, 6), (2, 4, 6)])
def test_every_rank(size):
    small = [max(1, s // 2) for s in size]
    raw = torch.randn(2, *small)
    image = torch.rand(2, 1, *size)
    got = overlay(heatmap(raw), image)
    assert got.shape == (2, 3, *size)
    larger = heatmap(raw).resized(size)
    assert torch.equal(got, overlay(larger, image))
    flat = pictures(got)
    assert flat.ndim == 4
    assert flat.shape[:2] == (2, 3)
    assert [picture.size for picture in to_pil(got)] == [(flat.shape[3], flat.shape[2])] * 2
    if len(size) == 1:
        assert torch.equal(flat, got[:, :, None].expand(-1, -1, 8, -1))
    elif len(size) == 3:
        assert torch.equal(flat, torch.cat([got[:, :, 0], got[:, :, 1]], -1))
    else:
        assert flat is got


def test_bytes_come_back_as_they_went_in():
    levels = torch.arange(256).view(1, 1, 16, 16)
    got = overlay(heatmap(torch.zeros(1, 16, 16)), levels / 255)
    (picture,) = to_pil(got)
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), levels[0, 0, :, :, None].expand(-1, -1, 3).numpy())
    file = io.BytesIO()
    picture.save(file, "png")
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(picture))


def test_tensorboard_takes_the_pictures():
    from torch.utils.tensorboard.summary import image

    for size in ((16,), (4, 6), (2, 4, 6)):
        got = overlay(heatmap(torch.randn(1, *size)), torch.rand(1, 1, *size))
        written = image("map", pictures(got), dataformats="NCHW").value[0].image
        shown = np.asarray(Image.open(io.BytesIO(written.encoded_image_string))).astype(int)
        assert np.abs(shown - np.asarray(to_pil(got)[0]).astype(int)).max() <= 1  # it rounds down


@PALETTES
def test_results_are_in_range(palette):
    torch.manual_seed(0)
    got = overlay(heatmap(torch.randn(3, 5, 5)), torch.rand(3, 3, 5, 5).round(), palette, opacity=1)
    assert got.min() >= 0
    assert got.max() <= 1


def test_errors():
    image, one = torch.rand(1, 3, 2, 2), heatmap(torch.rand(1, 2, 2))
    for bad in (image * 255, image - 1, image * torch.nan, (image * 255).byte()):
        with pytest.raises(ValueError, match=r"floats in \[0, 1\], got .*divide bytes by 255"):
            overlay(one, bad)
    for bad in (image[:, :2], image[0], image.expand(2, -1, -1, -1), image[..., None]):
        with pytest.raises(ValueError, match=r"1 images \(1, 1, 3 or 4, \*S\) with 2 dimensions"):
            overlay(one, bad)
    with pytest.raises(ValueError, match="'diverging' or 'sequential', got 'jet'"):
        colours(one, "jet")
    with pytest.raises(ValueError, match=r"opacity in \[0, 1\], got 2"):
        overlay(one, image, opacity=2)
    for limit in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite limit above 0, got"):
            colours(one, limit=limit)
    with pytest.raises(ValueError, match="'image' or 'batch', got 'pixel'"):
        colours(one, per="pixel")
    with pytest.raises(ValueError, match=r"colours \(N, 3, \*S\) of rank 1 to 3"):
        pictures(torch.zeros(3, 4))
