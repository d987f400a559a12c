import pytest
import torch
from torch import nn
from torch.nn import functional

from latentkit.explain.cam import cam
from latentkit.explain.directions import (
    completeness_error,
    discriminator_direction,
    discriminator_reading,
    effect,
    reading,
    signed_effect,
    use,
    use_along,
)
from latentkit.explain.scores import direction, real, unit
from latentkit.protocols import Part

# --- effect


class Generator(nn.Module):
    """ConvTranspose, batch norm and in-place activations, as in DCGAN."""

    def __init__(self, rank=2):
        super().__init__()
        self.rank = rank
        conv = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[rank - 1]
        self.net = nn.Sequential(
            conv(4, 6, 3), norm(6), nn.LeakyReLU(0.2, inplace=True), conv(6, 3, 3, 2), nn.SiLU()
        )
        self.net[1].running_mean.fill_(0.1)

    def decode(self, z):
        return self.net(z.reshape(*z.shape, *[1] * self.rank))


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator().double()


@pytest.fixture
def latents():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.double)


D = torch.tensor([1.0, -2.0, 0.5, 1.5], dtype=torch.double)


def jacobian_times_d(generator, z):
    """One latent at a time, by reverse mode, on a rewrite by functions."""
    first, norm, last = generator.net[0], generator.net[1], generator.net[3]

    def decode(one):
        h = functional.conv_transpose2d(one[None, :, None, None], first.weight, first.bias)
        mean, var = norm.running_mean, norm.running_var
        h = functional.batch_norm(h, mean, var, norm.weight, norm.bias, eps=norm.eps)
        h = functional.leaky_relu(h, 0.2)
        return functional.silu(functional.conv_transpose2d(h, last.weight, last.bias, stride=2))[0]

    rows = [torch.autograd.functional.jacobian(decode, one) @ (D / D.norm()) for one in z]
    return torch.stack(rows)


@pytest.mark.parametrize(("method", "near"), [("jvp", 1e-12), ("difference", 1e-6)])
def test_effect_is_the_jacobian_times_the_unit_direction(generator, latents, method, near):
    got = signed_effect(generator.decode, latents, D, method, step=1e-5)
    expected = jacobian_times_d(generator, latents)
    torch.testing.assert_close(got, expected, atol=near, rtol=near)
    norm = expected.square().sum(1).sqrt()
    size = effect(generator.decode, latents, D, method, step=1e-5)
    torch.testing.assert_close(size, norm, atol=near, rtol=near)


@pytest.mark.parametrize("method", ["jvp", "difference"])
def test_linear_generator_is_exact_and_only_the_direction_of_d_counts(latents, method):
    a = torch.randn(4, 2 * 3 * 5, dtype=torch.double)
    expected = ((D / D.norm()) @ a).reshape(2, 3, 5).expand(3, -1, -1, -1)

    def decode(z):
        return (z @ a).reshape(-1, 2, 3, 5)

    for d, sign in ((D, 1), (7 * D, 1), (-D, -1), (D.float(), 1)):
        got = signed_effect(decode, latents, d, method, step=0.5)
        torch.testing.assert_close(got, sign * expected, atol=1e-6, rtol=1e-6)
    assert effect(decode, latents, D, method).shape == (3, 3, 5)


@pytest.mark.parametrize("method", ["jvp", "difference"])
def test_a_generator_in_training_comes_back_as_it_was(generator, latents, method):
    expected = signed_effect(generator.eval().decode, latents, D, method)
    generator.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with torch.inference_mode():
        inside = signed_effect(generator.decode, latents * 1, D, method)
    torch.testing.assert_close(inside, expected)
    assert not inside.requires_grad
    assert generator.net[1].training
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(latents, rank):
    decode = Generator(rank).double().decode
    exact, near = (effect(decode, latents, D, how, 1e-5) for how in ("jvp", "difference"))
    assert exact.shape == (3, *[7] * rank)
    torch.testing.assert_close(exact, near, atol=1e-6, rtol=1e-6)


def test_latents_with_space():
    z, d = torch.randn(2, 1, 3, 3), torch.zeros(1, 3, 3)
    d[0, 1, 2] = 2.0
    got = effect(lambda z: 3 * z, z, d)
    assert torch.equal(got, 1.5 * d.expand(2, -1, -1))


def test_errors_of_effect(generator, latents):
    with pytest.raises(ValueError, match=r"direction of shape \(4,\).*got \(3,\)"):
        effect(generator.decode, latents, D[:3])
    with pytest.raises(ValueError, match=r"positive length, got \|d\| = 0"):
        effect(generator.decode, latents, 0 * D)
    with pytest.raises(ValueError, match="'jvp' or 'difference', got 'exact'"):
        effect(generator.decode, latents, D, "exact")
    with pytest.raises(ValueError, match="step > 0, got 0"):
        effect(generator.decode, latents, D, "difference", step=0)


# --- reading


def test_linear_encoder_reads_weight_times_image():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2 * 3 * 4, 5, bias=False))
    x, d = torch.randn(6, 2, 3, 4), torch.tensor([0.0, 3.0, 0.0, -4.0, 0.0])
    weight = (0.6 * net[2].weight[1] - 0.8 * net[2].weight[3]).detach().reshape(2, 3, 4)
    got = reading(Part(net, ("0",)), x, d)
    torch.testing.assert_close(got.raw, (weight * x).sum(1))
    assert got.method == "hires-cam"


def test_reading_starts_at_the_earliest_default_layer(encoder, images):
    part, d = Part(encoder, ("0", "2")), torch.arange(5.0)
    first = reading(part, images, d)
    assert first.layer == "0"
    assert torch.equal(first.raw, cam(encoder, "0", images, direction(d), "hires-cam").raw)
    assert reading(part, images, d, layer="2", method="grad-cam").layer == "2"
    with pytest.raises(ValueError, match="at least one default layer"):
        reading(Part(encoder, ()), images, d)


@pytest.fixture
def critic():
    """Linear up to its features: u and its reading have closed forms."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, bias=False)
    return nn.Sequential(nn.Identity(), conv, nn.Tanh(), nn.Flatten(), nn.Linear(27, 1)).double()


def test_discriminator_direction_in_closed_form(critic, latents):
    a = torch.randn(4, 50, dtype=torch.double)
    part = Part(critic, ("0", "1"))
    u = discriminator_direction(part, lambda z: (z @ a).reshape(-1, 2, 5, 5) + 1, latents, D, 0.3)
    moved = functional.conv2d((D @ a).reshape(1, 2, 5, 5), critic[1].weight).flatten().detach()
    torch.testing.assert_close(u, moved / moved.norm())


def test_discriminator_reading_in_closed_form(critic):
    part, x = Part(critic, ("0", "1")), torch.randn(4, 2, 5, 5, dtype=torch.double)
    u = torch.randn(27, dtype=torch.double)
    got = discriminator_reading(part, x, u)
    weight = functional.conv_transpose2d(u.reshape(1, 3, 3, 3), critic[1].weight) / u.norm()
    torch.testing.assert_close(got.raw, (x * weight).sum(1).detach().float())
    assert got.layer == "0"
    deepest = discriminator_reading(part, x, u, layer="1")
    features = critic[1](x)
    expected = (features * u.reshape(3, 3, 3) / u.norm()).sum(1)
    torch.testing.assert_close(deepest.raw, expected.detach().float())


def test_discriminator_direction_needs_a_change(critic, latents):
    def still(z):
        return torch.ones(len(z), 2, 5, 5, dtype=z.dtype)

    with pytest.raises(ValueError, match="features of '1' that change along d"):
        discriminator_direction(Part(critic, ("0", "1")), still, latents, D)
    with pytest.raises(ValueError, match=r"expected outputs \(N, 5\).*got \(3, 3, 3, 3\)"):
        discriminator_reading(Part(critic, ("1",)), still(latents), torch.ones(5))


# --- use


def test_use_of_a_linear_score_is_weight_times_change_and_complete():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 1)).double()
    x, change = torch.randn(2, 5, 2, 3, 4, dtype=torch.double)
    got = use(net, x, change, real())
    weight = net[1].weight.detach().reshape(2, 3, 4)
    torch.testing.assert_close(got, (weight * change).sum(1))
    error = completeness_error(got, net, x - change / 2, x + change / 2, real())
    assert error.max() < 1e-12
    assert completeness_error(got[[1, 2, 3, 4, 0]], net, x, x + change, real()).min() > 0.01


def test_use_along_of_a_square_in_closed_form():
    class Half(nn.Module):
        def forward(self, x):
            return x.square().sum((1, 2, 3)) / 2

    x_minus, x_plus = torch.randn(2, 3, 2, 4, 5, dtype=torch.double)
    got = use_along(Half(), x_minus, x_plus, real(), steps=2)
    torch.testing.assert_close(got, (x_plus.square() - x_minus.square()).sum(1) / 2)


def test_use_along_is_complete_where_one_gradient_is_not():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    net = nn.Sequential(conv, nn.SiLU(True), nn.Flatten(), nn.Linear(480, 1), nn.Tanh())
    x_minus, x_plus = torch.randn(2, 4, 3, 12, 10)
    along = use_along(net, x_minus, x_plus, real())
    once = use(net, (x_plus + x_minus) / 2, x_plus - x_minus, real())
    assert completeness_error(along, net, x_minus, x_plus, real()).max() < 1e-3
    assert completeness_error(once, net, x_minus, x_plus, real()).max() > 1e-2


def test_a_first_operation_in_place_does_not_reach_the_input(converts, images):
    kept, (net, plain) = images.clone(), converts
    used = torch.ones(4, 12, 10)
    expected = completeness_error(used, plain, images, images + 1, unit(1))
    for _ in range(2):
        assert torch.equal(completeness_error(used, net, images, images + 1, unit(1)), expected)
    assert torch.equal(images, kept)


def test_use_along_a_network_with_kinks(encoder, images):
    ends = images, images.flip(0)
    error = completeness_error(use_along(encoder, *ends, unit(1), 64), encoder, *ends, unit(1))
    assert error.max() < 0.01


def test_use_before_an_in_place_first_layer():
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 1)).train()
    x = torch.randn(2, 1, 4, 4, requires_grad=True)
    kept = x.detach().clone()
    got = use(net, x, torch.ones_like(x), real())
    expected = net[2].weight.detach().reshape(4, 4) * (x > 0)[:, 0]
    torch.testing.assert_close(got, expected)
    assert torch.equal(x, kept)
    assert x.grad is None
    assert torch.equal(use(net, kept, torch.ones_like(x), real()), expected)
    assert not kept.requires_grad
    assert net.training
    with pytest.raises(ValueError, match=r"shape of x \(2, 1, 4, 4\), got \(2, 4, 4\)"):
        use(net, x, torch.ones(2, 4, 4), real())
    with pytest.raises(ValueError, match="depends on layer"):
        use(net, x, torch.ones_like(x), lambda output: output[:, 0].detach())
