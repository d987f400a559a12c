"""Sheets with named rows and columns."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from latentkit.views.sheets import sheet


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_stands_in_its_row_and_column_under_its_names(channels):
    images = (torch.arange(6.0) / 10).view(2, 3, 1, 1, 1).expand(2, 3, channels, 4, 6)
    figure = sheet(images, ["a", "b"], ["1", "2", "3"], "title", ["one note", "and another"])
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    pixels = np.asarray(axes.images[0].get_array())
    for row, y in enumerate(axes.get_yticks()):
        for column, x in enumerate(axes.get_xticks()):
            around = pixels[round(y) - 1 : round(y) + 1, round(x) - 2 : round(x) + 2]
            assert around == pytest.approx((3 * row + column) / 10)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert figure.get_suptitle() == "title"
    assert figure.get_supxlabel() == "one note\nand another"


def test_names_must_fit():
    with pytest.raises(ValueError, match="2 row names and 3 column names, got 1 and 3"):
        sheet(torch.zeros(2, 3, 1, 4, 4), ["a"], ["1", "2", "3"], "title", [])
