"""The attention disentanglement loss against slow rewrites, gradcheck and what it must give."""

import pytest
import torch
from torch import nn

from latentkit.explain.cam import latent_cams
from latentkit.losses.attention import attention_maps, attention_overlap

SIZES = [(7,), (4, 5), (2, 3, 4)]


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


# --- the loss


@pytest.mark.parametrize("size", SIZES)
def test_the_overlap_by_a_slow_rewrite(size):
    a, b = draw(3, *size).relu(), draw(3, *size, seed=1).relu()
    shares = []
    for one, other in zip(a.flatten(1).tolist(), b.flatten(1).tolist(), strict=True):
        least = sum(min(p, q) for p, q in zip(one, other, strict=True))
        shares.append(2 * least / (sum(one) + sum(other)))
    got = attention_overlap(a, b)
    assert got.shape == ()
    assert got.item() == pytest.approx(sum(shares) / 3)
    assert 0 < got.item() < 1
    assert attention_overlap(b, a).item() == pytest.approx(got.item())
    assert attention_overlap(7 * a, 7 * b).item() == pytest.approx(got.item())


@pytest.mark.parametrize("size", SIZES)
def test_equal_maps_share_all_and_disjoint_ones_nothing(size):
    a = draw(3, *size).square()
    assert attention_overlap(a, a).item() == pytest.approx(1)
    left = torch.arange(size[-1]) < size[-1] // 2
    assert attention_overlap(a * left, a * ~left).item() == 0
    assert attention_overlap(a, 3 * a).item() == pytest.approx(0.5)  # 2 * 1 / (1 + 3)


def test_empty_maps_share_nothing_and_leave_the_others_alone():
    a = draw(4, 3, 3).square()
    a[1] = 0
    b = a.clone()
    b[2] = 0
    a.requires_grad_()
    got = attention_overlap(a, b)
    assert got.item() == pytest.approx(2 / 4)  # images 0 and 3 of 4
    got.backward()
    assert a.grad.isfinite().all()
    assert a.grad[1].eq(0).all()


def test_maps_of_other_shapes_are_refused():
    for a, b in (((2, 3), (2, 4)), ((3,), (3,)), ((2, 3, 4), (2, 3))):
        with pytest.raises(ValueError, match=r"two maps of one shape \(N, \*S\), got"):
            attention_overlap(torch.ones(a), torch.ones(b))


# --- the maps


class Tiny(nn.Module):
    """A conv layer and a curved head: 2 x *S -> 3 units."""

    def __init__(self, rank=2, size=(4, 5)):
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
        self.conv = nn.Sequential(conv(2, 3, 3, padding=1), nn.Tanh())
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * torch.Size(size).numel(), 4), nn.Tanh(), nn.Linear(4, 3)
        )

    def forward(self, x):
        return self.head(self.conv(x))


def tiny(size=(4, 5)):
    torch.manual_seed(0)
    return Tiny(len(size), size).double()


@pytest.mark.parametrize("size", SIZES)
def test_maps_are_the_size_of_the_explainers(size):
    net, x = tiny(size), draw(3, 2, *size)
    a = net.conv(x)
    got = attention_maps(net.head(a)[:, [2, 0]], a)
    expected = latent_cams(net, "conv", x, "grad-cam").abs()[:, [2, 0]]
    assert got.shape == (3, 2, *size)
    torch.testing.assert_close(got.float(), expected)


def test_maps_by_a_slow_rewrite():
    net, x = tiny(), draw(2, 2, 4, 5)
    a = net.conv(x)
    got = attention_maps(net.head(a), a)
    for n in range(2):
        slopes = torch.autograd.functional.jacobian(net.head, a[n : n + 1].detach())[0, :, 0]
        for k in range(3):
            signed = sum(slopes[k, c].mean() * a[n, c] for c in range(3))
            torch.testing.assert_close(got[n, k], signed.abs())


def test_the_gradient_goes_through_the_weights_of_the_maps_too():
    """Checked by finite differences over all parameters: also the head's, which only alpha sees."""
    net, x = tiny(), draw(2, 2, 4, 5)
    torch.manual_seed(2)
    net.head[3] = nn.Linear(4, 3, bias=False).double()  # a last bias is in no gradient
    names, values = zip(*net.named_parameters(), strict=True)

    def loss(*parameters):
        given = dict(zip(names, parameters, strict=True))
        at = {k.removeprefix("conv."): v for k, v in given.items() if k.startswith("conv.")}
        of = {k.removeprefix("head."): v for k, v in given.items() if k.startswith("head.")}
        a = torch.func.functional_call(net.conv, at, (x,))
        maps = attention_maps(torch.func.functional_call(net.head, of, (a,))[:, :2], a)
        return attention_overlap(maps[:, 0], maps[:, 1])

    assert 0.1 < loss(*values).item() < 0.9
    inputs = [v.detach().clone().requires_grad_() for v in values]
    torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-6)
    slopes = dict(zip(names, torch.autograd.grad(loss(*inputs), inputs), strict=True))
    assert slopes["head.3.weight"][:2].abs().sum() > 0
    assert slopes["head.3.weight"][2].eq(0).all()  # of the unit that was not asked for


def test_half_precision_gives_maps_in_single():
    net = tiny().bfloat16()
    a = net.conv(draw(2, 2, 4, 5).bfloat16())
    assert attention_maps(net.head(a), a).dtype == torch.float32


def test_units_must_come_from_the_activation():
    net = tiny()
    a = net.conv(draw(2, 2, 4, 5))
    units = net.head(a)
    with pytest.raises(ValueError, match=r"units \(N, M\) and an activation \(N, C, \*S\)"):
        attention_maps(units[:, 0], a)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 60\)"):
        attention_maps(units, a.flatten(1))
    for other in (units.detach(), draw(2, 3).requires_grad_()):
        with pytest.raises(ValueError, match="computed from the activation, with a graph"):
            attention_maps(other, a)
