import pytest
import torch

from latentkit.latent.activations import region_mask
from latentkit.latent.region import leakage, region
from tests.latent.dense import jacobian

SHAPE = (2, 6, 8)


def blocks(seed=0, dim=6, mixed=True):
    """A generator whose left half hangs on three latents, its right half on the other three.

    A rotation of the latents hides which; outside changes more than inside, so that the directions
    of the whole image are of no use.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.randn(2, 2 * 6 * 4, dim // 2, generator=generator)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0]

    def decode(z):
        hidden = z @ turn.T if mixed else z
        left = (hidden[:, :3] @ half[0].T).reshape(-1, 2, 6, 4)
        right = 5 * (hidden[:, 3:] @ half[1].T).reshape(-1, 2, 6, 4)
        return torch.cat([left, right], 3).tanh()

    return decode, turn, half


LEFT = region_mask(SHAPE, "left")


@pytest.mark.parametrize("seed", range(5))
def test_the_background_changes_less_than_a_hundredth_of_the_foreground(seed):
    decode, _, _ = blocks(seed)
    z = 0.1 * torch.randn(6, generator=torch.Generator().manual_seed(seed))
    d = region(decode, z, LEFT, 3)
    assert torch.allclose(d @ d.T, torch.eye(3), atol=1e-5)
    assert (leakage(decode, z, LEFT, d) < 0.01).all()
    change = (decode(z + 0.5 * d) - decode(z[None])).abs().sum(1)  # a real step, not only a small
    assert (change[:, :, 4:].sum((1, 2)) < 0.01 * change[:, :, :4].sum((1, 2))).all()
    assert (leakage(decode, z, LEFT, jacobian(decode, z, 1)) > 0.5).all()  # the control


def test_inside_the_null_space_the_strongest_comes_first():
    decode, turn, half = blocks(mixed=True)
    d = region(decode, torch.zeros(6), LEFT, 3)
    expected = torch.linalg.svd(half[0])[2] @ turn[:3]
    assert torch.allclose((d * expected).sum(1).abs(), torch.ones(3), atol=1e-3)


def test_a_given_null_space_trades_the_outside_for_choice():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2 * 6 * 8, 6, generator=generator)

    def decode(z):
        return (z @ weight.T).reshape(-1, *SHAPE)

    z = torch.zeros(6)
    with pytest.raises(ValueError, match="k <= 0 directions that leave the outside alone"):
        region(decode, z, LEFT, 2)
    found = [leakage(decode, z, LEFT, region(decode, z, LEFT, 1, null=n)).item() for n in (1, 6)]
    assert found[0] < found[1] < 1.5


def test_leakage_is_the_ratio_of_changes_per_pixel():
    def decode(z):
        return torch.cat([3 * z[:, :1, None].expand(-1, 1, 2), z[:, 1:, None].expand(-1, 1, 6)], 2)

    mask = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    axes = torch.eye(2)
    assert leakage(decode, torch.zeros(2), mask, axes).tolist() == [0, float("inf")]
    both = torch.tensor([[1.0, 2.0]])
    assert leakage(decode, torch.zeros(2), mask, both).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("mask", "settings", "message"),
    [
        (torch.ones(SHAPE), {}, "it has no outside"),
        (torch.zeros(SHAPE), {}, "it has no inside"),
        (torch.ones(3, 3), {}, r"image's shape \(2, 6, 8\), got \(3, 3\)"),
        (2 * LEFT, {}, r"values in \[0, 1\]"),
        (LEFT, {"k": 7}, "k <= 6"),
        (LEFT, {"k": 4}, "k <= 3 directions that leave.*got k=4.*tolerance above 0"),
        (LEFT, {"null": 7}, "null from 1 to 6"),
        (LEFT, {"tolerance": 1.0}, r"tolerance in \[0, 1\)"),
    ],
)
def test_bad_input(mask, settings, message):
    with pytest.raises(ValueError, match=message):
        region(blocks()[0], torch.zeros(6), mask, **{"k": 1, **settings})


def test_an_inside_that_nothing_changes():
    decode, _, _ = blocks()
    with pytest.raises(ValueError, match="changes inside the mask"):
        region(lambda z: decode(z) * (1 - LEFT), torch.zeros(6), LEFT, 1, null=6)
    with pytest.raises(ValueError, match=r"directions \(K, 6\)"):
        leakage(decode, torch.zeros(6), LEFT, torch.eye(5))
