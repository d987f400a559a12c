from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import comb

from latentkit.metrics.bootstrap import interval, multinomial
from latentkit.metrics.clustering import _aris, _nmis, accuracy, ari, corrected, nmi, purity

SCORES = [accuracy, purity, nmi, ari]
pairs = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


def intervals(*words, **settings):
    return {name: tuple(found[1:]) for name, found in corrected(*words, **settings).items()}


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


def joint(strength):
    """Probabilities (10, 10) of labels and clusters that agree so strongly."""
    chance = np.random.default_rng(0).gamma(3, size=(10, 10))
    return (1 - strength) * chance / chance.sum() + strength * np.eye(10) / 10


def true_scores(p):
    """Of endlessly many samples, by the formulas."""
    rows, columns = p.sum(1), p.sum(0)
    shared = (p * np.log(p / np.outer(rows, columns))).sum()
    halves = -(rows * np.log(rows)).sum() / 2 - (columns * np.log(columns)).sum() / 2
    chance = (rows**2).sum() * (columns**2).sum()
    room = (rows**2).sum() / 2 + (columns**2).sum() / 2 - chance
    acc = p[linear_sum_assignment(p, maximize=True)].sum()
    ari = ((p**2).sum() - chance) / room
    return {"acc": acc, "purity": p.max(0).sum(), "nmi": shared / halves, "ari": ari}


def coverage(p, size, ends, repeats=80):
    """How often the intervals hold the true scores."""
    rng, true = np.random.default_rng(0), true_scores(p)
    held = dict.fromkeys(true, 0.0)
    for _ in range(repeats):
        cells = rng.choice(p.size, size, p=p.ravel())
        for name, (low, high) in ends(cells // 10, cells % 10).items():
            held[name] += (low <= true[name] <= high) / repeats
    return held


@given(pairs)
@settings(deadline=None, max_examples=50)
def test_a_corrected_score_lies_in_its_interval(pair):
    for score, low, high in corrected(*pair, resamples=50).values():
        assert low <= score <= high


def test_corrected_scores_are_nearer_the_truth_than_plain_ones():
    """Labels and clusters without relation: plain scores of 363 samples are flattered."""
    p, rng = joint(0.0), np.random.default_rng(0)
    true = true_scores(p)
    plain, mended = [], []
    for _ in range(20):
        cells = rng.choice(p.size, 363, p=p.ravel())
        pair = cells // 10, cells % 10
        plain.append([score(*pair) for score in SCORES])
        mended.append([corrected(*pair, 100)[name].score for name in true])
    wanted = np.array(list(true.values()))
    far = [np.abs(np.mean(found, 0) - wanted) for found in (plain, mended)]
    assert (far[1][:3] < 0.6 * far[0][:3]).all(), far  # ARI is fair already
    assert far[1][3] < 0.01


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("size", [363, 10_000])
def test_intervals_hold_the_score_of_endlessly_many_samples(strength, size):
    held = coverage(joint(strength), size, lambda *pair: intervals(*pair, resamples=200))
    least = 0.8 if strength == 0.8 and size == 363 else 0.875  # rare errors are not seen
    assert all(share >= least for share in held.values()), held


def test_the_percentiles_of_resamples_do_not():
    """The negative control: the bias of few samples comes in twice."""

    def percentiles(labels, clusters):
        table = np.zeros((10, 10), dtype=np.int64)
        np.add.at(table, (labels, clusters), 1)
        return {"nmi": interval(_nmis(multinomial(table, 200)))}

    assert coverage(joint(0.3), 363, percentiles)["nmi"] < 0.1


def test_the_interval_of_a_share_is_binomial_where_names_are_clear():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    clusters = np.where(rng.random(400) < 0.3, rng.integers(0, 3, 400), labels)
    found, value = intervals(labels, clusters), accuracy(labels, clusters)
    assert purity(labels, clusters) == value
    error = 1.96 * (value * (1 - value) / 400) ** 0.5
    for name in ("acc", "purity"):
        assert found[name] == pytest.approx((value - error, value + error), abs=0.008)


def test_one_sample_says_nothing_of_nmi_and_ari():
    found = intervals([3], [1])
    assert found["nmi"] == (0, 1)
    assert found["ari"] == (-0.5, 1)


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
