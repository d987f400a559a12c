import pytest
import torch
from scipy import stats

from latentkit.explain.agreement import spearman, top_overlap


def test_spearman_equals_scipy_with_and_without_ties():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 3, 5, generator=generator)
    for left, right in ((a, b), (a.relu(), b.relu()), (a.round(), a), (a, -a.exp())):
        expected = [
            stats.spearmanr(one.flatten(), two.flatten()).statistic
            for one, two in zip(left, right, strict=True)
        ]
        assert spearman(left, right).tolist() == pytest.approx(expected, abs=1e-12)


def test_only_order_counts_and_constant_maps_agree_with_nothing():
    a = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    assert spearman(a, 3 * a.exp() - 5).tolist() == pytest.approx([1, 1])
    assert spearman(a, torch.zeros(2, 7)).tolist() == [0, 0]
    assert spearman(torch.ones(2, 7), torch.ones(2, 7)).tolist() == [0, 0]
    a[1, 3] = float("nan")
    assert spearman(a, a).isnan().tolist() == [False, True]


def test_top_overlap_by_hand():
    a = torch.tensor([[9.0, 8.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    b = torch.tensor([[7.0, 0.0, 9.0, 0.0], [0.0, 1.0, 3.0, 2.0]])
    assert top_overlap(a, b, 0.5).tolist() == [0.5, 1]
    assert top_overlap(a, b, 0.01).tolist() == [0, 0]  # one place at least
    assert top_overlap(a, b, 1.0).tolist() == [1, 1]
    flat = torch.ones(2, 4)
    assert top_overlap(flat, flat, 0.5).tolist() == [1, 1]  # ties to the first
    b[0, 0] = float("inf")
    assert top_overlap(a, b, 0.5).isnan().tolist() == [True, False]


def test_errors():
    a = torch.ones(2, 4)
    for compare in (spearman, top_overlap):
        with pytest.raises(ValueError, match=r"one shape \(N, \.\.\.\), got \(2, 4\) and \(2, 3\)"):
            compare(a, a[:, :3])
    with pytest.raises(ValueError, match=r"share in \(0, 1\], got 0"):
        top_overlap(a, a, 0)
