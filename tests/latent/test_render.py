import pytest
import torch
from torch import nn

from latentkit.latent.render import decode_batches, decode_path, pairs

MATRIX = torch.arange(12.0).reshape(3, 4)


def decode(z):
    return (z @ MATRIX).reshape(len(z), 1, 2, 2).sin()


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
def test_a_path_is_decoded_point_by_point(batch_size):
    path = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    images = decode_path(decode, path, batch_size)
    slow = torch.stack([torch.stack([decode(z[None])[0] for z in one]) for one in path])
    assert images.shape == (2, 5, 1, 2, 2)
    assert torch.allclose(images, slow, atol=1e-6)


@pytest.mark.parametrize(("size", "calls"), [(3, [3, 3, 1]), (None, [7])])
def test_batches_are_no_larger_than_asked(size, calls):
    seen = []
    decode_batches(lambda z: seen.append(len(z)) or decode(z), torch.zeros(7, 3), size)
    assert seen == calls


def test_a_path_of_maps_through_a_convolution():
    path = torch.randn(2, 3, 4, 5, 5)
    assert decode_path(nn.Conv2d(4, 1, 3), path, 2).shape == (2, 3, 1, 3, 3)


def test_gradients_reach_the_path_and_nothing_is_changed_in_place():
    path = torch.randn(2, 5, 3, requires_grad=True)
    before = path.detach().clone()
    decode_path(decode, path, 3).sum().backward()
    assert path.grad.abs().sum() > 0
    assert torch.equal(path, before)
    with torch.no_grad():
        assert not decode_path(decode, path).requires_grad


def test_bad_input():
    with pytest.raises(ValueError, match="batch_size >= 1 or None, got 0"):
        decode_batches(decode, torch.zeros(2, 3), 0)
    with pytest.raises(ValueError, match=r"a path \(N, T, \*Z\), got shape \(3,\)"):
        decode_path(decode, torch.zeros(3))
    with pytest.raises(ValueError, match="one image for each of 4 latents"):
        decode_batches(lambda z: z[:1], torch.zeros(4, 3))


def test_pairs_are_every_row_with_every_column():
    rows, cols = pairs(torch.tensor([[0], [1]]), torch.tensor([[5], [6], [7]]))
    together = list(zip(rows.flatten().tolist(), cols.flatten().tolist(), strict=True))
    assert together == [(r, c) for r in (0, 1) for c in (5, 6, 7)]
