import numpy as np
import pytest
import torch

from latentkit.metrics.bootstrap import (
    averaged,
    interval,
    jackknife,
    mean_interval,
    multinomial,
    share_interval,
    wilson,
)


def test_an_interval_is_the_middle_share():
    assert interval(np.arange(1001)) == pytest.approx((25, 975))


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0)) * 3 + 1
    low, high = mean_interval(x)
    error = x.std().item() / 2000**0.5
    assert low == pytest.approx(x.mean().item() - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(x.mean().item() + 1.96 * error, abs=0.25 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    draws = torch.rand(200, 60, generator=torch.Generator().manual_seed(0))
    found = [mean_interval(x, resamples=200, seed=i) for i, x in enumerate(draws)]
    assert 0.88 <= np.mean([low <= 0.5 <= high for low, high in found]) <= 0.99


def test_a_constant_has_no_width():
    assert mean_interval(torch.full((5,), 2.0)) == pytest.approx((2, 2))


def test_resamples_keep_the_total_and_follow_the_counts():
    counts = np.array([[10, 0], [30, 60]])
    drawn = multinomial(counts, 4000)
    assert (drawn.sum((1, 2)) == 100).all()
    assert drawn.mean(0) == pytest.approx(counts, abs=0.4)
    assert drawn.std(0)[1, 1] == pytest.approx((100 * 0.6 * 0.4) ** 0.5, rel=0.05)
    assert np.array_equal(drawn, multinomial(counts, 4000))
    assert not np.array_equal(drawn, multinomial(counts, 4000, seed=1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval(np.zeros((2, 2))), r"values \(B,\).*got \(2, 2\)"),
        (lambda: interval(np.zeros(2), 1.0), "level between 0 and 1.*1.0"),
        (lambda: multinomial(np.zeros(3, int), 5), "got 0 and 5"),
        (lambda: mean_interval(torch.zeros(3), 0), "resamples of 1 or more, got 0"),
        (lambda: mean_interval(torch.tensor([torch.nan])), "finite values"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_jackknife_takes_the_bias_off_a_variance():
    """The classic: from the mean square about the mean to the unbiased estimate of the variance."""
    values, counts = np.array([1.0, 2.0, 5.0]), np.array([2, 3, 1])

    def variance(tables):
        shares = tables / tables.sum(1, keepdims=True)
        return shares @ values**2 - (shares @ values) ** 2

    corrected, _ = jackknife(counts, variance)
    assert corrected == pytest.approx(np.repeat(values, counts).var(ddof=1))


def test_its_error_of_a_mean_is_the_standard_error():
    values, counts = np.array([1.0, 2.0, 5.0]), np.array([2, 3, 1])
    mean, error = jackknife(counts, lambda tables: tables @ values / tables.sum(1))
    samples = np.repeat(values, counts)
    assert mean == pytest.approx(samples.mean())
    assert error == pytest.approx(samples.std(ddof=1) / 6**0.5)
    with pytest.raises(ValueError, match="two samples or more, got 1"):
        jackknife(np.array([1, 0]), lambda tables: tables[:, 0])


def test_an_average_has_an_interval_where_resamples_can_tell():
    values = torch.tensor([1.0, 2.0, 6.0])
    found = averaged("x", values, seed=3)
    assert found == {"x": 3.0, "x_ci95": list(mean_interval(values, seed=3))}
    for few in ([1.0], [2.0, 2.0], [1.0, torch.inf], [1.0, torch.nan]):
        assert list(averaged("x", torch.tensor(few))) == ["x"]


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_the_interval_of_a_share_holds_it_as_often_as_it_says(share):
    draws = torch.rand(500, 60, generator=torch.Generator().manual_seed(0)) < share
    ends = [share_interval(row) for row in draws]
    assert sum(low <= share <= high for low, high in ends) >= 0.92 * len(ends)
    assert all(high - low > 0.01 for low, high in ends)


def test_wilson_against_the_equation_it_solves():
    for share, n in ((0.3, 25), (0.0, 10), (1.0, 10), (0.5, 1000)):
        for end in wilson(share, n):
            gap = abs(share - end)
            assert gap == pytest.approx(1.96 * (end * (1 - end) / n) ** 0.5, abs=1e-9)


def test_wilson_holds_the_share_itself_to_the_last_digit():
    for n in range(1, 70):
        assert (wilson(0.0, n)[0], wilson(1.0, n)[1]) == (0, 1)
