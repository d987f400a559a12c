import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

from latentkit.latent.directions import axes, explained, pca, sefa
from tests.latent.dense import jacobian

sizes = st.tuples(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))


def matrix(rows, columns, seed=0):
    """Well separated singular values, so that each direction is defined."""
    made = np.random.default_rng(seed).normal(size=(rows, columns))
    u, _, v = np.linalg.svd(made, full_matrices=False)
    return torch.from_numpy((u * 2.0 ** -np.arange(len(v))) @ v)


def same_up_to_sign(found, expected, atol=1e-4):
    cosine = (found.double() * torch.as_tensor(expected).double()).sum(1).abs()
    return torch.allclose(cosine, torch.ones_like(cosine), atol=atol)


def orthonormal(d):
    return torch.allclose(d @ d.T, torch.eye(len(d), dtype=d.dtype), atol=1e-5)


def signs_fixed(d):
    """The largest component is positive; of almost equal ones, the first."""
    first = (d.abs() >= 0.999 * d.abs().amax(1, keepdim=True)).int().argmax(1, keepdim=True)
    return (d.gather(1, first) > 0).all()


@given(sizes)
@settings(deadline=None, max_examples=50)
def test_pca_agrees_with_another_library(size):
    n, dim, seed = size
    z = matrix(n, dim, seed) + 7
    k = min(n - 1, dim)
    d = pca(z, k)
    assert d.shape == (k, dim)
    assert orthonormal(d)
    assert signs_fixed(d)
    expected = PCA(k).fit(z.numpy())
    gaps = np.diff(expected.explained_variance_)
    if (np.abs(gaps) > 1e-3 * expected.explained_variance_[0]).all():
        assert same_up_to_sign(d, expected.components_)
    assert np.allclose(explained(z, d).numpy(), expected.explained_variance_ratio_)


def test_pca_finds_a_planted_axis_and_knows_its_sign():
    generator = torch.Generator().manual_seed(0)
    planted = torch.nn.functional.normalize(torch.tensor([1.0, -3.0, 2.0]), dim=0)
    z = 5 * torch.randn(500, 1, generator=generator) * planted
    z = z + 0.1 * torch.randn(500, 3, generator=generator)
    assert torch.allclose(pca(z, 1)[0], -planted, atol=0.01)
    assert torch.equal(pca(z, 2), pca(z.clone(), 2))
    assert torch.allclose(pca(z, 2), pca(-z, 2), atol=1e-5)


def test_a_tie_between_components_does_not_flip_the_sign():
    z = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [2.0, -2.0]])
    for noise in (-1e-6, 1e-6):
        assert pca(z * torch.tensor([1.0 + noise, 1.0]), 1)[0, 0] > 0


def test_explained_shares_add_up_and_ignore_the_length_of_directions():
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    shares = explained(z, 3 * pca(z, 4))
    assert shares.sum().item() == pytest.approx(1, abs=1e-5)
    assert (shares.diff() <= 0).all()
    by_hand = z[:, 2].var() / z.var(0).sum()
    assert explained(z, axes(4, [2])).item() == pytest.approx(by_hand.item(), rel=1e-5)


@given(sizes)
@settings(deadline=None, max_examples=50)
def test_sefa_is_the_eigenvectors_of_the_gram_matrix(size):
    rows, dim, seed = size
    weight = matrix(rows, dim, seed)
    k = min(rows, dim)
    d = sefa(weight, k)
    assert orthonormal(d)
    assert signs_fixed(d)
    values, vectors = np.linalg.eigh((weight.T @ weight).numpy())
    assert same_up_to_sign(d, vectors.T[::-1][:k].copy())
    assert np.allclose((weight @ d.T).square().sum(0), values[::-1][:k], atol=1e-9)


def test_sefa_of_a_transposed_convolution_moves_its_output_most():
    layer = nn.ConvTranspose2d(6, 4, 3, bias=False)
    d = sefa(layer.weight.flatten(1).T, 6)
    moved = layer(d[:, :, None, None]).flatten(1).norm(dim=1)
    assert (moved.diff() <= 1e-6).all()
    other = torch.nn.functional.normalize(torch.randn(200, 6), dim=1)
    assert (layer(other[:, :, None, None]).flatten(1).norm(dim=1) <= moved[0] + 1e-5).all()


def released(weights):
    """The formula of the code released with the paper, on A^T: columns of unit length first."""
    unit = weights / np.linalg.norm(weights, axis=0, keepdims=True)
    values, vectors = np.linalg.eigh(unit @ unit.T)
    return vectors.T[values.argsort()[::-1]]


def test_sefa_can_be_normalised_as_in_the_released_code():
    rng = np.random.default_rng(0)
    agreement = []
    for scales in (np.ones(40), np.exp(2 * rng.normal(size=40))):
        found = []
        for _ in range(20):
            rows = rng.normal(size=(40, 8)) * [3, 2, 1, 1, 1, 1, 1, 1]
            weight = torch.from_numpy(scales[:, None] * rows)
            ours = sefa(weight, 8, normalize=True)
            assert same_up_to_sign(ours, released(weight.numpy().T), 1e-6)
            assert torch.allclose(ours, sefa(7 * weight, 8, normalize=True), atol=1e-8)
            found.append((ours[0] @ sefa(weight, 1)[0]).abs().item())
        agreement.append(np.mean(found))
    # Rows of equal length: nearly the paper's direction; of very different ones: another.
    assert agreement[0] > 0.9 > 0.8 > agreement[1]
    assert sefa(torch.eye(3) * torch.tensor([1.0, 0, 2]), 3, normalize=True).isfinite().all()


def test_axes_are_unit_vectors():
    assert torch.equal(axes(4, [3, 0]), torch.eye(4)[[3, 0]])
    with pytest.raises(ValueError, match=r"axes in \[0, 4\), got \[4, -1\]"):
        axes(4, [1, 4, -1])


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_jacobian_of_a_linear_decoder_is_its_svd(shape):
    weight = matrix(12, 5).float()
    d = jacobian(lambda z: (z @ weight.T).reshape(-1, 3, 4), torch.zeros(shape), 3)
    assert d.shape == (3, 5)
    assert orthonormal(d)
    assert same_up_to_sign(d, np.linalg.svd(weight.numpy())[2][:3])


def decoder():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, (4, 2, 2)),
        nn.ConvTranspose2d(4, 2, 2, stride=2),
        nn.Tanh(),
    ).eval()


def test_jacobian_of_a_network_is_that_of_finite_differences():
    network = decoder().double()
    z = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    with torch.no_grad():
        slopes = (network(z + step) - network(z - step)).flatten(1) / 2e-5
    expected = np.linalg.svd(slopes.T.numpy())[2][:2]
    assert same_up_to_sign(jacobian(network, z, 2), expected, 1e-6)


def test_jacobian_works_without_gradients_and_leaves_none():
    network = decoder().requires_grad_(False)
    z = torch.zeros(4, requires_grad=True)
    with torch.no_grad():
        quiet = jacobian(network, z, 2)
    d = jacobian(network, z, 2)
    assert torch.equal(quiet, d)
    assert not d.requires_grad
    assert z.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pca(torch.randn(3, 5), 3), "1 <= k <= 2 directions of 3 latents.*got k=3"),
        (lambda: pca(torch.randn(3, 5), 0), "got k=0"),
        (lambda: pca(torch.randn(3, 5, 1), 1), r"shape \(N, D\).*flatten"),
        (lambda: pca(torch.zeros(3, 5).log(), 1), "infinity in 3 of 3 rows"),
        (lambda: sefa(torch.randn(5, 3), 4), "k <= 3"),
        (lambda: sefa(torch.randn(5, 3, 2, 2), 1), r"weight.flatten\(1\).T"),
        (lambda: explained(torch.ones(3, 2), axes(2, [0])), "that vary, got 3 equal"),
        (lambda: explained(torch.randn(3, 2), axes(3, [0])), r"\(K, 2\), got shape \(1, 3\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
