import pytest
import torch

from latentkit.latent.cluster import kmeans, stability
from latentkit.latent.neighbours import hdbscan, spectral
from latentkit.metrics.clustering import accuracy
from tests.latent.test_cluster import blobs


def rings(n=150):
    """Two circles, one inside the other: no centre tells them apart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(n)
    angle = 2 * torch.pi * torch.arange(2 * n) / n
    radius = 1 + 3 * labels + 0.05 * torch.randn(2 * n, generator=generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1), labels


FITS = [lambda z: spectral(z, 2), lambda z: hdbscan(z, 15)]


@pytest.mark.parametrize("fit", FITS)
def test_rings_are_found_which_kmeans_cannot_find(fit):
    z, labels = rings()
    assert accuracy(labels, fit(z).labels) == 1
    assert accuracy(labels, kmeans(z, 2).labels) < 0.8  # the control


@pytest.mark.parametrize("fit", [lambda z: spectral(z, 3), lambda z: hdbscan(z, 10)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_planted_blobs_are_found(fit, dtype):
    z, labels, centres = blobs()
    found = fit(z.to(dtype))
    real = found.labels >= 0
    assert accuracy(labels[real], found.labels[real]) == 1
    assert real.float().mean() > 0.8
    assert found.labels.dtype == torch.int64
    assert found.centres.dtype == found.confidence.dtype == dtype
    assert torch.cdist(found.centres.float(), centres).amin(1).max() < 1
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("fit", FITS)
def test_the_order_of_the_latents_does_not_matter(fit):
    z, _ = rings()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    assert accuracy(fit(z).labels[order], fit(z[order]).labels) == 1


def test_hdbscan_calls_what_lies_alone_noise():
    z, _, _ = blobs()
    far = torch.tensor([[50.0, 0, 0, 0, 0], [0, -50, 0, 0, 0]])
    found = hdbscan(torch.cat([z, far]), 10)
    assert found.labels[-2:].tolist() == [-1, -1]
    assert found.confidence[-2:].tolist() == [0, 0]
    assert len(found.centres) == 3
    members = torch.cat([z, far])[found.labels == 1]
    assert torch.allclose(found.centres[1], members.mean(0), atol=1e-5)


def test_hdbscan_may_find_noise_alone():
    z = torch.tensor([[2.0**i, 0.0] for i in range(8)])
    found = hdbscan(z, 4, 4)
    assert (found.labels == -1).all()
    assert found.centres.shape == (0, 2)


def test_spectral_of_one_cluster_and_of_one_each():
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    one = spectral(z, 1)
    assert one.labels.tolist() == [0] * 5
    assert torch.allclose(one.centres[0], z.mean(0), atol=1e-6)
    assert sorted(spectral(z, 5).labels.tolist()) == [0, 1, 2, 3, 4]


def test_stability_of_methods_that_copies_mislead():
    z, _ = rings()
    assert stability(z, lambda some: spectral(some, 2), repeats=3, distinct=True) > 0.99
    sizes = []
    fit = lambda some: sizes.append(len(torch.unique(some, dim=0)) - len(some)) or kmeans(some, 2)  # noqa: E731
    stability(z, fit, repeats=2, distinct=True)
    assert sizes == [0, 0]
    stability(z, fit, repeats=2)
    assert min(sizes) < 0  # the control: a plain resample holds copies


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: spectral(z, 9), "1 <= k <= 8 clusters of 8 latents, got k=9"),
        (lambda z: spectral(z, 2, neighbours=0), "neighbours >= 1, got 0"),
        (lambda z: spectral(z / 0, 2), "NaN or infinity"),
        (lambda z: hdbscan(z, 1), "2 <= min_size <= 8.*got 1"),
        (lambda z: hdbscan(z, 9), "2 <= min_size <= 8.*got 9"),
        (lambda z: hdbscan(z[:1], 2), "2 <= min_size <= 1"),
        (lambda z: hdbscan(z, 3, 0), "1 <= min_samples <= 8 latents, got 0"),
        (lambda z: hdbscan(z, 3, 9), "got 9"),
        (lambda z: hdbscan(z[:, 0], 3), r"shape \(N, D\)"),
        (lambda z: hdbscan(z * torch.nan, 3), "NaN or infinity"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(8, 2))
