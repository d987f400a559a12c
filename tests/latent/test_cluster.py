import pytest
import torch

from latentkit.latent.cluster import Clustering, gmm, kmeans, stability
from latentkit.metrics.clustering import accuracy

FITS = [kmeans, gmm]


def blobs(n=40, seed=0):
    """Three well separated blobs in five dimensions."""
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.eye(3, 5)
    labels = torch.arange(3).repeat_interleave(n)
    return centres[labels] + torch.randn(3 * n, 5, generator=generator), labels, centres


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_planted_blobs_are_found(fit, dtype):
    z, labels, centres = blobs()
    found = fit(z.to(dtype), 3)
    assert accuracy(labels, found.labels) == 1
    assert found.method == fit.__name__
    assert found.labels.dtype == torch.int64
    assert found.centres.dtype == found.confidence.dtype == dtype
    assert found.centres.shape == (3, 5)
    nearest = torch.cdist(found.centres.float(), centres).min(1)
    assert nearest.values.max() < 1
    assert sorted(nearest.indices.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("fit", FITS)
def test_the_same_seed_gives_the_same_and_touches_no_global_state(fit):
    z, _, _ = blobs()
    state = torch.get_rng_state()
    first, second = fit(z, 4, seed=3), fit(z, 4, seed=3)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.confidence, second.confidence)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fit", FITS)
def test_confidence_is_low_half_way_and_high_at_a_centre(fit):
    z, _, centres = blobs()
    z = torch.cat([z, centres[:1], (centres[:1] + centres[1:2]) / 2])
    confidence = fit(z, 3).confidence
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert confidence[-2] > 0.9
    assert confidence[-1] == confidence.min()


@pytest.mark.parametrize("unit", [1e-4, 1e-8, 1e4])
def test_a_mixture_does_not_depend_on_the_unit(unit):
    """All axes in another unit, or one alone."""
    z = blobs(60)[0].double() * torch.tensor([0.3, 0.3, 0.3, 1, 1])
    plain = gmm(z, 3)
    for scale in (torch.tensor(unit), torch.tensor([1, unit, 1, 1, 1])):
        found = gmm(z * scale.double() + 5 * unit, 3)
        assert torch.equal(found.labels, plain.labels)
        assert torch.allclose(found.confidence, plain.confidence, atol=1e-6)
        centres = plain.centres * scale.double() + 5 * unit
        assert torch.allclose(found.centres, centres, rtol=1e-6, atol=0)


def test_kmeans_confidence_by_hand():
    z = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
    found = kmeans(z, 2)
    expected = [1 - 1 / 11, 1 - 1 / 9, 1 - 1 / 9, 1 - 1 / 11]  # centres at 1 and 11
    assert found.confidence.tolist() == pytest.approx(expected)
    assert kmeans(z, 1).confidence.tolist() == [1, 1, 1, 1]


def test_kmeans_puts_every_latent_at_its_nearest_centre():
    z = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    found = kmeans(z, 5)
    assert torch.equal(torch.cdist(z, found.centres).argmin(1), found.labels)
    means = torch.stack([z[found.labels == k].mean(0) for k in range(5)])
    assert torch.allclose(means, found.centres, atol=1e-3)


def test_stability_tells_blobs_from_noise():
    z, _, _ = blobs(20)
    noise = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    fit = lambda points: kmeans(points, 3, restarts=2)  # noqa: E731
    assert stability(z, fit, repeats=4) > 0.99
    assert stability(noise, fit, repeats=4) < 0.6
    assert stability(z, fit, repeats=4) == stability(z, fit, repeats=4)


def test_stability_follows_latents_and_not_positions():
    """A clustering by value agrees with itself; one by position in the resample does not."""
    z = torch.arange(200.0)[:, None]

    def by(labels):
        return Clustering("test", labels, z[:2], labels.float())

    by_value = lambda points: by((points[:, 0] >= 100).long())  # noqa: E731
    by_place = lambda points: by((points[:, 0].cumsum(0) % 2).long())  # noqa: E731
    assert stability(z, by_value, repeats=3) == 1
    assert abs(stability(z, by_place, repeats=5)) < 0.1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("z", "k", "message"),
    [
        (torch.zeros(3, 2), 4, "1 <= k <= 3 clusters of 3 latents, got k=4"),
        (torch.zeros(3, 2), 0, "got k=0"),
        (torch.full((3, 2), torch.nan), 2, "NaN or infinity in 3 of 3"),
        (torch.zeros(3), 2, r"shape \(N, D\)"),
        (torch.zeros(3, 2).long(), 2, "floating dtype, got torch.int64"),
    ],
)
def test_bad_input(fit, z, k, message):
    with pytest.raises(ValueError, match=message):
        fit(z, k)


def test_more_bad_input():
    z, _, _ = blobs(2)
    with pytest.raises(ValueError, match="restarts >= 1, got 0"):
        kmeans(z, 2, restarts=0)
    with pytest.raises(ValueError, match="at least 2 latents"):
        gmm(z[:1], 1)
    with pytest.raises(ValueError, match="repeats >= 2"):
        stability(z, lambda points: kmeans(points, 1), repeats=1)
