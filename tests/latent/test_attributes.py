import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_moving_or_scaling_both_groups_changes_nothing():
    start, end, _ = groups()
    assert torch.allclose(attribute(2 * start + 5, 2 * end + 5), attribute(start, end), atol=1e-5)


def test_half_precision_is_kept():
    start, end, planted = groups()
    d = attribute(start.half(), end.half())
    assert d.dtype == torch.float16
    assert (d.float() @ planted).item() > 0.97


def test_equal_groups_have_no_direction():
    z = 100 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) + 1000
    for other in (z, z.flip(0), torch.cat([z, z])):
        with pytest.raises(ValueError, match="means are equal"):
            attribute(z, other)


def test_separation_counts_pairs():
    start, end, _ = groups(n=15, m=20, shift=1.0)
    d = attribute(start, end)
    wins = [float(e @ d > s @ d) for s in start for e in end]
    assert separation(start, end, d) == pytest.approx(sum(wins) / len(wins))
    assert separation(start, end, -d) == pytest.approx(1 - sum(wins) / len(wins))
    assert separation(start, start, d) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: attribute(a, a[:, :2]), r"\(5, 3\).*and \(5, 2\)"),
        (lambda a: attribute(a, a[:0]), r"end of shape \(N, D\)"),
        (lambda a: attribute(a, a / 0), "finite end"),
        (lambda a: attribute(a, a, "svm"), "'centroid'.*got 'svm'"),
        (lambda a: separation(a, a, a[0, :2]), r"direction of shape \(3,\), got \(2,\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(5, 3))
