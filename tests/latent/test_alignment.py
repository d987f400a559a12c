import numpy as np
import pytest
import torch

from latentkit.latent.alignment import alignment
from latentkit.latent.contrast import Contrast
from tests.latent.test_uncertainty import groups

SIZES = [(5, 6), (10, 11), (20, 40)]


def pairwise(differences):
    unit = differences / np.linalg.norm(differences, axis=1, keepdims=True)
    return (unit @ unit.T)[np.tril_indices(len(unit), -1)]


def published(start, end, null):
    """Latent Space Cartography's number: all differences against those of disjoint random pairs.

    Cohen's d, with the variance pooled by the numbers of cosines.
    """
    a, b = start.double().numpy(), end.double().numpy()
    ours = pairwise((b[None] - a[:, None]).reshape(-1, a.shape[1]))
    pooled = (len(ours) * ours.var() + len(null) * null.var()) / (len(ours) + len(null))
    return (ours.mean() - null.mean()) / pooled**0.5


def repeated(sizes, runs=250):
    found = [alignment(*groups(*sizes, seed=s), permutations=1, seed=s).cosine for s in range(runs)]
    return np.array(found)


@pytest.mark.parametrize(("sizes", "bias"), [*zip(SIZES, (0.88, 0.48, 0.20), strict=True)])
def test_on_null_data_the_mean_is_zero_for_any_sizes_and_the_published_one_is_not(sizes, bias):
    null = pairwise(np.random.default_rng(0).normal(size=(1500, 32)))
    theirs = np.mean([published(*groups(*sizes, seed=s), null) for s in range(60)])
    assert theirs == pytest.approx(bias, abs=0.07)
    ours = repeated(sizes)
    assert abs(ours.mean()) < 3 * ours.std() / len(ours) ** 0.5
    # In the published unit, standard deviations of a single cosine, 1 / sqrt(32).
    assert abs(ours.mean() * 32**0.5) < bias / 8


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 20, 1), (2, 3, 1), (2, 20, 16), (3, 50, 16)])
def test_one_seed_for_all_data_favours_nothing(n, m, dim):
    """The default seed, with latents whose order one wide axis decides."""
    width = torch.ones(dim)
    width[0] = 10
    found = []
    for seed in range(1500):
        start, end = groups(n, m, dim, seed=seed)
        found.append(alignment(start * width, end * width, permutations=1).cosine)
    found = np.array(found)
    assert abs(found.mean()) < 3 * found.std() / len(found) ** 0.5 < 0.08


def test_one_pattern_of_ranks_for_all_data_would_be_biased(monkeypatch):
    """The control: the seed alone, and latents in order."""
    monkeypatch.setattr(Contrast, "generator", lambda _, seed: np.random.default_rng(seed))
    found = [alignment(*groups(2, 20, 1, seed=s), permutations=1).cosine for s in range(1500)]
    assert np.mean(found) > 0.08


@pytest.mark.parametrize("sizes", [pytest.param((5, 9), marks=pytest.mark.slow), (12, 12), (2, 20)])
def test_on_null_data_five_of_a_hundred_are_called_aligned(sizes):
    p = [alignment(*groups(*sizes, 8, seed=s), permutations=99).p for s in range(500)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_one_concept_is_aligned_and_two_are_not():
    start, _ = groups(30, 30)
    shift = 5 * torch.eye(32)[0]
    assert alignment(start, start + shift, paired=True).cosine == pytest.approx(1)
    one = alignment(start, groups(30, 40, shift=20.0, seed=1)[1])
    assert one.cosine > 0.8
    assert one.p == 1 / 200
    both = torch.cat([start[:15] + shift, start[15:] - shift])
    opposite = alignment(start, both, paired=True)
    assert opposite.cosine == pytest.approx(-1 / 29, abs=1e-6)  # half the differences cancel
    assert opposite.p > 0.5


def test_it_is_the_mean_over_a_slow_matching():
    start, end = groups(4, 4, dim=3, shift=1.0)
    difference = (end - start).double()
    unit = difference / difference.norm(dim=1, keepdim=True)
    expected = np.mean([(unit[i] @ unit[j]).item() for i in range(4) for j in range(i)])
    assert alignment(start, end, paired=True).cosine == pytest.approx(expected)
    assert alignment(start, end, paired=True).pairs == 4


def test_the_order_of_unpaired_latents_does_not_matter_and_of_pairs_it_does():
    start, end = groups(12, 12, dim=4, shift=1.0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert alignment(start, end) == alignment(start.flip(0), end[order])
    assert alignment(start, start + 1, paired=True) != alignment(
        start, start[order] + 1, paired=True
    )


def test_matchings_stay_within_strata():
    """A confound that most of the end and few of the start have, and no other difference."""
    start, end = groups(40, 60, dim=4)
    strata = (torch.arange(40) % 4 == 0).long(), (torch.arange(60) % 4 > 0).long()
    confound = 10 * torch.eye(4)[0]
    start, end = start + strata[0][:, None] * confound, end + strata[1][:, None] * confound
    inside = alignment(start, end, strata=strata)
    assert abs(inside.cosine) < 0.1
    assert inside.pairs == 15 + 10  # all of each stratum's smaller group
    assert alignment(start, end).cosine > 0.25  # the control: matched whatever the stratum


def test_large_groups_are_matched_in_part():
    start, end = groups(700, 900, dim=3)
    assert alignment(start, end, permutations=2).pairs == 500


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"paired": True}, "as many latents in both groups, got 4 and 6"),
        ({"strata": (torch.ones(4).long(), torch.ones(6).long()), "paired": True}, "got both"),
        ({"strata": (torch.arange(4), torch.arange(5, -1, -1) + 3)}, "they share, got one"),
        ({"matchings": 0}, "matchings >= 1"),
        ({"permutations": 0}, "permutations >= 1"),
    ],
)
def test_bad_input(more, message):
    with pytest.raises(ValueError, match=message):
        alignment(*groups(4, 6), **more)
    with pytest.raises(ValueError, match="at least 2 latents"):
        alignment(*groups(1, 6))
