"""The atlas and the heatmaps: what stands where, and one scale for all rows of a column."""

import numpy as np
import pytest
import torch

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


def test_cells_stand_in_rows_at_the_same_height_in_every_column(panel):
    figure = atlas(panel, ["a", "b", "c"], "pc 1")
    figure.draw_without_rendering()
    spots = [
        image.get_window_extent().bounds  # x, y, width, height
        for _, image in images_of(figure)
    ]
    walks, maps = np.array(spots[:15]).reshape(3, 5, 4), np.array(spots[15:]).reshape(4, 3, 4)
    np.testing.assert_allclose(walks[..., 2:] - walks[0, 0, 2:], 0, atol=0.1)
    assert (np.diff(walks[:, 0, 1]) < -walks[0, 0, 3]).all()
    assert (np.diff(walks[0, :, 0]) > walks[0, 0, 2]).all()
    for column in maps:
        np.testing.assert_allclose(column[:, [1, 3]], walks[:, 0, [1, 3]], atol=0.5)
    middles = [label.get_window_extent().y0 for label in figure.axes[0].get_yticklabels()]
    assert (np.diff(middles) < 0).all()


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
    assert figure.get_size_inches() == pytest.approx((1.25 * 4 + 1.2, 1.25 * rows + 0.9))
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
