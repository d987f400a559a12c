import pytest
import torch
from torch import nn
from torch.nn import functional

from latentkit.explain.cam import Heatmap, cam, grad_cam, heatmap, hires_cam, latent_cams
from latentkit.explain.scores import direction, fake, real, unit


def rewrite(net, a, start):
    """The tail of the encoder after layer `start`, by functions that change nothing in place."""
    if start <= 0:
        a = functional.conv2d(functional.leaky_relu(a, 0.2), net[2].weight, net[2].bias, padding=1)
    if start <= 2:
        bn = net[3]
        a = functional.batch_norm(
            a, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps
        )
    return functional.relu(a).flatten(1) @ net[7].weight.T + net[7].bias


def reference(net, x, k, start, method):
    """CAM of unit k by plain autograd and loops, one sample and one channel at a time."""
    a = functional.conv2d(x, net[0].weight, net[0].bias, stride=2, padding=1)
    if start == 2:
        a = functional.conv2d(functional.leaky_relu(a, 0.2), net[2].weight, net[2].bias, padding=1)
    a = a.detach()
    maps = torch.zeros(len(a), *a.shape[2:])
    for n in range(len(a)):
        leaf = a[n : n + 1].clone().requires_grad_()
        rewrite(net, leaf, start)[0, k].backward(inputs=[leaf])
        for c in range(a.shape[1]):
            g = leaf.grad[0, c]
            maps[n] += (g if method == "hires-cam" else g.mean()) * a[n, c]
    return maps


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
@pytest.mark.parametrize("layer", [0, 2])
def test_equals_plain_autograd_with_in_place_successors(encoder, images, layer, method):
    got = cam(encoder, str(layer), images, unit(3), method)
    expected = reference(encoder, images, 3, layer, method)
    torch.testing.assert_close(got.raw, expected, atol=1e-6, rtol=1e-5)
    assert (got.layer, got.method) == (str(layer), method)
    assert got.raw.dtype == torch.float32
    assert not got.raw.requires_grad
    assert not got.degenerate.any()


class Pooled(nn.Module):
    """Conv, global average, linear: here Zhou's CAM is the closed form."""

    def __init__(self, rank=2, channels=5, classes=3):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.conv = conv(2, channels, 3, padding=1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.conv(x).flatten(2).mean(2))


@pytest.mark.parametrize("size", [(9,), (8, 5), (1, 1), (3, 5, 4)])
def test_pooled_linear_net_has_a_closed_form_in_any_rank(size):
    torch.manual_seed(0)
    net, x = Pooled(len(size)), torch.randn(3, 2, *size)
    with torch.no_grad():
        expected = torch.einsum("c,nc...->n...", net.head.weight[1], net.conv(x))
    places = expected[0].numel()
    for method in ("grad-cam", "hires-cam"):
        got = cam(net, net.conv, x, unit(1), method)
        assert got.raw.shape == (3, *size)
        torch.testing.assert_close(got.raw * places, expected, atol=1e-5, rtol=1e-5)
    assert latent_cams(net, "conv", x).shape == (3, 3, *size)


def test_hires_cam_adds_up_to_the_logit():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)).double()
    x = torch.randn(5, 3, 8, 8, dtype=torch.double)
    with torch.no_grad():
        expected = net(x)[:, 1] - net[2].bias[1]
    total = cam(net, "0", x, unit(1), "hires-cam").raw.sum((1, 2))
    torch.testing.assert_close(total.double(), expected, atol=1e-6, rtol=1e-5)
    plain = cam(net, "0", x, unit(1), "grad-cam").raw.sum((1, 2))
    assert (plain - expected).abs().max() > 0.01  # Grad-CAM has no such identity


def test_in_place_or_not_is_the_same(make_encoder, images):
    for layer in ("0", "2", "3"):
        maps = [cam(make_encoder(flag), layer, images, unit(0)).raw for flag in (True, False)]
        assert torch.equal(*maps)


class Residual(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        identity = x.clone()
        out = self.first(x)
        out = functional.relu_(out) if self.inplace else functional.relu(out)
        out = self.second(out)
        if self.inplace:
            out += identity
        else:
            out = out + identity
        return (out**2).flatten(1)[:, ::7]


@pytest.mark.parametrize("layer", ["first", "second"])
def test_in_place_functions_and_residual_sums(images, layer):
    torch.manual_seed(0)
    inplace, plain = Residual(True), Residual(False)
    plain.load_state_dict(inplace.state_dict())
    maps = [cam(net, layer, images, unit(2), "hires-cam").raw for net in (inplace, plain)]
    torch.testing.assert_close(*maps)
    assert maps[0].abs().max() > 0


def test_batch_is_singles_and_order_does_not_matter(encoder, images):
    whole = cam(encoder, "2", images, unit(1)).raw
    singles = torch.cat([cam(encoder, "2", x[None], unit(1)).raw for x in images])
    torch.testing.assert_close(whole, singles)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(cam(encoder, "2", images[order], unit(1)).raw, whole[order])


def test_a_bad_sample_spoils_only_itself(encoder, images):
    clean = cam(encoder, "2", images, unit(1))
    images[2, 0, 0, 0] = float("nan")
    got = cam(encoder, "2", images, unit(1))
    assert got.raw[2].isnan().any()
    assert got.degenerate.tolist() == [False, False, True, False]
    keep = [0, 1, 3]
    torch.testing.assert_close(got.raw[keep], clean.raw[keep])
    assert got.normalised("batch").isfinite().all()
    assert got.normalised("batch")[keep].max() == 1


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
def test_sign(encoder, images, method):
    head = nn.Sequential(encoder, nn.Linear(5, 1))
    plus, minus = (cam(head, "0.2", images, s, method).raw for s in (real(), fake()))
    assert torch.equal(plus, -minus)


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam"])
def test_all_latents_at_once_equal_one_by_one(encoder, images, method, monkeypatch):
    maps = latent_cams(encoder, "2", images, method)
    assert maps.shape == (4, 5, 6, 5)
    one = torch.stack([cam(encoder, "2", images, unit(k), method).raw for k in range(5)], 1)
    torch.testing.assert_close(maps, one)
    axes = torch.stack(
        [cam(encoder, "2", images, direction(e), method).raw for e in torch.eye(5)], 1
    )
    torch.testing.assert_close(maps, axes)
    monkeypatch.setattr("latentkit.explain.cam._BATCHED", 2 * 4 * 6 * 6 * 5)  # chunks of 2, 2, 1
    torch.testing.assert_close(latent_cams(encoder, "2", images, method), maps)


def test_latents_need_one_row_per_sample():
    class Sums(nn.Sequential):
        def forward(self, x):
            return super().forward(x).sum()

    with pytest.raises(ValueError, match=r"latents \(2, K\)"):
        latent_cams(Sums(nn.Conv2d(1, 1, 1)), "0", torch.ones(2, 1, 3, 3))


def test_map_of_a_direction_is_linear_in_it(encoder, images):
    d = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    maps = latent_cams(encoder, "2", images)
    got = cam(encoder, "2", images, direction(d)).raw
    torch.testing.assert_close(got, torch.einsum("k,nkhw->nhw", d / d.norm(), maps))


def test_formulas_by_hand():
    a = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [0.0, 2.0]]]])
    g = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    assert grad_cam(a, g).tolist() == [[[-0.5, 0.0], [1.5, 0.0]]]
    assert hires_cam(a, g).tolist() == [[[0.0, -1.0], [0.0, 2.0]]]


def test_sums_are_taken_in_single_precision():
    a, g = torch.randn(2, 1, 300, 4, 4).bfloat16()
    for formula in (grad_cam, hires_cam):
        assert torch.equal(formula(a, g), formula(a.float(), g.float()))


def test_views_of_a_heatmap():
    raw = torch.tensor([[[-4.0, 2.0], [1.0, 0.0]], [[0.5, 0.0], [0.0, -0.25]]])
    got = Heatmap(raw, "conv", "grad-cam", torch.zeros(2))
    assert got.normalised().tolist() == [[[1, 0.5], [0.25, 0]], [[1, 0], [0, 0.5]]]
    assert got.relu().normalised().tolist() == [[[0, 1], [0.5, 0]], [[1, 0], [0, 0]]]
    assert got.normalised("batch")[1].tolist() == [[0.125, 0], [0, 0.0625]]
    assert got.raw is raw  # still signed
    assert raw[0, 0, 0] == -4
    bigger = got.resized((4, 4))
    assert bigger.raw.shape == (2, 4, 4)
    assert bigger.raw[0, 0].tolist() == [-4, -2.5, 0.5, 2]  # align_corners=False, by hand
    with pytest.raises(ValueError, match="'image' or 'batch', got 'pixel'"):
        got.normalised("pixel")
    with pytest.raises(ValueError, match=r"each of the 2 dimensions.*got \(4,\)"):
        got.resized((4,))


def test_resizing_in_one_and_three_dimensions():
    for size in ((5,), (4, 3, 5)):
        got = Heatmap(torch.ones(2, *[2] * len(size)), "a", "grad-cam", torch.zeros(2))
        assert torch.equal(got.resized(size).raw, torch.ones(2, *size))


def test_zero_constant_and_negative_maps_stay_blank():
    a = torch.ones(3, 2, 4, 4)
    g = torch.zeros(3, 2, 4, 4)
    g[1] = 1.0  # constant
    g[2] = -torch.rand(2, 4, 4) - 0.1  # all negative
    got = heatmap(a, g, "conv", "hires-cam")
    assert got.degenerate.tolist() == [True, True, False]
    assert got.relu().degenerate.tolist() == [True, True, True]
    assert got.normalised().flatten(1).amax(1).tolist() == [0, 0, 1]
    assert not got.relu().normalised("image").any()
    assert not got.relu().normalised("batch").any()


def test_rounding_errors_are_not_blown_up():
    torch.manual_seed(0)
    a = torch.randn(2, 64, 6, 6)
    g = torch.randn(2, 64, 1, 1).expand(-1, -1, 6, 6).clone()
    a[0, 32:], g[0, 32:] = a[0, :32], -g[0, :32]  # cancels exactly, but for rounding
    a[0] += 1e-9 * torch.randn(64, 6, 6)
    got = heatmap(a, g, "conv", "grad-cam")
    assert got.raw[0].any()
    assert got.degenerate.tolist() == [True, False]
    assert not got.normalised()[0].any()


def test_shift_moves_the_map():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")
    net = nn.Sequential(conv, nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(2, 1, 7, 9)
    maps = cam(net, "0", x, unit(0)).raw
    moved = cam(net, "0", x.roll((2, -3), (2, 3)), unit(0)).raw
    torch.testing.assert_close(moved, maps.roll((2, -3), (1, 2)))


def test_errors_of_use(encoder, images):
    with pytest.raises(ValueError, match="expected method 'grad-cam' or 'hires-cam', got 'cam'"):
        cam(encoder, "0", images, unit(0), "cam")
    with pytest.raises(ValueError, match=r"layer '7' to return \(N, C, \*S\), got \(4, 5\)"):
        cam(encoder, "7", images, unit(0))
