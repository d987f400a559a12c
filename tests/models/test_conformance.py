"""Every model keeps the contract, at every kind of image size; broken ones are found out."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from latentkit.layers import ConvDecoder, ConvEncoder
from latentkit.models.autoencoder import Autoencoder
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE
from latentkit.priors import Gaussian
from latentkit.protocols import Part
from latentkit.testing import check_model

SMALL = {"width": 4, "hidden": 16}
CODE = {"latent_dim": 5, **SMALL}
# A new model is one more row.
MODELS = {
    "autoencoder": lambda shape: Autoencoder(shape, **CODE),
    "autoencoder-batch": lambda shape: Autoencoder(shape, **CODE, norm="batch"),
    "autoencoder-spectral": lambda shape: Autoencoder(shape, **CODE, norm="spectral"),
    "vae-bernoulli": lambda shape: VAE(shape, **CODE),
    "vae-gaussian": lambda shape: VAE(shape, **CODE, likelihood="gaussian", norm="batch"),
    "dcgan": lambda shape: DCGAN(shape, **CODE),
    "dcgan-batch": lambda shape: DCGAN(shape, **CODE, norm="batch"),
    "dcgan-spectral": lambda shape: DCGAN(shape, **CODE, norm="spectral"),
    "clustergan": lambda shape: ClusterGAN(shape, continuous=3, classes=4, **SMALL),
}
SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 16, 16)]
RANKS = [(2, 32), (1, 16, 16, 16)]

ENCODER = {f"encode: {rule}" for rule in ("keeps the batch", "samples are independent")}
DECODER = {"decode: images lie in [0, 1]", "decode: samples are independent"}
JUDGE = {"discriminate: one logit per image", "explainable: discriminator runs and has its layers"}
PRIOR = {"prior: same seed, same latents", "prior: samples decode"}
BOTH = {"encode and decode: shapes agree", "explainable: encoder runs and has its layers"}
EXPECTED = {
    "autoencoder": ENCODER | DECODER | BOTH,
    "vae": ENCODER | DECODER | BOTH | PRIOR,
    "dcgan": DECODER | JUDGE | PRIOR,
    "clustergan": ENCODER | DECODER | BOTH | JUDGE | PRIOR,
}


def label(shape):
    return "x".join(map(str, shape))


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_the_contract(name, shape):
    model = MODELS[name](shape).eval()
    names = check_model(model, torch.rand(3, *shape))
    assert set(names) >= EXPECTED[name.split("-")[0]]


@pytest.mark.parametrize("shape", RANKS, ids=label)
@pytest.mark.parametrize("name", MODELS)
def test_signals_and_volumes_too(name, shape):
    check_model(MODELS[name](shape).eval(), torch.rand(3, *shape))


@pytest.mark.parametrize("name", ["vae-bernoulli", "dcgan", "clustergan"])
def test_images_can_be_left_out_where_there_is_a_prior(name):
    assert check_model(MODELS[name]((1, 16, 16)).eval())


def test_double_precision():
    check_model(
        MODELS["vae-bernoulli"]((1, 16, 16)).eval().double(), torch.rand(3, 1, 16, 16).double()
    )


# ------------------------------------------------------------------------- what the checks know


@pytest.fixture
def pair():
    """A model of somebody else, given as two functions: 8x8 images, 6 numbers."""
    torch.manual_seed(0)
    there, back = nn.Linear(64, 6), nn.Linear(6, 64)
    return SimpleNamespace(
        encode=lambda x: there(x.flatten(1)),
        decode=lambda z: back(z).sigmoid().reshape(-1, 1, 8, 8),
        net=back,
    )


@pytest.fixture
def x():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def z():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(2))


def test_a_foreign_pair_passes_and_one_input_suffices(pair, x, z):
    assert check_model(pair, x) == check_model(pair, z=z) == check_model(pair, x, z)


def test_only_what_is_there_is_checked(pair, x, z):
    encoder = check_model(SimpleNamespace(encode=pair.encode), x)
    decoder = check_model(SimpleNamespace(decode=pair.decode), z=z)
    assert encoder
    assert all(name.startswith("encode:") for name in encoder)
    assert decoder
    assert all(name.startswith("decode:") for name in decoder)


def test_the_model_and_the_global_random_state_are_left_alone(pair, x):
    before, weights = torch.get_rng_state(), pair.net.weight.clone()
    pair.prior = Gaussian(6)
    check_model(pair, x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(pair.net.weight, weights)


def test_the_inputs_are_left_alone(pair, x):
    pair.encode, untouched = (lambda encode: lambda x: encode(x.mul_(2)))(pair.encode), x.clone()
    check_model(pair, x)
    assert torch.equal(x, untouched)


def test_nothing_to_check_with(pair):
    with pytest.raises(ValueError, match="give x"):
        check_model(SimpleNamespace(encode=pair.encode))
    with pytest.raises(ValueError, match="give z"):
        check_model(SimpleNamespace(decode=pair.decode))
    with pytest.raises(ValueError, match="expected a model with encode and/or decode, got object"):
        check_model(object())


def test_one_sample_proves_nothing(pair, x):
    with pytest.raises(
        ValueError, match=r"x to hold two samples or more, got shape \(1, 1, 8, 8\)"
    ):
        check_model(pair, x[:1])


# ------------------------------------------------------------------------------ negative controls


class Scripted:
    """A prior that draws as told."""

    def __init__(self, draw):
        self.draw = draw

    def sample(self, n, /, *, generator=None):
        return self.draw(n, generator)


def wrapped(function, change):
    return lambda batch: change(function(batch))


def across_rows(y):
    return y.cumsum(0) / 10


BROKEN_ENCODERS = {
    "keep the batch": lambda y: y[:2],
    "floating": lambda y: (100 * y).long(),
    "finite": lambda y: y / 0,
    "deterministic": lambda y: y + 0.01 * torch.randn_like(y),
    "independently": lambda y: y - y.mean(0),
    r"must return \(N, \*Z\)": lambda y: y[:, 0],
    "return a tensor": lambda y: (y, y),
    "shapes|latents that decode takes": lambda y: y[:, :5],
}


@pytest.mark.parametrize("rule", BROKEN_ENCODERS)
def test_broken_encoders(pair, x, z, rule):
    pair.encode = wrapped(pair.encode, BROKEN_ENCODERS[rule])
    with pytest.raises(ValueError, match=rule):
        check_model(pair, x, z)


BROKEN_DECODERS = {
    "keep the batch": lambda y: y[:2],
    "deterministic": lambda y: y * torch.rand(1),
    "decode must treat samples independently": across_rows,
    r"images in \[0, 1\], got values from 0 to 2": lambda y: 2 * (y > 0.5),
    r"images in \[0, 1\], got values from -": lambda y: 2 * y - 1,
    r"must return \(N, C, \*S\)": lambda y: y.flatten(1),
    "images that encode takes": lambda y: y[..., :7],
}


@pytest.mark.parametrize("rule", BROKEN_DECODERS)
def test_broken_decoders(pair, x, z, rule):
    pair.decode = wrapped(pair.decode, lambda y: BROKEN_DECODERS[rule](y).float())
    with pytest.raises(ValueError, match=rule):
        check_model(pair, x, z)


def test_a_range_within_rounding_is_accepted(pair, z):
    for excess, accepted in ((5e-5, True), (5e-4, False)):
        model = SimpleNamespace(decode=wrapped(pair.decode, lambda y, e=excess: (y > 0) * 1.0 + e))
        if accepted:
            check_model(model, z=z)
        else:
            with pytest.raises(ValueError, match=r"\[0, 1\]"):
                check_model(model, z=z)


@pytest.mark.parametrize("name", ["autoencoder-batch", "vae-gaussian", "dcgan", "clustergan"])
def test_a_model_left_in_training_mode(name):
    shape = (1, 16, 16)
    with pytest.raises(ValueError, match="evaluation mode"):
        check_model(MODELS[name](shape).train(), torch.rand(3, *shape))


def test_batch_norm_of_feature_maps_left_in_training_mode(x):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten())
    with pytest.raises(ValueError, match="encode must treat samples independently"):
        check_model(SimpleNamespace(encode=net), x)
    assert check_model(SimpleNamespace(encode=net.eval()), x)


BROKEN_JUDGES = {
    r"one logit per image \(4,\), got \(4, 1\)": lambda x: x.mean((2, 3)),
    "discriminate must return finite": lambda x: x.mean((1, 2, 3)).sub(2).log(),
    "discriminate must treat samples independently": lambda x: (x - x.mean(0)).sum((1, 2, 3)),
}


@pytest.mark.parametrize("rule", BROKEN_JUDGES)
def test_broken_discriminators(pair, x, rule):
    pair.discriminate = BROKEN_JUDGES[rule]
    with pytest.raises(ValueError, match=rule):
        check_model(pair, x)


def from_global_noise(n, generator):
    return torch.randn(n, 6)


def with_a_global_draw(n, generator):
    torch.rand(1)
    return torch.randn(n, 6, generator=generator)


def with_a_memory():
    own = torch.Generator().manual_seed(0)
    return lambda n, generator: torch.randn(n, 6, generator=own)


BROKEN_PRIORS = [
    ("global random state", from_global_noise),
    ("global random state", with_a_global_draw),
    ("same latents for the same seed", with_a_memory()),
    ("other latents for another seed", lambda n, generator: torch.ones(n, 6)),
    (r"n = 4 gave", lambda n, g: torch.randn(n + 1, 6, generator=g)),
    ("latents that decode takes", lambda n, g: torch.randn(n, 7, generator=g)),
]


@pytest.mark.parametrize(("rule", "draw"), BROKEN_PRIORS)
def test_broken_priors(pair, x, z, rule, draw):
    pair.prior = Scripted(draw)
    with pytest.raises(ValueError, match=rule):
        check_model(pair, x, z)


def test_what_a_model_raises_is_named(pair, x):
    pair.encode = lambda x: x @ torch.eye(3)
    with pytest.raises(
        ValueError, match=r"encode must run on \(4, 1, 8, 8\), it raised RuntimeErr"
    ):
        check_model(pair, x)


def test_style_decoders(pair, z):
    decode = pair.decode
    pair.to_styles = lambda z: torch.stack([z, z], 1)
    pair.from_styles = lambda w: decode(w.mean(1))
    assert "styles: from_styles(to_styles(z)) is decode(z)" in check_model(pair, z=z)
    pair.from_styles = lambda w: decode(w.sum(1))
    with pytest.raises(ValueError, match="must equal decode"):
        check_model(pair, z=z)
    pair.to_styles = lambda z: z
    with pytest.raises(ValueError, match=r"\(N, L, W\)"):
        check_model(pair, z=z)


def test_explainable_parts(pair, x):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    pair.encode = encoder
    pair.explainable = lambda: {"encoder": Part(encoder, ("1",))}
    assert "explainable: encoder runs and has its layers" in check_model(pair, x)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    broken = {
        r"inside the module of 'encoder', got \['stages.0'\]": {
            "encoder": Part(encoder, ("stages.0",))
        },
        "got none": {"encoder": Part(encoder, ())},
        "at least one part": {},
        "return as many numbers as encode, got ": {"encoder": Part(other, ("1",))},
        "module of 'encoder' must run on": {
            "encoder": Part(nn.Sequential(nn.Linear(9, 6)), ("0",))
        },
    }
    for rule, parts in broken.items():
        pair.explainable = lambda parts=parts: parts
        with pytest.raises(ValueError, match=rule):
            check_model(pair, x)


# ---------------------------------------------------------------- networks of other spatial ranks


@pytest.mark.parametrize("norm", ["none", "batch", "spectral"])
@pytest.mark.parametrize("shape", [*RANKS, *SHAPES], ids=label)
def test_networks_of_every_rank(shape, norm):
    encoder, decoder = (net(shape, norm) for net in (encoder_of, decoder_of))
    model = SimpleNamespace(encode=encoder, decode=lambda z: decoder(z).sigmoid())
    check_model(model, torch.rand(3, *shape))


def encoder_of(shape, norm):
    return ConvEncoder(shape, 5, **SMALL, norm=norm).eval()


def decoder_of(shape, norm):
    return ConvDecoder(5, shape, **SMALL, norm=norm).eval()
