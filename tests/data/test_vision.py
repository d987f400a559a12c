import gzip
import hashlib
import pickle
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat

from latentkit.data.files import FileImages
from latentkit.data.vision import Vision

PARTS = ("train", "val", "test")


def write_idx(path, array):
    """MNIST's file format: a magic number, the sizes, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def pictures(n, *shape, seed=0):
    """Noise whose first pixel is the number of the picture."""
    images = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    images.reshape(n, -1)[:, 0] = np.arange(n)
    return images


def write_mnist(folder, train=("train", 60), test=("t10k", 20), first=0, classes=10):
    for seed, (prefix, n) in enumerate((train, test)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pictures(n, 28, 28, seed=seed))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(n) % classes + first)


def numbers(images):
    return (images[:][0].flatten(1)[:, 0] * 255).round().long()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_its_relatives_are_read_from_their_files(tmp_path, name):
    write_mnist(tmp_path / name / "raw")
    data = Vision(f"torchvision.datasets.{name}", str(tmp_path), download=False, val_size=10)
    assert data.image_shape == (1, 28, 28)
    assert len(data.class_names) == 10
    assert [len(data.split(part)) for part in PARTS] == [50, 10, 20]
    assert sorted([*numbers(data.split("train")), *numbers(data.split("val"))]) == [*range(60)]
    assert numbers(data.split("test")).tolist() == [*range(20)]
    for part in PARTS:
        assert torch.equal(numbers(data.split(part)) % 10, data.split(part).labels)
    assert torch.bincount(data.split("val").labels).tolist() == [1] * 10
    x, _ = data.split("test")[:]
    expected = torch.from_numpy(pictures(20, 28, 28, seed=1))
    assert torch.equal((x[:, 0] * 255).round().to(torch.uint8), expected)


def test_size_channels_and_the_usual_val_size(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    data = Vision("MNIST", str(tmp_path), size=32, channels=3)
    assert data.image_shape == (3, 32, 32)
    assert len(data.split("val")) == 6
    x, _ = data.split("test")[:]
    assert x[..., :2, :].max() == 0
    assert torch.equal((x[:, 2, 2, 2] * 255).round().long(), torch.arange(20))


@pytest.mark.parametrize("val_size", [0, 60, 99])
def test_val_size_must_leave_images_to_train_on(tmp_path, val_size):
    write_mnist(tmp_path / "MNIST" / "raw")
    with pytest.raises(ValueError, match=f"some of 60 images to train on, got {val_size}"):
        Vision("MNIST", str(tmp_path), val_size=val_size).setup()


def test_emnist_is_turned_upright_and_letters_count_from_0(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    write_mnist(raw, ("emnist-letters-train", 60), ("emnist-letters-test", 20), first=1, classes=26)
    data = Vision("EMNIST", str(tmp_path), download=False, split="letters")
    assert data.class_names == tuple("abcdefghijklmnopqrstuvwxyz")
    x, y = data.split("test")[:]
    expected = torch.from_numpy(pictures(20, 28, 28, seed=1)).mT
    assert torch.equal((x[:, 0] * 255).round().to(torch.uint8), expected)
    assert torch.equal(y, torch.arange(20))


def test_emnist_is_balanced_unless_told(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    write_mnist(raw, ("emnist-balanced-train", 60), ("emnist-balanced-test", 20), classes=47)
    data = Vision("EMNIST", str(tmp_path), download=False)
    assert len(data.class_names) == 47
    assert data.split("test").labels.tolist() == [*range(20)]


@pytest.fixture
def unchecked(monkeypatch):
    """Torchvision without its checksums, which no small stand-in can have."""
    for module in ("cifar", "svhn", "stl10", "celeba"):
        name = f"torchvision.datasets.{module}.check_integrity"
        monkeypatch.setattr(name, lambda path, md5=None: Path(path).is_file())


def test_cifar10_is_read_from_its_files(tmp_path, unchecked):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images = {name: pictures(10, 3, 32, 32, seed=i) for i, name in enumerate(range(6))}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        images[number].reshape(10, -1)[:, 0] += 10 * number
        batch = {"data": images[number].reshape(10, -1), "labels": [*range(10)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = [f"class {i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    data = Vision("CIFAR10", str(tmp_path), download=False)
    assert data.image_shape == (3, 32, 32)
    assert data.class_names == tuple(names)
    assert [len(data.split(part)) for part in PARTS] == [45, 5, 10]
    x, y = data.split("test")[:]
    assert torch.equal((x * 255).round().to(torch.uint8), torch.from_numpy(images[5]))
    assert torch.equal(y, torch.arange(10))


def test_svhn_is_read_from_its_files(tmp_path, unchecked):
    images = pictures(20, 3, 32, 32)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        content = {"X": images.transpose(2, 3, 1, 0), "y": (np.arange(20) % 10 + 1)[:, None]}
        savemat(tmp_path / name, content)
    data = Vision("SVHN", str(tmp_path), download=False)
    assert data.class_names == tuple("0123456789")
    x, y = data.split("test")[:]
    assert torch.equal((x * 255).round().to(torch.uint8), torch.from_numpy(images))
    assert torch.equal(y, (torch.arange(20) + 1) % 10)  # 10 stands for the digit 0


def test_stl10_is_read_from_its_files_with_or_without_the_unlabelled(tmp_path, unchecked):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for part, n in {"train": 20, "test": 10, "unlabeled": 30}.items():
        pictures(n, 3, 96, 96).tofile(folder / f"{part}_X.bin")
        (np.arange(n, dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = Vision("STL10", str(tmp_path), download=False)
    assert data.class_names == tuple("abcdefghij")
    x, y = data.split("test")[:]
    assert torch.equal(
        (x * 255).round().to(torch.uint8), torch.from_numpy(pictures(10, 3, 96, 96)).mT
    )
    assert torch.equal(y, torch.arange(10))
    more = Vision("STL10", str(tmp_path), download=False, split="train+unlabeled")
    labels = torch.cat([more.split("train").labels, more.split("val").labels])
    assert len(labels) == 50
    assert (labels == -1).sum() == 30


def test_celeba_is_decoded_by_the_batch_with_its_attributes(tmp_path, unchecked):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06}.png" for i in range(6)]
    for index, name in enumerate(names):
        picture = np.full((218, 178, 3), index * 40, dtype=np.uint8)
        Image.fromarray(picture).save(folder / "img_align_celeba" / name)
    lines = {
        "list_eval_partition.txt": [f"{name} {i % 3}" for i, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} {i}" for i, name in enumerate(names)],
        "list_bbox_celeba.txt": ["6", "a b", *(f"{name} 0 0" for name in names)],
        "list_landmarks_align_celeba.txt": ["6", "a b", *(f"{name} 0 0" for name in names)],
        "list_attr_celeba.txt": [
            *("6", "Bald Smiling"),
            *(f"{name} {-1 if i < 3 else 1} 1" for i, name in enumerate(names)),
        ],
    }
    for name, content in lines.items():
        (folder / name).write_text("\n".join(content))
    data = Vision("CelebA", str(tmp_path), download=False)
    assert isinstance(data.split("train"), FileImages)
    assert data.image_shape == (3, 64, 64)
    assert data.attributes == ("Bald", "Smiling")
    for part, rows in {"train": [0, 3], "val": [1, 4], "test": [2, 5]}.items():
        x, y = data.split(part)[:]
        assert (x[:, 0, 0, 0] * 255).round().tolist() == [40 * row for row in rows]
        assert y.tolist() == [-1, -1]
        assert data.attribute_values(part).tolist() == [[0, 1], [1, 1]]


MISSING = {
    "MNIST": "MNIST/raw, which needs the files train-images-idx3-ubyte, train-labels",
    "EMNIST": "EMNIST/raw, which needs the files emnist-balanced-train-images-idx3-ubyte",
    "CIFAR10": "cifar-10-batches-py, which needs the files data_batch_1",
    "CIFAR100": "cifar-100-python, which needs the files train, test, meta",
    "SVHN": "which needs the files train_32x32.mat, test_32x32.mat",
    "STL10": "stl10_binary, which needs the files train_X.bin",
    "CelebA": "celeba, which needs the files img_align_celeba/, list_attr_celeba.txt",
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_files_are_named_with_their_folder(tmp_path, name):
    with pytest.raises(ValueError, match=MISSING[name]) as error:
        Vision(name, str(tmp_path), download=False).prepare_data()
    assert str(tmp_path) in str(error.value)
    assert "or set download to true" in str(error.value)
    assert list(tmp_path.iterdir()) == []


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A web server with KMNIST: (its folder, an empty root)."""
    folder, root = tmp_path / "mirror", tmp_path / "root"
    write_mnist(folder)
    resources = []
    for file in sorted(folder.iterdir()):
        packed = folder / f"{file.name}.gz"
        packed.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
        resources.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torchvision.datasets.KMNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.KMNIST, "resources", resources)
    yield folder, root
    server.shutdown()
    server.server_close()


def test_a_download_lands_in_the_root_and_is_used_again(mirror):
    folder, root = mirror
    Vision("KMNIST", str(root)).prepare_data()
    assert [path.name for path in root.iterdir()] == ["KMNIST"]
    for file in folder.iterdir():
        file.unlink()
    assert len(Vision("KMNIST", str(root)).split("test")) == 20


@pytest.mark.parametrize("fault", ["missing", "corrupt"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(mirror, fault):
    folder, root = mirror
    last = folder / "train-labels-idx1-ubyte.gz"
    if fault == "missing":
        last.unlink()
    else:
        last.write_bytes(b"\x00" * 50)
    with pytest.raises(
        ValueError, match=r"got none that can be read \(the download failed: .*there"
    ):
        Vision("KMNIST", str(root)).prepare_data()
    assert list(root.iterdir()) == []


def test_a_broken_file_is_downloaded_anew_or_reported(mirror):
    _, root = mirror
    write_mnist(root / "KMNIST" / "raw")
    (root / "KMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03")
    with pytest.raises(ValueError, match="got none that can be read"):
        Vision("KMNIST", str(root), download=False).setup()
    assert len(Vision("KMNIST", str(root)).split("test")) == 20


@pytest.mark.parametrize("dataset", ["torchvision.datasets.Places365", "mnist", "my.MNIST"])
def test_an_unknown_set_is_refused(dataset):
    with pytest.raises(ValueError, match=f"one of MNIST, .*CelebA, got '{dataset}'"):
        Vision(dataset)


@pytest.mark.parametrize(
    ("name", "split"), [("MNIST", "letters"), ("EMNIST", "train"), ("SVHN", "test")]
)
def test_an_unknown_split_is_refused(tmp_path, name, split):
    with pytest.raises(ValueError, match=f"expected split .* for {name}, got '{split}'"):
        Vision(name, str(tmp_path), download=False, split=split).setup()
