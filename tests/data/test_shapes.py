import pytest
import torch

from latentkit.data.shapes import Shapes
from latentkit.data.shapes_render import FACTORS, SHAPES, render


def small(**changed):
    return Shapes(**{"count": 40, "size": 16, "val_count": 7, "test_count": 9, **changed})


def test_the_parts_are_scenes_with_factors_and_the_shape_as_label():
    data = small()
    assert data.image_shape == (3, 16, 16)
    assert data.class_names == SHAPES
    assert data.attributes == FACTORS
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [40, 7, 9]
    x, y = data.split("train")[:]
    factors = data.attribute_values("train")
    assert torch.equal(x, (render(factors, 16).image * 255).round() / 255)
    assert torch.equal(y, (factors[:, 0] * 3).floor().long())


def test_no_scene_is_in_two_parts():
    data = small()
    rows = torch.cat([data.attribute_values(name) for name in ("train", "val", "test")])
    assert len(torch.unique(rows, dim=0)) == 56


def test_a_scene_is_the_same_in_every_batch():
    """Each set is a fresh one: a set that was read keeps what it drew."""
    whole, labels = small().split("train")[:]
    for order in (torch.arange(40).flip(0), torch.randperm(40), torch.tensor([39, 3, 5, 3, 0, 1])):
        for size in (1, 7, 40):
            train = small().split("train")
            for rows in order.split(size):
                x, y = train[rows]
                assert torch.equal(x, whole[rows])
                assert torch.equal(y, labels[rows])
            assert torch.equal(train[:][0], whole)
    assert len(whole.flatten(1).unique(dim=0)) == 40  # none of them could stand for another


@pytest.mark.parametrize(("limit", "drawings"), [(40 * 3 * 16**2, 1), (40 * 3 * 16**2 - 1, 3)])
def test_scenes_are_kept_where_all_of_them_fit(monkeypatch, limit, drawings):
    whole, _ = small().split("train")[:]
    drawn = []
    draw = lambda factors, size: drawn.append(len(factors)) or render(factors, size)  # noqa: E731
    monkeypatch.setattr("latentkit.data.shapes.render", draw)
    monkeypatch.setattr("latentkit.data.shapes.KEPT", limit)
    train = small().split("train")
    for _ in range(3):
        assert torch.equal(train[[5, 2, 5]][0], whole[[5, 2, 5]])
    assert len(drawn) == drawings


def test_more_training_scenes_change_no_other():
    few, many = small(), small(count=100, seed=4, batch_size=3)
    for name in ("val", "test"):
        assert torch.equal(few.attribute_values(name), many.attribute_values(name))
    assert torch.equal(few.attribute_values("train"), many.attribute_values("train")[:40])
    other = small(scene_seed=1)
    assert not torch.equal(few.attribute_values("test"), other.attribute_values("test"))


def test_making_scenes_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    list(small(batch_size=8).train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_counts_must_be_positive():
    with pytest.raises(ValueError, match="of 1 or more, got 40, 0, 9 and 16"):
        small(val_count=0)
