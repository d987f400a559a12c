"""Perfect codes, noise, and the numbers of a peer."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from latentkit.metrics import disentanglement
from latentkit.metrics.disentanglement import (
    dci,
    importance,
    mig,
    mig_of_noise,
    mutual_information,
    sap,
)
from tests.metrics.peer_case import case

TABLE = torch.tensor([[0.7, 0.1, 0.0], [0.2, 0.8, 0.3], [0.1, 0.1, 0.7], [0.0, 0.0, 0.0]])


def independent(n=3000, factors=3):
    return torch.rand(n, factors, generator=torch.Generator().manual_seed(0))


def noise(n=3000, dim=4):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(1))


def perfect(factors):
    """Each factor in one coordinate, permuted and scaled, beside two dead or noisy ones."""
    scaled = factors[:, [2, 0, 1]] * torch.tensor([-3.0, 0.5, 10.0]) + 1
    return torch.cat([torch.zeros(len(factors), 1), scaled, noise(len(factors), 1)], dim=1)


def table_of(latents, factors):
    return torch.stack([importance(latents, y)[0] for y in factors.T], dim=1)


def test_the_peers_numbers():
    """disent 0.8.0, run once by hand on these inputs: its `_compute_mig`, `_compute_sap` (both
    forms; halves to train and to test on) and its DCI averages of one table.

    It is no dependency of the tests: it needs other releases of Lightning and h5py.
    """
    z, y = (torch.from_numpy(array) for array in case())
    assert mig(z, y) == pytest.approx(0.5600741264065562)
    assert sap(z, y, range(3)) == pytest.approx(0.18166666666666664, abs=0.01)
    assert sap(z, y) == pytest.approx(0.5653097959552683)
    assert dci(TABLE) == pytest.approx((0.3569314746483396, 0.5066668924800319))


def test_the_peers_dci_from_end_to_end():
    """disent 0.8.0 boosts with scikit-learn too, from another seed: 0.68301, 0.66217, 0.83."""
    z, y = (torch.from_numpy(array) for array in case())
    found = [importance(z, column, categorical=True) for column in y.T]
    assert dci(torch.stack([w for w, _ in found], 1)) == pytest.approx((0.68301, 0.66217), abs=0.02)
    assert np.mean([score for _, score in found]) == pytest.approx(0.83, abs=0.02)


@pytest.mark.parametrize("chunk", [100, 4096])
def test_mutual_information_is_scikit_learns(monkeypatch, chunk):
    monkeypatch.setattr(disentanglement, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(4, (250, 3), generator=generator)
    b = (a[:, [0, 2]] + torch.randint(2, (250, 2), generator=generator)) % 6
    expected = [[mutual_info_score(x, y) for y in b.T.numpy()] for x in a.T.numpy()]
    assert torch.allclose(mutual_information(a, b), torch.tensor(expected, dtype=torch.float64))


def test_perfect_codes_score_one_in_any_order_and_scale():
    factors = independent()
    latents = perfect(factors)
    assert mig(latents, factors) > 0.95  # all but the information that bins find in noise
    assert sap(latents, factors) > 0.99
    assert dci(table_of(latents[:1000], factors[:1000])) == pytest.approx((1, 1), abs=0.03)
    assert importance(latents, factors[:, 0])[1] > 0.99


def test_perfect_codes_of_few_values_score_exactly_one():
    grid = torch.cartesian_prod(*[torch.arange(4)] * 3).float().repeat(4, 1)
    assert mig(grid[:, [1, 2, 0]], grid) == pytest.approx(1)
    assert sap(grid[:, [1, 2, 0]], grid) == pytest.approx(1)
    assert dci(torch.eye(3)[[2, 0, 1]]) == pytest.approx((1, 1))


def test_noise_scores_about_nothing():
    factors, latents = independent(), noise()
    assert mig(latents, factors) < 0.02
    assert sap(latents, factors) < 0.01
    assert max(dci(table_of(latents[:1000], factors[:1000]))) < 0.1
    assert importance(latents, factors[:, 0])[1] < 0.05


def test_what_noise_scores_is_told_and_falls_with_the_number_of_samples():
    """Against the scores for other factors, of which these latents know nothing; printed."""
    found = {}
    for n in (200, 800, 3200):
        latents, factors = noise(n), independent(n)
        generator = torch.Generator().manual_seed(7)
        drawn = [mig(latents, torch.rand(n, 3, generator=generator)) for _ in range(20)]
        found[n] = mig_of_noise(latents, factors, repeats=20)
        assert found[n] == pytest.approx(np.mean(drawn), rel=0.25)
        # It forgets what the latents know.
        assert mig_of_noise(perfect(factors)[:, 1:], factors) < 0.1 < mig(perfect(factors), factors)
    print("MIG of noise by samples:", found)
    assert found[200] > 2 * found[800] > 4 * found[3200] > 0
    with pytest.raises(ValueError, match="repeats >= 1, got 0"):
        mig_of_noise(noise(), independent(), repeats=0)


@pytest.mark.parametrize("n", [300, 3000])
def test_factors_that_depend_on_each_other_are_warned_of(n):
    factors = independent(n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the control: independent ones
        mig(perfect(factors), factors)
    tied = factors.clone()
    tied[:, 1] = factors[:, 0] + 0.3 * factors[:, 1]
    with pytest.warns(UserWarning, match=r"factor [01] tells \d\d% of factor [01]"):
        assert mig(perfect(tied), tied) < 0.95


def test_entangled_codes_score_between():
    factors = independent()
    turned = factors @ torch.linalg.qr(noise(3, 3)).Q
    assert mig(turned, factors) < 0.5
    assert dci(table_of(turned[:1000], factors[:1000])).disentanglement < 0.8
    copied = torch.cat([factors, factors], dim=1)  # two coordinates for each factor
    assert mig(copied, factors) == pytest.approx(0, abs=1e-6)
    assert sap(copied, factors) == pytest.approx(0, abs=1e-6)


def test_a_rotation_loses_nothing_that_a_linear_reading_needs():
    """MIG and disentanglement fall; what the coordinates say together stays."""
    factors = independent(2000)
    turned = factors @ torch.linalg.qr(noise(3, 3)).Q

    def informativeness(latents):
        return np.mean([importance(latents, y)[1] for y in factors.T])

    straight, rotated = informativeness(factors), informativeness(turned)
    assert straight > 0.99
    assert rotated > straight - 0.06  # trees read an oblique axis in steps
    assert dci(table_of(turned, factors)).disentanglement < 0.8
    assert informativeness(noise(2000, 3)) < 0.05


def test_completeness_and_disentanglement_are_told_apart_by_hand():
    spread = torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 0.5]])
    assert dci(spread) == pytest.approx((1, 0.5))
    assert dci(spread.T) == pytest.approx((0.5, 1))
    assert dci(torch.ones(3, 3)) == pytest.approx((0, 0))


def test_a_categorical_factor_is_classified():
    kind = torch.randint(3, (1000,), generator=torch.Generator().manual_seed(0))
    shuffled = torch.tensor([1.0, 0.0, 2.0])[kind]  # its numbering means nothing
    latents = torch.stack([kind + 0.01 * noise(1000, 1)[:, 0], independent(1000, 1)[:, 0]], dim=1)
    weights, right = importance(latents, shuffled, categorical=True)
    assert right == 1
    assert weights[0] > 0.95
    # One of two kinds: all are told apart by one coordinate, half by chance.
    coin = (kind > 0).float()[:, None]
    share = coin[500:].mean().item()
    gap = sap(latents * 10, coin, {0})
    assert 1 - share - 0.1 < gap < share + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mig(torch.rand(9, 3), torch.rand(8, 2)), r"\(9, 3\) and \(8, 2\)"),
        (lambda: mig(torch.rand(9, 1), torch.rand(9, 2)), "two coordinates.*got 1"),
        (lambda: mig(torch.rand(9, 3), torch.zeros(9, 2)), "vary, got a constant"),
        (lambda: mig(torch.full((9, 3), torch.nan), torch.rand(9, 2)), "finite"),
        (lambda: sap(torch.rand(9, 1), torch.rand(9, 2)), "two coordinates or more, got 1"),
        (lambda: sap(torch.rand(9, 3), torch.rand(9, 2), {2}), r"columns below 2, got \[2\]"),
        (lambda: importance(torch.rand(3, 3), torch.rand(3)), "4 samples or more"),
        (lambda: dci(torch.ones(1, 3)), r"2 factors or more, got \(1, 3\)"),
        (lambda: dci(torch.zeros(3, 3)), "one above 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
