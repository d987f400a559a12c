import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from latentkit.metrics import kernel
from latentkit.metrics.kernel import kernel_distance, kernel_error


def features(seed, n, dim, shift=0.0):
    return shift + torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def slow(a, b):
    """The unbiased estimate, pair by pair."""

    def mean(x, y, same):
        pairs = [
            ((p @ q / len(p) + 1) ** 3).item()
            for i, p in enumerate(x)
            for j, q in enumerate(y)
            if not same or i != j
        ]
        return sum(pairs) / len(pairs)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def test_one_subset_of_all_is_the_estimate_pair_by_pair_and_torchmetrics():
    a, b = features(0, 12, 3).double(), features(1, 12, 3, 0.5).double()
    found, spread = kernel_distance(a, b, subsets=1)
    assert found == pytest.approx(slow(a, b))
    assert found == pytest.approx(poly_mmd(a, b).item())
    assert spread == 0


def test_two_points_by_hand():
    a, b = torch.tensor([[1.0], [-1.0]]), torch.tensor([[2.0], [2.0]])
    # k(1, -1) = 0, k(2, 2) = 125, k(1, 2) = 27, k(-1, 2) = -1
    assert kernel_distance(a, b)[0] == pytest.approx(0 + 125 - 2 * 13)


def test_equal_distributions_are_at_zero_on_average():
    found = [
        kernel_distance(features(2 * i, 50, 4), features(2 * i + 1, 50, 4), 1)[0]
        for i in range(300)
    ]
    mean, error = torch.tensor(found).mean().item(), torch.tensor(found).std().item() / 300**0.5
    assert abs(mean) < 3 * error
    assert min(found) < 0  # unbiased, so it must dip below
    assert kernel_distance(features(0, 50, 4), features(1, 50, 4, 1.0), 1)[0] > 10 * error


def test_subsets_do_not_move_the_mean_and_have_a_spread():
    a, b = features(0, 300, 4), features(1, 200, 4, 0.7)
    whole = kernel_distance(a[:200], b, 1, 200)[0]
    mean, spread = kernel_distance(a, b, 200, 50)
    assert spread > 0
    assert mean == pytest.approx(whole, rel=0.15)
    assert (mean, spread) == kernel_distance(a, b, 200, 50)
    assert (mean, spread) != kernel_distance(a, b, 200, 50, seed=1)


@pytest.mark.parametrize(
    ("a", "b", "more", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), {}, r"M >= 2, got \(1, 3\)"),
        (torch.zeros(5, 3), torch.zeros(5, 4), {}, r"\(5, 3\) and \(5, 4\)"),
        (torch.full((5, 3), torch.inf), torch.zeros(5, 3), {}, "finite"),
        (torch.zeros(5, 3), torch.zeros(5, 3), {"subsets": 0}, "got 0 and 1000"),
        (torch.zeros(5, 3), torch.zeros(5, 3), {"size": 1}, "got 100 and 1"),
    ],
)
def test_bad_input(a, b, more, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(a, b, **more)


@pytest.mark.parametrize("sizes", [(120, 120), (60, 200)])
def test_the_error_is_how_far_other_samples_move_the_distance(sizes):
    found, errors = [], []
    for seed in range(0, 400, 2):
        a, b = features(seed, sizes[0], 3), features(seed + 1, sizes[1], 3, 0.7)
        found.append(slow_whole(a, b))
        errors.append(kernel_error(a, b))
    spread = torch.tensor(found).std().item()
    assert torch.tensor(errors).mean().item() == pytest.approx(spread, rel=0.15)


def slow_whole(a, b):
    """The unbiased estimate of all samples, of any two sizes."""
    ka, kb, kab = ((x.double() @ y.double().T / 3 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    own = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (ka, kb)]
    return (own[0] + own[1] - 2 * kab.mean()).item()


def test_the_error_does_not_depend_on_chunks(monkeypatch):
    a, b = features(0, 50, 3), features(1, 30, 3)
    whole = kernel_error(a, b)
    monkeypatch.setattr(kernel, "_CHUNK", 7)
    assert kernel_error(a, b) == pytest.approx(whole)
