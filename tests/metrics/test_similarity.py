"""Similarity of latent spaces: what must change nothing, chance, and slow rewrites."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from latentkit.metrics.similarity import cka, rotation_fit


def drawn(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.1, 10))
def test_rotation_shift_and_factor_change_nothing(seed, d, factor):
    a = drawn(30, d, seed)
    turn = torch.linalg.qr(drawn(d, d, seed + 1))[0]
    b = factor * a @ turn + drawn(1, d, seed + 2)
    assert cka(a, b) == pytest.approx(1, abs=1e-9)
    assert rotation_fit(a, b) == pytest.approx(1, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_both_are_symmetric_and_bounded(seed, d, e):
    a, b = drawn(20, d, seed), drawn(20, e, seed + 1)
    assert cka(a, b) == pytest.approx(cka(b, a), abs=1e-12)
    assert rotation_fit(a, b) == pytest.approx(rotation_fit(b, a), abs=1e-12)
    assert 0 <= rotation_fit(a, b) <= 1


def test_cka_is_the_mean_over_quadruples():
    """Unbiased HSIC as the U-statistic it is: Song et al. 2012, eq. 3, over all quadruples."""
    x, y = drawn(6, 2, 0), drawn(6, 3, 1) + drawn(6, 2, 0) @ drawn(2, 3, 2)

    def slow(a, b):
        k, m = (a @ a.T).numpy(), (b @ b.T).numpy()
        terms = [
            k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
            for i, j, q, r in itertools.permutations(range(6), 4)
        ]
        return np.mean(terms)

    wanted = slow(x, y) / math.sqrt(slow(x, x) * slow(y, y))
    assert cka(x, y) == pytest.approx(wanted, abs=1e-10)


def test_unrelated_spaces_of_many_dimensions_have_no_similarity():
    """The plain form of CKA is 0.86 here."""
    found = [cka(drawn(50, 300, k), drawn(50, 300, 1000 + k)) for k in range(30)]
    assert abs(np.mean(found)) < 0.01


def test_the_fit_is_that_of_scipy():
    a, b = drawn(40, 5, 0), drawn(40, 5, 1) + 0.5 * drawn(40, 5, 0)
    x, y = (v - v.mean(0) for v in (a, b))
    turn, scale = orthogonal_procrustes(x.numpy(), y.numpy())
    factor = scale / float(x.square().sum())
    left = (factor * x @ torch.from_numpy(turn) - y).square().sum() / y.square().sum()
    assert rotation_fit(a, b) == pytest.approx(1 - float(left), abs=1e-12)


def test_the_fit_cannot_stretch_an_axis():
    a = drawn(4000, 2, 0)
    assert rotation_fit(a, a * torch.tensor([1.0, 0.1])) == pytest.approx(
        1.1**2 / (2 * 1.01), abs=0.01
    )


def test_latents_that_do_not_vary_have_none():
    assert math.isnan(cka(torch.ones(5, 2), drawn(5, 2, 0)))
    assert math.isnan(rotation_fit(torch.ones(5, 2), drawn(5, 2, 0)))


@pytest.mark.parametrize(("a", "b"), [((3, 2), (3, 2)), ((5, 2), (6, 2)), ((5, 2, 1), (5, 2))])
def test_what_does_not_fit_is_refused(a, b):
    with pytest.raises(ValueError, match="expected latents"):
        cka(torch.rand(a), torch.rand(b))
