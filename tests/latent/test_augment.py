import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentkit.latent.augment import mixup, smote


def labelled(seed=0, dim=3):
    """Three overlapping classes of unequal size, named 2, 5 and 7, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([2, 5, 7, 5, 5, 2, 7, 5, 7, 5, 5, 2, 7, 5, 5])
    return torch.randn(len(labels), dim, generator=generator), labels


def draw(seed):
    return torch.Generator().manual_seed(seed)


def on_a_segment(point, members, neighbours):
    """Slowly: is the point between a member and one of its nearest neighbours?"""
    for i, p in enumerate(members):
        far = sorted((float((q - p).norm()), j) for j, q in enumerate(members) if j != i)
        for _, j in far[:neighbours]:
            chord = members[j] - p
            t = float((point - p) @ chord / (chord @ chord))
            if -1e-6 <= t <= 1 + 1e-6 and torch.allclose(p + t * chord, point, atol=1e-5):
                return True
    return False


@given(st.integers(0, 10**6), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_smote_points_lie_between_near_members_of_their_class(seed, neighbours):
    z, labels = labelled(seed)
    new, names = smote(z, labels, 4, neighbours, generator=draw(seed))
    assert new.shape == (12, 3)
    assert names.tolist() == [2] * 4 + [5] * 4 + [7] * 4
    for point, name in zip(new, names, strict=True):
        assert on_a_segment(point, z[labels == name], neighbours)
        assert not any(on_a_segment(point, z[labels == n], 99) for n in (2, 5, 7) if n != name)


def test_smote_reaches_all_allowed_neighbours_and_no_others():
    z = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    new, _ = smote(z, torch.zeros(4).long(), 4000, 1, generator=draw(0))
    # Segments: 0-1, 1-0 (or 1-2), 2-1, 10-2; the last has a quarter of the points.
    share = (new > 2).float().mean().item()
    assert share == pytest.approx(1 / 4, abs=0.03)
    inside = new[new > 2]
    assert stats.kstest(inside.numpy(), stats.uniform(2, 8).cdf).pvalue > 1e-3
    wide, _ = smote(z, torch.zeros(4).long(), 4000, 3, generator=draw(0))
    assert (wide > 2).float().mean().item() > share + 0.05


def test_smote_of_equal_members_is_that_member():
    new, _ = smote(torch.ones(3, 2), torch.zeros(3).long(), 5, generator=draw(0))
    assert torch.equal(new, torch.ones(5, 2))


@given(st.integers(0, 10**6), st.integers(1, 50), st.floats(0.05, 5))
@settings(deadline=None, max_examples=50)
def test_mixup_blends_labels_like_latents(seed, n, alpha):
    _, labels = labelled(seed)
    z = torch.nn.functional.one_hot(labels, 8).double()  # latents that say which class they are
    new, soft = mixup(z, labels, 8, n, alpha, generator=draw(seed))
    assert new.shape == soft.shape == (n, 8)
    assert torch.allclose(new, soft)
    assert torch.allclose(soft.sum(1), torch.ones(n, dtype=torch.float64))
    assert (soft >= 0).all()


def test_mixup_weights_follow_the_beta_distribution():
    z = torch.tensor([[0.0], [1.0]]).double()
    new, _ = mixup(z, torch.tensor([0, 1]), 2, 8000, 0.4, generator=draw(0))
    # Half of the pairs are of one latent with itself: 0 or 1. The rest are the weight itself.
    mixed = new[(new > 0) & (new < 1)].numpy()
    assert 3600 < len(mixed) < 4100
    assert stats.kstest(mixed, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(mixed, stats.beta(1, 1).cdf).pvalue < 1e-6


def test_mixup_takes_latents_of_any_shape():
    z, labels = labelled(dim=8)
    flat, soft = mixup(z, labels, 8, 6, generator=draw(0))
    maps, same = mixup(z.reshape(-1, 2, 2, 2), labels, 8, 6, generator=draw(0))
    assert torch.equal(maps.flatten(1), flat)
    assert torch.equal(soft, same)


@pytest.mark.parametrize(
    "augment",
    [
        lambda z, y, g: smote(z, y, 5, generator=g),
        lambda z, y, g: mixup(z, y, 8, 15, generator=g),
    ],
)
def test_all_randomness_comes_from_the_generator(augment):
    z, labels = labelled()
    state = torch.get_rng_state()
    first, again, other = (augment(z, labels, draw(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    globally = augment(z, labels, None)[0]
    torch.manual_seed(5)
    assert torch.equal(globally, augment(z, labels, None)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(dtype):
    z, labels = labelled()
    assert smote(z.to(dtype), labels, 5)[0].dtype == dtype
    new, soft = mixup(z.to(dtype), labels, 8, 5)
    assert new.dtype == soft.dtype == dtype
    assert smote(z, labels.int(), 5)[1].dtype == torch.int32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: smote(z[:3], y[:3], 2), r"at least 2.*1 of class \[2, 5, 7\]"),
        (lambda z, y: smote(z, y[:4], 2), r"labels of shape \(15,\).*\(4,\)"),
        (lambda z, y: smote(z, y.float(), 2), "integer labels.*float32"),
        (lambda z, y: smote(z, y, 0), "per_class >= 1"),
        (lambda z, y: smote(z, y, 2, 0), "neighbours >= 1"),
        (lambda z, y: smote(z / 0, y, 2), "finite"),
        (lambda z, y: mixup(z, y, 7, 2), r"labels in \[0, 7\), got some in \[2, 7\]"),
        (lambda z, y: mixup(z, y - 3, 9, 2), r"got some in \[-1, 4\]"),
        (lambda z, y: mixup(z, y, 8, 0), "n >= 1"),
        (lambda z, y: mixup(z, y, 8, 2, 0.0), "alpha > 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(*labelled())
