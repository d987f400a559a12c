from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.style import mean_style, mix, parse_layers, style_grid, truncate
from latentkit.priors import Gaussian

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


class Blocks:
    """Two style layers of four numbers: 8x8 pixel blocks (coarse) and 2x2 checkers (fine)."""

    def __init__(self):
        checker = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
        self.fine = checker.repeat(2, 2)

    def to_styles(self, z):
        return z.reshape(-1, 2, 4)

    def from_styles(self, w):
        coarse = w[:, 0].reshape(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
        amount = w[:, 1].reshape(-1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
        return coarse + amount * self.fine


def energy(images):
    """Share of the energy of each image in the lower and the upper half of the frequencies."""
    power = torch.fft.fft2(images).abs().square().flatten(1)
    size = torch.fft.fftfreq(16).abs()
    low = (torch.maximum(size[:, None], size) < 0.25).flatten()
    return power[:, low].sum(1) / power.sum(1)


def test_coarse_layers_change_low_frequencies_and_fine_ones_the_high():
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    model, rows, cols = Blocks(), z[:2], z[2:]
    own = model.from_styles(model.to_styles(rows))[:, None]
    coarse, fine = (
        (style_grid(model, rows, cols, [layer]) - own).flatten(0, 1) for layer in (0, 1)
    )
    assert energy(coarse).min() > 0.8  # the edges of the blocks hold the rest
    assert energy(fine).max() < 0.2


@pytest.mark.parametrize(("layers", "axis"), [([], 0), (range(2), 1)])
def test_a_grid_of_no_layers_repeats_its_rows_and_of_all_its_columns(layers, axis):
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    model = Blocks()
    grid = style_grid(model, z[:2], z[2:], layers)
    parents = model.from_styles(model.to_styles(z[2:] if axis else z[:2]))
    expected = parents[None] if axis else parents[:, None]
    assert torch.equal(grid, expected.expand_as(grid))


@given(st.floats(-2, 2), st.integers(0, COUNT))
@settings(deadline=None, max_examples=50)
def test_truncation_is_linear_up_to_its_cutoff(psi, cutoff):
    w, mean = styles(0).double(), styles(1)[0].double()
    moved = truncate(w, mean, psi, cutoff)
    assert torch.equal(moved[:, cutoff:], w[:, cutoff:])
    torch.testing.assert_close((moved - mean)[:, :cutoff], psi * (w - mean)[:, :cutoff])


def test_the_ends_of_truncation_are_exact():
    w, mean = styles(0), styles(1)[0]
    assert torch.equal(truncate(w, mean, 1), w)
    assert torch.equal(truncate(w, mean, 0), mean.expand_as(w))
    assert torch.equal(truncate(w, mean[0], 0), mean[0].expand_as(w))
    assert torch.equal(truncate(w, mean, 0.3, 0), w)
    half = w.to(torch.bfloat16)
    assert truncate(half, mean, 0.5).dtype == torch.bfloat16


def test_plain_latents_shrink():
    z = torch.randn(4, 3)
    torch.testing.assert_close(truncate(z, torch.zeros(3), 0.7), 0.7 * z)


def test_the_mean_style_is_that_of_the_prior_and_of_the_generator_alone():
    matrix = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))

    def to_styles(z):
        return (z @ matrix + 5).reshape(-1, 2, 4)

    generator = torch.Generator().manual_seed(0)
    state = torch.random.get_rng_state()
    mean = mean_style(to_styles, Gaussian(3), 20_000, generator, batch_size=999)
    assert torch.equal(state, torch.random.get_rng_state())
    assert mean.shape == (2, 4)
    torch.testing.assert_close(mean, torch.full((2, 4), 5.0), atol=0.1, rtol=0)
    z = Gaussian(3).sample(20_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mean, to_styles(z).mean(0), atol=1e-4, rtol=0)


def test_styles_that_are_no_numbers():
    w, broken = styles(0), styles(0)
    broken[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="expected finite b, got NaN"):
        mix(w, broken, [0])
    with pytest.raises(ValueError, match="expected finite w, got NaN"):
        truncate(broken, w[0], 0.5)
    with pytest.raises(ValueError, match="expected finite mean, got NaN"):
        truncate(w, broken[1], 0.5)


def test_bad_truncation():
    w = styles(0)
    with pytest.raises(ValueError, match="a finite psi, got nan"):
        truncate(w, w[0], float("nan"))
    with pytest.raises(ValueError, match=r"shape \(6, 4\), got \(5,\)"):
        truncate(w, torch.zeros(5), 0.5)
    with pytest.raises(ValueError, match=r"styles \(N, L, W\), got 7"):
        truncate(w, w[0], 0.5, 7)
    with pytest.raises(ValueError, match=r"got 1 for shape \(3, 4\)"):
        truncate(w[:, 0], w[0, 0], 0.5, 1)
    with pytest.raises(ValueError, match="got 0 and 1024"):
        mean_style(lambda z: z, Gaussian(3), 0)
