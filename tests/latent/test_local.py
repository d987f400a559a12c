import numpy as np
import pytest
import torch
from torch import nn

from latentkit.latent.derivative import pullback, pushforward
from latentkit.latent.local import local
from tests.latent.dense import jacobian
from tests.latent.test_directions import decoder, matrix, orthonormal, same_up_to_sign, signs_fixed


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_of_a_linear_decoder_it_is_the_svd(k, batch_size):
    weight = matrix(48, 20).float()
    d = local(lambda z: (z @ weight.T).reshape(-1, 3, 4, 4), torch.zeros(20), k, seed=3)
    assert d.shape == (k, 20)
    assert orthonormal(d)
    assert signs_fixed(d)
    expected = np.linalg.svd(weight.double().numpy())[2][: min(k, 8)]
    assert same_up_to_sign(d[:8], expected, 1e-3)


def test_of_a_network_it_is_the_dense_one():
    network = decoder().double()
    z = torch.randn(1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert same_up_to_sign(local(network, z, 3), jacobian(network, z, 3), 1e-8)


def test_a_decoder_that_leaves_torch_is_named():
    numb = lambda z: torch.from_numpy(z.detach().numpy() ** 2)  # noqa: E731
    z = torch.ones(2, 3)
    for product in (pushforward, pullback):
        with pytest.raises(ValueError, match="no derivative passes through decode"):
            product(numb, z, z)


def test_close_singular_values_ask_for_iterations():
    """A slowly falling spectrum: the start alone is not enough, the iteration is."""
    u, v = (torch.linalg.qr(torch.randn(200, 60, dtype=torch.float64))[0] for _ in range(2))
    weight = u @ torch.diag(0.9 ** torch.arange(60.0).double()) @ v.T
    exact = v.T[:2]

    def decode(z):
        return z @ weight.T

    z = torch.zeros(200, dtype=torch.float64)
    lost = [
        (1 - (local(decode, z, 2, oversample=4, iterations=i) * exact).sum(1).abs()).max()
        for i in (1, 24)
    ]
    assert lost[1] < 1e-4 < lost[0]


def test_it_forms_no_jacobian():
    """With 4,000 latent numbers the decoder is asked for few products, whatever D is."""
    weight = matrix(30, 4000).float()
    rows = 0

    def decode(z):
        nonlocal rows
        rows += len(z)
        return z @ weight.T

    d = local(decode, torch.zeros(4000), 2)
    assert rows <= 10 * 9
    assert same_up_to_sign(d, np.linalg.svd(weight.double().numpy(), False)[2][:2], 1e-3)


def test_it_needs_no_gradients_leaves_none_and_repeats():
    network = decoder().requires_grad_(False)
    z = torch.zeros(4, requires_grad=True)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.no_grad():
        quiet = local(network, z, 2)
    d = local(network, z, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(quiet, d)
    assert not d.requires_grad
    assert z.grad is None
    assert all(p.grad is None for p in network.parameters())


def test_pullback_is_the_transpose_of_pushforward():
    network, generator = decoder().double(), torch.Generator().manual_seed(0)
    z, v = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator)
    u = torch.randn(5, 2, 4, 4, dtype=torch.float64, generator=generator)
    ahead = (pushforward(network, z, v) * u).flatten(1).sum(1)
    back = (pullback(network, z, u) * v).sum(1)
    assert torch.allclose(ahead, back, atol=1e-12)
    with pytest.raises(TypeError, match="decode to return a tensor, got"):
        pullback(lambda z: [z], z, u)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: local(nn.Identity(), torch.zeros(2, 3), 1), r"one latent.*\(2, 3\)"),
        (lambda: local(nn.Identity(), torch.tensor(1.0), 1), "one latent"),
        (lambda: local(nn.Identity(), torch.full((3,), torch.nan), 1), "finite z"),
        (lambda: local(nn.Identity(), torch.zeros(3), 4), "k <= 3"),
        (lambda: local(lambda z: z[:, :1], torch.zeros(3), 2), "k <= 1 directions of a Jacobian"),
        (lambda: local(lambda z: 0 * z, torch.zeros(3), 1), "image that changes with the latent"),
        (lambda: local(nn.Identity(), torch.zeros(3), 1, iterations=0), "iterations >= 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
