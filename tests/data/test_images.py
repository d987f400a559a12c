import pytest
import torch

from latentkit.data.images import TensorImages, random_rows


@pytest.fixture
def images():
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 2, 4) * 25
    return TensorImages(pixels, torch.arange(10) * 7, torch.arange(20.0).view(10, 2))


@pytest.mark.parametrize(
    "index",
    [
        [3, 0, 9],
        torch.tensor([3, 0, 9]),
        [-7, 0, -1],
        slice(2, 8, 3),
        slice(None, None, -4),
        slice(5, 2),
    ],
)
def test_a_batch_pairs_images_with_labels(images, index):
    rows = torch.as_tensor(range(10)[index] if isinstance(index, slice) else index).long() % 10
    x, y = images[index]
    assert x.shape == (len(rows), 3, 2, 4)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert torch.equal(y, rows * 7)
    assert torch.allclose(x[:, 0, 0, 0] * 255, rows * 25.0)


def test_an_empty_batch_is_empty(images):
    x, y = images[[]]
    assert x.shape == (0, 3, 2, 4)
    assert y.shape == (0,)


def test_floats_are_kept_exactly():
    pixels = torch.rand(3, 1, 2, 2)
    assert torch.equal(TensorImages(pixels, torch.zeros(3).long())[:][0], pixels)


def test_shape_and_length(images):
    assert images.image_shape == (3, 2, 4)
    assert len(images) == 10
    assert images.attribute_values.shape == (10, 2)
    assert TensorImages(images.images, images.labels).attribute_values.shape == (10, 0)


@pytest.mark.parametrize("index", [3, torch.tensor(3), [True, False], [0.5], [[1, 2]]])
def test_an_index_must_be_of_a_batch(images, index):
    with pytest.raises(ValueError, match=r"expected the indices of a batch \(n,\)"):
        images[index]


@pytest.mark.parametrize("index", [[10], [-11]])
def test_an_index_must_be_in_range(images, index):
    with pytest.raises(IndexError, match="expected indices below 10"):
        images[index]


@pytest.mark.parametrize(
    ("pixels", "labels", "values", "message"),
    [
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), None, "expected int64 labels"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1).long(), None, r"of \(2, 1\)"),
        (torch.zeros(2, 4, 4), torch.zeros(2).long(), None, r"shape \(N, C, H, W\), got"),
        (torch.zeros(2, 1, 4, 4).double(), torch.zeros(2).long(), None, "float64"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3).long(), None, "a label per image, got 2 and 3"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), torch.zeros(3, 1), r"\(2, A\)"),
    ],
)
def test_wrong_parts_are_refused(pixels, labels, values, message):
    with pytest.raises(ValueError, match=message):
        TensorImages(pixels, labels, values)


def test_a_set_is_only_ever_asked_for_rows_from_0_on():
    class Rows(TensorImages):
        def pixels(self, rows):
            self.asked = rows.tolist()
            return super().pixels(rows)

    images = Rows(torch.zeros(5, 1, 2, 2), torch.arange(5))
    images[[-1, 2, -5]]
    assert images.asked == [4, 2, 0]


def test_random_rows_are_a_sorted_part_by_the_seed():
    rows = random_rows(100, 30, 0)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == 30
    assert rows.max() > 80
    assert torch.equal(rows, random_rows(100, 30, 0))
    assert not torch.equal(rows, random_rows(100, 30, 1))
    for all_of_them in (None, 100, 200):
        assert torch.equal(random_rows(100, all_of_them, 0), torch.arange(100))
