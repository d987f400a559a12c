"""The statistics of a direction, against what they promise: measured over many draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.alignment import alignment
from latentkit.latent.attributes import attribute, separation
from latentkit.latent.contrast import Contrast, contrast
from latentkit.latent.held_out import held_out, held_out_auc
from latentkit.latent.report import direction_report
from latentkit.latent.uncertainty import bootstrap_cone, bootstrap_directions, permutation_p
from tests.latent.test_attributes import ESTIMATORS, confounded, inputs


def groups(n, m, dim=32, shift=0.0, seed=0):
    """Normal latents, the end's shifted along the first axis; `seed` gives the draw."""
    generator = torch.Generator().manual_seed(seed)
    start, end = (torch.randn(k, dim, generator=generator) for k in (n, m))
    return start, end + shift * torch.eye(dim)[0]


def false_alarms(runs, method="centroid", sizes=(10, 12), permutations=99, **more):
    alarms = 0
    for seed in range(runs):
        start, end = groups(*sizes, dim=8, seed=seed)
        more |= inputs(method, start, end)
        p = permutation_p(start, end, method, permutations=permutations, **more)
        alarms += p <= 0.05
    return alarms / runs


# Of 500 runs at 5 %, 3 % to 7 % is two standard errors. p = (b + 1) / 100 reaches 0.05 exactly.
@pytest.mark.parametrize(
    ("method", "sizes"),
    [("centroid", (10, 12)), ("centroid", (4, 30)), ("balanced", (12, 14)), ("paired", (12, 12))],
)
def test_on_null_data_five_of_a_hundred_are_called_different(method, sizes):
    assert false_alarms(500, method, sizes) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("sizes", [pytest.param((10, 12), marks=pytest.mark.slow), (4, 30)])
def test_the_error_of_the_auc_statistic_is_five_percent_too(sizes):
    found = false_alarms(500, sizes=sizes, permutations=19, statistic="auc")
    assert found == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 2, 1), (3, 3, 1), (2, 20, 16), (3, 50, 16)])
def test_the_auc_of_null_data_is_a_half_with_one_seed_for_all(n, m, dim):
    """The default seed, with latents whose order one wide axis decides."""
    width = torch.ones(dim)
    width[0] = 10
    found = []
    for seed in range(1500):
        start, end = groups(n, m, dim, seed=seed)
        found.append(held_out_auc(start * width, end * width))
    found = np.array(found)
    assert abs(found.mean() - 0.5) < 3 * found.std() / len(found) ** 0.5 < 0.05


def test_the_auc_of_null_data_with_one_pattern_of_ranks_is_not(monkeypatch):
    """The control: the seed alone, and latents in order."""
    monkeypatch.setattr(Contrast, "generator", lambda _, seed: np.random.default_rng(seed))
    found = [held_out_auc(*groups(2, 2, 1, seed=seed)) for seed in range(500)]
    assert abs(np.mean(found) - 0.5) > 0.1


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("lda", marks=pytest.mark.slow),
        pytest.param("svm", marks=pytest.mark.sweep),  # minutes
    ],
)
def test_the_error_of_the_fitted_estimators_is_five_percent(method):
    assert false_alarms(500, method, permutations=19) == pytest.approx(0.05, abs=0.02)


def test_separation_in_sample_would_call_every_null_different():
    """The control: with D > N it is perfect on noise, which is why the AUC is held out."""
    start, end = groups(10, 12, dim=64)
    assert separation(start, end, attribute(start, end)) > 0.95
    found = [held_out_auc(*groups(10, 12, dim=64, seed=s), seed=s) for s in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def test_confounds_do_not_make_a_balanced_difference():
    """Groups that differ in the confound alone: balanced finds nothing, centroid does."""
    alarms = {"balanced": 0, "centroid": 0}
    for seed in range(100):
        start, end, strata, attr, _ = confounded(40, seed=seed)
        end = end - 2 * attr
        for method in alarms:
            more = {"strata": strata} if method == "balanced" else {}
            p = permutation_p(start, end, method, permutations=99, seed=seed, **more)
            alarms[method] += p <= 0.05
    assert alarms["balanced"] <= 12
    assert alarms["centroid"] == 100


def test_p_has_the_form_that_is_never_zero_and_sees_a_shift():
    start, end = groups(20, 20, shift=8.0)
    assert permutation_p(start, end, permutations=99) == 1 / 100
    assert permutation_p(start, end, permutations=1) == 1 / 2
    assert permutation_p(start, end, statistic="auc", permutations=19) == 1 / 20
    start, end = torch.eye(2), torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    assert permutation_p(start, end, permutations=9) == 1  # equal means: no relabelling has less


def test_p_is_that_of_a_slow_rewrite():
    """All relabellings of a small case: the share at least as long as the one observed."""
    from itertools import combinations

    start, end = groups(4, 4, dim=3, shift=1.0, seed=3)
    z = torch.cat([start, end]).double()
    lengths = [
        (z[list(c)].mean(0) - z[[i for i in range(8) if i not in c]].mean(0)).norm().item()
        for c in combinations(range(8), 4)
    ]
    ours = (end - 0).double().mean(0) - start.double().mean(0)
    exact = np.mean([length >= ours.norm().item() - 1e-12 for length in lengths])
    assert permutation_p(start, end, permutations=20_000) == pytest.approx(exact, abs=0.01)


def measured(n, runs):
    """Mean cone, mean true error, and the share of runs in which each cone holds the truth."""
    rows = []
    for seed in range(runs):
        start, end = groups(n, n, shift=1.5, seed=seed)
        cone = bootstrap_cone(start, end, resamples=300, seed=seed)
        true = np.degrees(np.arccos(attribute(start, end)[0].item()))
        covers = true < cone.half_angle, true < cone.corrected
        rows.append([cone.half_angle, true, cone.corrected, *covers])
    return np.mean(rows, 0)


def test_the_cone_shrinks_with_the_root_of_n():
    cone = {n: measured(n, 12)[0] for n in (5, 200, 800)}
    assert 48 < cone[5] < 60
    assert 20 < cone[200] < 27
    slope = np.tan(np.radians(cone[200])) / np.tan(np.radians(cone[800]))
    assert slope == pytest.approx(2, rel=0.1)  # four times the latents


def test_the_plain_cone_is_too_narrow_for_few_latents_and_the_corrected_one_is_not():
    few, many = measured(5, 100), measured(200, 100)
    assert few[1] - few[0] > 10  # degrees: what the docstring warns of
    assert few[3] < 0.3 < many[3]
    assert few[4] > 0.82
    assert many[4] > 0.88
    assert many[2] < 30


def test_bootstrap_directions_are_those_of_a_slow_resampling():
    start, end = groups(9, 7, dim=3, shift=2.0)
    found = bootstrap_directions(start, end, resamples=4000, seed=1)
    assert found.shape == (4000, 3)
    assert torch.allclose(found.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    rng, slow = np.random.default_rng(5), []
    for _ in range(4000):
        a, b = (g[rng.integers(len(g), size=len(g))].double() for g in (start, end))
        slow.append(torch.nn.functional.normalize(b.mean(0) - a.mean(0), dim=0))
    slow = torch.stack(slow)
    assert torch.allclose(found.mean(0), slow.mean(0), atol=0.03)
    assert torch.allclose(found.std(0), slow.std(0), atol=0.03)


def test_the_interval_of_cosines_holds_the_bootstrap():
    start, end = groups(30, 30, shift=2.0)
    cone = bootstrap_cone(start, end, seed=2)
    found = bootstrap_directions(start, end, seed=2) @ attribute(start, end).double()
    assert cone.cosine == pytest.approx(
        found.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    )
    assert np.cos(np.radians(cone.half_angle)) == pytest.approx(found.quantile(0.05).item())


def test_each_stratum_is_drawn_by_itself():
    """Without noise, and with another difference in each: one that loses a stratum turns."""
    start = torch.tensor([[0.0, 0.0]] * 9 + [[0.0, 5.0]])
    end = torch.tensor([[1.0, 0.0]] + [[0.0, 6.0]] * 9)
    strata = torch.tensor([0] * 9 + [1]), torch.tensor([0] + [1] * 9)
    found = bootstrap_directions(start, end, "balanced", strata=strata, resamples=100)
    assert torch.allclose(found, torch.full((100, 2), 0.5**0.5).double())
    z, cells = groups(20, 30, dim=3), (torch.arange(20) % 3, torch.arange(30) % 4 % 3)
    drawn = contrast(*z, "balanced", cells)
    for weights, rows in zip(
        drawn.resamples(50, np.random.default_rng(0)), drawn.cells, strict=True
    ):
        assert (weights.sum(1) == len(rows)).all()
        for cell in range(3):
            assert (weights[:, rows == cell].sum(1) == (rows == cell).sum()).all()
    assert weights.max() > 2  # with replacement


def test_pairs_that_share_their_noise_have_a_narrower_cone():
    start, _ = groups(20, 20, dim=8)
    shift, noise = torch.eye(8)[0], 0.1 * torch.randn(20, 8)
    paired = bootstrap_cone(start, start + shift + noise, "paired").half_angle
    assert paired < 10 < bootstrap_cone(start, start + shift + noise).half_angle / 2
    assert permutation_p(start, start + 0.2 * shift + noise, "paired") < 0.01
    assert permutation_p(start, start + 0.2 * shift + noise) > 0.05  # the control


@given(st.sampled_from(["centroid", "svm", "lda", "balanced"]), st.integers(0, 1000))
@settings(deadline=None, max_examples=12)
def test_nothing_depends_on_the_order_of_unpaired_latents(method, seed):
    start, end = groups(9, 12, dim=4, shift=1.0, seed=seed)
    strata = (torch.arange(9) % 2, torch.arange(12) % 2)
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randperm(k, generator=generator) for k in (9, 12))
    both = []
    for x, y, cells in ((start, end, strata), (start[a], end[b], (strata[0][a], strata[1][b]))):
        more = {"strata": cells} if method == "balanced" else {}
        both.append(direction_report(x, y, method, resamples=3, permutations=3, **more))
    assert both[0] == both[1]


def test_pairs_may_be_shuffled_together_but_not_apart():
    start, end = groups(12, 12, dim=4)
    end = start + 0.5 + 0.2 * end
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    ours = direction_report(start, end, "paired")
    assert direction_report(start[order], end[order], "paired") == ours
    assert direction_report(start, end[order], "paired").cone != ours.cone


@pytest.mark.parametrize("method", ESTIMATORS)
def test_held_out_numbers_are_near_the_truth(method):
    """Shift 2: the effect of the true direction is 2, its AUC Phi(sqrt 2) = 0.92."""
    start, end = groups(400, 400, dim=8, shift=2.0)
    found = held_out(start, end, method, **inputs(method, start, end))
    assert found.auc == pytest.approx(0.921, abs=0.03)
    assert found.effect == pytest.approx(2, abs=0.2)
    low, high = found.effect_interval
    assert low < found.effect < high
    assert high - low == pytest.approx(0.34, abs=0.1)  # 4 standard errors of Cohen's d


def test_the_report_says_all_of_it_and_warns():
    strong = direction_report(*groups(50, 60, shift=3.0))
    assert strong.warnings == ()
    assert strong.sizes == (50, 60)
    said = "\n".join(strong.sentences())
    assert f"{strong.cone.half_angle:.0f} degrees (95 % bootstrap cone)" in said
    assert f"within {strong.cone.corrected:.0f} degrees of the true direction (95 %)" in said
    assert "p = 0.001 (hardly chance)" in said
    assert f"AUC {strong.held_out.auc:.2f}" in said
    weak = direction_report(*groups(5, 60))
    assert "fewer than 10" in weak.warnings[0]
    assert "may be alike" in weak.warnings[1]
    assert weak.sentences()[-1].startswith("warning: the groups may be alike")
    fitted = direction_report(*groups(20, 20), "svm", resamples=5, permutations=5)
    assert fitted.cone.corrected is None
    assert "within" not in fitted.sentences()[1]


@pytest.mark.parametrize("call", [bootstrap_cone, permutation_p, held_out_auc, direction_report])
@pytest.mark.parametrize(
    ("start", "end", "more", "message"),
    [
        (torch.ones(1, 3), torch.randn(4, 3), {}, "at least 2 latents.*got 1 and 4"),
        (torch.ones(0, 3), torch.randn(4, 3), {}, "at least one latent"),
        (torch.ones(3, 2), torch.randn(4, 3), {}, "of one D"),
        (torch.ones(3, 3), torch.full((4, 3), torch.nan), {}, "finite end"),
        (torch.randn(3, 3), torch.randn(4, 3), {"method": "paired"}, "got 3 and 4"),
        (torch.randn(3, 3), torch.randn(4, 3), {"method": "balanced"}, "strata"),
        (torch.randn(3, 3), torch.randn(4, 3), {"method": "none"}, "got 'none'"),
    ],
)
def test_bad_groups(call, start, end, more, message):
    with pytest.raises(ValueError, match=message):
        call(start, end, **more)


@pytest.mark.parametrize(
    "call", [bootstrap_directions, bootstrap_cone, permutation_p, held_out_auc, held_out, alignment]
)
def test_a_latent_in_both_groups_is_refused(call):
    start, end = groups(12, 9, dim=4)
    end = torch.cat([end, start[:3]])
    with pytest.raises(ValueError, match=r"got 3 of 12 in start that equal one in end.*leave"):
        call(start, end)
    with pytest.raises(ValueError, match="got 2 of 3"):
        call(torch.tensor([[0.0], [1], [2]]), torch.tensor([[-0.0], [1], [5]]))


def test_latents_of_few_values_may_be_equal_in_both_groups():
    start, end = (torch.randint(3, (40, 3)).float() for _ in range(2))
    report = direction_report(start, end + torch.tensor([1.0, 0, 0]))
    assert report.repeats > 0
    assert report.p < 0.05


def test_pairs_may_be_equal_or_share_a_latent():
    start, end = groups(12, 12, dim=4)
    end[:2] = start[:2]
    assert permutation_p(start, end, "paired", permutations=9) > 0
    assert alignment(start, end, paired=True).pairs == 12


def test_repeated_latents_would_make_a_difference_of_none_and_are_reported():
    alarms = 0
    for seed in range(60):
        start, end = (g.repeat(4, 1) for g in groups(10, 12, dim=8, seed=seed))
        alarms += permutation_p(start, end, permutations=99) <= 0.05
    assert alarms > 20  # not 3: the control
    start, end = groups(20, 30, shift=3.0)
    few = direction_report(torch.cat([start, start[:4], start[:1]]), torch.cat([end, end[:2]]))
    assert few.repeats == 7
    assert "7 latents are copies of others in their group" in few.warnings[0]
    assert f"warning: {few.warnings[0]}" in few.sentences()
    pairs = direction_report(*(torch.cat([g, g[:2]]) for g in groups(20, 20)), "paired")
    assert pairs.repeats == 2
    assert "2 pairs are copies" in pairs.warnings[0]
    once = torch.cat([start[:20], start[:2]]), torch.cat([end[:20], end[20:22]])
    assert direction_report(*once, "paired").repeats == 0  # different pairs with one start


@pytest.mark.parametrize("method", ["svm", "lda"])
def test_resamples_with_equal_means_point_nowhere(method):
    """Of four whole numbers a resample often has the mean of the other: no error, no direction."""
    start, end = torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0], [-1.0]])
    found = bootstrap_directions(start, end, method, resamples=200)
    assert {*found.flatten().tolist()} == {-1.0, 0.0, 1.0}
    cone = bootstrap_cone(start, end, method, resamples=200)
    assert cone.half_angle >= 90
    assert 0 < permutation_p(start, end, method, permutations=19) <= 1


def test_bad_settings():
    start, end = groups(4, 4, dim=3)
    for call, message in [
        (lambda: bootstrap_cone(start, end, resamples=0), "resamples >= 1"),
        (
            lambda: bootstrap_cone(
                torch.eye(2), torch.eye(2).mean(0) + torch.tensor([[1, 0], [-1, 0]])
            ),
            "theirs are equal",
        ),
        (lambda: permutation_p(start, end, permutations=0), "permutations >= 1"),
        (lambda: permutation_p(start, end, "svm", statistic="length"), "'auc'"),
        (lambda: permutation_p(start, end, statistic="mean"), "got 'mean'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    strata = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ValueError, match="2 latents of each group to hold some out of"):
        held_out_auc(start, end, "balanced", strata=strata)
