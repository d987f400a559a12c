import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentkit.metrics.frechet import frechet_distance


def features(seed, n, dim, scale=1.0):
    return scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**6), st.floats(0.1, 5), st.floats(-3, 3))
@settings(deadline=None, max_examples=50)
def test_one_dimension_is_means_and_deviations(seed, scale, shift):
    a, b = features(seed, 20, 1).double(), features(seed + 1, 30, 1).double() * scale + shift
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected.item(), abs=1e-9)


def test_diagonal_covariances_add_up_over_dimensions():
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()  # uncorrelated
    a, b = corners * torch.tensor([1.0, 2.0, 3.0]), corners * torch.tensor([2.0, 0.5, 3.0]) + 1
    expected = 3 + (a.std(0) - b.std(0)).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item())


def test_agrees_with_the_general_matrix_square_root():
    a, b = features(0, 60, 5), features(1, 80, 5, 1.5) @ features(2, 5, 5)
    cov_a, cov_b = torch.cov(a.T.double()).numpy(), torch.cov(b.T.double()).numpy()
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    gap = (a.double().mean(0) - b.double().mean(0)).square().sum().item()
    expected = gap + cov_a.trace() + cov_b.trace() - 2 * root.trace()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_zero_to_itself_and_symmetric_even_where_singular():
    a, b = features(0, 4, 10), features(1, 5, 10)  # fewer samples than features
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert frechet_distance(a, b) > 1


def test_a_rotation_of_both_changes_nothing():
    a, b = features(0, 40, 4).double(), features(1, 40, 4, 2.0).double() + 1
    rotation = torch.linalg.qr(features(2, 4, 4).double()).Q
    turned = frechet_distance(a @ rotation, b @ rotation)
    assert turned == pytest.approx(frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), r"N >= 2 and M >= 2, got \(1, 3\)"),
        (torch.zeros(5, 3), torch.zeros(5, 4), r"got \(5, 3\) and \(5, 4\)"),
        (torch.zeros(5), torch.zeros(5), r"got \(5,\)"),
        (torch.full((5, 3), torch.nan), torch.zeros(5, 3), "finite"),
    ],
)
def test_bad_input(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)
