import pytest
import torch

from latentkit.latent.augment import smote
from latentkit.latent.training_set import TrainLatents
from tests.latent.test_augment import draw, labelled


def whole():
    """Latents and labels of 15 images: the first nine train, the rest are held out."""
    z, _ = labelled()
    return z, torch.arange(15) % 3, torch.arange(9), torch.arange(9, 15)


def test_it_holds_the_training_rows_alone():
    z, labels, rows, held_out = whole()
    for train in (
        TrainLatents(z[:9], labels[:9], rows, held_out, z[9:]),
        TrainLatents.of_splits(z, labels, rows),
    ):
        assert len(train) == 9
        assert torch.equal(train.z, z[:9])
        assert torch.equal(train.labels, labels[:9])
        assert torch.equal(train.rows, rows)
        assert [(name, places.tolist()) for name, places in train.members()] == [
            (0, [0, 3, 6]),
            (1, [1, 4, 7]),
            (2, [2, 5, 8]),
        ]


LEAKS = {
    "a held-out row": lambda z, y, rows, out: TrainLatents(z[:10], y[:10], torch.arange(10), out),
    "a held-out latent under a training number": lambda z, y, rows, out: TrainLatents(
        torch.cat([z[:8], z[12:13]]), y[:9], rows, out, z[9:]
    ),
    "a copy in other precision": lambda z, y, rows, out: TrainLatents(
        torch.cat([z[:8], z[12:13]]).double(), y[:9], rows, out, z[9:]
    ),
    "a copy in another split": lambda z, y, rows, out: TrainLatents.of_splits(
        torch.cat([z[:14], z[:1]]), y, rows
    ),
    "everything": lambda z, y, rows, out: TrainLatents(z, y, torch.arange(15), out),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_refused(name):
    with pytest.raises(ValueError, match=r"expected training (rows|latents) alone, got"):
        LEAKS[name](*whole())


def test_later_changes_of_the_callers_tensors_do_not_leak_in():
    z, labels, rows, held_out = whole()
    train = TrainLatents(z[:9], labels[:9], rows, held_out)
    before = smote(train, 2, generator=draw(0))
    z[:9], labels[:9], rows[:] = z[9:].mean(), 0, 12
    after = smote(train, 2, generator=draw(0))
    assert torch.equal(before.z, after.z)
    assert torch.equal(before.labels, after.labels)
    assert all(torch.equal(a, b) for a, b in zip(before.parents, after.parents, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y, r, h: TrainLatents(z[:9], y[:8], r, h), r"labels of shape \(9,\)"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9].float(), r, h), "integer labels"),
        (lambda z, y, r, h: TrainLatents(z[:9] / 0, y[:9], r, h), "finite z"),
        (lambda z, y, r, h: TrainLatents(z[:0], y[:0], r[:0], h), "at least one latent"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r[:8], h), "9 rows, one for each"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r // 2, h), "different rows"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r - 1, h), "integers of 0 or more"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r.float(), h), "rows to be row numbers"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r, h > 0), "held_out to be row numbers"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r, h, z[9:, :2]), r"got \(6, 2\)"),
        (lambda z, y, r, h: TrainLatents(z[:9], y[:9], r, h[:0]), "are held out, got none"),
        (lambda z, y, r, h: TrainLatents.of_splits(z, y, torch.arange(15)), "held out, got none"),
        (lambda z, y, r, h: TrainLatents.of_splits(z, y, r + 7), r"rows in \[0, 15\)"),
        (lambda z, y, r, h: TrainLatents.of_splits(z, y, r - 1), r"rows in \[0, 15\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(*whole())


def test_a_class_that_is_too_small_is_told():
    labels = torch.tensor([0] * 6 + [3] * 2 + [5])
    train = TrainLatents(torch.randn(9, 2), labels, torch.arange(9), torch.tensor([20]))
    assert [(name, len(places)) for name, places in train.members()] == [(0, 6), (3, 2), (5, 1)]
    with pytest.raises(ValueError, match=r"3 latents of every class, got fewer of class \[3, 5\]"):
        train.members(3)
