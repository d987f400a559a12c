import pytest
import torch
from torch.nn import functional

from latentkit.metrics import saliency
from latentkit.metrics.saliency import confidence, fitted, judged, portions, ranks, resize, wins


def mean(x):
    return x.flatten(1).mean(1)


# --- confidence


def test_confidence_by_hand():
    x = torch.tensor([[[0.8, 0.4, 0.0, 0.4]], [[0.2, 0.2, 0.6, 0.6]]])
    maps = torch.tensor([[4.0, 2.0, -1.0, 0.0], [-1.0, -2.0, -3.0, 0.0]])
    got = confidence(mean, x, maps)  # kept: 1, 0.5, 0, 0; the second map has nothing positive
    assert got.whole.tolist() == pytest.approx([0.4, 0.4])
    assert got.part.tolist() == pytest.approx([0.25, 0.0])
    assert got.drop().tolist() == pytest.approx([37.5, 100.0])
    assert got.increase().tolist() == [0, 0]


def test_a_score_that_rises_is_an_increase_and_no_drop():
    x = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]])
    maps = torch.tensor([[1.0, 0.0], [1.0, 1.0]])

    def contrast(x):
        return 0.1 + (x[:, 0, 0] - x[:, 0, 1]).abs()

    got = confidence(contrast, x, maps)
    assert got.drop().tolist() == [0, 0]
    assert got.increase().tolist() == [100, 0]  # staying equal is no increase


@pytest.mark.parametrize("size", [(16,), (8, 6), (4, 3, 5)])
def test_drops_are_per_cent_and_no_image_depends_on_its_batch(size, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, maps = torch.rand(9, 3, *size, generator=generator), torch.randn(9, *size)

    def score(x):
        return torch.sigmoid(5 * (mean(x.sin() * 7) - 2))

    whole = confidence(score, x, maps)
    assert ((whole.drop() >= 0) & (whole.drop() <= 100)).all()
    monkeypatch.setattr(saliency, "_VALUES", 2 * x[0].numel())
    for a, b in zip(whole, confidence(score, x, maps), strict=True):
        torch.testing.assert_close(a, b)
    scaled = confidence(score, x, maps * torch.linspace(1e-3, 9, 9).view(-1, *[1] * len(size)))
    torch.testing.assert_close(scaled.part, whole.part)


def test_a_map_of_the_object_loses_less_than_one_of_the_ground():
    x = torch.zeros(1, 1, 8, 8)
    x[..., 2:5, 2:5] = 1
    right, wrong = x[:, 0], 1 - x[:, 0]
    drops = torch.stack([confidence(mean, x, m).drop() for m in (right, wrong)])
    assert drops.flatten().tolist() == [0, 100]
    assert wins(drops).flatten().tolist() == [100, 0]


def test_ties_win_nothing():
    got = wins(torch.tensor([[1.0, 2.0, 0.0, 5.0], [1.0, 3.0, 0.0, 4.0], [2.0, 4.0, 0.0, 6.0]]))
    assert got.tolist() == [[0, 100, 0, 0], [0, 0, 0, 100], [0, 0, 0, 0]]


def test_shares_of_scores_that_are_not_positive_are_refused():
    x, maps = torch.rand(2, 1, 4), torch.rand(2, 4)
    with pytest.raises(ValueError, match=r"positive scores, got -.* probabilities"):
        confidence(lambda x: -mean(x), x, maps)
    with pytest.raises(ValueError, match="for its part"):
        confidence(lambda x: mean(x) - 1e-4, x, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="2 methods or more"):
        wins(torch.zeros(1, 3))


# --- what is shared


def test_ranks_break_ties_by_position_every_time():
    maps = torch.tensor([[[1.0, 2.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert ranks(maps).tolist() == [[[2, 0], [1, 3]], [[0, 1], [2, 3]]]
    many = torch.randint(0, 3, (1, 5000), generator=torch.Generator().manual_seed(0)).float()
    expected = sorted(range(5000), key=lambda i: (-float(many[0, i]), i))
    assert ranks(many)[0].argsort().tolist() == expected


@pytest.mark.parametrize(("rank", "mode"), [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
def test_maps_are_resized_to_the_image(rank, mode):
    maps, x = torch.rand(2, *[3, 4, 5][:rank]), torch.rand(2, 3, *[6, 9, 5][:rank])
    size = x.shape[2:]
    expected = functional.interpolate(maps[:, None], size, mode=mode, align_corners=False)[:, 0]
    assert torch.equal(fitted(maps, x), expected)
    assert fitted(maps.bfloat16(), x).dtype == torch.float32


def test_portions_cover_everything_once(monkeypatch):
    x = torch.zeros(3, 2, 5)
    monkeypatch.setattr(saliency, "_VALUES", 45)
    assert [p.tolist() for p in portions(6, x)] == [[0, 1, 2, 3], [4, 5]]
    monkeypatch.setattr(saliency, "_VALUES", 1)
    assert [p.tolist() for p in portions(2, x)] == [[0], [1]]


def test_nothing_is_recorded_while_judging():
    weight = torch.ones(1, requires_grad=True)
    assert not judged(lambda x: x.sum(1) * weight, [torch.ones(2, 3)]).requires_grad
    with torch.inference_mode():
        x = torch.rand(2, 1, 4)
        assert confidence(mean, x, torch.rand(2, 4)).whole.shape == (2,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: fitted(torch.zeros(3, 4, 4), x), ValueError, r"one map .*\(2, 3, 8, 8\)"),
        (lambda x: fitted(torch.zeros(2, 4), x), ValueError, r"and \(2, 4\)"),
        (lambda x: fitted(torch.zeros(2, 4, 4), x.int()), TypeError, "floating-point images"),
        (lambda x: fitted(torch.full((2, 1, 1), torch.nan), x), ValueError, r"images \[0, 1\]"),
        (lambda x: judged(lambda x: x, [x]), ValueError, r"one value per image, \(2,\), got \(2, "),
        (lambda x: judged(lambda x: 1.0, [x]), ValueError, "got float"),
        (lambda x: resize(torch.zeros(2, 4, 4), (3,)), ValueError, r"2 dimensions .*got \(3,\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(2, 3, 8, 8))
