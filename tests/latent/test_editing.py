import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.editing import sweep


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=4), st.sampled_from([(3,), (2, 3)])
)
@settings(deadline=None, max_examples=30)
def test_every_strength_of_every_latent(strengths, shape):
    z, d = torch.randn(2, *shape), torch.randn(*shape)
    path = sweep(z, d, strengths)
    assert path.shape == (2, len(strengths), *shape)
    for n in range(2):
        for t, strength in enumerate(strengths):
            torch.testing.assert_close(path[n, t], z[n] + strength * d)


def test_the_type_stays_and_gradients_flow():
    z = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    path = sweep(z, torch.ones(2), [0, 1, 2])
    assert path.dtype == torch.float64
    path.sum().backward()
    assert z.grad.tolist() == [[3, 3]]


def test_bad_input():
    z = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(4,\)"):
        sweep(z, torch.ones(4), [1])
    with pytest.raises(ValueError, match="a strength or more"):
        sweep(z, torch.ones(3), [])
    with pytest.raises(ValueError, match="all finite"):
        sweep(z, torch.ones(3), [float("inf")])
    with pytest.raises(ValueError, match="a finite direction"):
        sweep(z, torch.full((3,), torch.nan), [1])
    with pytest.raises(ValueError, match="finite latents, got NaN"):
        sweep(z * torch.nan, torch.ones(3), [1])
