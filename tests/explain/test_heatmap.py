import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from latentkit.explain.heatmap import Heatmap, name_of
from latentkit.explain.scores import unit

RAW = torch.tensor([[[-4.0, 2.0], [1.0, 0.0]], [[0.5, 0.0], [0.0, -0.25]]])


def heatmap(raw: Tensor, noise: float = 0.0) -> Heatmap:
    return Heatmap(raw, "conv", "grad-cam", torch.full((len(raw),), noise), "unit 3")


def test_normalisation_by_image_and_by_batch():
    got = heatmap(RAW)
    assert got.normalised().tolist() == [[[1, 0.5], [0.25, 0]], [[1, 0], [0, 0.5]]]
    assert got.signed().tolist() == [[[-1, 0.5], [0.25, 0]], [[1, 0], [0, -0.5]]]
    assert got.relu().normalised().tolist() == [[[0, 1], [0.5, 0]], [[1, 0], [0, 0]]]
    assert got.normalised("batch")[1].tolist() == [[0.125, 0], [0, 0.0625]]
    assert got.limits().tolist() == [4, 0.5]
    assert got.limits("batch").tolist() == [4, 4]
    assert got.raw is RAW  # still signed
    assert RAW[0, 0, 0] == -4
    assert got.relu().score == "unit 3"
    for view in (got.normalised, got.signed, got.limits):
        with pytest.raises(ValueError, match="'image' or 'batch', got 'pixel'"):
            view("pixel")


def test_resizing():
    bigger = heatmap(RAW).resized((4, 4))
    assert bigger.raw.shape == (2, 4, 4)
    assert bigger.raw[0, 0].tolist() == [-4, -2.5, 0.5, 2]  # align_corners=False, by hand
    assert (bigger.layer, bigger.score) == ("conv", "unit 3")
    with pytest.raises(ValueError, match=r"each of the 2 dimensions.*got \(4,\)"):
        heatmap(RAW).resized((4,))


@pytest.mark.parametrize("size", [(5,), (6, 3), (4, 3, 5)])
def test_resizing_in_every_rank(size):
    ramp = torch.tensor([0.0, 1.0]).expand(3, *[2] * len(size))  # along the last axis
    centres = (torch.arange(size[-1]) + 0.5) * 2 / size[-1] - 0.5  # on the axis of the two values
    torch.testing.assert_close(
        heatmap(ramp).resized(size).raw, centres.clamp(0, 1).expand(3, *size)
    )


@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize(
    ("row", "noise", "degenerate"),
    [
        ([0.0, 0.0, 0.0], 0.0, True),
        ([2.0, 2.0, 2.0], 0.0, True),
        ([2.0, 2.0 + 2e-7, 2.0], 0.0, True),  # constant, but for the rounding of the last digit
        ([1e-9, -1e-9, 0.0], 1e-8, True),  # rounding errors
        ([1e-9, -1e-9, 0.0], 1e-10, False),  # small, and real
        ([float("nan"), 1.0, 2.0], 0.0, True),
        ([float("inf"), 1.0, 2.0], 0.0, True),
        ([-float("inf"), 1.0, 2.0], float("inf"), True),
        ([1.0, 0.5, 0.0], float("nan"), True),
        ([-3.0, -1.0, -2.0], 0.0, False),
    ],
)
def test_maps_that_show_nothing(row, noise, degenerate, per):
    good = torch.tensor([0.0, 0.25, -0.5])
    both = torch.stack([torch.tensor(row), good])
    got = Heatmap(both, "conv", "grad-cam", torch.tensor([noise, 0.0]))
    assert got.degenerate.tolist() == [degenerate, False]
    drawn = got.normalised(per)
    assert drawn.isfinite().all()
    assert bool(drawn[0].any()) is not degenerate  # noise is never blown up
    assert drawn.max() == 1
    assert drawn[1].any() or per == "batch"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_maps_none_of_which_is_finite_are_refused(bad):
    spoiled = RAW.clone()
    spoiled[:, 0, 1] = bad
    with pytest.raises(ValueError, match="finite maps of unit 3 at layer 'conv'"):
        heatmap(spoiled)
    heatmap(torch.cat([spoiled, RAW[:1]]))  # one can be looked at
    heatmap(0 * RAW)  # nothing to see, and nothing wrong
    heatmap(RAW[:0])


def test_all_negative_maps_are_blank_after_the_relu():
    got = heatmap(torch.tensor([[-3.0, -1.0, -2.0]]))
    assert not got.degenerate
    assert got.relu().degenerate
    assert not got.relu().normalised().any()


def test_files(tmp_path):
    raw = torch.cat([RAW, torch.full((1, 2, 2), torch.nan)])
    heatmap(raw, 0.125).save(tmp_path / "new" / "maps.npz")
    with np.load(tmp_path / "new" / "maps.npz") as file:  # without pickles
        content = dict(file)
    assert np.array_equal(content["raw"], raw.numpy(), equal_nan=True)
    assert content["raw"].dtype == np.float32
    assert content["noise"].tolist() == [0.125] * 3
    assert content["degenerate"].tolist() == [False, False, True]
    assert [str(content[k]) for k in ("layer", "method", "score")] == ["conv", "grad-cam", "unit 3"]
    with pytest.raises(ValueError, match=r"\.npz file, got 'maps.npy'"):
        heatmap(RAW).save("maps.npy")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(path, **_):
        path.write_text("half")
        raise OSError("disk full")

    heatmap(RAW).save(tmp_path / "maps.npz")
    before = (tmp_path / "maps.npz").read_bytes()
    monkeypatch.setattr("numpy.savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        heatmap(2 * RAW).save(tmp_path / "maps.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["maps.npz"]
    assert (tmp_path / "maps.npz").read_bytes() == before


def test_numpy():
    got = heatmap(RAW).numpy()
    assert got.dtype == np.float32
    assert np.array_equal(got, RAW.numpy())


def realness(output):
    return output[:, 0]


def test_names_of_scores():
    assert name_of(realness) == "realness"
    assert name_of(lambda output: output[:, 0]) is None
    assert name_of(functools.partial(realness)) is None
    picked = unit(3)
    picked.__qualname__ = "unit(3)"
    assert name_of(picked) == "unit(3)"
