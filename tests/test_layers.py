import math

import pytest
import torch
from torch import nn

from latentkit.layers import (
    ConvDecoder,
    ConvEncoder,
    check_shape,
    dense,
    down,
    halvings,
    init_normal,
    up,
)

NORMS = ["none", "batch", "spectral"]
SHAPES = [(2, 32), (1, 28, 28), (3, 16, 24), (1, 16, 16, 16)]


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((28, 28), [(28, 28), (14, 14), (7, 7)]),
        ((32, 32), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((64,), [(64,), (32,), (16,), (8,), (4,)]),
        ((16, 24, 8), [(16, 24, 8), (8, 12, 4)]),
        ((30, 12), [(30, 12), (15, 6)]),
        ((8, 8), [(8, 8), (4, 4)]),
    ],
)
def test_halvings(size, wanted):
    assert halvings(size) == wanted


@pytest.mark.parametrize("size", [(27, 28), (6, 6), (), (8, 8, 8, 8)])
def test_sizes_that_cannot_be_halved(size):
    with pytest.raises(ValueError, match=r"expected .* spatial sizes.*got \("):
        halvings(size)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_blocks_halve_and_double(rank, norm):
    x = torch.randn(2, 3, *[8] * rank)
    assert down(rank, 3, 5, norm)(x).shape == (2, 5, *[4] * rank)
    assert up(rank, 3, 5, norm)(x).shape == (2, 5, *[16] * rank)


def test_blocks_normalise_as_they_are_told():
    for block in (down(2, 3, 4, "batch"), dense(3, 4, "batch", nn.ReLU())):
        layer = block[0]
        assert layer.bias is None
        x = torch.randn(64, 3, 8, 8) if isinstance(layer, nn.Conv2d) else torch.randn(64, 3)
        y = block[:2](x).transpose(0, 1).flatten(1)
        assert y.mean(1).abs().max() < 1e-4
        assert (y.var(1) - 1).abs().max() < 0.05
    spectral = dense(6, 8, "spectral", nn.ReLU())
    for _ in range(50):
        spectral(torch.randn(2, 6))
    assert torch.linalg.matrix_norm(spectral[0].weight, 2).item() == pytest.approx(1, abs=1e-3)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="none, batch or spectral, got 'instance'"):
        down(2, 1, 2, "instance")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_encoder_and_decoder_fit_each_other(shape, norm):
    encoder = ConvEncoder(shape, 5, width=4, hidden=16, norm=norm)
    decoder = ConvDecoder(5, shape, width=4, hidden=16, norm=norm)
    x = torch.rand(3, *shape)
    z = encoder(x)
    assert z.shape == (3, 5)
    assert decoder(z).shape == x.shape
    assert encoder.layers == tuple(f"stages.{i}" for i in range(len(halvings(shape[1:])) - 1))
    first = encoder.get_submodule(encoder.layers[0])(x)
    assert first.shape[2:] == tuple(s // 2 for s in shape[1:])


def test_widths_double_up_to_eight_times():
    encoder = ConvEncoder((1, 512), 3, width=2, hidden=8)
    assert [stage[0].out_channels for stage in encoder.stages] == [2, 4, 8, 16, 16, 16, 16]
    decoder = ConvDecoder(3, (1, 512), width=2, hidden=8)
    assert [stage[0].out_channels for stage in decoder.stages] == [16, 16, 16, 8, 4, 2]


def test_the_encoder_centres_its_images():
    encoder = ConvEncoder((1, 8, 8), 2, width=2, hidden=4)
    seen = []
    encoder.stages[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 8, 8))
    assert seen[0][:, 0, 0, 0].tolist() == [-1, 0, 1]


def test_every_parameter_takes_part():
    for norm in NORMS:
        encoder = ConvEncoder((1, 16, 16), 3, width=2, hidden=8, norm=norm)
        decoder = ConvDecoder(3, (1, 16, 16), width=2, hidden=8, norm=norm)
        decoder(encoder(torch.rand(4, 1, 16, 16))).square().sum().backward()
        for name, p in (*encoder.named_parameters(), *decoder.named_parameters()):
            assert p.grad is not None, name


def test_a_decoder_without_a_hidden_layer():
    decoder = ConvDecoder(5, (1, 8, 8), width=2, hidden=0)
    assert decoder.stem[0][0].in_features == 5
    assert decoder(torch.randn(2, 5)).shape == (2, 1, 8, 8)


def test_wrong_shapes_name_what_was_wanted():
    with pytest.raises(ValueError, match=r"images of shape \(N, 1, 8, 8\), got \(2, 3, 8, 8\)"):
        ConvEncoder((1, 8, 8), 2)(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"latents of shape \(N, 5\), got \(5,\)"):
        ConvDecoder(5, (1, 8, 8))(torch.rand(5))
    assert check_shape(torch.zeros(2, 5), (5,), "latent") is None


def test_init_normal_sets_weights_and_biases_and_no_batch_norm():
    net = ConvDecoder(8, (1, 16, 16), width=16, hidden=64, norm="batch")
    before = [
        p.clone() for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    ]
    init_normal(net, std=0.5)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    weights = torch.cat([m.weight.flatten() for m in layers])
    assert weights.std().item() == pytest.approx(0.5, rel=0.03)
    assert abs(weights.mean().item()) < 5 * 0.5 / math.sqrt(len(weights))
    assert all(m.bias is None or m.bias.eq(0).all() for m in layers)
    after = [p for m in net.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    assert before
    assert all(map(torch.equal, before, after))
