import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import latentkit
from latentkit.latent.cluster import kmeans
from latentkit.latent.stream import _step, kmeans_stream
from latentkit.metrics.clustering import accuracy, ari
from tests.latent.test_cluster import blobs


def cut(z, size):
    """A function that begins the batches anew."""
    return lambda: torch.split(z, size)


def inertia(z, found):
    return (z - found.centres[found.labels]).square().sum().item()


def cloud(n=600):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_planted_blobs_are_found_from_a_small_sample(dtype):
    z, labels, centres = blobs(100)  # in the order of their classes, one class to a batch
    found = kmeans_stream(cut(z.to(dtype), 100), 3, sample=30)
    assert accuracy(labels, found.labels) == 1
    assert torch.cdist(found.centres.float(), centres).amin(1).max() < 1
    assert found.labels.dtype == torch.int64
    assert found.centres.dtype == found.confidence.dtype == dtype


def test_with_all_latents_in_the_sample_it_is_kmeans():
    z = cloud()
    whole, streamed = kmeans(z, 5), kmeans_stream(cut(z, 77), 5)
    assert ari(whole.labels, streamed.labels) > 0.97
    assert inertia(z, streamed) <= inertia(z, whole) * (1 + 1e-4)
    names = torch.cdist(streamed.centres, whole.centres).argmin(1)
    same = names[streamed.labels] == whole.labels
    assert torch.allclose(streamed.confidence[same], whole.confidence[same], atol=0.05)


def test_a_pass_is_a_step_of_lloyds():
    z = cloud()
    start = kmeans_stream(cut(z, 50), 4, passes=0, sample=20)
    after = kmeans_stream(cut(z, 50), 4, passes=1, sample=20)
    nearest = torch.cdist(z, start.centres).argmin(1)
    assert torch.equal(nearest, start.labels)
    means = torch.stack([z[nearest == k].mean(0) for k in range(4)])
    assert torch.allclose(after.centres, means, atol=1e-5)


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**30])
def test_the_unit_of_the_latents_does_not_matter(unit):
    z = cloud()
    plain, found = (kmeans_stream(cut(x, 50), 6, sample=12) for x in (z, unit * z))
    assert ari(plain.labels, found.labels) > 0.99
    torch.testing.assert_close(found.centres / unit, plain.centres, atol=1e-3, rtol=0)


def test_the_squared_distance_falls_with_each_pass():
    z = cloud()
    errors = [inertia(z, kmeans_stream(cut(z, 50), 6, passes=n, sample=12)) for n in range(6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.99 * errors[0]


def test_the_size_of_the_batches_does_not_matter():
    z = cloud()
    first, second = (kmeans_stream(cut(z, size), 4, sample=600) for size in (7, 600))
    assert torch.equal(first.labels, second.labels)
    assert torch.allclose(first.centres, second.centres, atol=1e-6)


def test_the_sample_is_uniform_over_the_stream():
    """Means of samples of 50 of 0 ... 999: their mean is that of all, with the standard error."""
    z = torch.arange(1000.0)[:, None]
    means = [kmeans_stream(cut(z, 64), 1, s, 0, 50).centres.item() for s in range(100)]
    error = 1000 / 12**0.5 / 50**0.5 / 100**0.5
    assert abs(torch.tensor(means).mean().item() - 499.5) < 4 * error


def test_the_seed_decides_and_no_global_state_is_touched():
    z, state = cloud(), torch.get_rng_state()
    first, again = (kmeans_stream(cut(z, 90), 4, seed=3, sample=50) for _ in range(2))
    assert torch.equal(first.centres, again.centres)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_a_cluster_that_loses_its_members_keeps_its_centre():
    """All latents lie left of three centres: two of these see no latent as theirs."""
    z = torch.zeros(9, 2)
    centres = torch.tensor([[1.0, 0.0], [4.0, 0.0], [9.0, 2.0]])
    moved = _step(cut(z, 4), centres, 9)
    assert moved.tolist() == [[0, 0], [4, 0], [9, 2]]
    # And to the end: of equal latents, one of two centres gets all.
    found = kmeans_stream(cut(torch.ones(40, 2), 10), 2)
    assert found.labels.bincount(minlength=2).tolist() in ([40, 0], [0, 40])
    assert torch.equal(found.centres, torch.ones(2, 2))


@pytest.mark.parametrize("offset", [0.0, 300.0, 1000.0])
def test_how_far_from_zero_the_latents_lie_does_not_matter(offset):
    """Spread 0.1, so that a plain matrix product in single precision rounds the clusters away."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(100)
    z = (0.5 * torch.randn(10, 16, generator=generator))[labels] + offset
    z += 0.1 * torch.randn(1000, 16, generator=generator)
    found, whole = kmeans_stream(cut(z, 150), 10, sample=500), kmeans(z, 10)
    assert accuracy(labels, whole.labels) == accuracy(labels, found.labels) == 1
    assert torch.equal(found.labels, torch.cdist(z.double(), found.centres.double()).argmin(1))
    assert torch.cdist(found.centres.double(), whole.centres.double()).amin(1).max() < 1e-3
    assert found.confidence.mean() == pytest.approx(whole.confidence.mean().item(), abs=1e-3)


@pytest.mark.parametrize(
    ("batches", "settings", "message"),
    [
        (list, {}, "at least one batch"),
        (cut(torch.zeros(3, 2), 2), {}, "1 <= k <= 3 clusters of 3 latents, got k=4"),
        (cut(torch.full((9, 2), torch.nan), 3), {}, "finite each batch"),
        (cut(torch.zeros(9), 3), {}, r"each batch of shape \(N, D\)"),
        (lambda: [torch.zeros(5, 2), torch.zeros(5, 3)], {}, r"batches \(B, 2\) as before"),
        (cut(torch.zeros(9, 2), 3), {"passes": -1}, "passes >= 0"),
        (cut(torch.zeros(9, 2), 3), {"sample": 3}, "a sample of k=4 or more, got 20 and 3"),
    ],
)
def test_bad_input(batches, settings, message):
    with pytest.raises(ValueError, match=message):
        kmeans_stream(batches, 4, **settings)


def test_a_generator_that_is_used_up_is_refused():
    once = iter(torch.split(cloud(100), 10))
    with pytest.raises(ValueError, match="same 100 latents at each call"):
        kmeans_stream(lambda: once, 3)
    sizes = iter([100, 101, 102])
    with pytest.raises(ValueError, match="same 100 latents at each call of `batches`, got more"):
        kmeans_stream(lambda: [cloud(next(sizes))], 3)


PROBE = """
import resource, torch
from latentkit.latent.stream import kmeans_stream
torch.set_num_threads(1)
def batches():
    for i in range(100):
        generator = torch.Generator().manual_seed(i)
        yield torch.randn(10_000, 64, generator=generator) + 3 * (i % 10)
found = kmeans_stream(batches, 10, passes=3)
assert found.labels.shape == (1_000_000,)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_million_latents_within_two_gigabytes():
    env = {**os.environ, "PYTHONPATH": str(Path(latentkit.__file__).parents[1])}
    words = [sys.executable, "-c", PROBE]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2
