import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentkit.latent.uniform_sums import MOST, check_support, sum_cdf, trapezoid_cdf
from latentkit.priors import Uniform

WEIGHTS = [
    [0.7, 0.2, 0.1],
    [0.9, 0.05, 0.03, 0.02],
    [1 - 3e-4, 1e-4, 1e-4, 1e-4],
    [0.5, 0.5 - 4e-6, 2e-6, 2e-6],  # where the closed form loses every digit in double precision
]
Y = torch.linspace(0, 1, 41, dtype=torch.float64)


def by_alternating_signs(weights, y):
    """Irwin and Hall's closed form, in exact rational numbers."""
    w, y = [Fraction(v) for v in weights], Fraction(y)
    total = Fraction(0)
    for inside in itertools.product([0, 1], repeat=len(w)):
        rest = y - sum(itertools.compress(w, inside))
        total += (-1) ** sum(inside) * max(rest, Fraction(0)) ** len(w)
    return float(total / (math.factorial(len(w)) * math.prod(w)))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_it_is_the_closed_form_at_any_weights(weights):
    exact = [by_alternating_signs(weights, y) for y in Y.tolist()]
    assert sum_cdf(weights)(Y).tolist() == pytest.approx(exact, abs=1e-9)
    assert sum_cdf(weights)(Y.float()).tolist() == pytest.approx(exact, abs=2e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 7, MOST])
def test_equal_weights_give_the_irwin_hall_distribution(count):
    expected = stats.irwinhall(count).cdf((count * Y).numpy())
    assert sum_cdf([1 / count] * count)(Y).numpy() == pytest.approx(expected, abs=1e-9)


@given(t=st.floats(1e-4, 1 - 1e-4))
@settings(deadline=None, max_examples=50)
def test_two_weights_give_the_trapezoid(t):
    expected = trapezoid_cdf(Y, torch.tensor(t, dtype=torch.float64))
    assert torch.allclose(sum_cdf([1 - t, t])(Y), expected, atol=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6).filter(lambda w: sum(w) > 1e-3))
@settings(deadline=None, max_examples=50)
def test_a_distribution_function_is_monotone_from_0_to_1_and_symmetric(weights):
    f = sum_cdf([w / sum(weights) for w in weights])(Y)
    assert (f.diff() >= -1e-9).all()
    assert torch.allclose(f + f.flip(0), torch.ones_like(f), atol=2e-6)
    assert f[0] == pytest.approx(0, abs=1e-6)


def test_negligible_weights_count_by_their_mean():
    weights = [0.5, 0.5 - 1e-9, 1e-9]
    exact = [by_alternating_signs(weights, y) for y in Y.tolist()]
    assert sum_cdf(weights)(Y).tolist() == pytest.approx(exact, abs=1e-9)


def test_its_gradient_is_the_density():
    y = torch.tensor([0.1, 0.3, 0.55, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sum_cdf([0.5, 0.3, 0.2]), (y,))


def test_more_weights_than_can_be_kept_exactly_are_refused():
    with pytest.raises(ValueError, match=f"at most {MOST} weights above 0.*got {MOST + 1}"):
        sum_cdf([1 / (MOST + 1)] * (MOST + 1))


def test_bounds_hold_up_to_rounding():
    check_support(torch.tensor([[0.3]], dtype=torch.float16), Uniform(1, -0.3, 0.3))  # 0.30005
    check_support(torch.zeros(0, 3), Uniform(3))
    with pytest.raises(ValueError, match=r"bounds \[-1.0, 1.0\], got values in \[0, 1.01\]"):
        check_support(torch.tensor([[0.0, 1.01]]), Uniform(2))
