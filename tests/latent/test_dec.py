import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentkit.latent.cluster import kmeans
from latentkit.latent.dec import Residual, dec, divergence, memberships, target
from latentkit.metrics.clustering import accuracy
from latentkit.metrics.internal import silhouette
from tests.latent.test_cluster import blobs


def draws(seed, n, dim=3):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_rows_sum_to_one_and_the_divergence_is_not_negative(seed, n, k):
    q = memberships(draws(seed, n), draws(seed + 1, k))
    p = target(q)
    for rows in (q, p):
        assert rows.shape == (n, k)
        assert torch.allclose(rows.sum(1), torch.ones(n, dtype=torch.float64))
        assert (rows >= 0).all()
    assert divergence(p, q) >= -1e-12
    assert abs(divergence(q, q)) < 1e-12


def test_the_formulas_slowly():
    z, centres = draws(0, 4), draws(1, 3)
    q, p = memberships(z, centres), target(memberships(z, centres))
    near = [[1 / (1 + float(((a - b) ** 2).sum())) for b in centres] for a in z]
    slow = [[v / sum(row) for v in row] for row in near]
    assert q.tolist() == [pytest.approx(row) for row in slow]
    size = [sum(row[j] for row in slow) for j in range(3)]
    weight = [[v * v / f for v, f in zip(row, size, strict=True)] for row in slow]
    assert p.tolist() == [pytest.approx([v / sum(row) for v in row]) for row in weight]


def test_the_target_is_surer():
    q = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    assert target(q)[0, 0] > 0.7
    certain = torch.eye(2)
    assert divergence(target(certain), certain) == 0


def overlapping():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(75)
    z = 4 * torch.eye(4, 6)[labels] + torch.randn(300, 6, generator=generator)
    return z, labels


def test_the_divergence_falls_in_every_round_and_clusters_draw_apart():
    z, labels = overlapping()
    found = dec(z, 4, rounds=3)
    assert 1 <= len(found.kl) <= 3
    assert all(0 <= after < before for before, after in found.kl)
    clusters = found.clusters
    assert accuracy(labels, clusters.labels) > 0.9
    assert silhouette(found.z, clusters.labels) > silhouette(z, kmeans(z, 4).labels)
    q = memberships(found.z, clusters.centres)
    assert torch.equal(clusters.labels, q.argmax(1))
    assert torch.allclose(clusters.confidence, q.amax(1))


def test_a_given_network_is_copied_and_trained():
    z, labels, _ = blobs()
    torch.manual_seed(1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(5, 3), nn.BatchNorm1d(3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = dec(z.reshape(-1, 1, 5), 3, network, rounds=1)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not torch.equal(found.network[1].weight, network[1].weight)
    assert torch.equal(found.network[2].running_mean, network[2].running_mean)
    assert found.z.shape == (120, 3)
    assert torch.equal(found.network(z.reshape(-1, 1, 5)), found.z)
    assert accuracy(labels, found.clusters.labels) > 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_seed_decides_and_no_global_state_is_touched(dtype):
    z, _, _ = blobs(10)
    state = torch.get_rng_state()
    first, again = (dec(z.to(dtype), 3, rounds=1, seed=2) for _ in range(2))
    assert torch.equal(first.z, again.z)
    assert first.z.dtype == first.clusters.centres.dtype == dtype
    assert torch.equal(torch.get_rng_state(), state)


def test_training_works_where_gradients_are_off():
    z, _, _ = blobs(10)
    with torch.no_grad():
        found = dec(z, 3, rounds=1)
    assert found.kl[0][1] < found.kl[0][0]


def test_the_small_network_begins_as_the_identity():
    z = torch.randn(4, 5)
    assert torch.equal(Residual(5)(z), z)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: dec(z, 99), "1 <= k <= 9 clusters of 9 latents, got k=99"),
        (lambda z: dec(z, 0), "got k=0"),
        (lambda z: dec(z / 0, 2), "finite x"),
        (lambda z: dec(z[:, None], 2), r"x of shape \(N, D\)"),
        (lambda z: dec(z, 2, rounds=0), "rounds >= 1"),
        (lambda z: dec(z, 2, batch=0), "batch >= 1"),
        (lambda z: dec(z, 2, lr=0), "lr > 0"),
        (lambda z: dec(z, 2, nn.Unflatten(1, (1, 2))), "what the network gives of shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(9, 2))
