import numpy as np
import pytest
import torch

from latentkit.data.arrays import ArrayImages, Arrays
from latentkit.data.images import TensorImages

PARTS = ("train", "val", "test")


def numbered(*shape):
    """Images whose pixels are all their number."""
    images = np.zeros(shape, dtype=np.uint8)
    return images + np.arange(shape[0], dtype=np.uint8).reshape(-1, *[1] * (len(shape) - 1))


def saved(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return str(folder / "a.npz")


def numbers(images):
    return (images[:][0].flatten(1)[:, 0] * 255).round().long()


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((50, 5, 6), (1, 5, 6)),
        ((50, 5, 6, 3), (3, 5, 6)),
        ((50, 3, 5, 6), (3, 5, 6)),
        ((50, 1, 5, 6), (1, 5, 6)),
        ((50, 5, 6, 4), (4, 5, 6)),
    ],
)
def test_the_channels_are_found(tmp_path, shape, image_shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = Arrays(saved(tmp_path, x=pixels, y=np.arange(50)), labels="y")
    assert data.image_shape == image_shape
    x, y = data.split("train")[:]
    original = torch.from_numpy(pixels[y.numpy()])
    if len(shape) == 3:
        original = original[:, None]
    elif shape[-1] in (3, 4):
        original = original.permute(0, 3, 1, 2)
    assert torch.equal((x * 255).round().to(torch.uint8), original)


def test_parts_are_disjoint_exhaustive_and_paired(tmp_path):
    data = Arrays(
        saved(tmp_path, pics=numbered(100, 5, 5), names=np.arange(100) % 4), "pics", "names"
    )
    assert [len(data.split(part)) for part in PARTS] == [80, 10, 10]
    for part in PARTS:
        assert torch.equal(numbers(data.split(part)) % 4, data.split(part).labels)
    together = torch.cat([numbers(data.split(part)) for part in PARTS])
    assert sorted(together.tolist()) == list(range(100))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_keep_their_precision(tmp_path, dtype):
    pixels = np.random.default_rng(0).random((20, 5, 5)).astype(dtype)
    data = Arrays(saved(tmp_path, x=pixels, y=np.arange(20)), labels="y")
    x, y = data.split("train")[:]
    assert x.dtype == torch.float32
    assert torch.equal(x[:, 0], torch.from_numpy(pixels[y.numpy()].astype(np.float32)))


def test_size_and_channels(tmp_path):
    path = saved(tmp_path, x=numbered(20, 8, 12, 3))
    assert Arrays(path, size=4, channels=1).image_shape == (1, 4, 4)
    kept = Arrays(path, size=8, channels=1)
    assert sorted(torch.cat([numbers(kept.split(part)) for part in PARTS]).tolist()) == [*range(20)]


@pytest.mark.parametrize(
    ("found", "names", "labels"),
    [
        (["pear", "fig", "pear", "kiwi"], ("fig", "kiwi", "pear"), [2, 0, 2, 1]),
        ([b"b", b"a", b"b", b"b"], ("a", "b"), [1, 0, 1, 1]),
        ([30, 9, -1, 9], ("9", "30"), [1, 0, -1, 0]),
        (np.array([0, 2, 1, 1], dtype=np.uint8), ("0", "1", "2"), [0, 2, 1, 1]),
    ],
)
def test_labels_are_numbered_by_their_sorted_names(tmp_path, found, names, labels):
    data = Arrays(saved(tmp_path, x=numbered(4, 2, 2), y=np.array(found)), labels="y")
    assert data.class_names == names
    for part in PARTS:
        rows = numbers(data.split(part))
        assert torch.equal(data.split(part).labels, torch.tensor(labels)[rows])


def test_without_labels_all_are_unlabelled(tmp_path):
    data = Arrays(saved(tmp_path, x=numbered(20, 2, 2)))
    assert data.class_names == ()
    assert set(data.split("train").labels.tolist()) == {-1}


@pytest.mark.parametrize("scale", [np.uint8(1), np.float32(1 / 255)])
def test_a_large_npy_is_mapped_and_gives_the_same_images(tmp_path, scale):
    np.save(tmp_path / "x.npy", numbered(60, 6, 6, 3) * scale)
    np.save(tmp_path / "y.npy", np.arange(60))
    arguments = {"labels": str(tmp_path / "y.npy"), "size": 4, "channels": 1}
    held = Arrays(str(tmp_path / "x.npy"), **arguments)
    mapped = Arrays(str(tmp_path / "x.npy"), memory_limit_mb=0, **arguments)
    assert isinstance(held.split("train"), TensorImages)
    assert isinstance(mapped.split("train"), ArrayImages)
    assert isinstance(mapped.split("train").array, np.memmap)
    assert held.image_shape == mapped.image_shape == (1, 4, 4)
    for part in PARTS:
        assert torch.equal(held.split(part).labels, mapped.split(part).labels)
        assert torch.equal(held.split(part)[:][0], mapped.split(part)[:][0])
        assert torch.equal(mapped.split(part)[[2, 0]][1], mapped.split(part).labels[[2, 0]])
        assert torch.equal(numbers(mapped.split(part)), mapped.split(part).labels)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": numbered(9, 5, 5), "y": np.arange(9)}, "the array 'x' in .*, got images, y"),
        ({"x": numbered(9, 5, 5)}, "the array 'y' in .*, got x"),
        ({"x": numbered(9, 5, 5), "y": np.arange(8)}, r"labels of shape \(9,\).* of \(8,\)"),
        ({"x": numbered(9, 5, 5), "y": np.arange(9.0)}, r"one integer or text .* got float64"),
        ({"x": numbered(9, 4), "y": np.arange(9)}, r"images of shape .* got \(9, 4\)"),
        (
            {"x": numbered(9, 4, 3), "y": np.arange(9)},
            r"exactly one axis can be C.* got \(9, 4, 3\)",
        ),
        ({"x": numbered(9, 3, 4, 3), "y": np.arange(9)}, r"got \(9, 3, 4, 3\)"),
        ({"x": numbered(9, 5, 5, 5), "y": np.arange(9)}, r"got \(9, 5, 5, 5\)"),
        ({"x": np.array(3, dtype=np.uint8), "y": np.arange(9)}, r"got \(\) in"),
        ({"x": np.zeros((9, 5, 5), dtype=int), "y": np.arange(9)}, "uint8.* got int64.*astype"),
        ({"x": np.full((9, 5, 5), 1.5), "y": np.arange(9)}, r"floats in \[0, 1\], .* 1.5 to 1.5"),
        ({"x": np.full((9, 5, 5), -0.1), "y": np.arange(9)}, "from -0.1 to -0.1"),
        ({"x": np.full((9, 5, 5), np.nan), "y": np.arange(9)}, "from nan to nan"),
        ({"x": np.array([object()]), "y": np.arange(9)}, "cannot be read: .*without objects"),
        ({"x": numbered(2, 5, 5), "y": np.arange(2)}, r"some of 2 images to train on"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        Arrays(saved(tmp_path, **arrays), labels="y").setup()


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"existing \.npz or \.npy file, got .*gone\.npz"):
        Arrays(str(tmp_path / "gone.npz")).setup()
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"existing \.npz or \.npy file, got .*a\.txt"):
        Arrays(str(tmp_path / "a.txt")).setup()
    path = tmp_path / "a.npz"
    for content in (b"", b"not a zip", b"PK\x03\x04 cut"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"plain NumPy arrays, got .*a\.npz, which cannot be"):
            Arrays(str(path)).setup()


def test_a_damaged_member_is_reported(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random((20, 8, 8)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[2000:2100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz, which cannot be read"):
        Arrays(str(tmp_path / "a.npz")).setup()


def test_names_follow_their_images(tmp_path):
    pixels, names = numbered(40, 2, 2), np.array([f"image {i}" for i in range(40)])
    data = Arrays(saved(tmp_path, x=pixels, name=names))
    seen = []
    for split in ("train", "val", "test"):
        expected = [f"image {i}" for i in numbers(data.split(split)).tolist()]
        assert list(data.item_names(split)) == expected
        seen += expected
    assert sorted(seen) == sorted(names)


@pytest.mark.parametrize(
    "found", [np.array(["one"]), np.arange(20), np.array([None] * 20), np.array([["a"] * 2] * 20)]
)
def test_what_cannot_be_names_is_left_alone(tmp_path, found):
    data = Arrays(saved(tmp_path, x=numbered(20, 2, 2), name=found))
    assert data.item_names("train") == ()
    assert len(data.split("train")) == 16
