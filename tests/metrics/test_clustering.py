from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb

from latentkit.metrics.clustering import _aris, _nmis, accuracy, ari, intervals, nmi, purity

SCORES = [accuracy, purity, nmi, ari]
pairs = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


def best_naming(labels, clusters):
    """Brute force: every one-to-one naming of clusters, some of them left without a name."""
    names, found = sorted(set(labels)), sorted(set(clusters))
    names += [None] * len(found)
    namings = (dict(zip(found, p, strict=False)) for p in permutations(names, len(found)))
    return max(
        sum(naming[c] == y for y, c in zip(labels, clusters, strict=True)) for naming in namings
    ) / len(labels)


def pair_counting_ari(labels, clusters):
    """Hubert and Arabie's formula, pair by pair."""
    same = [(labels[i] == labels[j], clusters[i] == clusters[j]) for i, j in pairs_of(labels)]
    both = sum(a and b for a, b in same)
    rows, columns = sum(a for a, _ in same), sum(b for _, b in same)
    chance = rows * columns / comb(len(labels), 2)
    return (both - chance) / ((rows + columns) / 2 - chance)


def pairs_of(values):
    return [(i, j) for i in range(len(values)) for j in range(i)]


@given(pairs)
@settings(deadline=None, max_examples=50)
def test_accuracy_is_the_best_over_all_namings(pair):
    assert accuracy(*pair) == pytest.approx(best_naming(*pair))


def test_ari_counts_pairs():
    labels, clusters = [0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 2, 0]
    assert ari(labels, clusters) == pytest.approx(pair_counting_ari(labels, clusters))


def test_nmi_by_hand():
    # Labels are a coin, clusters two coins of which one is the label: I = 1 bit, H = 1 and 2 bits.
    assert nmi([0, 0, 1, 1], [0, 1, 2, 3]) == pytest.approx(1 / 1.5)


def test_purity_by_hand():
    assert purity([0, 0, 1, 1, 2], [0, 0, 0, 1, 1]) == pytest.approx((2 + 1) / 5)


@pytest.mark.parametrize("score", SCORES)
@given(pair=pairs, shift=st.integers(-3, 3))
@settings(deadline=None, max_examples=50)
def test_numbering_does_not_matter(score, pair, shift):
    labels, clusters = pair
    renamed = [str((c * 3 + shift) % 5) for c in clusters]
    assert score(labels, renamed) == pytest.approx(score(labels, clusters))


@pytest.mark.parametrize("score", SCORES)
def test_perfect_is_one(score):
    assert score([5, 5, 7, 9], [1, 1, 0, 2]) == pytest.approx(1)


@pytest.mark.parametrize("score", SCORES)
def test_tensors_arrays_and_lists_agree(score):
    labels, clusters = [0, 0, 1, 1, 2], [0, 1, 1, 1, 0]
    expected = score(labels, clusters)
    assert score(torch.tensor(labels), np.array(clusters)) == expected


def test_ari_of_unrelated_clusters_is_about_zero():
    rng = np.random.default_rng(0)
    scores = [ari(rng.integers(0, 4, 100), rng.integers(0, 4, 100)) for _ in range(200)]
    assert abs(np.mean(scores)) < 0.01


def test_too_many_clusters_count_as_wrong():
    assert accuracy([0, 0, 0, 0], [0, 1, 2, 3]) == 0.25
    assert purity([0, 0, 0, 0], [0, 1, 2, 3]) == 1


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("labels", "clusters", "message"),
    [
        ([0, 1], [0], "2 labels and 1 clusters"),
        ([], [], r"at least one sample, got \(0,\)"),
        (torch.zeros(2, 3), [0, 1], r"labels of shape \(N,\).*got \(2, 3\)"),
        ([0, 1], [[0], [1]], r"clusters of shape \(N,\).*got \(2, 1\)"),
    ],
)
def test_bad_input(score, labels, clusters, message):
    with pytest.raises(ValueError, match=message):
        score(labels, clusters)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_intervals_are_those_of_resampled_samples(noise):
    """Resampling the table of counts is resampling the samples, here done one by one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    clusters = np.where(rng.random(150) < noise, rng.integers(0, 4, 150), labels)
    rows = [rng.integers(0, 150, 150) for _ in range(400)]
    found = intervals(labels, clusters, resamples=2000)
    for name, score in zip(("acc", "purity", "nmi", "ari"), SCORES, strict=True):
        slow = np.quantile([score(labels[r], clusters[r]) for r in rows], [0.025, 0.975])
        # Names fitted to each resample anew only help: the slow ends may be a little higher.
        slack = 0.025 + (0.1 * noise if name in {"acc", "purity"} else 0)
        assert found[name] == pytest.approx(slow, abs=slack), name
        assert found[name][0] - 1e-9 <= score(labels, clusters) or name == "nmi"


def test_the_interval_of_the_accuracy_of_few_samples_holds_it():
    """Names fitted to each resample anew would lift the whole interval above the score."""
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 10, (2, 40))
    found = intervals(labels, clusters)
    for name, score in (("acc", accuracy), ("purity", purity)):
        value = score(labels, clusters)
        error = (value * (1 - value) / 40) ** 0.5  # binomial, as the names are fixed
        assert found[name] == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.03)


@given(pairs)
@settings(deadline=None, max_examples=50)
def test_scores_of_tables_are_scikit_learns(pair):
    labels, clusters = pair
    table = np.zeros((1, 4, 5), dtype=np.int64)
    np.add.at(table[0], (labels, clusters), 1)
    assert _nmis(table)[0] == pytest.approx(nmi(labels, clusters), abs=1e-9)
    assert _aris(table)[0] == pytest.approx(ari(labels, clusters), abs=1e-9)


def test_perfect_clusters_have_an_interval_of_no_width():
    found = intervals([0, 0, 1, 1, 2, 2], [2, 2, 0, 0, 1, 1], resamples=100)
    assert all(ends == pytest.approx((1, 1)) for ends in found.values())


def test_more_samples_have_narrower_intervals():
    labels, clusters = [0, 0, 1, 1, 1] * 10, [0, 0, 1, 1, 0] * 10
    few, many = intervals(labels, clusters)["acc"], intervals(labels * 16, clusters * 16)["acc"]
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(4, rel=0.25)


def test_noise_gets_no_name():
    """HDBSCAN's -1: right under no naming, however pure it is."""
    labels, clusters = [0, 0, 1, 1, 1], [5, 5, -1, -1, -1]
    assert accuracy(labels, clusters) == purity(labels, clusters) == 2 / 5
    assert accuracy(labels, [5, 5, 6, 6, 6]) == purity(labels, [5, 5, 6, 6, 6]) == 1  # the control
    assert ari(labels, clusters) == nmi(labels, clusters) == 1  # one more cluster
    assert accuracy(labels, [-1] * 5) == purity(labels, [-1] * 5) == 0
    ends = intervals(labels, clusters)
    assert ends["acc"][0] <= 2 / 5 <= ends["acc"][1] < 1
    assert intervals(labels, [-1] * 5)["purity"] == (0, 0)
