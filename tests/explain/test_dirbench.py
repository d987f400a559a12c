import pytest
import torch

from latentkit.explain.dirbench import Measure, bench, score_maps
from latentkit.explain.faithfulness import direction_retrieval
from latentkit.metrics.bootstrap import mean_interval
from latentkit.metrics.localisation import (
    energy_in_mask,
    foreground_spearman,
    iou_equal_area,
    pointing,
)
from tests.explain import trained

MEASURES = {"retrieval", "margin", "spearman", "iou", "pointing", "energy"}


@pytest.fixture
def truths():
    """Changes of 5 directions in 120 images: a block each, somewhere, of uneven strength."""
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(5, 120, 12, 12)
    places = torch.randint(8, (5, 120, 2), generator=generator)
    strength = 0.5 + torch.rand(5, 120, 4, 4, generator=generator)
    for k in range(5):
        for n in range(120):
            row, column = places[k, n]
            found[k, n, row : row + 4, column : column + 4] = strength[k, n]
    return found


def test_the_truth_itself_wins_everything(truths):
    for maps in (truths, -3 * truths):  # neither sign nor size counts
        row = score_maps(maps, truths)
        assert set(row) == MEASURES
        for name in ("retrieval", "spearman", "iou", "pointing", "energy"):
            assert row[name].mean == pytest.approx(1, abs=1e-6)
            assert row[name].high == pytest.approx(row[name].low, abs=1e-6)
        assert row["margin"].low > 0.5


def test_noise_guesses(truths):
    noise = torch.randn(5, 120, 6, 6, generator=torch.Generator().manual_seed(1))
    row = score_maps(noise, truths)
    assert row["retrieval"].low < 1 / 5 < row["retrieval"].high
    area = (truths > 0).double().mean().item()
    assert row["pointing"].mean == pytest.approx(area, abs=0.05)
    assert row["energy"].mean == pytest.approx(area, abs=0.05)
    assert row["spearman"].mean == pytest.approx(0, abs=0.05)


def test_wrong_labels_lose_where_direction_free_measures_may_win(truths):
    row = score_maps(truths.roll(1, 0), truths)
    assert row["retrieval"].mean == pytest.approx(0, abs=0.02)
    assert row["margin"].high < 0
    free = score_maps(truths.sum(0).expand_as(truths), truths)
    assert free["retrieval"] == Measure(0, 0, 0)
    assert free["pointing"].mean > 0.2  # and yet it points well enough


def test_every_measure_is_the_mean_over_images_of_means_over_directions(truths):
    noise = torch.rand(truths.shape, generator=torch.Generator().manual_seed(2))
    maps = (truths + 2 * noise)[..., ::2, ::2]
    row = score_maps(maps, truths)
    each = zip(maps, truths, truths > truths.amax((2, 3), keepdim=True) / 4, strict=True)
    single = [(iou_equal_area(m, t), pointing(m, k), energy_in_mask(m, k)) for m, t, k in each]
    iou, hits, energy = map(torch.stack, zip(*single, strict=True))
    values = {"iou": iou, "pointing": hits, "energy": energy}
    values["spearman"] = foreground_spearman(maps, truths)
    values["retrieval"] = direction_retrieval(maps, truths).won.float()
    values["margin"] = direction_retrieval(maps, truths).margin
    for name, value in values.items():
        over = value.double().mean(0)
        assert row[name].mean == pytest.approx(over.mean().item(), abs=1e-6)
        assert (row[name].low, row[name].high) == pytest.approx(mean_interval(over), abs=1e-6)
        assert row[name].low <= row[name].mean <= row[name].high
    assert row["retrieval"].mean == pytest.approx(direction_retrieval(maps, truths).accuracy)


def test_maps_that_are_not_finite_are_refused(truths):
    with pytest.raises(ValueError, match="NaN or infinity"):
        score_maps(truths.masked_fill(truths == truths[2, 3].amax(), torch.nan), truths)


def test_all_readings_are_measured_by_the_same_truths():
    case = trained.case()
    found = bench(case, {"the truth": lambda c: c.effects(), "half": lambda c: c.effects() / 2})
    assert list(found) == ["the truth", "half"]
    assert found["the truth"]["retrieval"] == Measure(1, 1, 1)
    assert found["half"]["retrieval"] == found["the truth"]["retrieval"]
