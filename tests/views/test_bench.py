"""The chart of DirBench: a bar a reading, an interval a bar, a panel a table."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from latentkit.explain.dirbench import Measure
from latentkit.views.bench import retrieval_chart


def rows(**means):
    return {
        name.replace("_", " "): {"retrieval": Measure(mean, max(0, mean - 0.1), mean + 0.05)}
        for name, mean in means.items()
    }


@pytest.fixture
def tables():
    return {
        "oracle": rows(pattern=0.9, natural_change=0.6, pattern_random_weights=0.2, sobel=0.0),
        "vae": rows(pattern=0.7, sobel=0.0),
    }


def test_a_panel_for_each_table_and_a_bar_for_each_reading(tables):
    figure = retrieval_chart(tables)
    assert [axes.get_title() for axes in figure.axes] == ["oracle", "vae"]
    for axes, table in zip(figure.axes, tables.values(), strict=True):
        assert [label.get_text() for label in axes.get_yticklabels()] == list(table)
        widths = [bar.get_width() for bar in axes.patches]
        assert widths == [row["retrieval"].mean for row in table.values()]
        assert axes.get_xlim() == (0, 1)
        low, high = axes.get_ylim()
        assert low > high  # the first reading is on top
        assert "95 %" in axes.get_xlabel()


def test_intervals_are_drawn_where_they_are(tables):
    axes = retrieval_chart(tables).axes[0]
    segments = axes.collections[0].get_segments()
    expected = [[m["retrieval"].low, m["retrieval"].high] for m in tables["oracle"].values()]
    np.testing.assert_allclose([segment[:, 0] for segment in segments], expected)


def test_guesses_are_grey(tables):
    bars = retrieval_chart(tables).axes[0].patches
    colours = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_a_chart_is_as_high_as_its_longest_table(tables, tmp_path):
    one, both = retrieval_chart({"vae": tables["vae"]}), retrieval_chart(tables)
    assert both.get_size_inches()[0] == pytest.approx(2 * one.get_size_inches()[0])
    assert both.get_size_inches()[1] > one.get_size_inches()[1]
    both.savefig(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 3000
