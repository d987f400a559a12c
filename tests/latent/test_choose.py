import math

import pytest
import torch

from latentkit.latent.choose import bic, choose_k
from latentkit.latent.cluster import Clustering, kmeans
from tests.latent.test_cluster import blobs
from tests.latent.test_neighbours import rings


@pytest.mark.parametrize("by", ["bic", "silhouette", "stability"])
def test_the_planted_number_is_chosen(by):
    z, _, _ = blobs(60)
    found = choose_k(z, [5, 2, 3, 4, 3], by)
    assert (found.k, found.by) == (3, by)
    assert list(found.table) == [2, 3, 4, 5]


@pytest.mark.parametrize("by", ["bic", "silhouette"])
def test_every_criterion_can_be_watched(by):
    seen = []

    def watch(numbers):
        for k in numbers:
            seen.append(k)
            yield k

    choose_k(blobs(20)[0], [3, 2], by, watch=watch)
    assert seen == [2, 3]


def test_noise_is_one_gaussian():
    z = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    assert choose_k(z, range(1, 5), "bic").k == 1


def test_the_criterion_of_one_gaussian_by_hand():
    z = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = (z - z.mean(0)).T @ (z - z.mean(0)) / 200
    normal = torch.distributions.MultivariateNormal(z.mean(0), covariance)
    expected = -2 * normal.log_prob(z).sum() + (3 + 6) * math.log(200)
    assert bic(z, 1) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("unit", [1e-4, 1e-8, 1e4])
def test_the_choice_by_bic_does_not_depend_on_the_unit(unit):
    z = blobs(60)[0].double()
    plain, found = choose_k(z, [1, 2, 3, 4]), choose_k(unit * z, [1, 2, 3, 4])
    assert found.k == plain.k == 3
    constant = 2 * z.numel() * math.log(unit)  # of the density, the same for every k
    expected = {k: value + constant for k, value in plain.table.items()}
    assert found.table == pytest.approx(expected, rel=1e-6)


def test_the_clusters_that_are_judged_can_be_given():
    z, _ = rings(60)
    seen = []
    choose_k(z, [2, 3], "silhouette", lambda some, k: seen.append(k) or kmeans(some, k))
    assert seen == [2, 3]
    # By neighbours the two rings lie apart, which a silhouette about centres does not see.
    by_rings = choose_k(z, [2, 4], "stability", lambda some, _: Clustering("rings", *ringed(some)))
    assert by_rings.table == {2: 1, 4: 1}
    assert by_rings.k == 2


def ringed(z):
    labels = (z.norm(dim=1) > 2.5).long()
    return labels, z[:2], labels.float()


@pytest.mark.parametrize(
    ("ks", "by", "message"),
    [
        ([], "bic", r"2 or more|1 or more by bic, got \[\]"),
        ([0, 1], "bic", "1 or more by bic"),
        ([1, 2], "silhouette", r"2 or more by silhouette, got \[1, 2\]"),
        ([1], "stability", "2 or more by stability"),
        ([2, 99], "bic", "1 <= k <= 6 clusters of 6 latents, got k=99"),
        ([2, 99], "silhouette", "got k=99"),
        ([99], "stability", "got k=99"),
        ([2], "aic", "one of .*got 'aic'"),
        ([6], "silhouette", "fewer clusters than points"),
    ],
)
def test_bad_input(ks, by, message):
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        choose_k(z, ks, by)


def test_more_bad_input():
    with pytest.raises(ValueError, match="at least 2 latents"):
        bic(torch.zeros(1, 2), 1)
    with pytest.raises(ValueError, match="NaN"):
        bic(torch.full((3, 2), torch.nan), 1)
