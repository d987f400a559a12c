"""The random affine change is small, its own for each image, and repeatable."""

import torch

from latentkit.training.affine import random_affine


def disc(size=28, radius=6.0):
    axis = torch.arange(size) - (size - 1) / 2
    return ((axis[:, None] ** 2 + axis**2) < radius**2).float()[None, None]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_same_generator_same_change_and_global_state_untouched():
    x, state = torch.rand(4, 1, 28, 28), torch.get_rng_state()
    assert torch.equal(random_affine(x, generator()), random_affine(x, generator()))
    assert not torch.equal(random_affine(x, generator()), random_affine(x, generator(1)))
    assert torch.equal(torch.get_rng_state(), state)


def test_each_image_has_its_own_change_and_keeps_its_shape():
    x = disc().repeat(64, 3, 1, 1)
    moved = random_affine(x, generator())
    assert moved.shape == x.shape
    assert not torch.allclose(moved[0], moved[1])
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6


def test_area_and_place_change_by_no_more_than_stated():
    x = disc().repeat(500, 1, 1, 1)
    moved = random_affine(x, generator())[:, 0]
    area = moved.sum((1, 2)) / x[0].sum()
    # The picture is read at places scaled by 1 +- 0.15, which divides its area by the square.
    assert area.min() > 0.95 / 1.15**2 * 0.9
    assert area.max() < 1.05 / 0.85**2 * 1.1
    axis = torch.arange(28) - 13.5
    centre = (moved * axis).sum((1, 2)) / moved.sum((1, 2))
    assert centre.abs().max() < 0.12 * 14 * 1.5
    assert centre.std() > 0.5
