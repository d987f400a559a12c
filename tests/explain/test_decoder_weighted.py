"""The decoder-weighted latent CAM against closed forms and against the sum over units."""

import pytest
import torch
from torch import nn

from latentkit.explain.cam import cam, latent_cams
from latentkit.explain.decoder_weighted import (
    decoder_weighted,
    effect_weights,
    score_weights,
    weighted,
)
from latentkit.explain.references import Chain, reconstruction_error

SHAPES = [(2, 7), (2, 4, 5), (1, 3, 2, 4)]
UNITS = 3


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def linear_pair(shape, scale=1.0):
    """Encoder W x with a layer that gives x itself, decoder A z, and W (K, P), A (P, K)."""
    size = torch.Size(shape).numel()
    w, a = draw(UNITS, size, seed=1) * scale, draw(size, UNITS, seed=2) / scale
    encoder = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(size, UNITS, bias=False))
    encoder.double()
    with torch.no_grad():
        encoder[2].weight.copy_(w)
    return encoder, lambda z: (z @ a.T).reshape(-1, *shape), w, a


# --- closed forms


@pytest.mark.parametrize("shape", SHAPES)
def test_effects_of_a_linear_autoencoder_in_closed_form(shape):
    encoder, decode, w, a = linear_pair(shape)
    x = draw(4, *shape)
    z = encoder(x)
    weights = effect_weights(decode, z)
    torch.testing.assert_close(weights, a.norm(dim=0) * z.sign())
    got = decoder_weighted(encoder, "0", x, weights).raw
    expected = (x * (weights @ w).reshape(x.shape)).sum(1)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    # Complete: the places add up to the size of what the decoder makes of all units.
    size = (a.norm(dim=0) * z.abs()).sum(1)
    torch.testing.assert_close(got.double().flatten(1).sum(1), size, rtol=1e-5, atol=1e-5)


def test_a_decoder_whose_first_operation_works_in_place():
    _, decode, *_ = linear_pair((2, 7))
    z, x = draw(4, UNITS), draw(4, 2, 7, seed=3)
    kept = z.clone()

    def doubled(z):
        return decode(z.mul_(2))

    def score(image):
        return -reconstruction_error(x)(image)

    torch.testing.assert_close(
        effect_weights(doubled, z), effect_weights(lambda z: decode(2 * z), z)
    )
    got, expected = (score_weights(f, z, score) for f in (doubled, lambda z: decode(2 * z)))
    torch.testing.assert_close(got, expected)
    assert torch.equal(z, kept)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_of_a_linear_autoencoder_in_closed_form(shape):
    encoder, decode, w, a = linear_pair(shape)
    x = draw(4, *shape)
    z, error = encoder(x), reconstruction_error(x)
    weights = score_weights(decode, z, lambda image: -error(image))
    torch.testing.assert_close(weights, 2 * (x - decode(z)).flatten(1) @ a)
    got = decoder_weighted(encoder, "0", x, weights).raw
    expected = (x * (weights @ w).reshape(x.shape)).sum(1)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-4)


def test_units_are_counted_from_the_origin_and_only_inside_the_mask():
    encoder, decode, _, a = linear_pair((2, 4, 5))
    z, origin = encoder(draw(4, 2, 4, 5)), draw(UNITS, seed=5)
    mask = torch.zeros(1, 4, 5)
    mask[:, :, :2] = 1
    got = effect_weights(decode, z, origin, mask)
    inside = a.reshape(2, 4, 5, UNITS)[:, :, :2].flatten(0, 2).norm(dim=0)
    torch.testing.assert_close(got, inside * (z - origin).sign())
    here = effect_weights(decode, z, z[0])
    assert here[0].eq(0).all()
    assert here[1:].ne(0).all()


# --- properties, on networks that are not linear


class Curved(nn.Module):
    """A decoder that is not linear in z."""

    def __init__(self, scale):
        super().__init__()
        self.register_buffer("scale", scale)
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 360))

    def forward(self, z):
        return self.net(z / self.scale).sigmoid().reshape(-1, 3, 12, 10)


@pytest.fixture
def make_pair(make_encoder):
    """Build encoder and decoder, latents multiplied by `scale` between them."""

    def build(scale=(1.0,) * 5):
        encoder, scale = make_encoder().double(), torch.tensor(scale, dtype=torch.double)
        torch.manual_seed(3)
        decoder = Curved(scale).double().train()
        with torch.no_grad():
            encoder[7].weight.mul_(scale[:, None])
            encoder[7].bias.mul_(scale)
        return encoder, decoder

    return build


def weigh(kind, encoder, decoder, x):
    z, error = encoder(x).detach(), reconstruction_error(x)
    if kind == "effect":
        return effect_weights(decoder, z)
    return score_weights(decoder, z, lambda image: -error(image))


KINDS = pytest.mark.parametrize("kind", ["effect", "score"])


@KINDS
@pytest.mark.parametrize("method", ["grad-cam", "xgrad-cam", "hires-cam"])
@pytest.mark.parametrize("layer", ["0", "2"])
def test_it_is_the_weighted_sum_of_the_maps_of_all_units(make_pair, images, kind, method, layer):
    (encoder, decoder), x = make_pair(), images.double()
    weights = weigh(kind, encoder, decoder, x)
    units = latent_cams(encoder, layer, x, method).double()
    got = decoder_weighted(encoder, layer, x, weights, method)
    expected = (weights[:, :, None, None] * units).sum(1)
    scale = expected.abs().max()
    torch.testing.assert_close(got.raw.double() / scale, expected / scale, rtol=1e-5, atol=1e-6)
    assert (got.layer, got.method, got.score) == (layer, method, "decoder-weighted")
    assert not got.degenerate.any()


def test_effects_are_norms_of_central_differences(make_pair, images):
    encoder, decoder = make_pair()
    z = encoder(images.double()).detach()
    got, decoder = effect_weights(decoder, z), decoder.eval()
    for k, unit in enumerate(1e-5 * torch.eye(5).double()):
        change = (decoder(z + unit) - decoder(z - unit)) / 2e-5
        torch.testing.assert_close(got[:, k], change.flatten(1).norm(dim=1) * z[:, k].sign())


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "layer-cam"])
def test_by_a_score_it_is_the_map_of_encoder_and_decoder_together(make_pair, images, method):
    (encoder, decoder), x = make_pair(), images.double()
    got = decoder_weighted(encoder, "0", x, weigh("score", encoder, decoder, x), method).raw
    error, whole = reconstruction_error(x), Chain(encoder, decoder)
    expected = cam(whole, "parts.0.0", x, lambda image: -error(image), method).raw
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@KINDS
def test_the_scale_and_the_sign_of_latents_do_not_matter(make_pair, images, kind):
    x, maps = images.double(), []
    for scale in ((1.0,) * 5, (2.0, -0.1, 1.0, -1.0, 30.0)):
        encoder, decoder = make_pair(scale)
        weights = weigh(kind, encoder, decoder, x)
        maps.append(decoder_weighted(encoder, "0", x, weights).raw)
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-5)


@KINDS
def test_a_unit_that_the_decoder_ignores_weighs_nothing(make_pair, images, kind):
    (encoder, decoder), x = make_pair(), images.double()
    with torch.no_grad():
        decoder.net[0].weight[:, 2] = 0
    weights = weigh(kind, encoder, decoder, x)
    assert weights[:, 2].eq(0).all()
    assert weights[:, [0, 1, 3, 4]].ne(0).all()
    before = decoder_weighted(encoder, "0", x, weights).raw
    with torch.no_grad():
        encoder[7].weight[2] = 100
    after = decoder_weighted(encoder, "0", x, weigh(kind, encoder, decoder, x)).raw
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)


@KINDS
def test_a_decoder_of_nothing_gives_a_degenerate_map(make_pair, images, kind):
    (encoder, decoder), x = make_pair(), images.double()
    with torch.no_grad():
        decoder.net[0].weight.zero_()
    got = decoder_weighted(encoder, "0", x, weigh(kind, encoder, decoder, x))
    assert got.degenerate.all()
    assert got.raw.eq(0).all()


@KINDS
def test_it_leaves_no_trace_and_works_without_gradients(make_pair, images, kind):
    (encoder, decoder), x = make_pair(), images.double()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.requires_grad_(requires_grad=False)
    plain = decoder_weighted(encoder, "0", x, weigh(kind, encoder, decoder, x)).raw
    assert decoder.training  # back in the mode it came in
    assert not any(m._forward_hooks for net in (encoder, decoder) for m in net.modules())
    with torch.inference_mode():
        inside = x.clone()
        got = decoder_weighted(encoder, "0", inside, weigh(kind, encoder, decoder, inside)).raw
    torch.testing.assert_close(got, plain)
    assert not plain.requires_grad


def test_latents_may_have_any_shape():
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(40, 6), nn.Unflatten(1, (2, 3)))
    net.double()
    a, x = draw(6, 40, seed=2), draw(4, 2, 4, 5)
    z = net(x).detach()
    weights = effect_weights(lambda z: (z.flatten(1) @ a).tanh().reshape(-1, 2, 4, 5), z)
    assert weights.shape == (4, 2, 3)
    assert decoder_weighted(net, "0", x, weights).raw.shape == (4, 4, 5)


# --- mistakes


def test_what_does_not_fit_is_named(make_pair, images):
    (encoder, decoder), x = make_pair(), images.double()
    z = encoder(x).detach()
    with pytest.raises(ValueError, match=r"weights for each latent, \(4, 5\), got \(1, 5\)"):
        decoder_weighted(encoder, "0", x, effect_weights(decoder, z[:1]))
    with pytest.raises(ValueError, match=r"an origin of shape \(5,\), as one latent has, got \(4"):
        effect_weights(decoder, z, z)
    with pytest.raises(ValueError, match=r"fits images \(4, 3, 12, 10\), got \(9,\)"):
        effect_weights(decoder, z, mask=torch.ones(9))
    with pytest.raises(ValueError, match="one value per sample"):
        score_weights(decoder, z, lambda image: image.mean())
    with pytest.raises(ValueError, match='a score that depends on layer "the decoder\'s image"'):
        score_weights(decoder, z, lambda image: torch.zeros(4))
    with pytest.raises(ValueError, match="no derivative passes through decode"):
        score_weights(lambda z: torch.from_numpy(z.numpy()), z, lambda image: image.sum(1))


def test_the_score_adds_weighted_latents_and_keeps_the_weights_constant():
    weights = draw(4, 5).requires_grad_()
    z = draw(4, 5, seed=1).requires_grad_()
    value = weighted(weights)(z)
    torch.testing.assert_close(value, (weights * z).sum(1))
    value.sum().backward()
    torch.testing.assert_close(z.grad, weights.detach())
    assert weights.grad is None
