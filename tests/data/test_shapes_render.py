import math
import subprocess
import sys

import pytest
import torch

from latentkit.data.shapes_render import FACTORS, factor_mask, render, sample_factors, shape_index

SIZE = 64
OWNERS = {
    **dict.fromkeys(("shape", "x", "y", "scale", "rotation", "hue"), 0),
    **dict.fromkeys(("x2", "y2", "hue2"), 1),
    "phase": 2,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads would wait for each other
    yield
    torch.set_num_threads(threads)


def scenes(n, seed=0):
    return sample_factors(n, torch.Generator().manual_seed(seed))


def changed(factors, **values):
    factors = factors.clone()
    for name, value in values.items():
        factors[:, FACTORS.index(name)] = value
    return factors


def test_images_and_masks_have_their_shapes_and_ranges():
    image, masks = render(scenes(20), 48)
    assert image.shape == masks.shape == (20, 3, 48, 48)
    assert image.dtype == masks.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert 0 <= masks.min() <= masks.max() <= 1
    assert image.std((0, 2, 3)).min() > 0.05


def test_masks_partition_every_pixel():
    masks = render(scenes(30), SIZE).masks
    assert torch.allclose(masks.sum(1), torch.ones(30, SIZE, SIZE), atol=1e-6)


def test_a_scene_does_not_depend_on_its_batch():
    factors = scenes(35)
    whole = render(factors, 33)
    for batch in (1, 4, 7, 32):
        parts = [render(part, 33) for part in factors.split(batch)]
        assert torch.equal(torch.cat([p.image for p in parts]), whole.image)
        assert torch.equal(torch.cat([p.masks for p in parts]), whole.masks)


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_moves_the_pixels_of_its_owner_only(name):
    before = scenes(60, seed=1)
    after = changed(before, **{name: (before[:, FACTORS.index(name)] + 0.37) % 1})
    first, second = render(before, SIZE), render(after, SIZE)
    owner = OWNERS[name]
    touched = (first.masks[:, owner] > 0) | (second.masks[:, owner] > 0)
    difference = (first.image - second.image).abs().amax(1)
    assert difference[~touched].max() == 0
    assert (difference.amax((1, 2)) > 0.02).float().mean() > 0.8  # object 2 may be hidden


@pytest.mark.parametrize("name", FACTORS)
def test_the_mask_of_a_factor_is_its_owners(name):
    factors = scenes(10)
    mask = factor_mask(factors, name, SIZE)
    assert mask.shape == (10, SIZE, SIZE)
    assert torch.equal(mask, render(factors, SIZE).masks[:, OWNERS[name]])


def test_objects_never_touch_the_border():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # x, y, x2, y2
    factors = scenes(600).view(-1, 10)
    picked = corners[torch.arange(600) % 16]
    for column, name in enumerate(("x", "y", "x2", "y2")):
        factors[:, FACTORS.index(name)] = picked[:, column]
    objects = render(changed(factors, scale=1.0), SIZE).masks[:, :2].sum(1)
    inner = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    assert objects[:, ~inner].max() == 0


def areas_and_radii(kind, scale):
    """Area and largest distance from the centre of object 1, as parts of the picture."""
    factors = changed(scenes(20), shape=kind, x=0.5, y=0.5, scale=scale, x2=0.0, y2=0.0)
    mask = render(factors, 256).masks[:, 0].double()
    centres = (torch.arange(256).double() + 0.5) / 256 - 0.5
    distance = (centres[None] ** 2 + centres[:, None] ** 2).sqrt()
    inside = torch.where(mask > 0.5, distance, 0)
    return mask.mean((1, 2)), inside.amax((1, 2))


@pytest.mark.parametrize(
    ("kind", "unit_area"),
    [(0.1, 2.0), (0.5, math.pi * 0.55), (0.9, (0.5 + math.pi / 8) / 0.6306**2)],
)
def test_shapes_have_the_areas_of_geometry(kind, unit_area):
    for scale, radius in ((0.0, 0.13), (1.0, 0.24)):
        areas, radii = areas_and_radii(kind, scale)
        assert torch.allclose(areas, torch.tensor(unit_area * radius**2).double(), rtol=0.02)
        assert (radii - radius).abs().max() < 0.01


@pytest.mark.parametrize("kind", [0.1, 0.5, 0.9])
def test_rotation_runs_through_exactly_one_period(kind):
    start, end, half = (changed(scenes(8), shape=kind, rotation=r) for r in (0.0, 1.0, 0.5))
    first, last, middle = (render(f, SIZE).masks[:, 0] for f in (start, end, half))
    assert (first - last).abs().max() < 1e-4
    assert (first - middle).abs().amax((1, 2)).min() > 0.5


def test_moving_x_moves_the_centre_to_the_right():
    factors = changed(scenes(20), shape=0.1)
    columns = torch.arange(SIZE).float()

    def centre(x):
        mask = render(changed(factors, x=x), SIZE).masks[:, 0]
        return (mask.sum(1) * columns).sum(1) / mask.sum((1, 2))

    expected = SIZE * 0.5 * (1 - 2 * 0.26)  # half of the way that is free
    assert torch.allclose(centre(1.0) - centre(0.5), torch.full((20,), expected), atol=0.05)


def test_object_1_hides_object_2():
    factors = changed(scenes(20), x=0.5, y=0.5, x2=0.5, y2=0.5, scale=1.0, shape=0.1)
    apart = changed(factors, x2=0.0, y2=0.0)
    assert render(factors, SIZE).masks[:, 1].sum() < 0.1 * render(apart, SIZE).masks[:, 1].sum()
    assert torch.equal(render(factors, SIZE).masks[:, 0], render(apart, SIZE).masks[:, 0])


def test_hues_run_from_red_to_violet():
    factors = changed(scenes(3), scale=1.0, x=0.5, y=0.5, shape=0.1)
    factors[:, FACTORS.index("hue")] = torch.tensor([0.0, 5 / 12, 5 / 6])  # red, green, blue
    middle = render(factors, SIZE).image[:, :, SIZE // 2, SIZE // 2]
    assert middle.argmax(1).tolist() == [0, 1, 2]


def test_gradients_agree_with_differences():
    factors = scenes(4).double()
    weight = torch.rand(
        4, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )

    def score(f):
        return (render(f, 24).image * weight).sum()

    exact = torch.autograd.functional.jacobian(score, factors)
    assert exact.isfinite().all()
    assert exact[:, 0].abs().max() == 0  # the shape is not continuous
    step = 1e-6
    for column in range(1, len(FACTORS)):
        shift = torch.zeros_like(factors)
        shift[:, column] = step
        slope = (score(factors + shift) - score(factors - shift)) / (2 * step)
        assert slope == pytest.approx(exact[:, column].sum().item(), rel=1e-3, abs=1e-3)


def test_sampling_is_reproducible_and_within_bounds():
    factors = scenes(1000)
    assert factors.shape == (1000, 10)
    assert torch.equal(scenes(300), factors[:300])
    assert 0 <= factors.min() <= factors.max() <= 1
    assert torch.bincount(shape_index(factors), minlength=3).min() > 250
    assert shape_index(torch.ones(1, 10)).tolist() == [2]


@pytest.mark.parametrize("factors", [torch.zeros(3, 9), torch.zeros(10), torch.zeros(2, 10).long()])
def test_factors_must_be_ten_floats(factors):
    with pytest.raises(ValueError, match=r"floating factors of shape \(N, 10\), got"):
        render(factors)


def test_an_unknown_factor_is_refused():
    with pytest.raises(ValueError, match=r"expected a factor of shape, x, y.*, got 'colour'"):
        factor_mask(scenes(1), "colour")


def test_rendering_needs_no_lightning():
    code = (
        "import sys, latentkit.data.shapes_render;sys.exit(int('pytorch_lightning' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
