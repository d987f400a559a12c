import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.metrics.internal import calinski_harabasz, davies_bouldin, silhouette

SCORES = [silhouette, davies_bouldin, calinski_harabasz]


def points(n=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clusters = torch.arange(n) % 3
    return torch.randn(n, 4, generator=generator) + 2 * clusters[:, None], clusters


def slow_silhouette(z, clusters):
    found = []
    for i, own in enumerate(clusters):
        means = {}
        for name in set(clusters):
            others = [j for j, c in enumerate(clusters) if c == name and j != i]
            means[name] = np.mean([np.linalg.norm(z[i] - z[j]) for j in others]) if others else None
        a = means.pop(own)
        b = min(means.values())
        found.append(0 if a is None else (b - a) / max(a, b))
    return np.mean(found)


def slow_davies_bouldin(z, clusters):
    names = sorted(set(clusters))
    groups = [z[np.array(clusters) == name] for name in names]
    centres = [g.mean(0) for g in groups]
    spread = [np.linalg.norm(g - c, axis=1).mean() for g, c in zip(groups, centres, strict=True)]
    worst = [
        max(
            (spread[i] + spread[j]) / np.linalg.norm(centres[i] - centres[j])
            for j in range(len(names))
            if j != i
        )
        for i in range(len(names))
    ]
    return np.mean(worst)


def slow_calinski_harabasz(z, clusters):
    names = sorted(set(clusters))
    groups = [z[np.array(clusters) == name] for name in names]
    between = sum(len(g) * ((g.mean(0) - z.mean(0)) ** 2).sum() for g in groups)
    within = sum(((g - g.mean(0)) ** 2).sum() for g in groups)
    return between / (len(names) - 1) / (within / (len(z) - len(names)))


@pytest.mark.parametrize(
    ("score", "slow"),
    [
        (silhouette, slow_silhouette),
        (davies_bouldin, slow_davies_bouldin),
        (calinski_harabasz, slow_calinski_harabasz),
    ],
)
def test_scores_are_those_of_the_papers(score, slow):
    z, clusters = points()
    assert score(z, clusters) == pytest.approx(slow(z.double().numpy(), clusters.tolist()))


@pytest.mark.parametrize("score", SCORES)
@given(seed=st.integers(0, 1000), names=st.permutations([0, 1, 2]))
@settings(deadline=None, max_examples=15)
def test_names_of_clusters_do_not_matter(score, seed, names):
    z, clusters = points(seed=seed)
    renamed = torch.tensor(names)[clusters] * 7
    assert score(z, renamed) == pytest.approx(score(z, clusters))


@pytest.mark.parametrize("score", SCORES)
def test_noise_is_left_out(score):
    z, clusters = points()
    far = torch.full((5, 4), 100.0)
    noisy = score(torch.cat([z, far]), torch.cat([clusters, torch.full((5,), -1)]))
    assert noisy == pytest.approx(score(z, clusters))
    as_cluster = score(torch.cat([z, far]), torch.cat([clusters, torch.full((5,), 3)]))
    assert as_cluster != pytest.approx(noisy)  # the control


def test_a_sample_stands_for_many_points():
    z, clusters = points(3000)
    assert silhouette(z, clusters, most=600) == pytest.approx(silhouette(z, clusters), abs=0.05)
    assert silhouette(z, clusters, 600, 1) == silhouette(z, clusters, 600, 1)


def test_clusters_of_one_place_are_perfect():
    z = torch.tensor([[0.0], [0.0], [5.0], [5.0]])
    clusters = torch.tensor([0, 0, 1, 1])
    assert silhouette(z, clusters) == 1
    assert davies_bouldin(z, clusters) == 0


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("z", "clusters", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(4).long(), "two clusters or more.*got 1 clusters of 4"),
        (torch.zeros(4, 2), torch.full((4,), -1), "got 0 clusters of 0 points"),
        (torch.zeros(4, 2), torch.arange(4), "fewer clusters than points.*4 clusters of 4"),
        (torch.zeros(4, 2), torch.arange(3), r"\(4, 2\) and \(3,\)"),
        (torch.zeros(4), torch.arange(4), r"points \(N, D\)"),
        (torch.zeros(4, 2), torch.zeros(4), "integer dtype"),
        (torch.full((4, 2), torch.nan), torch.tensor([0, 0, 1, 1]), "NaN"),
    ],
)
def test_bad_input(score, z, clusters, message):
    with pytest.raises(ValueError, match=message):
        score(z, clusters)


def test_a_sample_too_small():
    with pytest.raises(ValueError, match="most >= 3 points, got 2"):
        silhouette(*points(), most=2)
