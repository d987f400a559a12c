import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latentkit.latent.augment import between, deep_smote, mixup, smote
from latentkit.latent.interpolate import lerp, slerp
from latentkit.latent.perturb import along, gaussian, jitter
from latentkit.latent.training_set import TrainLatents
from latentkit.priors import Gaussian


def labelled(seed=0, dim=3):
    """Three overlapping classes of unequal size, named 2, 5 and 7, in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([2, 5, 7, 5, 5, 2, 7, 5, 7, 5, 5, 2, 7, 5, 5])
    return torch.randn(len(labels), dim, generator=generator), labels


def training(z, labels):
    """Every second row of a data set; those between are held out."""
    rows = 2 * torch.arange(len(z))
    return TrainLatents(z, labels, rows, rows + 1)


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
    made = smote(training(z, labels), 4, neighbours, generator=draw(seed))
    new, names = made.z, made.labels
    assert new.shape == (12, 3)
    assert names.tolist() == [2] * 4 + [5] * 4 + [7] * 4
    for point, name in zip(new, names, strict=True):
        assert on_a_segment(point, z[labels == name], neighbours)
        assert not any(on_a_segment(point, z[labels == n], 99) for n in (2, 5, 7) if n != name)
    for point, (a, b) in zip(new, made.parents, strict=True):
        assert on_a_segment(point, z[torch.stack([a, b]) // 2], 1)


def test_smote_reaches_all_allowed_neighbours_and_no_others():
    z = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    new = smote(training(z, torch.zeros(4).long()), 4000, 1, generator=draw(0)).z
    # Segments: 0-1, 1-0 (or 1-2), 2-1, 10-2; the last has a quarter of the points.
    share = (new > 2).float().mean().item()
    assert share == pytest.approx(1 / 4, abs=0.03)
    inside = new[new > 2]
    assert stats.kstest(inside.numpy(), stats.uniform(2, 8).cdf).pvalue > 1e-3
    wide = smote(training(z, torch.zeros(4).long()), 4000, 3, generator=draw(0)).z
    assert (wide > 2).float().mean().item() > share + 0.05


def test_smote_of_equal_members_is_that_member():
    train = training(torch.ones(3, 2), torch.zeros(3).long())
    new = smote(train, 5, generator=draw(0)).z
    assert torch.equal(new, torch.ones(5, 2))


@given(st.integers(0, 10**6), st.integers(1, 50), st.floats(0.05, 5))
@settings(deadline=None, max_examples=50)
def test_mixup_blends_labels_like_latents(seed, n, alpha):
    _, labels = labelled(seed)
    z = torch.nn.functional.one_hot(labels, 8).double()  # latents that say which class they are
    made = mixup(training(z, labels), n, 8, alpha, generator=draw(seed))
    new, soft = made.z, made.labels
    assert new.shape == soft.shape == (n, 8)
    assert torch.allclose(new, soft)
    assert torch.allclose(soft.sum(1), torch.ones(n, dtype=torch.float64))
    assert (soft >= 0).all()
    for shares, rows in zip(soft, made.parents, strict=True):
        assert {*shares.nonzero()[:, 0].tolist()} <= {*labels[rows // 2].tolist()}


def test_mixup_weights_follow_the_beta_distribution():
    z = torch.tensor([[0.0], [1.0]]).double()
    new = mixup(training(z, torch.tensor([0, 1])), 8000, 2, 0.4, generator=draw(0)).z
    # Half of the pairs are of one latent with itself: 0 or 1. The rest are the weight itself.
    mixed = new[(new > 0) & (new < 1)].numpy()
    assert 3600 < len(mixed) < 4100
    assert stats.kstest(mixed, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3
    assert stats.kstest(mixed, stats.beta(1, 1).cdf).pvalue < 1e-6


EVERY = {
    "smote": lambda train, g: smote(train, 5, generator=g),
    "between": lambda train, g: between(train, 5, generator=g),
    "mixup": lambda train, g: mixup(train, 15, 8, generator=g),
    "gaussian": lambda train, g: gaussian(train, 5, g),
    "jitter": lambda train, g: jitter(train, 5, Gaussian(train.flat.shape[1]), generator=g),
    "along": lambda train, g: along(train, 5, torch.ones(train.z.shape[1:]), generator=g),
}


@pytest.mark.parametrize("name", EVERY)
def test_latents_of_any_shape(name):
    z, labels = labelled(dim=8)
    flat = EVERY[name](training(z, labels), draw(0))
    maps = EVERY[name](training(z.reshape(-1, 2, 2, 2), labels), draw(0))
    assert maps.z.shape == (15, 2, 2, 2)
    assert torch.allclose(maps.z.flatten(1), flat.z, atol=1e-5)
    assert torch.equal(maps.labels, flat.labels)


@pytest.mark.parametrize("name", EVERY)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_nothing_is_made_from_a_held_out_row_or_another_class(name, seed):
    """Neighbour lists, pairs, fits: whatever a new latent was made from is a training row."""
    z, labels = labelled(seed)
    shuffled = torch.randperm(40, generator=draw(seed))
    rows, held_out = shuffled[:15], shuffled[15:]
    made = EVERY[name](TrainLatents(z, labels, rows, held_out), draw(seed))
    label_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    assert len(made.parents) == len(made.z) == len(made.labels) == 15
    for label, parents in zip(made.labels, made.parents, strict=True):
        assert parents.ndim == 1
        assert len(parents)
        assert not set(parents.tolist()) & set(held_out.tolist())
        if made.labels.ndim == 1:
            assert {label_of[row] for row in parents.tolist()} == {int(label)}


@pytest.mark.parametrize("name", EVERY)
def test_what_is_held_out_changes_nothing(name):
    z, labels = labelled()
    whole = torch.cat([z, 100 + z])
    twice = torch.cat([labels, labels])
    rows = torch.arange(15)
    first = EVERY[name](TrainLatents.of_splits(whole, twice, rows), draw(0))
    whole[15:] = 7 + torch.randn(15, 3)
    second = EVERY[name](TrainLatents.of_splits(whole, twice, rows), draw(0))
    assert torch.equal(first.z, second.z)


@pytest.mark.parametrize(
    "call",
    [
        lambda z: smote(z, 5),
        lambda z: deep_smote(z, torch.tanh, 5),
        lambda z: between(z, 5),
        lambda z: mixup(z, 5, 8),
        lambda z: gaussian(z, 5),
        lambda z: jitter(z, 5, Gaussian(3)),
        lambda z: along(z, 5, torch.ones(3)),
    ],
)
def test_bare_latents_are_refused(call):
    """Nobody can forget to say what is held out."""
    z, labels = labelled()
    for bare in (z, (z, labels), None):
        with pytest.raises(TypeError, match="expected TrainLatents, which knows what is held out"):
            call(bare)


@pytest.mark.parametrize("name", EVERY)
def test_all_randomness_comes_from_the_generator(name):
    train = training(*labelled())
    state = torch.get_rng_state()
    first, again, other = (EVERY[name](train, draw(seed)).z for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    globally = EVERY[name](train, None).z
    torch.manual_seed(5)
    assert torch.equal(globally, EVERY[name](train, None).z)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(name, dtype):
    z, labels = labelled()
    made = EVERY[name](training(z.to(dtype), labels.int()), draw(0))
    assert made.z.dtype == dtype
    assert made.z.isfinite().all()
    assert made.labels.dtype == (dtype if name == "mixup" else torch.int32)


def test_between_takes_any_path_and_two_members():
    train = training(*labelled())
    seen = []

    def path(a, b, steps):
        seen.append((a, b, steps))
        return lerp(a, b, steps)

    made = between(train, 6, path, 5, draw(0))
    assert [(len(a), steps) for a, _, steps in seen] == [(6, 5)] * 3
    assert all((a != b).any(1).all() for a, b, _ in seen)
    for point, (first, second) in zip(made.z, made.parents, strict=True):
        a, b = train.z[first // 2], train.z[second // 2]
        t = float((point - a) @ (b - a) / (b - a).square().sum())
        assert min(abs(t - at) for at in (0.25, 0.5, 0.75)) < 1e-4
        assert torch.allclose(point, a + t * (b - a), atol=1e-5)


def test_between_by_arcs_keeps_the_length():
    z, labels = labelled()
    train = training(z / z.norm(dim=1, keepdim=True), labels)
    assert torch.allclose(between(train, 9, slerp, 9, draw(0)).z.norm(dim=1), torch.ones(27))
    chords = between(train, 9, lerp, 9, draw(0)).z.norm(dim=1)
    assert chords.min() < 0.95  # the control


def test_deep_smote_is_smote_decoded():
    train, basis = training(*labelled()), torch.randn(3, 12)
    decode = lambda z: (z @ basis).reshape(-1, 3, 2, 2)  # noqa: E731
    images, made = deep_smote(train, decode, 4, 2, draw(3), batch=5)
    plain = smote(train, 4, 2, draw(3))
    assert torch.equal(made.z, plain.z)
    assert torch.allclose(images, decode(plain.z), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: smote(training(z[:3], y[:3]), 2), r"at least 2.*fewer of class \[2, 5, 7\]"),
        (
            lambda z, y: between(training(z[:3], y[:3]), 2),
            r"at least 2.*fewer of class \[2, 5, 7\]",
        ),
        (lambda z, y: smote(training(z, y), 0), "per_class >= 1"),
        (lambda z, y: smote(training(z, y), 2, 0), "neighbours >= 1"),
        (lambda z, y: between(training(z, y), 2, steps=2), "steps >= 3"),
        (lambda z, y: between(training(z, y), 2, lambda a, b, n: a), r"path of shape \(2, 9, 3\)"),
        (lambda z, y: deep_smote(training(z, y), lambda z: z, 2, batch=0), "batch >= 1"),
        (lambda z, y: mixup(training(z, y), 2, 7), r"labels in \[0, 7\), got some in \[2, 7\]"),
        (lambda z, y: mixup(training(z, y - 3), 2, 9), r"got some in \[-1, 4\]"),
        (lambda z, y: mixup(training(z, y), 0, 8), "n >= 1"),
        (lambda z, y: mixup(training(z, y), 2, 8, 0.0), "alpha > 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(*labelled())
