import math

import pytest
import torch

from latentkit.metrics.geometry import path_length, step_lengths


def test_a_circle_has_its_circumference():
    t = torch.linspace(0, 2 * math.pi, 1001)
    circle = torch.stack([t.cos(), t.sin()], dim=1).reshape(1, -1, 1, 2)
    assert path_length(2 * circle).item() == pytest.approx(4 * math.pi, rel=1e-4)


@pytest.mark.parametrize("size", [(5,), (4, 3), (2, 3, 2)])
def test_a_line_has_the_length_of_its_chord_in_equal_steps(size):
    a, b = torch.rand(2, 3, 1, 2, *size, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0, 1, 6).reshape(1, 6, *[1] * (len(size) + 1))
    line = a + t * (b - a)
    chord = (b - a).flatten(1).norm(dim=1)
    assert torch.allclose(path_length(line), chord, rtol=1e-5)
    assert torch.allclose(step_lengths(line), (chord / 5)[:, None].expand(3, 5), rtol=1e-4)


def test_a_detour_is_longer_than_the_chord_by_hand():
    path = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]])
    assert step_lengths(path).tolist() == [[5, 4]]


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 4)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match="at least 2 steps"):
        path_length(torch.zeros(shape))
