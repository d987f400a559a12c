"""The pattern against its closed form for linear maps, and a rewrite one image at a time."""

import pytest
import torch
from torch import nn

from latentkit.explain.directions import signed_effect
from latentkit.explain.pattern import discriminator_readout, pattern
from latentkit.protocols import Part

RIDGE = 0.1
SHAPE = (2, 3, 4)


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


A, OFFSET, Z = draw(24, 5), draw(24, seed=1), draw(6, 5, seed=2)
DIRECTIONS = draw(3, 5, seed=3)


def decode(z):
    """Linear: G(z) = A z + b."""
    return (z.flatten(1) @ A.T + OFFSET).reshape(-1, *SHAPE)


def encoder(weight):
    """Linear: E(x) = W x."""
    return lambda x: x.flatten(1) @ weight.T


def solved(weight, d):
    """A M^T (M M^T + ridge)^-1 d with M = W A, one direction, by the inverse."""
    m = weight @ A
    gram = m @ m.T
    damped = gram + RIDGE * gram.trace() / len(gram) * torch.eye(len(gram)).double()
    return (A @ m.T @ damped.inverse() @ (d / d.norm())).reshape(SHAPE)


# --- closed forms


@pytest.mark.parametrize("step", [0.01, 0.5, 3.0])
def test_linear_networks_have_a_closed_form(step):
    weight = draw(5, 24, seed=4)
    got = pattern(encoder(weight), decode, Z, DIRECTIONS, step, RIDGE)
    assert got.shape == (3, 6, *SHAPE)
    for maps, d in zip(got, DIRECTIONS, strict=True):
        torch.testing.assert_close(maps, solved(weight, d).expand(6, -1, -1, -1))


def test_with_a_spread_a_latent_is_read_whatever_the_others_are():
    weight, ends = draw(5, 24, seed=4), draw(6, 5, seed=5)

    def bent(z):  # so that the size of the step matters
        return decode(z.tanh())

    spread = float(ends.std(0).mean())
    together = pattern(encoder(weight), bent, ends, DIRECTIONS)
    among_others = pattern(encoder(weight), bent, ends[:2], DIRECTIONS)
    assert not torch.allclose(among_others, together[:, :2])
    for k in range(6):
        alone = pattern(encoder(weight), bent, ends[k : k + 1], DIRECTIONS, spread=spread)
        torch.testing.assert_close(alone, together[:, k : k + 1])
    for none in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="standard deviation"):
            pattern(encoder(weight), bent, ends, DIRECTIONS, spread=none)


def test_a_network_that_undoes_the_generator_reads_the_effect():
    inverse = torch.linalg.pinv(A)
    got = pattern(encoder(inverse), decode, Z, DIRECTIONS, ridge=RIDGE)
    effects = torch.stack([signed_effect(decode, Z, d) for d in DIRECTIONS])
    torch.testing.assert_close((1 + RIDGE) * got, effects)  # M = 1: the ridge only shrinks
    # What it reads need not have the latents' scale: one that halves them takes twice the change.
    half = pattern(encoder(inverse / 2), decode, Z, DIRECTIONS, ridge=RIDGE)
    torch.testing.assert_close(half, 2 * got)


def test_a_gradient_is_not_the_pattern():
    """The control: the filter of the same network is no change that the generator can make."""
    weight = torch.linalg.pinv(A) + 3 * draw(5, 24, seed=5) @ (
        torch.eye(24).double() - A @ torch.linalg.pinv(A)
    )  # also looks where the generator never changes anything
    d = DIRECTIONS[:1]
    effect = signed_effect(decode, Z, d[0])
    got = pattern(encoder(weight), decode, Z, d)[0]
    gradient = (weight.T @ d[0]).reshape(SHAPE).expand_as(effect)
    cosine = nn.CosineSimilarity(dim=0)
    assert cosine(got.flatten(), effect.flatten()) > 0.9999
    assert cosine(gradient.flatten(), effect.flatten()) < 0.3


def test_a_network_that_mixes_two_directions_up_shows_both():
    """It reads z0 + z1 where it should read z0: the smallest step to it is half of each."""
    places = torch.zeros(24, 5).double()
    places[torch.arange(5) * 4, torch.arange(5)] = 1.0  # latent k changes place 4 k

    def blobs(z):
        return (z @ places.T).reshape(-1, *SHAPE)

    clean = torch.linalg.pinv(places)
    mixed = clean.clone()
    mixed[0] += clean[1]
    mixed[1] = 0
    axes = torch.eye(5).double()
    shown = [
        pattern(encoder(w), blobs, Z, axes[:1], ridge=1e-6)[0, 0].flatten() for w in (clean, mixed)
    ]
    torch.testing.assert_close(shown[0], places[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(shown[1], (places[:, 0] + places[:, 1]) / 2, atol=1e-5, rtol=0)
    blind = clean.clone()
    blind[0] = 0
    assert pattern(encoder(blind), blobs, Z, axes[:1]).abs().max() < 1e-12


def test_only_the_line_of_a_direction_counts_and_its_sign_turns_the_map():
    encode = encoder(draw(5, 24, seed=4))
    got = pattern(encode, decode, Z, DIRECTIONS)
    torch.testing.assert_close(pattern(encode, decode, Z, 7 * DIRECTIONS), got)
    torch.testing.assert_close(pattern(encode, decode, Z, -0.1 * DIRECTIONS), -got)
    torch.testing.assert_close(pattern(encode, decode, Z, DIRECTIONS[[2, 0]]), got[[2, 0]])


def test_latents_with_space_are_latents():
    z, d = draw(4, 5, 1, 1, seed=6), DIRECTIONS[:, :, None, None]
    inner, weight = draw(4, 2, 1, 3, seed=7), draw(6, 24, seed=4)
    got = pattern(encoder(draw(5, 24, seed=4)), decode, z, d)
    torch.testing.assert_close(
        got, pattern(encoder(draw(5, 24, seed=4)), decode, z.flatten(1), DIRECTIONS)
    )
    wide = draw(24, 6, seed=8)
    axes = draw(2, 2, 1, 3, seed=9)

    def spread(z):
        return (z.flatten(1) @ wide.T).reshape(-1, *SHAPE)

    got = pattern(lambda x: encoder(weight)(x).reshape(-1, 2, 1, 3), spread, inner, axes)
    flat = pattern(encoder(weight), spread, inner.flatten(1), axes.flatten(1))
    torch.testing.assert_close(got, flat)


# --- networks that are not linear


@pytest.fixture
def networks():
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 2 * 5 * 5)).double()
    reader = nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.BatchNorm2d(6),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(54, 4),
    ).double()
    return nn.Sequential(generator, nn.Unflatten(1, (2, 5, 5))).eval(), reader.eval()


@torch.no_grad()
def test_every_image_has_its_own_response(networks):
    generator, reader = networks
    z, d = draw(3, 4, seed=2), draw(4, seed=3)
    got = pattern(reader, generator, z, d[None], step=0.3)[0]
    reach = 0.3 * z.std(0).mean()
    for maps, one in zip(got, z, strict=True):
        m = torch.zeros(4, 4).double()
        for k in range(4):
            ends = one.repeat(2, 1)
            ends[:, k] += torch.tensor([1.0, -1.0]).double() * reach
            plus, minus = reader(generator(ends))
            m[:, k] = (plus - minus) / (2 * reach)
        damped = m @ m.T + RIDGE * m.square().sum() / 4 * torch.eye(4).double()
        w = m.T @ damped.inverse() @ (d / d.norm())
        jacobian = torch.autograd.functional.jacobian(lambda v: generator(v[None])[0], one)
        torch.testing.assert_close(maps, jacobian @ w)


def test_a_step_is_longer_than_the_wiggles_of_a_network():
    """A wave of a whole number of periods between both ends leaves no trace; a slope would."""
    inverse, reach = torch.linalg.pinv(A), 0.5 * Z.std(0).mean()

    def wiggly(x):
        read = (x.flatten(1) - OFFSET) @ inverse.T
        return read + (read.flip(1) * torch.pi / reach).sin()

    got = pattern(wiggly, decode, Z, DIRECTIONS, step=0.5)
    torch.testing.assert_close(got, pattern(encoder(inverse), decode, Z, DIRECTIONS))
    near = pattern(wiggly, decode, Z, DIRECTIONS, step=0.001)
    assert (near - got).norm() > 0.5 * got.norm()


def test_networks_in_training_come_back_as_they_were(networks):
    generator, reader = networks
    z, d = draw(3, 4, seed=2), draw(2, 4, seed=3)
    expected = pattern(reader, generator, z, d)
    generator.train()
    reader.train()
    reader[1].eval()
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    state = torch.get_rng_state()
    z.requires_grad_()
    with torch.inference_mode():
        inside = pattern(reader, generator, z.detach() * 1, d)
    for got in (inside, pattern(reader, generator, z, d)):
        torch.testing.assert_close(got, expected)
        assert not got.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in reader] == [True, False, True, True, True, True]
    assert generator.training
    assert all(torch.equal(before[name], value) for name, value in reader.state_dict().items())
    assert all(p.grad is None for net in networks for p in net.parameters())
    assert z.grad is None
    assert torch.is_grad_enabled()


def test_a_network_that_reads_nothing_has_an_empty_pattern():
    for dtype in (torch.float, torch.double):
        a, z = A.to(dtype), Z.to(dtype)
        got = pattern(
            lambda x: torch.ones(len(x), 5, dtype=x.dtype),
            lambda z, a=a: (z @ a.T).reshape(-1, *SHAPE),
            z,
            DIRECTIONS.to(dtype),
        )
        assert got.eq(0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_near_and_gives_single_precision(networks, dtype, autocast):
    z, d = draw(3, 4, seed=2), draw(2, 4, seed=3)
    expected = pattern(networks[1], networks[0], z, d).float()
    kind = torch.float if autocast else dtype
    generator, reader = (net.to(kind) for net in networks)
    with torch.autocast("cpu", dtype, enabled=autocast):
        got = pattern(reader, generator, z.to(kind), d.to(kind))
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.05 * expected.norm()


def test_autocast_does_not_round_the_inversion():
    """Networks that autocast leaves alone: with them, nothing is rounded to half."""
    weight, a, z = draw(5, 24, seed=4).float(), A.float(), Z.float()

    def encode(x):
        return (x.flatten(1)[:, None] * weight).sum(2)

    def generate(z):
        return (z[:, None] * a).sum(2).reshape(-1, *SHAPE)

    expected = pattern(encode, generate, z, DIRECTIONS.float())
    with torch.autocast("cpu", torch.bfloat16):
        got = pattern(encode, generate, z, DIRECTIONS.float())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


# --- discriminators


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_readout_of_features_in_half_precision(dtype, autocast):
    kind, part = torch.float if autocast else dtype, critic(torch.eye(24).double())
    part.module.to(kind)
    a, z = A.to(kind), draw(400, 5, seed=11).to(kind)

    def generate(z):
        return (z @ a.T).reshape(-1, *SHAPE)

    with torch.autocast("cpu", dtype, enabled=autocast):
        encode = discriminator_readout(part, generate, z)
        got = encode(generate(z))
    assert got.dtype == torch.float32
    assert (got - z).norm() < 0.1 * z.norm()


def critic(keep):
    """Features linear in the image, then a logit; `keep` is what the features see of it."""
    first = nn.Linear(24, 24, bias=False).double()
    with torch.no_grad():
        first.weight.copy_(draw(24, 24, seed=10) @ keep)
    return Part(nn.Sequential(nn.Flatten(), first, nn.Tanh(), nn.Linear(24, 1).double()), ("1",))


def test_latents_are_read_from_features_that_are_linear_in_them():
    part = critic(torch.eye(24).double())
    encode = discriminator_readout(part, decode, draw(400, 5, seed=11))
    fresh = draw(50, 5, seed=12)
    torch.testing.assert_close(encode(decode(fresh)), fresh, atol=1e-3, rtol=0)
    effects = torch.stack([signed_effect(decode, Z, d) for d in DIRECTIONS])
    got = pattern(encode, decode, Z, DIRECTIONS)
    torch.testing.assert_close(got, effects / (1 + RIDGE), atol=1e-2, rtol=0)
    assert not encode(decode(fresh)).requires_grad
    with_space = discriminator_readout(part, decode, draw(400, 5, seed=11)[:, :, None, None])
    torch.testing.assert_close(with_space(decode(fresh))[:, :, 0, 0], encode(decode(fresh)))


def test_a_generator_whose_first_operation_works_in_place():
    part, learn = critic(torch.eye(24).double()), draw(100, 5, seed=11)
    kept, kept_z = learn.clone(), Z.clone()

    def doubled(z):
        return decode(z.mul_(2))

    maps = []
    for generate in (doubled, lambda z: decode(2 * z)):
        encode = discriminator_readout(part, generate, learn)
        maps.append(pattern(encode, generate, Z, DIRECTIONS))
        assert torch.equal(learn, kept)
        assert torch.equal(Z, kept_z)
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_the_size_and_the_middle_of_features_do_not_matter(size):
    part, learn = critic(torch.eye(24).double()), draw(60, 5, seed=11)
    noisy = Part(nn.Sequential(part.module[0], part.module[1], nn.Tanh()), ("2",))
    plain = discriminator_readout(noisy, decode, learn)(decode(Z))
    last = nn.Linear(24, 24).double()
    with torch.no_grad():
        last.weight.copy_(size * torch.eye(24))
        last.bias.fill_(3 * size)
    scaled = Part(nn.Sequential(*noisy.module, last), ("3",))
    got = discriminator_readout(scaled, decode, learn)(decode(Z))
    torch.testing.assert_close(got, plain)


def test_a_discriminator_blind_to_a_latent_has_no_pattern_of_it():
    line = A[:, :1] - A[:, 1:] @ torch.linalg.pinv(A[:, 1:]) @ A[:, :1]  # only latent 0 moves it
    blind = torch.eye(24).double() - A[:, :1] @ line.T / (line.T @ A[:, :1])
    torch.testing.assert_close(blind @ A[:, 0], torch.zeros(24).double())  # features miss latent 0
    torch.testing.assert_close(blind @ A[:, 1:], A[:, 1:])
    encode = discriminator_readout(critic(blind), decode, draw(4000, 5, seed=11))
    axes = torch.eye(5).double()
    sizes = pattern(encode, decode, Z, axes).flatten(1).norm(dim=1)
    true = torch.stack([signed_effect(decode, Z, d).norm() for d in axes])
    assert sizes[0] < 0.05 * true[0]
    assert (sizes[1:] > 0.9 * true[1:]).all()


def test_a_readout_takes_the_deepest_layer_and_borrows_the_networks(networks):
    generator, reader = networks
    part = Part(reader, ("0", "3"))
    z = draw(300, 4, seed=2)
    expected = discriminator_readout(part, generator, z)(generator(z[:5]).detach())
    reader.train()
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    images = generator(z[:5]).detach()
    torch.testing.assert_close(discriminator_readout(part, generator, z)(images), expected)
    assert all(torch.equal(before[name], value) for name, value in reader.state_dict().items())
    assert reader.training
    deepest, shallow = (
        discriminator_readout(Part(reader, layers), generator, z)(images)
        for layers in (("3",), ("3", "0"))
    )
    torch.testing.assert_close(deepest, expected)
    assert not torch.allclose(shallow, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: pattern(e, decode, Z, DIRECTIONS[:, :4]), r"directions \(K, 5\).*\(3, 4\)"),
        (lambda e: pattern(e, decode, Z, DIRECTIONS[0]), r"directions \(K, 5\).*got.*\(5,\)"),
        (lambda e: pattern(e, decode, Z[:1], DIRECTIONS), r"two latents or more.*\(1, 5\)"),
        (lambda e: pattern(e, decode, Z[:1].expand(4, -1), DIRECTIONS), "latents that differ"),
        (lambda e: pattern(e, decode, Z, 0 * DIRECTIONS), r"positive length, got \|d\| = 0"),
        (lambda e: pattern(lambda x: e(x)[:, :3], decode, Z, DIRECTIONS), "5 numbers.*got 3"),
        (lambda e: pattern(e, decode, Z, DIRECTIONS, step=0), "step and ridge above 0, got 0"),
        (lambda e: pattern(e, decode, Z, DIRECTIONS, ridge=-1), "above 0, got 0.8 and -1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(encoder(draw(5, 24, seed=4)))
