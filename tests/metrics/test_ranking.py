import pytest
import torch
from scipy import stats

from latentkit.metrics.ranking import mean_ranks, rank_correlation


@pytest.fixture
def rows():
    a, b = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    return torch.cat([a, a.round(), a.relu()]), torch.cat([b, b.round(), a.exp().round()])


def test_mean_ranks_are_scipys_from_zero(rows):
    for values in rows:
        expected = stats.rankdata(values, axis=1) - 1
        torch.testing.assert_close(mean_ranks(values), torch.from_numpy(expected))


def test_rank_correlation_is_scipys_on_the_places_that_count(rows):
    a, b = rows
    some = torch.rand(a.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    for where in (torch.ones_like(some), some):
        pairs = zip(a, b, where, strict=True)
        expected = [stats.spearmanr(x[w], y[w]).statistic for x, y, w in pairs]
        assert rank_correlation(a, b, where).tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(rank_correlation(a, b), rank_correlation(a, b, torch.ones_like(some)))
    noise = torch.where(some, b, 1e6 * b.flip(0))  # what does not count does not matter
    torch.testing.assert_close(rank_correlation(a, b, some), rank_correlation(a, noise, some))


def test_no_order_is_no_correlation(rows):
    a, flat = rows[0], torch.full_like(rows[0], 0.7)
    assert rank_correlation(a, flat).eq(0).all()
    assert rank_correlation(flat, flat).eq(0).all()
    assert rank_correlation(a, a, torch.zeros_like(a, dtype=torch.bool)).eq(0).all()
    one = torch.zeros_like(a, dtype=torch.bool)
    one[:, 3] = True
    assert rank_correlation(a, a, one).eq(0).all()
    assert rank_correlation(a, 2 * a.exp()).tolist() == pytest.approx([1] * len(a))
