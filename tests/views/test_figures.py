"""Sheets and figures: sizes, places of the images, and no global state of matplotlib."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torchvision.utils import make_grid

import latentkit
from latentkit.views.figures import cluster_map, labelled_rows, palette
from latentkit.views.pixels import alternate, enlarged, grid, to_pil, with_parents
from tests.explain.test_overlay import JUST_NOTICEABLE, SEEN_BY, seen


def numbered(n, *shape):
    """Images whose pixels are all k / 100."""
    return (torch.arange(n) / 100).view(n, *[1] * len(shape)).expand(n, *shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_to_pil_is_exact_for_every_level(channels):
    levels = torch.arange(256, dtype=torch.uint8).repeat(channels, 1).view(channels, 16, 16)
    levels = torch.stack([level.roll(k) for k, level in enumerate(levels)])
    picture = to_pil(levels.float() / 255)
    assert picture.size == (16, 16)
    assert picture.mode == {1: "L", 3: "RGB"}[channels]
    back = torch.from_numpy(np.array(picture)).view(16, 16, channels).movedim(-1, 0)
    assert torch.equal(back, levels)


def test_to_pil_takes_any_float_and_cuts_what_is_out_of_range():
    image = torch.tensor([[[-1.0, 2.0, 0.5]]], dtype=torch.float64, requires_grad=True)
    assert np.array(to_pil(image)).tolist() == [[0, 255, 128]]
    assert np.array(to_pil(image.detach().bfloat16())).tolist() == [[0, 255, 128]]


def test_a_wide_image_is_not_turned():
    assert to_pil(torch.zeros(3, 4, 9)).size == (9, 4)


def test_a_grid_has_white_lines_and_the_images_in_reading_order():
    sheet = grid(numbered(5, 1, 3, 4), columns=3, gap=2)
    assert sheet.shape == (3, 2 * (3 + 2) + 2, 3 * (4 + 2) + 2)
    for k in range(5):
        row, column = divmod(k, 3)
        top, left = 2 + row * 5, 2 + column * 6
        inside = sheet[:, top : top + 3, left : left + 4]
        assert torch.equal(inside, torch.full((3, 3, 4), k / 100))
    assert (sheet[:, :2] == 1).all()
    assert (sheet[:, :, 6:8] == 1).all()


@pytest.mark.parametrize(("count", "columns", "channels"), [(2, 8, 1), (9, 4, 3), (8, 4, 1)])
def test_a_grid_is_that_of_torchvision(count, columns, channels):
    images = torch.rand(count, channels, 5, 3)
    expected = make_grid(images, nrow=columns, padding=3, pad_value=1.0)
    assert torch.equal(grid(images, columns, gap=3), expected)


def test_rows_of_originals_stand_above_their_reconstructions():
    first, second = numbered(10, 1, 2, 2), numbered(10, 1, 2, 2) + 0.5
    both = alternate(first, second, row=4)
    assert both.shape == (24, 1, 2, 2)
    rows = both[:, 0, 0, 0].view(6, 4)
    assert torch.equal(rows[0], first[:4, 0, 0, 0])
    assert torch.equal(rows[1], second[:4, 0, 0, 0])
    assert torch.equal(rows[3], second[4:8, 0, 0, 0])
    assert rows[4].tolist() == pytest.approx([0.08, 0.09, 1, 1])
    assert rows[5].tolist() == pytest.approx([0.58, 0.59, 1, 1])


def test_parents_stand_around_their_mixtures():
    images = numbered(6, 1, 2, 2).reshape(2, 3, 1, 2, 2)
    rows, columns = numbered(2, 1, 2, 2) + 0.2, numbered(3, 1, 2, 2) + 0.4
    sheet = with_parents(images, rows, columns)
    assert sheet.shape == (12, 1, 2, 2)
    table = sheet[:, 0, 0, 0].view(3, 4)
    assert table[0].tolist() == pytest.approx([1, 0.40, 0.41, 0.42])
    assert table[:, 0].tolist() == pytest.approx([1, 0.20, 0.21])
    assert torch.equal(table[1:, 1:], images[..., 0, 0, 0])


def test_enlarging_repeats_pixels():
    image = torch.rand(3, 5, 10)
    large = enlarged(image, 40)
    assert large.shape == (3, 20, 40)
    assert torch.equal(large[:, ::4, ::4], image)
    assert torch.equal(large[:, 3::4, 3::4], image)
    assert torch.equal(enlarged(image, 3), image)


def test_a_cluster_map_has_one_colour_and_one_entry_a_cluster():
    rng = np.random.default_rng(0)
    clusters = np.array([0, 2] * 10)
    figure = cluster_map(rng.normal(size=(20, 2)), clusters, "t-SNE")
    (axes,) = figure.axes
    assert axes.get_title() == "t-SNE"
    assert [len(c.get_offsets()) for c in axes.collections] == [10, 10]
    colours = {tuple(c.get_facecolor()[0]) for c in axes.collections}
    assert len(colours) == 2
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == ["0", "2"]


def test_noise_is_grey_and_behind():
    clusters = np.array([1, -1, 0, -1, 1])
    figure = cluster_map(np.random.default_rng(0).normal(size=(5, 2)), clusters, "")
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["noise", "0", "1"]
    behind = axes.collections[0]
    assert len(behind.get_offsets()) == 2
    assert len({*behind.get_facecolor()[0][:3]}) == 1
    assert cluster_map(np.zeros((2, 2)), np.array([-1, -1]), "").axes


@pytest.mark.parametrize("count", [1, 10, 11, 40])
def test_colours_of_a_palette_differ(count):
    colours = palette(count)
    assert len(colours) == len(set(colours)) == count


@pytest.mark.parametrize("eye", SEEN_BY)
def test_everyone_can_tell_the_colours_apart(eye):
    rgb = torch.tensor([to_rgb(c) for c in palette(10)], dtype=torch.double)
    apart = torch.pdist(seen(rgb, eye))
    assert apart.min() > 3 * JUST_NOTICEABLE
    rainbow = torch.tensor([to_rgb(f"C{k}") for k in range(10)], dtype=torch.double)
    if eye != "everyone":  # matplotlib's own ten would fail
        assert torch.pdist(seen(rainbow, eye)).min() < apart.min()


def test_figures_are_no_pyplot_figures(tmp_path):
    assert isinstance(cluster_map(np.zeros((3, 2)), np.zeros(3, int), ""), Figure)
    code = (
        "import sys, latentkit.views.figures, latentkit.views.atlas, latentkit.views.report\n"
        "import numpy, torch\n"
        "latentkit.views.figures.cluster_map(numpy.zeros((3, 2)), numpy.zeros(3, int), '')\n"
        "maps = {'effect': torch.ones(1, 2, 2)}\n"
        "panel = latentkit.views.atlas.AtlasRows(torch.zeros(1, 2, 1, 2, 2), maps)\n"
        "latentkit.views.atlas.atlas(panel, ['a'], 't').savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(latentkit.__file__).parents[1])}
    words = [sys.executable, "-c", code, str(tmp_path / "figure.png")]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.png").is_file()


def test_labelled_rows_show_every_strip_in_order():
    rows = {"dark": torch.zeros(3, 1, 8, 8), "light": torch.ones(3, 1, 8, 8)}
    figure = labelled_rows(rows)
    assert [axes.get_ylabel() for axes in figure.axes] == ["dark", "light"]
    first, second = (np.asarray(axes.images[0].get_array()).mean() for axes in figure.axes)
    assert first < second
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops == pytest.approx([1, 0.5])
