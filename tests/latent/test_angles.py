import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.latent.angles import cosines, orthogonal, project, without
from latentkit.latent.directions import pca


def rows(n, dim, seed):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@given(st.integers(3, 24), st.integers(1, 3), st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_a_conditioned_direction_moves_no_condition(dim, count, seed):
    count = min(count, dim - 2)
    d, c = rows(2, dim, seed), torch.nn.functional.normalize(rows(count, dim, seed + 1), dim=1)
    found = orthogonal(d, c)
    assert (found @ c.T).abs().max() < 1e-6
    assert torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-6)
    assert torch.allclose(orthogonal(found, c), found, atol=1e-6)  # idempotent
    wide_d, wide_c = d.double().numpy(), c.double().numpy()
    formula = wide_d - (wide_c.T @ np.linalg.pinv(wide_c @ wide_c.T) @ wide_c @ wide_d.T).T
    formula /= np.linalg.norm(formula, axis=1, keepdims=True)
    assert np.allclose(found.numpy(), formula, atol=1e-5)


def test_the_size_of_conditions_and_repeats_of_them_do_not_matter():
    d, c = rows(1, 8, 0)[0], rows(2, 8, 1)
    found = orthogonal(d, c)
    many = torch.cat([c, 1000 * c, c[:1] + c[1:], 1e-4 * c[:1]])
    assert torch.allclose(orthogonal(d, many), found, atol=1e-6)
    assert torch.allclose(orthogonal(d, 1e-30 * c), found, atol=1e-6)
    assert found.shape == (8,)


def test_almost_in_the_span_is_still_exact():
    c = rows(3, 10, 0)
    d = c[0] + 1e-3 * rows(1, 10, 1)[0]
    unit = torch.nn.functional.normalize(c, dim=1)
    assert (unit @ orthogonal(d, c)).abs().max() < 1e-6


def test_in_the_span_nothing_is_left():
    c = rows(3, 10, 0)
    for d in (c[1], c.sum(0), torch.zeros(10)):
        with pytest.raises(ValueError, match="number 0 of 1 lies in it: nothing would be left"):
            orthogonal(d, c)
    with pytest.raises(ValueError, match="number 1 of 2"):
        orthogonal(torch.stack([rows(1, 10, 5)[0], c[0]]), c)
    with pytest.raises(ValueError, match="span of the 4 conditions"):
        orthogonal(torch.ones(4), torch.eye(4))


def test_points_without_conditions_keep_the_rest():
    z, c = rows(20, 6, 0), rows(2, 6, 1)
    left = without(z, c)
    assert (left @ c.T).abs().max() < 1e-5
    assert torch.allclose(without(left, c), left, atol=1e-6)
    basis = torch.linalg.qr(c.T)[0]
    assert torch.allclose(z - left, z @ basis @ basis.T, atol=1e-5)


def test_cosines_are_those_of_each_pair():
    a, b = rows(3, 5, 0), rows(2, 5, 1)
    expected = torch.stack([torch.cosine_similarity(x[None], b) for x in a])
    assert torch.allclose(cosines(a, 7 * b), expected, atol=1e-6)
    own = cosines(torch.cat([a, -a[:1]]))
    assert torch.allclose(own, own.T)
    assert own[3, 0].item() == -1
    assert torch.allclose(own.diagonal(), torch.ones(4))


def test_a_map_on_a_direction_and_what_varies_most_beside_it():
    """Liu et al.: coordinates X [u1 u2], u2 the first component of the residual."""
    z, d = rows(50, 6, 0) * torch.arange(1, 7) + 4, rows(1, 6, 1)[0]
    found = project(z, 3 * d)
    u1 = (d / d.norm()).double()
    centred = (z - z.mean(0)).double()
    residual = centred - torch.outer(centred @ u1, u1)
    u2 = torch.linalg.svd(residual)[2][0]
    assert torch.allclose(found[:, 0].double(), centred @ u1, atol=1e-4)
    assert torch.allclose(found[:, 1].double().abs(), (centred @ u2).abs(), atol=1e-3)
    assert torch.allclose(project(z, pca(z, 1)[0]), centred.float() @ pca(z, 2).T, atol=1e-3)


def test_a_map_on_two_axes():
    z, (d1, d2) = rows(50, 6, 0), rows(2, 6, 1)
    found = project(z, d1, d2)
    second = d2 - d1 * (d1 @ d2) / (d1 @ d1)
    expected = (z - z.mean(0)) @ torch.stack([d1 / d1.norm(), second / second.norm()]).T
    assert torch.allclose(found, expected, atol=1e-5)
    assert project(z.double(), d1, d2).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: orthogonal(z[0], z[:, :2]), "rows of 4 numbers.*got 2"),
        (lambda z: orthogonal(z[0], z[0]), r"conditions of shape \(N, D\)"),
        (lambda z: orthogonal(z[0], z / 0), "finite conditions"),
        (lambda z: orthogonal(z[0] / 0, z[:1]), "finite d"),
        (lambda z: orthogonal(z[0], z * torch.tensor([[0], [1], [1]])), "conditions other than ze"),
        (lambda z: without(z, 0 * z[:1]), "conditions other than zero, got a row of zeros"),
        (lambda z: cosines(0 * z), "row of zeros"),
        (lambda z: cosines(z, z[:, :2]), "rows of 4 numbers"),
        (lambda z: project(z, 0 * z[0]), "d1 other than zero"),
        (lambda z: project(z, z[0], -2 * z[0]), "in it: nothing would be left"),
        (lambda z: project(torch.outer(torch.arange(5.0), z[0]), z[0]), "no second axis"),
        (lambda z: project(z, z[0, :3]), "rows of 4 numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(rows(3, 4, 0).abs() + 0.1)
