import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import SVC

from latentkit.latent.attributes import attribute, separation


def groups(seed=0, n=200, m=300, dim=16, shift=3.0):
    generator = torch.Generator().manual_seed(seed)
    planted = torch.nn.functional.normalize(torch.randn(dim, generator=generator), dim=0)
    start = torch.randn(n, dim, generator=generator)
    return start, torch.randn(m, dim, generator=generator) + shift * planted, planted


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_a_planted_attribute_is_recovered_and_points_to_the_end(seed):
    start, end, planted = groups(seed)
    d = attribute(start, end)
    assert d.norm().item() == pytest.approx(1, abs=1e-5)
    assert (d @ planted).item() > 0.97
    assert torch.allclose(attribute(end, start), -d)


ESTIMATORS = ["centroid", "balanced", "paired", "svm", "lda"]


def inputs(method, start, end):
    """What an estimator asks for beside the groups: strata that mean nothing, for balanced."""
    if method != "balanced":
        return {}
    return {"strata": (torch.arange(len(start)) % 2, torch.arange(len(end)) % 2)}


@given(st.sampled_from(ESTIMATORS), st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_every_estimator_recovers_a_planted_attribute(method, seed):
    start, end, planted = groups(seed, 250, 250)
    d = attribute(start, end, method, **inputs(method, start, end))
    assert d.norm().item() == pytest.approx(1, abs=1e-5)
    assert (d @ planted).item() > (0.85 if method == "svm" else 0.97)
    assert d.dtype == start.dtype
    back = attribute(end, start, method, **inputs(method, end, start))
    assert torch.allclose(back, -d, atol=1e-4)
    moved = attribute(2 * start + 5, 2 * end + 5, method, **inputs(method, start, end))
    assert torch.allclose(moved, d, atol=1e-3)


def confounded(n=500, share=0.95, dim=12, seed=0):
    """Groups in which a confound is correlated 0.9 with the attribute, and both directions."""
    generator = torch.Generator().manual_seed(seed)
    attr, confound = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0][:2]
    strata = tuple((torch.rand(n, generator=generator) < p).long() for p in (1 - share, share))
    start, end = torch.randn(2, n, dim, generator=generator)
    start = start + 4 * strata[0][:, None] * confound
    end = end + 2 * attr + 4 * strata[1][:, None] * confound
    return start, end, strata, attr, confound


def test_balanced_does_not_take_the_confound_along_and_centroid_does():
    start, end, strata, attr, confound = confounded()
    truth = torch.arange(1000) >= 500
    assert np.corrcoef(torch.cat(strata).numpy(), truth.numpy())[0, 1] == pytest.approx(
        0.9, abs=0.03
    )
    plain = attribute(start, end)
    assert (plain @ confound).item() > 0.8
    leaks = []
    for seed in range(20):
        start, end, strata, attr, confound = confounded(seed=seed)
        d = attribute(start, end, "balanced", strata=strata)
        assert (d @ attr).item() > 0.9
        leaks.append((d @ confound).item())
    assert abs(np.mean(leaks)) < 3 * np.std(leaks) / 20**0.5  # zero but for noise


def test_without_noise_the_balanced_leakage_is_exactly_zero():
    start = torch.tensor([[0.0, 0.0]] * 9 + [[0.0, 5.0]])
    end = torch.tensor([[1.0, 0.0]] + [[1.0, 5.0]] * 9)
    strata = torch.tensor([0] * 9 + [1]), torch.tensor([0] + [1] * 9)
    assert attribute(start, end, "balanced", strata=strata).tolist() == [1, 0]
    assert attribute(start, end)[1].item() > 0.9


def test_strata_of_one_group_do_not_count():
    start, end, strata, *_ = confounded()
    more = torch.cat([end, 100 + torch.randn(7, 12)])
    labels = torch.cat([strata[1], torch.full((7,), 9)])
    expected = attribute(start, end, "balanced", strata=strata)
    assert torch.allclose(attribute(start, more, "balanced", strata=(strata[0], labels)), expected)


def test_paired_is_the_mean_difference():
    start, end, _ = groups(n=40, m=40)
    mean = (end - start).mean(0)
    assert torch.allclose(attribute(start, end, "paired"), mean / mean.norm(), atol=1e-6)


def correlated(seed=0, n=400, m=200):
    """Two coordinates that vary together, and an attribute across them."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.tensor([[1.0, 0.9, 0], [0, 0.4, 0], [0, 0, 1]])
    start, end = (torch.randn(k, 3, generator=generator) @ mix for k in (n, m))
    return start, end + torch.tensor([0.6, 0.0, 0.3])


def test_lda_is_the_shrunk_inverse_covariance_times_the_difference():
    start, end = correlated()
    a, b = start.double().numpy(), end.double().numpy()
    within = np.concatenate([a - a.mean(0), b - b.mean(0)])
    expected = np.linalg.inv(ledoit_wolf(within, assume_centered=True)[0]) @ (b.mean(0) - a.mean(0))
    d = attribute(start, end, "lda")
    assert np.allclose(d.numpy(), expected / np.linalg.norm(expected), atol=1e-5)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    peer.fit(np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)]))
    cosine = peer.coef_[0] @ d.double().numpy() / np.linalg.norm(peer.coef_[0])
    assert cosine > 0.999
    # It separates better than the centroid, which it is for: the control.
    other_start, other_end = correlated(1)
    centroid = separation(other_start, other_end, attribute(start, end))
    assert separation(other_start, other_end, d) > centroid + 0.05


def test_lda_of_fewer_latents_than_dimensions_is_defined():
    start, end, planted = groups(n=5, m=6, dim=64, shift=20)
    assert (attribute(start, end, "lda") @ planted).item() > 0.8
    one = attribute(start[:1], end[:1], "lda")
    assert torch.allclose(one, attribute(start[:1], end[:1]), atol=1e-6)


def test_svm_is_the_widest_margin():
    """Separable groups: the hard margin of another solver; outliers far off do not count."""
    start, end, _ = groups(n=40, m=60, dim=3, shift=12.0)
    d = attribute(start, end, "svm")
    z = torch.cat([start, end]).double().numpy()
    peer = SVC(kernel="linear", C=100).fit(z, np.arange(100) >= 40).coef_[0]
    assert (d.double().numpy() @ peer) / np.linalg.norm(peer) > 0.98
    assert separation(start, end, d) == 1
    assert torch.equal(attribute(start, end, "svm"), d)


def test_moving_or_scaling_both_groups_changes_nothing():
    start, end, _ = groups()
    assert torch.allclose(attribute(2 * start + 5, 2 * end + 5), attribute(start, end), atol=1e-5)


def test_half_precision_is_kept():
    start, end, planted = groups()
    d = attribute(start.half(), end.half())
    assert d.dtype == torch.float16
    assert (d.float() @ planted).item() > 0.97


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "dim"), [(50, 4), (50, 512), (5000, 512)])
def test_equal_groups_have_no_direction(n, dim, dtype):
    """Whatever their order, in which rounding adds up over many dimensions."""
    z = 100 * torch.randn(n, dim, generator=torch.Generator().manual_seed(0)) + 1000
    z = z.to(dtype)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    for other in (z, z.flip(0), z[order], torch.cat([z, z])):
        with pytest.raises(ValueError, match="means are equal"):
            attribute(z, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_difference_far_from_zero_is_still_found(dtype):
    """The control: 1e-3 of the spread, at ten times the spread."""
    z = 100 * torch.randn(50, 512, generator=torch.Generator().manual_seed(0)).to(dtype) + 1000
    found = attribute(z, z.flip(0) + 0.1 * torch.eye(512, dtype=dtype)[3])
    assert found[3] > 0.999


def test_separation_counts_pairs():
    start, end, _ = groups(n=15, m=20, shift=1.0)
    d = attribute(start, end)
    wins = [float(e @ d > s @ d) for s in start for e in end]
    assert separation(start, end, d) == pytest.approx(sum(wins) / len(wins))
    assert separation(start, end, -d) == pytest.approx(1 - sum(wins) / len(wins))
    assert separation(start, start, d) == 0.5


ONES = torch.ones(5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: attribute(a, a[:, :2]), r"\(5, 3\).*and \(5, 2\)"),
        (lambda a: attribute(a, a[:0]), r"end of shape \(N, D\)"),
        (lambda a: attribute(a, a / 0), "finite end"),
        (lambda a: attribute(a, a, "mean"), "'centroid'.*got 'mean'"),
        (lambda a: attribute(a, a, "svm"), "means are equal"),
        (lambda a: attribute(a, a[:4], "paired"), "pairs.*got 5 and 4"),
        (lambda a: attribute(a, a, "balanced"), "strata for method 'balanced'.*got none"),
        (lambda a: attribute(a, a, strata=(ONES, ONES)), "for it alone, got some for 'centroid'"),
        (lambda a: attribute(a, a, "balanced", strata=(ONES, ONES[:2])), r"shape \(5,\)"),
        (lambda a: attribute(a, a, "balanced", strata=(ONES, 0.5 * ONES)), "integer labels"),
        (
            lambda a: attribute(a, a, "balanced", strata=(ONES, 2 * ONES)),
            "got 1 and 1 with none in common",
        ),
        (lambda a: separation(a, a, a[0, :2]), r"direction of shape \(3,\), got \(2,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(5, 3))
