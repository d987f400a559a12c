"""The atlas and the heatmaps: what stands where, and one scale for all rows of a column."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from latentkit.views.atlas import AtlasRows, atlas, heatmaps, limits_of


def images_of(figure):
    """(axes, image) of every cell."""
    return [(axes, image) for axes in figure.axes for image in axes.images]


def bars_of(figure):
    """The colour bars."""
    return [bar for axes in figure.axes for bar in axes.child_axes]


@pytest.fixture
def panel():
    generator = torch.Generator().manual_seed(0)
    maps = {
        "effect": torch.rand(3, 4, 4, generator=generator)
        * torch.tensor([1.0, 5, 2])[:, None, None],
        "encoder reading": torch.randn(3, 2, 2, generator=generator),
        "discriminator reading": -torch.rand(3, 2, 2, generator=generator),
        "encoder use": torch.randn(3, 6, 6, generator=generator),
    }
    return AtlasRows(torch.rand(3, 5, 1, 6, 6, generator=generator), maps)


def test_an_atlas_has_a_row_for_each_image_and_a_column_for_each_frame_and_map(panel):
    figure = atlas(panel, ["a", "b", "c"], "pc 1", ["first note", "second note"])
    assert len(images_of(figure)) == 3 * (5 + 4)
    assert len(bars_of(figure)) == 4  # one for each kind of map
    assert figure.get_suptitle() == "pc 1"
    assert figure.get_supxlabel() == "first note\nsecond note"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


SHAPES = {"square": (8, 8), "wide": (8, 32), "tall": (32, 8)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("rows", "frames"), [(1, 1), (3, 5), (16, 2)])
def test_cells_stand_in_rows_at_the_same_height_in_every_column(shape, rows, frames):
    maps = dict.fromkeys(["effect", "encoder reading", "encoder use"], torch.rand(rows, 4, 4))
    figure = atlas(
        AtlasRows(torch.rand(rows, frames, 1, *shape), maps),
        list("abcdefghijklmnop"[:rows]),
        "pc 1",
    )
    figure.draw_without_rendering()
    spots = np.array([image.get_window_extent().bounds for _, image in images_of(figure)])
    walks = spots[: rows * frames].reshape(rows, frames, 4)  # x, y, width, height
    columns = spots[rows * frames :].reshape(3, rows, 4)
    np.testing.assert_allclose(walks[..., 2:] - walks[0, 0, 2:], 0, atol=0.1)
    np.testing.assert_allclose(walks[0, 0, 2] / walks[0, 0, 3], shape[1] / shape[0], rtol=0.01)
    assert (np.diff(walks[:, 0, 1]) < -walks[0, 0, 3]).all()
    assert (np.diff(walks[0, :, 0]) > walks[0, 0, 2]).all()
    for column in columns:
        np.testing.assert_allclose(column[:, 1:], walks[:, 0, 1:], atol=0.5)
    for label, cell in zip(figure.axes[0].get_yticklabels(), walks[:, 0], strict=True):
        place = label.get_window_extent()
        assert (place.y0 + place.y1) / 2 == pytest.approx(cell[1] + cell[3] / 2, abs=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_cell_shows_its_own_image(channels, shape):
    """Black but for a corner: upper left in a brightness of its own, lower right in half of it."""
    height, width = shape
    colour = torch.tensor([1.0, 0.6, 0.3])[:channels, None, None]
    walks = torch.zeros(3, 4, channels, height, width)
    for r, t in np.ndindex(3, 4):
        walks[r, t, :, : height // 2, : width // 2] = colour * (1 - 0.2 * r - 0.05 * t)
        walks[r, t, :, height // 2 :, width // 2 :] = colour * (1 - 0.2 * r - 0.05 * t) / 2
    figure = atlas(AtlasRows(walks, {"effect": torch.rand(3, 4, 4)}), ["a", "b", "c"], "pc 1")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    seen = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255  # from below, as Matplotlib counts
    walk = figure.axes[0].get_window_extent()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    cell = walk.width / (4 + 3 * 0.1 * height / width)
    for r, t in np.ndindex(3, 4):
        x = walk.x0 + t * (cell + 0.1 * cell * height / width) + cell / 2
        y = (labels[r].y0 + labels[r].y1) / 2
        right, up = cell / 4, cell * height / width / 4
        corners = [(-right, up), (right, up), (-right, -up), (right, -up)]
        quarters = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
        for (dx, dy), (i, k) in zip(corners, quarters, strict=True):
            found = seen[int(y + dy), int(x + dx)]
            np.testing.assert_allclose(found, walks[r, t, :, i, k].expand(3), atol=0.01)


@pytest.mark.parametrize("width", [6, 24, 96])
@pytest.mark.parametrize("name", ["image 1", "attribute:Smiling=0 to attribute:Smiling=1"])
def test_names_stay_within_their_rows(name, width):
    figure = atlas(AtlasRows(torch.rand(3, 2, 1, 6, width), {}), [name] * 3, "pc 1")
    figure.draw_without_rendering()
    places = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in pairwise(places))


def test_a_drawing_of_vectors_keeps_every_cell(panel, tmp_path):
    atlas(panel, ["a", "b", "c"], "pc 1").savefig(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().count("<image") == 3 * (5 + 4) + 4  # and the bars


@pytest.mark.parametrize(
    ("shape", "got"),
    [((1, 64), r"\(1, 64\)"), ((1, 3, 8, 8), r"\(1, 3, 8, 8\)"), ((2, 8, 8), "2: they cannot")],
)
def test_what_is_no_image_is_told_so(shape, got):
    with pytest.raises(ValueError, match=rf"expected images .* got .*{got}"):
        atlas(AtlasRows(torch.rand(2, 5, *shape), {}), ["a", "b"], "pc 1")
    with pytest.raises(ValueError, match=rf"expected images .* got .*{got}"):
        heatmaps(torch.rand(2, *shape), {}, "grad-cam")


def test_an_atlas_says_which_question_a_column_answers(panel):
    figure = atlas(panel, ["a", "b", "c"], "pc 1")
    titles = " ".join(axes.get_title() for axes in figure.axes).replace("\n", " ")
    for text in (
        "generator changes",
        "encoder reads",
        "discriminator's features keep",
        "walk along",
        "encoder uses",
    ):
        assert text in titles


def test_all_rows_of_a_column_share_one_scale(panel):
    figure = atlas(panel, ["a", "b", "c"], "pc 1")
    shown = [image for _, image in images_of(figure)]
    by_map = {}
    for question, maps in panel.maps.items():
        ours = [
            image
            for row in maps
            for image in shown
            if image.get_array().shape == row.shape
            and np.array_equal(image.get_array(), row.numpy())
        ]
        assert len(ours) == 3
        limits = {image.get_clim() for image in ours}
        assert len(limits) == 1
        by_map[question] = limits.pop()
    largest = {question: float(maps.abs().max()) for question, maps in panel.maps.items()}
    assert by_map["effect"] == pytest.approx((0, largest["effect"]))
    for question in ("encoder reading", "discriminator reading", "encoder use"):
        assert by_map[question] == pytest.approx((-largest[question], largest[question]))


def test_given_limits_are_those_of_every_picture(panel):
    weak = {question: maps / 10 for question, maps in panel.maps.items()}
    weak["encoder use"] = weak["encoder use"].abs()  # no part of it is negative here
    limits = {question: limits_of(maps) for question, maps in panel.maps.items()}
    figure = atlas(AtlasRows(panel.walks, weak, limits), ["a", "b", "c"], "pc 2")
    shown = [image for _, image in images_of(figure) if image.get_cmap().name != "gray"]
    assert [image.get_clim() for image in shown] == [x for x in limits.values() for _ in "abc"]
    assert [image.get_cmap().name for image in shown] == ["viridis"] * 3 + ["RdBu_r"] * 9
    bars = [bar.get_ylim() for bar in bars_of(figure)]
    assert bars == [pytest.approx(limits[question]) for question in panel.maps]


def test_limits_hold_all_values():
    maps = torch.tensor([[0.5, 2.0], [0.0, 1.0]])
    assert limits_of(maps) == (0, 2)
    assert limits_of(torch.tensor([[torch.nan, 2.0]])) == (0, 2)
    assert limits_of(maps - 3) == (-3, 3)
    assert limits_of(0 * maps) == (0, 1)


def test_images_are_shown_from_black_to_white_whatever_they_hold(panel):
    figure = atlas(AtlasRows(panel.walks * 0.1, {}), ["a", "b", "c"], "dark")
    assert {image.get_clim() for _, image in images_of(figure)} == {(0, 1)}


def test_a_map_of_zeros_has_a_scale_too():
    walks = torch.zeros(1, 2, 3, 4, 4)
    figure = atlas(AtlasRows(walks, {"encoder reading": torch.zeros(1, 2, 2)}), ["a"], "nothing")
    assert images_of(figure)[-1][1].get_clim() == (0, 1)


def test_signed_maps_diverge_from_zero_and_others_do_not(panel):
    figure = atlas(panel, ["a", "b", "c"], "pc 1")
    colours = {}
    for question, maps in panel.maps.items():
        for _, image in images_of(figure):
            shown = image.get_array()
            if shown.shape == maps[0].shape and np.array_equal(shown, maps[0].numpy()):
                colours[question] = image.get_cmap().name
    assert colours["effect"] == "viridis"
    assert colours["encoder reading"] == colours["discriminator reading"] == "RdBu_r"


def test_heatmaps_stand_beside_their_images():
    images = torch.rand(2, 3, 8, 8)
    maps = {"real": torch.randn(2, 4, 4), "unit:3": 10 * torch.randn(2, 4, 4)}
    figure = heatmaps(images, maps, "grad-cam")
    assert len(images_of(figure)) == 2 * 3
    assert "grad-cam" in figure.get_suptitle()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["real", "unit:3"]
    limits = [image.get_clim() for _, image in images_of(figure)]
    for name in maps:
        largest = float(maps[name].abs().max())
        assert limits.count(pytest.approx((-largest, largest))) == 2


@pytest.mark.parametrize("rows", [1, 6])
def test_pictures_grow_with_their_rows(rows, tmp_path):
    walks = torch.zeros(rows, 3, 1, 4, 4)
    panel = AtlasRows(walks, {"effect": torch.ones(rows, 4, 4)})
    figure = atlas(panel, [str(k) for k in range(rows)], "t")
    high = rows + 0.1 * (rows - 1)
    assert figure.get_size_inches() == pytest.approx((1.25 * 4.2 + 0.85, 1.25 * high + 0.95))
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
