import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.components import StreamingPCA, activation_pca
from latentkit.latent.directions import explained, pca
from tests.latent.test_directions import matrix, same_up_to_sign


def latents(n=200, dim=7, seed=0):
    return matrix(n, dim, seed).float() * 10 + 3


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_streaming_pca_is_that_of_the_whole(sizes, seed):
    z = latents(sum(sizes) + 8, 5, seed) + 100
    stream = StreamingPCA()
    for batch in torch.split(z, [*sizes, 8]):
        stream.update(batch)
    assert stream.count == len(z)
    assert torch.allclose(stream.directions(3), pca(z.double(), 3).float(), atol=1e-4)
    shares = explained(z.double(), pca(z.double(), 5)).float()
    assert torch.allclose(stream.explained(5), shares, atol=1e-4)


def test_streaming_pca_does_not_depend_on_the_batches():
    z = latents()
    found = []
    for size in (1, 13, 200):
        stream = StreamingPCA()
        for batch in torch.split(z, size):
            stream.update(batch)
        found.append(stream.directions(7))
    assert torch.allclose(found[0], found[2], atol=1e-6)
    assert torch.allclose(found[1], found[2], atol=1e-6)


def test_a_linear_layer_gets_the_components_of_its_activations_back():
    z = latents() @ matrix(7, 7, 5).float()  # not isotropic
    layer = torch.randn(12, 7, generator=torch.Generator().manual_seed(1))
    activations = (z @ layer.T + 5).reshape(-1, 3, 4)
    u = activation_pca(z, activations, 3)
    moved = torch.nn.functional.normalize(u @ layer.T, dim=1)
    components = pca(activations.flatten(1), 3)
    assert torch.allclose(moved, components, atol=1e-2)  # signs too
    assert torch.allclose(u.norm(dim=1), torch.ones(3), atol=1e-5)


def test_it_is_the_least_squares_of_another_library():
    z = latents()
    activations = torch.tanh(z @ torch.randn(7, 9, generator=torch.Generator().manual_seed(0)) / 9)
    centred = (activations - activations.mean(0)).double().numpy()
    scores = centred @ pca(activations, 2).double().numpy().T
    fit = np.linalg.lstsq(scores, (z - z.mean(0)).double().numpy(), rcond=None)[0]
    expected = fit / np.linalg.norm(fit, axis=1, keepdims=True)
    assert np.allclose(activation_pca(z, activations, 2).numpy(), expected, atol=1e-4)
    # A control: the components of the latents themselves are others.
    assert not same_up_to_sign(activation_pca(z, activations, 2), pca(z, 2), 1e-2)


def stream(*batches):
    made = StreamingPCA()
    for batch in batches:
        made.update(batch)
    return made


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: activation_pca(z, z[:3], 1), "an activation a latent, got 3 for 20"),
        (lambda z: activation_pca(z, z, 5), "k <= 4"),
        (lambda z: activation_pca(z, z / 0, 1), "finite activations"),
        (lambda z: activation_pca(z, torch.ones(20, 6), 1), "vary with the latents"),
        (lambda z: stream(z, z[:, :2]), "latents of 4 numbers, got 2"),
        (lambda z: stream(z / 0), "finite z"),
        (lambda z: stream().directions(1), "of 0 latents"),
        (lambda z: stream(z).directions(5), "k <= 4"),
        (lambda z: stream(0 * z).explained(1), "that vary, got 20 equal"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).abs() + 0.1)
