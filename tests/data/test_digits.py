import torch
from sklearn.datasets import load_digits

from latentkit.data.digits import Digits


def everything(data):
    pairs = [data.split(name)[:] for name in ("train", "val", "test")]
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def rows(images, labels):
    return sorted((int(y), *x.flatten().tolist()) for x, y in zip(images, labels, strict=True))


def test_size_8_is_scikit_learns_digits_each_with_its_label():
    x, y = everything(Digits(size=8))
    found = load_digits()
    expected = torch.from_numpy(found.images).long()
    assert rows((x * 16).round().long(), y) == rows(expected, torch.from_numpy(found.target))


def test_sizes_and_proportions():
    data = Digits()
    assert data.image_shape == (1, 16, 16)
    assert data.class_names == tuple("0123456789")
    for name, size in {"train": 1197, "val": 300, "test": 300}.items():
        labels = data.split(name).labels
        assert len(labels) == size
        assert (torch.bincount(labels, minlength=10) / size - 0.1).abs().max() < 0.01


def test_the_training_seed_moves_no_image_to_another_part():
    first, second = Digits(size=8, seed=0), Digits(size=8, seed=1)
    assert torch.equal(first.split("test")[:][0], second.split("test")[:][0])
    orders = [torch.cat([y for _, y in data.train_dataloader()]) for data in (first, second)]
    assert not torch.equal(*orders)


def test_pixels_are_floats_from_0_to_1():
    x, _ = Digits(size=16).split("train")[:]
    assert x.dtype == torch.float32
    assert x.shape == (1197, 1, 16, 16)
    assert x.min() == 0
    assert 0.9 < x.max() <= 1
