from itertools import pairwise

import pytest
import torch
from torch import nn

from latentkit.latent.activations import (
    activation_grid,
    activation_layers,
    activation_shape,
    channel_mask,
    mix_activations,
    region_mask,
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8 * 16),
        nn.Unflatten(1, (8, 4, 4)),
        nn.ReLU(inplace=True),  # overwrites what the layer before it gave
        nn.Conv2d(8, 5, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(5, 2, 2, stride=2),
    ).eval()


@pytest.fixture
def latents():
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).unbind()


def hooks(module):
    return sum(len(layer._forward_hooks) for layer in module.modules())


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", "5"])
def test_nothing_is_a_and_everything_is_b(network, latents, layer):
    a, b = latents
    assert torch.equal(mix_activations(network, network, layer, a, b, torch.zeros(1)), network(a))
    assert torch.equal(mix_activations(network, network, layer, a, b, torch.ones(1)), network(b))


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_what_follows_the_layer_follows_the_blend(network, latents, layer):
    a, b = latents
    mask = channel_mask(activation_shape(network, network, str(layer), a), 0.5)
    first, rest = network[: layer + 1], network[layer + 1 :]
    chosen = mask.flatten().bool()
    blend = first(a).clone()
    # A part of b, since a second ReLU would hide that b was read too late.
    blend[:, chosen] = 0.25 * blend[:, chosen] + 0.75 * first(b)[:, chosen]
    expected = rest(blend)
    mixed = mix_activations(network, network, str(layer), a, b, 0.75 * mask)
    assert torch.allclose(mixed, expected, atol=1e-6)
    assert not torch.allclose(mixed, network(a), atol=1e-3)
    assert not torch.allclose(mixed, network(b), atol=1e-3)


def test_a_region_changes_only_what_it_reaches(network, latents):
    a, b = latents
    mask = region_mask(activation_shape(network, network, "4", a), "left")
    mixed = mix_activations(network, network, "4", a, b, mask)
    # Nothing but a transposed convolution without overlap follows: halves map to halves.
    assert torch.allclose(mixed[..., :4], network(b)[..., :4], atol=1e-6)
    assert torch.allclose(mixed[..., 4:], network(a)[..., 4:], atol=1e-6)


def test_it_works_without_gradients_and_with_them(network, latents):
    a, b = latents
    b.requires_grad_()
    mixed = mix_activations(network, network, "2", a, b, torch.full((1,), 0.5))
    mixed.sum().backward()
    assert b.grad.abs().sum() > 0
    for quiet in (torch.no_grad(), torch.inference_mode()):
        with quiet:
            again = mix_activations(network, network, "2", a, b, torch.full((1,), 0.5))
        assert torch.equal(again, mixed)


def test_any_callable_that_runs_the_module_will_do(network, latents):
    a, b = latents
    half = torch.full((1,), 0.5)
    in_batches = lambda z: torch.cat([network(part) for part in z.split(3)])  # noqa: E731
    together = mix_activations(network, network, "2", a, b, half)
    apart = mix_activations(in_batches, network, "2", a, b, half)
    assert torch.allclose(apart, together, atol=1e-6)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = nn.Linear(3, 3)

    def forward(self, z):
        return self.step(self.step(z).sin())


def test_a_layer_that_runs_twice_is_blended_twice(latents):
    a, b = latents
    module = Twice()
    mask = torch.tensor([1.0, 0.0, 0.0])
    once_a, once_b = module.step(a), module.step(b)
    first = (mask * once_b + (1 - mask) * once_a).sin()
    expected = mask * module(b) + (1 - mask) * module.step(first)
    mixed = mix_activations(module, module, "step", a, b, mask)
    assert torch.allclose(mixed, expected, atol=1e-6)


def test_a_grid_mixes_every_row_with_every_column(network, latents):
    a, b = latents[0][:2], latents[1][:3]
    mask = channel_mask((5, 4, 4), 0.4)
    grid = activation_grid(network, network, "3", a, b, mask)
    assert grid.shape == (2, 3, 2, 8, 8)
    for r in range(2):
        for c in range(3):
            one = mix_activations(network, network, "3", a[r][None], b[c][None], mask)
            assert torch.allclose(grid[r, c], one[0], atol=1e-6)


class Broken(nn.Module):
    """Fails after its first layer, at the given call."""

    def __init__(self, at):
        super().__init__()
        self.layer, self.at, self.calls = nn.Linear(3, 3), at, 0

    def forward(self, z):
        z = self.layer(z)
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("broken")
        return z


@pytest.mark.parametrize("at", [1, 2])
def test_hooks_are_given_back_even_after_an_error(latents, at):
    module = Broken(at)
    with pytest.raises(RuntimeError, match="broken"):
        mix_activations(module, module, "layer", *latents, torch.ones(1))
    assert hooks(module) == 0


def test_hooks_are_given_back_after_success_and_refusal(network, latents):
    mix_activations(network, network, "2", *latents, torch.ones(1))
    assert hooks(network) == 0
    with pytest.raises(ValueError, match=r"broadcasts to \(8, 4, 4\).*got shape \(7, 1, 1\)"):
        mix_activations(network, network, "2", *latents, torch.ones(7, 1, 1))
    assert hooks(network) == 0


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)
        self.pair = nn.LSTM(3, 3)
        self.blocks = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, z):
        return self.pair(self.blocks[0](self.used(z)))[0]


def test_layers_are_listed_without_idle_containers():
    assert activation_layers(Branches()) == ["used", "unused", "pair", "blocks.0"]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("usde", "got 'usde'; the nearest are.*'used'"),
        ("", "got ''"),
        ("unused", "'unused' was not reached"),
        ("pair", "'pair' to give a tensor, got tuple"),
    ],
)
def test_bad_layers(latents, layer, message):
    module = Branches()
    with pytest.raises(ValueError, match=message):
        mix_activations(module, module, layer, *latents, torch.ones(1))
    assert hooks(module) == 0


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.tensor([1.5]), r"values in \[0, 1\]"),
        (torch.tensor([torch.nan]), r"values in \[0, 1\]"),
        (torch.ones(0), r"values in \[0, 1\]"),
        (torch.ones(1, 8, 4, 4), r"broadcasts to \(8, 4, 4\)"),
    ],
)
def test_bad_masks(network, latents, mask, message):
    with pytest.raises(ValueError, match=message):
        mix_activations(network, network, "2", *latents, mask)


def test_latents_of_two_shapes(network, latents):
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(2, 3\)"):
        mix_activations(network, network, "2", latents[0], latents[1][:2], torch.ones(1))


def test_a_channel_mask_takes_its_share_and_grows():
    masks = [channel_mask((10, 4, 4), share, seed=3) for share in (0, 0.3, 0.5, 1)]
    assert [int(mask.sum()) for mask in masks] == [0, 3, 5, 10]
    assert masks[0].shape == (10, 1, 1)
    assert all((small <= large).all() for small, large in pairwise(masks))
    assert not torch.equal(masks[2], channel_mask((10, 4, 4), 0.5, seed=4))
    with pytest.raises(ValueError, match=r"got 1\.2"):
        channel_mask((10,), 1.2)


def test_region_masks_are_halves():
    shape = (5, 3, 4)
    assert torch.equal(region_mask(shape, "left")[0], torch.tensor([[1.0, 1, 0, 0]] * 3))
    assert torch.equal(region_mask(shape, "top")[0, :, 0], torch.tensor([1.0, 0, 0]))
    for one, other in (("left", "right"), ("top", "bottom")):
        assert torch.equal(region_mask(shape, one) + region_mask(shape, other), torch.ones(1, 3, 4))
    assert region_mask((5, 6), "right").shape == (1, 6)
    assert region_mask((5, 2, 3, 4), "top").shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("shape", "region", "message"),
    [
        ((5, 6), "top", r"halved for region='top', got shape \(5, 6\)"),
        ((5, 4, 1), "left", "halved"),
        ((5,), "left", "halved"),
        ((5, 4, 4), "middle", "got 'middle'"),
    ],
)
def test_bad_regions(shape, region, message):
    with pytest.raises(ValueError, match=message):
        region_mask(shape, region)
