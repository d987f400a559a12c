import pytest
import torch

from latentkit.explain.accumulate import MapStatistics


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fed(batches, **settings):
    seen = MapStatistics(**settings)
    for batch in batches:
        seen.update(*batch) if isinstance(batch, tuple) else seen.update(batch)
    return seen


def same(seen, mean, variance, count):
    torch.testing.assert_close(seen.mean, mean, rtol=1e-6, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(seen.variance, variance, rtol=1e-6, atol=1e-12, equal_nan=True)
    assert seen.count.tolist() == count


@pytest.mark.parametrize("shape", [(17,), (3, 17), (8, 6), (3, 8, 6), (2, 3, 4, 5)])
@pytest.mark.parametrize("split", [[50], [1] * 50, [7, 0, 30, 13]])
def test_any_split_equals_one_pass(shape, split):
    x = maps(50, *shape)
    seen = fed(torch.split(x, split))
    same(seen, x.double().abs().mean(0), x.double().abs().var(0), 50)
    assert seen.mean.shape == shape
    assert seen.mean.dtype == torch.float64


@pytest.mark.parametrize("shape", [(4, 17), (4, 8, 6), (4, 3, 4, 5)])
def test_channels_are_averaged_over_space_first(shape):
    x = maps(50, *shape)
    each = x.double().abs().flatten(2).mean(2)
    for split in ([50], [20, 30]):
        seen = fed(torch.split(x, split), per="channel")
        same(seen, each.mean(0), each.var(0), 50)
        assert seen.mean.shape == (4,)


def test_no_cancellation_where_squares_would_cancel():
    x = maps(1000, 3).double() * 1e-3 + 1e6
    seen = fed(torch.split(x, 10))
    torch.testing.assert_close(seen.variance, x.var(0), rtol=1e-6, atol=0)
    naive = x.float().square().mean(0) - x.float().mean(0).square()
    assert not torch.allclose(naive.double(), x.var(0), rtol=0.1)


@pytest.mark.parametrize("cut", [0, 1, 20, 49, 50])
def test_merging_equals_one_pass_and_leaves_the_other_alone(cut):
    x = maps(50, 3, 8)
    ours, theirs = fed([x[:cut]] if cut else []), fed([x[cut:]] if cut < 50 else [])
    ours.merge(theirs)
    same(ours, x.double().abs().mean(0), x.double().abs().var(0), 50)
    ours.update(x)
    assert theirs.count.tolist() == 50 - cut
    if cut < 50:
        torch.testing.assert_close(theirs.mean, x[cut:].double().abs().mean(0))


def test_class_atlases_equal_one_pass_over_each_class():
    x, labels = maps(60, 5, 4), torch.arange(60) % 3
    labels[labels == 2] = 0
    labels[7] = 2  # one sample has no variance, and class 3 none at all
    batches = list(zip(torch.split(x, 11), torch.split(labels, 11), strict=True))
    seen, other = fed(batches[:3], classes=4), fed(batches[3:], classes=4)
    seen.merge(other)
    assert seen.count.tolist() == [(labels == k).sum().item() for k in range(4)]
    assert seen.mean.shape == (4, 5, 4)
    for k in (0, 1):
        own = x[labels == k].double().abs()
        torch.testing.assert_close(seen.mean[k], own.mean(0))
        torch.testing.assert_close(seen.variance[k], own.var(0))
    torch.testing.assert_close(seen.mean[2], x[7].double().abs())
    assert seen.variance[2:].isnan().all()
    assert seen.mean[3].isnan().all()


def test_a_refused_batch_changes_nothing():
    good, bad = maps(5, 3), maps(5, 3)
    bad[[1, 3], 0] = torch.tensor([torch.nan, torch.inf])
    seen = fed([good])
    with pytest.raises(ValueError, match=r"finite maps.*maps \[1, 3\] of the batch; leave them"):
        seen.update(bad)
    with pytest.raises(ValueError, match=r"shape \(3,\) as before, got \(4,\)"):
        seen.update(maps(5, 4))
    same(seen, good.double().abs().mean(0), good.double().abs().var(0), 5)


def test_maps_come_in_any_precision_and_leave_no_graph():
    x = maps(6, 4).requires_grad_()
    seen = fed([x, x.bfloat16(), x.half()])
    assert not seen.mean.requires_grad
    assert seen.count == 18


def test_nothing_yet():
    seen = MapStatistics()
    assert seen.count == 0
    assert MapStatistics(classes=3).count.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="expected maps first"):
        seen.mean  # noqa: B018
    seen.merge(MapStatistics())
    assert seen.count == 0


def test_memory_does_not_grow_with_the_data():
    seen = fed([maps(4, 3)] * 100)
    held = [*vars(seen._moments).values()]
    assert sum(t.numel() for t in held) == 7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MapStatistics("pixel"), "'position' or 'channel', got 'pixel'"),
        (lambda: MapStatistics(classes=0), "1 class or more, or None, got 0"),
        (lambda: fed([torch.zeros(3)]), r"maps \(N, \*S\) per position, got shape \(3,\)"),
        (lambda: fed([torch.zeros(3, 4)], per="channel"), r"maps \(N, C, \*S\) per channel"),
        (lambda: fed([torch.zeros(3, 4)], classes=2), "labels if and only if.*got none"),
        (lambda: fed([(torch.zeros(3, 4), torch.zeros(3).long())]), "if and only if.*got some"),
        (lambda: fed([(torch.zeros(2, 4), torch.tensor([0, 2]))], classes=2), "from 0 to 1"),
        (lambda: fed([(torch.zeros(2, 4), torch.tensor([0, -1]))], classes=2), "from 0 to 1"),
        (lambda: fed([(torch.zeros(2, 4), torch.zeros(2))], classes=2), "integer labels"),
        (lambda: fed([(torch.zeros(2, 4), torch.zeros(1).long())], classes=2), r"labels \(2,\)"),
        (lambda: MapStatistics().merge(MapStatistics("channel")), "expected statistics of per"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
