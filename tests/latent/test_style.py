from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.style import mix, parse_layers, style_grid

COUNT = 6
layer_sets = st.sets(st.integers(0, COUNT - 1)).map(sorted)


def styles(seed):
    return torch.randn(3, COUNT, 4, generator=torch.Generator().manual_seed(seed))


@given(layer_sets)
@settings(deadline=None, max_examples=50)
def test_the_laws_of_mixing(layers):
    a, b = styles(0), styles(1)
    others = [layer for layer in range(COUNT) if layer not in layers]
    mixed = mix(a, b, layers)
    assert torch.equal(mixed, mix(b, a, others))
    assert torch.equal(mixed[:, layers], b[:, layers])
    assert torch.equal(mixed[:, others], a[:, others])
    assert torch.equal(mix(a, b, []), a)
    assert torch.equal(mix(a, b, range(COUNT)), b)


def test_mixing_sends_each_gradient_to_its_parent():
    a, b = styles(0).requires_grad_(), styles(1).requires_grad_()
    mix(a, b, [1]).sum().backward()
    assert a.grad[0, :, 0].tolist() == [1, 0, 1, 1, 1, 1]
    assert b.grad[0, :, 0].tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("spec", "count", "layers"),
    [
        ("coarse", 18, [0, 1, 2, 3, 4, 5]),
        ("fine", 3, [2]),
        ("middle", 1, [0]),
        ("0-3", 6, [0, 1, 2, 3]),
        ("2", 6, [2]),
        (["2", "4-5", "2"], 6, [2, 4, 5]),
        (["fine", "0"], 6, [0, 4, 5]),
        ([], 6, []),
    ],
)
def test_layers_by_name(spec, count, layers):
    assert parse_layers(spec, count) == layers


@given(st.integers(3, 30))
@settings(deadline=None, max_examples=30)
def test_the_thirds_share_out_all_layers_in_order(count):
    thirds = [parse_layers(name, count) for name in ("coarse", "middle", "fine")]
    assert list(chain(*thirds)) == list(range(count))
    assert max(map(len, thirds)) - min(map(len, thirds)) <= 1


@pytest.mark.parametrize("spec", ["6", "3-6", "3-1", "coars", "-2", "2-", "", "1-2-3", "a-b"])
def test_bad_layers(spec):
    with pytest.raises(ValueError, match=f"got '{spec}'"):
        parse_layers(spec, 6)


class Bands:
    """Each style layer adds its own brightness to its own row of the image."""

    def to_styles(self, z):
        return z[:, None, :1].expand(-1, 3, -1) * torch.tensor([1.0, 10.0, 100.0])[:, None]

    def from_styles(self, w):
        return w.reshape(-1, 1, 3, 1).expand(-1, 1, 3, 2)


def test_a_grid_takes_the_layers_of_its_columns_and_the_rest_of_its_rows():
    rows, cols = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])
    grid = style_grid(Bands(), rows, cols, [0, 2])
    assert grid.shape == (2, 3, 1, 3, 2)
    for r, row in enumerate(rows.flatten()):
        for c, col in enumerate(cols.flatten()):
            assert grid[r, c, 0, :, 0].tolist() == [col, 10 * row, 100 * col]


def test_bad_input():
    a = styles(0)
    with pytest.raises(ValueError, match=r"style layers in \[0, 6\), got \[6, -1\]"):
        mix(a, a, [0, 6, -1])
    with pytest.raises(ValueError, match=r"\(3, 6, 4\) and \(3, 5, 4\)"):
        mix(a, a[:, :5], [0])
    with pytest.raises(ValueError, match=r"\(N, L, W\)"):
        mix(a[0], a[0], [0])
