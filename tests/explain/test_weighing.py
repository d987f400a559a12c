import pytest
import torch
from torch import nn

from latentkit.explain.weighing import weigh

METHODS = ["grad-cam", "grad-cam++", "xgrad-cam", "hires-cam", "layer-cam"]


def slow(a, g, method):
    """The papers' formulas, one number at a time, for activations and gradients (C, T) -> (T,)."""
    channels, places = a.shape
    out = torch.zeros(places, dtype=a.dtype)
    for c in range(channels):
        total = sum(a[c])
        if method == "grad-cam":
            weights = [sum(g[c]) / places] * places
        elif method == "grad-cam++":  # eq. 19, then eq. 5
            alpha = [v**2 / (2 * v**2 + total * v**3) if v != 0 else 0 for v in g[c]]
            pairs = zip(alpha, g[c], strict=True)
            weights = [sum(al * max(v, torch.zeros_like(v)) for al, v in pairs)] * places
        elif method == "xgrad-cam":
            weights = [sum(a[c, p] * g[c, p] for p in range(places)) / total] * places
        elif method == "hires-cam":
            weights = g[c]
        else:
            weights = [v if v > 0 else 0 for v in g[c]]
        for p in range(places):
            out[p] += weights[p] * a[c, p]
    return out


def after_relu(seed=0, n=2, channels=3, size=(3, 4), dtype=torch.float32):
    """Activations as a ReLU gives them, one channel silent, and gradients that vary over space."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, channels, *size)
    a = torch.randn(shape, generator=generator, dtype=torch.double).relu()
    a[:, -1] = 0
    g = torch.randn(shape, generator=generator, dtype=torch.double)
    g[:, 0, 0] = 0
    return a.to(dtype), g.to(dtype)


def relative(got, expected):
    return float((got.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(7,), (3, 4), (2, 3, 2), (1, 1)])
def test_the_papers_formulas_number_by_number(method, size):
    a, g = after_relu(size=size, dtype=torch.double)
    if method == "xgrad-cam":
        a[a.flatten(2).sum(2) == 0] = 0.5  # the formula is 0/0 on a silent channel
    pairs = zip(a.flatten(2), g.flatten(2), strict=True)
    expected = torch.stack([slow(ai, gi, method) for ai, gi in pairs]).reshape(2, *size)
    got, _ = weigh(a, g, method)
    assert got.dtype == torch.double
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_formulas_by_hand():
    a = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [0.0, 2.0]]]])
    g = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    assert weigh(a, g, "grad-cam")[0].tolist() == [[[-0.5, 0.0], [1.5, 0.0]]]
    assert weigh(a, g, "hires-cam")[0].tolist() == [[[0.0, -1.0], [0.0, 2.0]]]
    assert weigh(a, g, "layer-cam")[0].tolist() == [[[1.0, 0.0], [0.0, 4.0]]]
    # Channel 0: S = 10, so w = 1/12 + 1/12; channel 1 has no positive gradient.
    torch.testing.assert_close(weigh(a, g, "grad-cam++")[0], a[:, 0] / 6)
    # Channel 0: (1 + 4) / 10; channel 1: -4 / 4.
    torch.testing.assert_close(weigh(a, g, "xgrad-cam")[0], a[:, 0] / 2 - a[:, 1])


def test_grad_cam_plus_plus_by_second_and_third_derivatives_of_exp_score():
    torch.manual_seed(3)
    head = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    a = torch.rand(1, 2, 2, 3, dtype=torch.double, requires_grad=True)
    y = head(a).exp().sum()
    (first,) = torch.autograd.grad(y, a, create_graph=True)
    weights = torch.zeros(2, dtype=torch.double)
    for c, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(2), torch.arange(3)):
        (second,) = torch.autograd.grad(first[0, c, i, j], a, create_graph=True)
        second = second[0, c, i, j]
        (third,) = torch.autograd.grad(second, a, retain_graph=True)
        third = third[0, c, i, j]
        alpha = second / (2 * second + a[0, c].sum() * third)  # eq. 10
        weights[c] += (alpha * first[0, c, i, j].relu()).detach()
    (g,) = torch.autograd.grad(head(a).sum(), a)
    assert g.flatten(2).std(2).min() > 1e-3  # a gradient that is the same everywhere hides defects
    got, _ = weigh(a, g, "grad-cam++")
    expected = torch.einsum("c,nchw->nhw", weights, a.detach()) / y.item()  # exp(S) is left out
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e3, 1.0, 1e-2, 1e-4, 1e-25])
def test_grad_cam_plus_plus_keeps_its_precision_at_any_scale_of_the_score(scale):
    a, g = after_relu(seed=1, channels=8, size=(7, 7))
    g = g * scale

    def equation_19(dtype, eps=0.0):
        av, gv = a.to(dtype), g.to(dtype)
        s = av.sum((2, 3), keepdim=True)
        alpha = gv**2 / (2 * gv**2 + s * gv**3 + eps)
        weights = (alpha.nan_to_num() * gv.relu()).sum((2, 3))
        return torch.einsum("nc,nchw->nhw", weights, av)

    def alpha_not_divided():
        return (g.double().relu() ** 3).sum((2, 3), keepdim=True).mul(a).sum(1)

    expected = equation_19(torch.double)
    assert relative(weigh(a, g, "grad-cam++")[0], expected) < 2e-6
    assert relative(alpha_not_divided(), expected) > 0.5  # a known defect: off at any scale
    if scale < 1e-3:
        assert relative(equation_19(torch.double, eps=1e-6), expected) > 0.02  # another
    if scale < 1e-9:
        assert relative(equation_19(torch.float32), expected) > 0.5  # squares underflow


def test_grad_cam_plus_plus_where_activations_sum_below_zero():
    def weight(gradient, total):
        a = torch.zeros(1, 1, 1, 2, dtype=torch.double)
        a[..., 0] = total
        g = torch.tensor([gradient, 0.0], dtype=torch.double)[None, None, None]
        return float(weigh(a, g, "grad-cam++")[0][0, 0, 0]) / total

    assert weight(1.0, -1.0) == pytest.approx(1 / (2 - 1))
    assert weight(1.0, -4.0) == pytest.approx(1 / (2 - 4))  # beyond the pole, as the formula says
    assert weight(1.0, -2.0) == pytest.approx(1 / 1e-3)  # at the pole: large, finite
    assert weight(1.0, -2.0 + 1e-9) == pytest.approx(1 / 1e-3)
    assert weight(1.0, -2.0 - 1e-9) == pytest.approx(-1 / 1e-3)  # and on its own side
    assert weight(-1.0, 2.0) == 0  # a falling place has no pole: its weight is 0, not 0/0


def test_xgrad_cam_where_activations_cancel():
    a = torch.tensor([[[1.0, -1.0, 0.0]], [[1.0, -1.0, 1e-7]], [[0.0, 0.0, 0.0]]])
    g = torch.tensor([1.0, 0.5, 0.0]).expand(3, 1, 3)
    got, _ = weigh(a, g, "xgrad-cam")
    peer = (g * a).sum(2) / (a.sum(2) + 1e-7)
    assert peer[0] > 1e6  # a known defect
    assert got.abs().max() <= 1e3
    assert got[0].tolist() == pytest.approx([250, -250, 0])  # 0.5 / (1e-3 * 2)
    assert not got[2].any()
    # The floor is relative: no unit of activation is special.
    torch.testing.assert_close(weigh(1e-12 * a, g, "xgrad-cam")[0], 1e-12 * got)


@pytest.mark.parametrize("method", METHODS)
def test_sums_are_taken_in_single_precision(method):
    a, g = (t.bfloat16() for t in after_relu(channels=300, size=(4, 4)))
    got, _ = weigh(a, g, method)
    assert got.dtype == torch.float32
    with torch.autocast("cpu"):
        assert torch.equal(weigh(a, g, method)[0], got)
    assert torch.equal(weigh(a.float(), g.float(), method)[0], got)


@pytest.mark.parametrize("method", METHODS)
def test_many_scores_at_once_are_one_at_a_time(method):
    a, _ = after_relu(size=(3, 4))
    g = torch.randn(5, *a.shape, generator=torch.Generator().manual_seed(0))
    maps, noise = weigh(a, g, method)
    each = [weigh(a, one, method) for one in g]
    torch.testing.assert_close(maps, torch.stack([m for m, _ in each]))
    torch.testing.assert_close(noise, torch.stack([n for _, n in each]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["channels last", "expanded", "transposed"])
def test_memory_layout_does_not_matter(method, layout):
    a, g = after_relu(size=(4, 4))
    plain = weigh(a, g, method)[0]
    if layout == "channels last":
        a, g = (t.contiguous(memory_format=torch.channels_last) for t in (a, g))
    elif layout == "transposed":
        a, g = (t.mT.contiguous().mT for t in (a, g))
    else:
        g = g[..., :1, :1].expand_as(a)
        plain = weigh(a, g.contiguous(), method)[0]
    torch.testing.assert_close(weigh(a, g, method)[0], plain)
    assert (a >= 0).all()  # nothing was changed in place


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["activation", "gradient"])
def test_what_is_not_finite_shows_and_stays_in_its_sample(method, bad, where):
    a, g = after_relu(n=3)
    clean = weigh(a, g, method)[0]
    (a if where == "activation" else g)[1, 1, 2, 2] = bad
    maps, noise = weigh(a, g, method)
    assert not (maps[1].isfinite().all() and noise[1].isfinite())
    torch.testing.assert_close(maps[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("channels", [8, 512, 2048])
def test_noise_covers_what_cancels_in_the_sum_over_channels(channels):
    torch.manual_seed(0)
    a, g = torch.randn(8, channels, 49), torch.randn(8, channels, 1).expand(-1, -1, 49).clone()
    half = channels // 2
    a[:, half:], g[:, half:] = a[:, :half], -g[:, :half]  # zero, but for rounding
    maps, noise = weigh(a, g, "grad-cam")
    assert (maps.abs().amax(1) < noise).all()
    a, g = torch.randn(8, channels, 49), torch.randn(8, channels, 49)
    for method in METHODS[:1] + METHODS[3:]:
        maps, noise = weigh(a, g, method)
        assert (maps.abs().amax(1) > 1e4 * noise).all()


def test_noise_is_near_the_error_of_half_precision():
    torch.manual_seed(0)
    a, g = torch.rand(4, 64, 49), torch.randn(4, 64, 49)
    for method in METHODS:
        exact, _ = weigh(a, g, method)
        maps, noise = weigh(a.bfloat16(), g.bfloat16(), method)
        error = (maps - exact).abs().amax(1)
        assert (error < noise).all()
        assert (noise < 200 * error).all()
