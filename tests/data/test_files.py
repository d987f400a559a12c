import numpy as np
import pytest
import torch
from PIL import Image

from latentkit.data.files import FileImages, decode


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def as_tensor(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_lossless_files_give_their_own_pixels(tmp_path, suffix):
    pixels = noise(8, 8, 3)
    path = saved(
        tmp_path / f"a{suffix}", pixels, **({"lossless": True} if suffix == ".webp" else {})
    )
    assert torch.equal(decode(path, 8, 3), as_tensor(pixels))


def test_jpeg_comes_close(tmp_path):
    pixels = np.full((16, 16, 3), (200, 30, 90), dtype=np.uint8)
    got = decode(saved(tmp_path / "a.jpg", pixels, quality=95), 16, 3)
    assert (got.int() - as_tensor(pixels).int()).abs().max() <= 4


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode(tmp_path / "a.gif", 4, 3)[:, 0, 0].tolist() == [255, 0, 0]


def test_the_centre_square_is_cut_out(tmp_path):
    pixels = noise(6, 11, 3)
    got = decode(saved(tmp_path / "wide.png", pixels), 6, 3)
    assert torch.equal(got, as_tensor(pixels[:, 2:8]))
    got = decode(saved(tmp_path / "high.png", pixels.transpose(1, 0, 2)), 6, 3)
    assert torch.equal(got, as_tensor(pixels.transpose(1, 0, 2)[2:8]))


def test_shrinking_is_antialiased(tmp_path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    got = decode(saved(tmp_path / "a.png", board.astype(np.uint8)), 8, 1)
    assert (got.float() - 127.5).abs().max() < 8


def test_grey_and_colour(tmp_path):
    grey = noise(5, 5)
    path = saved(tmp_path / "a.png", grey)
    assert torch.equal(decode(path, 5, 1)[0], torch.from_numpy(grey))
    assert torch.equal(decode(path, 5, 3), torch.from_numpy(grey).expand(3, 5, 5))


def test_transparent_pixels_are_white(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 255
    got = decode(saved(tmp_path / "a.png", pixels), 2, 3)
    assert got[0].tolist() == [[0, 255], [255, 255]]


def test_16_bits_are_scaled(tmp_path):
    values = np.array([[0, 257 * 10], [257 * 100, 65_535]], dtype=np.uint16)
    got = decode(saved(tmp_path / "a.png", values), 2, 1)
    assert got[0].tolist() == [[0, 10], [100, 255]]


def test_photos_are_turned_upright(tmp_path):
    pixels = noise(4, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    got = decode(saved(tmp_path / "a.png", pixels, exif=exif), 4, 3)
    assert torch.equal(got, as_tensor(np.rot90(pixels, -1).copy()))


@pytest.mark.parametrize("kind", ["text", "cut", "missing"])
def test_an_unreadable_file_is_named(tmp_path, kind):
    path = tmp_path / "bad.png"
    if kind == "text":
        path.write_text("not an image")
    elif kind == "cut":
        saved(path, noise(32, 32, 3))
        path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ValueError, match=r"expected a readable image, got .*bad\.png"):
        decode(path, 8, 3)


def test_a_set_reads_files_by_batch_or_all_at_once(tmp_path):
    pictures = [noise(6, 6, 3, seed=i) for i in range(5)]
    paths = [saved(tmp_path / f"{i}.png", pixels) for i, pixels in enumerate(pictures)]
    lazy = FileImages(paths, 6, 3, torch.arange(5), torch.arange(5.0)[:, None])
    held = lazy.in_memory()
    for images in (lazy, held):
        x, y = images[[4, 0, 2]]
        assert y.tolist() == [4, 0, 2]
        expected = torch.stack([as_tensor(pictures[i]) for i in (4, 0, 2)])
        assert torch.equal((x * 255).round().to(torch.uint8), expected)
        assert images.image_shape == (3, 6, 6)
        assert images[[]][0].shape == (0, 3, 6, 6)
        assert images.attribute_values.flatten().tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="a label per file, got 5 and 4"):
        FileImages(paths, 6, 3, torch.arange(4))
