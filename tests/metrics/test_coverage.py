import numpy as np
import pytest
import torch

from latentkit.metrics import coverage
from latentkit.metrics.coverage import density_coverage, each_sample, precision_recall


def peer_sets():
    """Two sets of other sizes and spreads, on a fixed grid of decimals."""
    random = np.random.RandomState(0)  # frozen: the same numbers in every release
    real = random.randn(60, 3).round(3)
    return torch.from_numpy(real), torch.from_numpy((random.randn(50, 3) * 1.3 + 0.4).round(3))


def test_the_peers_numbers():
    """prdc 0.2, the package of Naeem et al., run once by hand on these sets."""
    real, fake = peer_sets()
    assert precision_recall(real, fake, 3) == pytest.approx((0.8, 1.0))
    assert precision_recall(real, fake, 5) == pytest.approx((0.9, 1.0))
    assert density_coverage(real, fake, 3) == pytest.approx((0.7733333333, 0.85))
    assert density_coverage(real, fake, 5) == pytest.approx((0.876, 1.0))


def slow(real, fake, k):
    """All four from their definitions, distance by distance."""

    def radius(x, i):
        return sorted((x[i] - other).norm().item() for j, other in enumerate(x) if j != i)[k - 1]

    def inside(point, x):
        return sum((point - c).norm().item() <= radius(x, i) for i, c in enumerate(x))

    precision = np.mean([inside(f, real) > 0 for f in fake])
    recall = np.mean([inside(r, fake) > 0 for r in real])
    density = np.mean([inside(f, real) for f in fake]) / k
    covered = [
        any((f - r).norm().item() <= radius(real, i) for f in fake) for i, r in enumerate(real)
    ]
    return precision, recall, density, np.mean(covered)


@pytest.mark.parametrize("chunk", [7, 1024])
def test_distance_by_distance_in_chunks_of_any_size(monkeypatch, chunk):
    monkeypatch.setattr(coverage, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(3)
    real, fake = torch.randn(2, 25, 2, generator=generator).double()
    fake = fake[:18] * 0.6 + 0.8
    expected = slow(real, fake, 2)
    found = (*precision_recall(real, fake, 2), *density_coverage(real, fake, 2))
    assert found == pytest.approx(expected)


def test_equal_distributions_have_the_expected_density_and_coverage():
    """Naeem et al., lemma 1: E density = 1, E coverage = 1 - (N-1)...(N-k) / (2N-1)...(2N-k)."""
    generator, n, k = torch.Generator().manual_seed(0), 200, 5
    found = [density_coverage(*torch.rand(2, n, 3, generator=generator), k) for _ in range(30)]
    density, covered = np.mean(found, axis=0)
    missed = np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert density == pytest.approx(1, abs=0.03)
    assert covered == pytest.approx(1 - missed, abs=0.01)


def test_a_copy_is_perfect_and_a_far_set_scores_nothing():
    real = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    assert precision_recall(real, real.clone()) == (1, 1)
    assert density_coverage(real, real.clone()).coverage == 1
    assert precision_recall(real, real + 100) == (0, 0)
    assert density_coverage(real, real + 100) == (0, 0)


def test_the_scores_are_means_over_each_side():
    real, fake = peer_sets()
    each = each_sample(real, fake, 3, 5)
    assert [len(values) for values in each] == [50, 60, 50, 60]
    means = [values.mean().item() for values in each]
    assert means == pytest.approx([*precision_recall(real, fake, 3), *density_coverage(real, fake)])


def test_dropped_modes_cost_recall_and_coverage_but_not_precision():
    real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    real[100:] += 10
    fake = torch.randn(200, 2, generator=torch.Generator().manual_seed(1)) * 0.1
    shares, neighbours = precision_recall(real, fake), density_coverage(real, fake)
    assert shares.precision > 0.95
    assert shares.recall == pytest.approx(0.5, abs=0.05)
    assert neighbours.coverage == pytest.approx(0.5, abs=0.05)
    assert neighbours.density > 0.8


@pytest.mark.parametrize("score", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (torch.zeros(9, 2), torch.zeros(9, 3), 3, r"\(9, 2\) and \(9, 3\)"),
        (torch.zeros(3, 2), torch.zeros(9, 2), 3, "more than k = 3 samples in each set, got 3"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 0, "k >= 1, got 0"),
        (torch.full((9, 2), torch.nan), torch.zeros(9, 2), 3, "finite"),
    ],
)
def test_bad_input(score, real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        score(real, fake, k)
