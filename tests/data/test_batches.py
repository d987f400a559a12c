import random

import numpy as np
import pytest
import torch

from latentkit.data import batches
from latentkit.data.batches import BatchIndices, batch_loader, keyed_generator
from latentkit.data.images import TensorImages


def passed(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [batch.tolist() for batch in sampler]


def flat(lists):
    return [item for one in lists for item in one]


def test_in_order_gives_all_once():
    got = passed(BatchIndices(10, 4, shuffle=False))
    assert got == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_shuffled_gives_all_once_in_another_order_each_epoch():
    sampler = BatchIndices(100, 32, shuffle=True)
    first, second = passed(sampler, 0), passed(sampler, 1)
    assert sorted(flat(first)) == sorted(flat(second)) == list(range(100))
    assert first != second
    assert flat(first) != list(range(100))


def test_an_epoch_is_the_same_whatever_ran_before():
    expected = passed(BatchIndices(50, 8, shuffle=True, seed=3), 7)
    torch.manual_seed(11)
    sampler = BatchIndices(50, 8, shuffle=True, seed=3)
    for epoch in (2, 5, 7):
        got = passed(sampler, epoch)
    assert got == expected
    assert passed(BatchIndices(50, 8, shuffle=True, seed=4), 7) != expected


def test_seed_and_epoch_are_not_added_up():
    assert passed(BatchIndices(50, 8, True, seed=0), 1) != passed(
        BatchIndices(50, 8, True, seed=1), 0
    )


@pytest.mark.parametrize(
    ("n", "expected"), [(3, [3]), (4, [4]), (5, [4]), (8, [4, 4]), (11, [4, 4]), (0, [])]
)
def test_drop_last_keeps_the_only_batch(n, expected):
    sampler = BatchIndices(n, 4, shuffle=True, drop_last=True)
    assert [len(batch) for batch in sampler] == expected
    assert len(sampler) == len(expected)


@pytest.mark.parametrize(("n", "sizes"), [(3, [3]), (4, [4]), (9, [4, 4, 1]), (0, [])])
def test_without_drop_last_all_are_kept(n, sizes):
    sampler = BatchIndices(n, 4, shuffle=False)
    assert [len(batch) for batch in sampler] == sizes
    assert len(sampler) == len(sizes)


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_an_epoch_in_equal_parts(monkeypatch, shuffle):
    shares = []
    for rank in range(3):
        monkeypatch.setattr(batches, "process", lambda rank=rank: (rank, 3))
        sampler = BatchIndices(100, 8, shuffle=shuffle)
        shares.append(flat(passed(sampler, 4)))
        assert len(sampler) == 5
    seen = flat(shares)
    if shuffle:  # 33 each: one image is left out, none is seen twice
        assert [len(share) for share in shares] == [33] * 3
        assert len(set(seen)) == 99
    else:  # 34 each: two are repeated, none is left out
        assert [len(share) for share in shares] == [34] * 3
        assert set(seen) == set(range(100))


def test_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size of 1 or more, got 0"):
        BatchIndices(10, 0, shuffle=False)


def test_keys_make_different_streams():
    first = [torch.rand(3, generator=keyed_generator(*key)) for key in ((0,), (1,), (0, 1), (1, 0))]
    assert len({tuple(values.tolist()) for values in first}) == 4
    assert torch.equal(torch.rand(3, generator=keyed_generator(1, 0)), first[3])
    with pytest.raises(ValueError, match=r"seeds of 0 or more, got \(-1, 2\)"):
        keyed_generator(-1, 2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_leaves_the_global_random_state_alone(num_workers):
    images = TensorImages(torch.zeros(20, 1, 2, 2, dtype=torch.uint8), torch.arange(20))
    loader = batch_loader(images, BatchIndices(20, 8, shuffle=True), num_workers)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    labels = [y for _ in range(2) for _, y in loader]
    assert sorted(torch.cat(labels).tolist()) == sorted([*range(20)] * 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
