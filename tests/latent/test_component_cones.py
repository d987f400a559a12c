import numpy as np
import pytest
import torch

from latentkit.latent.component_cones import bootstrap_pca, half_angles
from latentkit.latent.directions import pca


def latents(n, deviations, seed=0):
    z = torch.randn(n, len(deviations), generator=torch.Generator().manual_seed(seed))
    return z * torch.tensor(deviations)


def cones(z, k, **more):
    return half_angles(pca(z, k), bootstrap_pca(z, k, **more))


def test_of_well_separated_variances_it_is_the_asymptotic_error():
    """Anderson 1963: the variance of component i along j is v_i v_j / (n (v_i - v_j)^2)."""
    n, v = 4000, (9.0, 1.0)
    expected = 1.96 * np.degrees(np.sqrt(v[0] * v[1] / n) / (v[0] - v[1]))
    found = cones(latents(n, (3.0, 1.0)), 2, resamples=600)
    assert found.tolist() == pytest.approx([expected] * 2, rel=0.12)


def test_the_cone_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(120):
        z = latents(200, (3.0, 1.5, 1.0), seed)
        angle = torch.rad2deg(pca(z, 1)[0, 0].abs().acos())
        held += angle <= cones(z, 1, resamples=100, seed=seed)[0]
    assert 0.88 < held / 120 < 0.995


def test_close_variances_have_wide_cones_and_others_do_not():
    z = latents(300, (5.0, 2.0, 2.0, 0.5))
    found = cones(z, 4)
    assert found[0] < 6
    assert (found[1:3] > 20).all()
    assert found[3] < 10


def test_it_is_a_slow_bootstrap_with_places_and_signs_matched():
    z = latents(80, (3.0, 2.7, 1.0))
    fast = bootstrap_pca(z, 2, resamples=300, seed=3)
    assert fast.shape == (300, 2, 3)
    assert torch.allclose(fast.norm(dim=2), torch.ones(1, dtype=torch.float64))
    assert ((fast * pca(z, 2).double()).sum(2) > 0).all()
    rng, swapped, slow = np.random.default_rng(9), 0, []
    for _ in range(300):
        rows = pca(z[rng.integers(80, size=80)], 3)
        swapped += int((rows[0] * pca(z, 1)[0]).sum().abs() < 0.5)
        slow.append((rows @ pca(z, 1)[0]).abs().max())
    assert swapped > 3  # without matching, these would be 90 degrees off
    ours = (fast[:, 0] * pca(z, 1)[0].double()).sum(1)
    assert ours.mean() == pytest.approx(torch.stack(slow).mean().item(), abs=0.02)


def test_it_can_be_watched_and_seeded():
    z, seen = latents(30, (2.0, 1.0)), []
    first = bootstrap_pca(z, 1, resamples=3, watch=lambda n: (seen.append(i) or i for i in n))
    assert seen == [0, 1, 2]
    assert torch.equal(first, bootstrap_pca(z, 1, resamples=3))
    assert not torch.equal(first, bootstrap_pca(z, 1, resamples=3, seed=1))


def test_bad_input():
    z = latents(5, (2.0, 1.0))
    with pytest.raises(ValueError, match="resamples >= 1, got 0"):
        bootstrap_pca(z, 1, resamples=0)
    with pytest.raises(ValueError, match="k <= 2"):
        bootstrap_pca(z, 3)
    with pytest.raises(ValueError, match="finite z"):
        bootstrap_pca(z * torch.nan, 1)
