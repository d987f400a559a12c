import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from latentkit.latent.classes import check_class_part, onto_simplex, split_checked
from latentkit.priors import GaussianOneHot

rows = arrays("float64", st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-5, 5))


@given(rows)
@settings(deadline=None, max_examples=50)
def test_the_projection_is_on_the_simplex_and_stays_there(x):
    p = onto_simplex(torch.from_numpy(x))
    assert (p >= 0).all()
    assert torch.allclose(p.sum(1), torch.ones(len(p), dtype=p.dtype))
    assert torch.allclose(onto_simplex(p), p)


@pytest.mark.parametrize("seed", range(3))
def test_the_projection_is_the_nearest_point(seed):
    x = np.random.default_rng(seed).normal(size=4)
    found = minimize(
        lambda p: ((p - x) ** 2).sum(),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
    ).x
    assert onto_simplex(torch.from_numpy(x[None]))[0].numpy() == pytest.approx(found, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_of_any_dtype_is_accepted(dtype):
    prior = GaussianOneHot(2, 10)
    code = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)).softmax(1)
    z = torch.cat([torch.zeros(50, 2), code], dim=1).to(dtype)
    assert [part.shape for part in split_checked(z, prior)] == [(50, 2), (50, 10)]


def test_bad_input():
    prior = GaussianOneHot(1, 2)
    with pytest.raises(ValueError, match=r"latents \(N, 3\), got shape \(1, 4\)"):
        split_checked(torch.zeros(1, 4), prior)
    with pytest.raises(ValueError, match=r"with sum 1, got 1 of 2 that are not, .*\[0.5, 0.2"):
        split_checked(torch.tensor([[0, 0.5, 0.5], [0, 0.5, 0.25]]), prior)
    with pytest.raises(ValueError, match="with sum 1, got 1 of 1"):
        split_checked(torch.tensor([[0, 1.5, -0.5]]), prior)
    with pytest.raises(ValueError, match=r"'simplex', 'switch'.*got 'jump'"):
        check_class_part("jump")
