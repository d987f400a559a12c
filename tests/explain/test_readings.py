"""Every row of DirBench on an oracle: shapes, and what it must and must not find."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from latentkit.explain.dirbench import bench
from latentkit.explain.directions import effect, reading
from latentkit.explain.pattern import pattern
from latentkit.explain.readings import (
    DISCRIMINATOR,
    ENCODER,
    Case,
    controls,
    read_natural,
    read_pattern,
    stages,
)
from latentkit.protocols import Part
from tests.explain import trained

ALL = {**ENCODER, **controls(ENCODER)}
FREE = ("change along a random direction", "mean change over directions")
FREE += ("intensity", "sobel", "centre", "uniform")


@pytest.fixture(scope="module")
def case():
    return trained.case()


@pytest.fixture(scope="module")
def small(case):
    return replace(case, z=case.z[:3], directions=case.directions[:4])


@pytest.fixture(scope="module")
def rows(case):
    return bench(case, ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_row_is_a_map_of_every_direction_and_image(small, name):
    maps = ALL[name](small)
    assert maps.shape[:2] == (4, 3)
    assert maps.ndim == 4
    assert max(maps.shape[2:]) <= trained.SIZE
    assert maps.isfinite().all()
    assert not maps.requires_grad
    same = (maps == maps[:1]).all()
    assert same == (name in FREE)


def test_the_default_is_pattern_and_beats_chance_and_all_that_do_not_see_the_change(rows):
    found = {name: row["retrieval"] for name, row in rows.items()}
    chance = 1 / 9
    assert next(iter(ENCODER)) == "pattern"
    assert found["pattern"].low > 3 * chance
    for name in ALL.keys() - {"pattern"}:
        if not name.startswith("gradient x change"):  # that is given the change itself
            assert found["pattern"].low > found[name].high, name
    assert found["natural change"].low > chance


@pytest.mark.parametrize(
    "name",
    ["pattern, random weights", "natural change, random weights", "pattern, labels drawn by lot"],
)
def test_what_has_learned_nothing_guesses(rows, name):
    found = rows[name]["retrieval"]
    assert found.low <= 1 / 9 <= found.high


@pytest.mark.parametrize("name", FREE)
def test_maps_that_know_no_direction_never_win(rows, name):
    assert rows[name]["retrieval"].high == 0
    assert rows[name]["margin"].mean == pytest.approx(0, abs=1e-6)


def test_the_flattering_measures_flatter(rows):
    """Why retrieval is the headline: a map that is the same for all directions points well."""
    assert rows["mean change over directions"]["pointing"].mean > 0.3
    assert rows["mean change over directions"]["spearman"].mean > 0.2


# --- what the rows are made of


def test_rows_are_what_their_names_say(small):
    x = small.x
    first = reading(small.part, x, small.directions[2])
    assert torch.equal(ENCODER["HiRes-CAM, first layer"](small)[2], first.raw)
    last = reading(small.part, x, small.directions[2], small.part.layers[-1], "grad-cam++")
    assert torch.equal(ENCODER["Grad-CAM++, last layer"](small)[2], last.raw)
    signed = pattern(small.encode, small.decode, small.z, small.directions)
    torch.testing.assert_close(read_pattern(small), signed.square().sum(2).sqrt())
    untrained = list(stages(small).values())[-1]
    assert torch.equal(ALL["pattern, random weights"](small), read_pattern(untrained))
    truth = effect(small.decode, small.z, small.directions[1])
    assert torch.equal(small.effects()[1], truth)


def test_images_are_read_in_portions_that_do_not_show(case):
    some = replace(case, z=case.z[:18], directions=case.directions[:2])
    one = replace(some, z=case.z[17:18])
    torch.testing.assert_close(read_natural(some)[:, 17:], read_natural(one), rtol=1e-3, atol=1e-6)


def test_random_weights_come_from_the_top(small):
    before = {name: value.clone() for name, value in small.part.module.state_dict().items()}
    found = stages(small)
    names = list(found)
    assert names[0] == "head"
    assert names[-1].startswith("stages.0")
    first, last = (found[name].part.module.state_dict() for name in (names[0], names[-1]))
    changed = {name for name, value in first.items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert all(not torch.equal(value, before[name]) for name, value in last.items())
    after = small.part.module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    for stage in found.values():
        assert stage.z is small.z
        assert stage.part.layers == small.part.layers


# --- discriminators

PATCHES = torch.zeros(4, 1, 8, 8)
for k, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
    PATCHES[k, 0, row : row + 4, column : column + 4] = torch.linspace(0.5, 1, 16).view(4, 4)


def draw_patches(z):
    """Latent k is the brightness of one quarter of the image."""
    return (z[:, :, None, None, None] * PATCHES).sum(1)


@pytest.fixture(scope="module")
def seeing():
    """A discriminator whose deepest layer keeps all of the image, at latents of its generator."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(128, 32), nn.Tanh(), nn.Linear(32, 1)
    )
    noise = torch.Generator().manual_seed(1)
    z, learn = torch.randn(12, 4, generator=noise), torch.randn(500, 4, generator=noise)
    directions = torch.eye(4) + 0.1 * torch.randn(4, 4, generator=noise)
    return Case(draw_patches, Part(net, ("0", "2")), z, directions, learn)


def test_a_discriminator_that_sees_everything_is_read_everywhere(seeing):
    found = bench(seeing, {**DISCRIMINATOR, **controls(DISCRIMINATOR)})
    assert found["pattern"]["retrieval"].mean == 1
    assert found["pattern"]["iou"].mean > 0.9
    assert found["pattern, labels drawn by lot"]["retrieval"].mean < 0.5
    assert all(found[name]["retrieval"].mean == 0 for name in FREE)
    read = seeing.encode(draw_patches(seeing.z))
    torch.testing.assert_close(read, seeing.z, atol=0.01, rtol=0)


def test_what_features_keep_is_no_proof_that_they_were_learned(seeing):
    """The limit of a readout: as good from random features, which an encoder's pattern is not."""
    found = bench(seeing, controls(DISCRIMINATOR))
    assert found["pattern, random weights"]["retrieval"].mean > 0.9


def test_a_discriminator_that_sees_nothing_is_read_nowhere(seeing):
    class Blind(nn.Module):
        def forward(self, x):
            return 0 * x + 1

    part = Part(nn.Sequential(Blind(), *seeing.part.module), ("1", "3"))
    blind = replace(seeing, part=part)
    assert read_pattern(blind).abs().max() < 1e-3 * read_pattern(seeing).abs().max()


@pytest.mark.parametrize("layers", [("0", "2"), ("0",), ("2",)])
def test_a_discriminator_with_few_layers_is_read_too(seeing, layers):
    case = replace(seeing, part=Part(seeing.part.module, layers))
    names = [n for n in DISCRIMINATOR if layers != ("2",) or n == "pattern"]
    for name in names:
        maps = DISCRIMINATOR[name](case)
        assert maps.shape[:2] == (4, 12)


def test_controls_are_of_the_readings_there_are():
    assert "natural change, random weights" not in controls(DISCRIMINATOR)
    assert set(controls(DISCRIMINATOR)) < set(controls(ENCODER))
    assert set(FREE) < set(controls({}))
