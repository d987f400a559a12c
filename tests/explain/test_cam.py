import pytest
import torch
from torch import nn
from torch.nn import functional

from latentkit.explain.cam import cam, cams, heatmap, latent_cams
from latentkit.explain.scores import direction, fake, real, unit
from latentkit.explain.weighing import weigh
from tests.explain.test_weighing import METHODS


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
    """CAM of unit k by plain autograd on a rewrite without hooks, one sample at a time."""
    a = functional.conv2d(x, net[0].weight, net[0].bias, stride=2, padding=1)
    if start == 2:
        a = functional.conv2d(functional.leaky_relu(a, 0.2), net[2].weight, net[2].bias, padding=1)
    maps = []
    for sample in a.detach():
        leaf = sample[None].clone().requires_grad_()
        rewrite(net, leaf, start)[0, k].backward(inputs=[leaf])
        maps.append(weigh(leaf, leaf.grad, method)[0])  # see test_weighing for the formulas
    return torch.cat(maps)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [0, 2])
def test_equals_plain_autograd_with_in_place_successors(encoder, images, layer, method):
    got = cam(encoder, str(layer), images, unit(3), method)
    expected = reference(encoder, images, 3, layer, method)
    torch.testing.assert_close(got.raw, expected, atol=1e-6, rtol=1e-5)
    assert (got.layer, got.method, got.score) == (str(layer), method, "unit(3)")
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
@pytest.mark.parametrize("method", ["grad-cam", "xgrad-cam", "hires-cam"])
def test_pooled_linear_net_has_a_closed_form_in_any_rank(size, method):
    torch.manual_seed(0)
    net, x = Pooled(len(size)), torch.randn(3, 2, *size)
    places = x[0, 0].numel()
    for c in range(3):  # the CAM of Zhou et al., signed
        with torch.no_grad():
            expected = torch.einsum("c,nc...->n...", net.head.weight[c], net.conv(x))
        got = cam(net, net.conv, x, unit(c), method)
        assert got.raw.shape == (3, *size)
        torch.testing.assert_close(got.raw * places, expected, atol=1e-5, rtol=1e-5)
    assert latent_cams(net, "conv", x, method).shape == (3, 3, *size)


@pytest.mark.parametrize("size", [(9,), (8, 5), (3, 5, 4)])
def test_grad_cam_plus_plus_and_layer_cam_of_a_pooled_linear_net(size):
    torch.manual_seed(0)
    net, x = Pooled(len(size)), torch.randn(3, 2, *size)
    net.conv.register_forward_hook(lambda _m, _x, a: a.relu())
    with torch.no_grad():
        a, w = net.conv(x), net.head.weight[1]
    places, column = x[0, 0].numel(), (1, -1, *[1] * len(size))
    got = cam(net, "conv", x, unit(1), "layer-cam").raw
    expected = (w.relu().view(column) * a).sum(1) / places
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)
    # The gradient is w / T everywhere, so the weights are T (w / T) / (2 + w mean(A)).
    expected = w.relu() / (2 + w.relu() * a.flatten(2).mean(2))
    expected = torch.einsum("nc,nc...->n...", expected, a)
    got = cam(net, "conv", x, unit(1), "grad-cam++").raw
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


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


@pytest.mark.parametrize("method", METHODS)
def test_in_place_or_not_is_the_same(make_encoder, images, method):
    for layer in ("0", "2", "3"):
        nets = [make_encoder(flag) for flag in (True, False)]
        maps = [cam(net, layer, images, unit(0), method).raw for net in nets]
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


@pytest.mark.parametrize("method", METHODS)
def test_batch_is_singles_and_order_does_not_matter(encoder, images, method):
    columns = torch.tensor([4, 0, 1, 1])  # a target for each sample

    def own(which):
        return lambda output: output[torch.arange(len(output)), which]

    whole = cam(encoder, "4", images, own(columns), method)
    singles = [cam(encoder, "4", images[i : i + 1], own(columns[i]), method) for i in range(4)]
    torch.testing.assert_close(whole.raw, torch.cat([one.raw for one in singles]))
    torch.testing.assert_close(whole.noise, torch.cat([one.noise for one in singles]))
    order = torch.tensor([2, 0, 3, 1])
    moved = cam(encoder, "4", images[order], own(columns[order]), method).raw
    torch.testing.assert_close(moved, whole.raw[order])


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_sample_spoils_only_itself(encoder, images, method):
    clean = cam(encoder, "2", images, unit(1), method)
    images[2, 0, 0, 0] = float("nan")
    got = cam(encoder, "2", images, unit(1), method)
    assert got.raw[2].isnan().any()
    assert got.degenerate.tolist() == [False, False, True, False]
    keep = [0, 1, 3]
    torch.testing.assert_close(got.raw[keep], clean.raw[keep])
    assert got.normalised("batch").isfinite().all()
    assert got.normalised("batch")[keep].max() == 1
    torch.testing.assert_close(latent_cams(encoder, "2", images, method)[keep, 1], clean.raw[keep])


def test_a_network_that_is_broken_is_said_to_be(encoder, images):
    with torch.no_grad():
        encoder[2].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"finite maps of unit\(1\) at layer '2'"):
        cam(encoder, "2", images, unit(1))


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_is_not_finite_is_reported(encoder, images, method):
    def root(output):  # infinite slope, finite value
        return (output[:, 0] - output[:, 0].detach() * torch.tensor([1.0, 0, 0, 0])).abs().sqrt()

    got = cam(encoder, "2", images, root, method)
    assert got.degenerate.tolist() == [True, False, False, False]
    assert not got.raw[0].isfinite().all()
    assert got.raw[1:].isfinite().all()


@pytest.mark.parametrize("method", ["grad-cam", "xgrad-cam", "hires-cam"])
def test_sign(encoder, images, method):
    head = nn.Sequential(encoder, nn.Linear(5, 1))
    plus, minus = (cam(head, "0.2", images, s, method).raw for s in (real(), fake()))
    assert torch.equal(plus, -minus)


@pytest.mark.parametrize("method", METHODS)
def test_all_latents_at_once_equal_one_by_one(encoder, images, method, monkeypatch):
    maps = latent_cams(encoder, "2", images, method)
    assert maps.shape == (4, 5, 6, 5)
    assert maps.dtype == torch.float32
    one = torch.stack([cam(encoder, "2", images, unit(k), method).raw for k in range(5)], 1)
    torch.testing.assert_close(maps, one)
    axes = torch.stack(
        [cam(encoder, "2", images, direction(e), method).raw for e in torch.eye(5)], 1
    )
    torch.testing.assert_close(maps, axes)
    monkeypatch.setattr("latentkit.explain.cam._BATCHED", 2 * 4 * 6 * 6 * 5)  # chunks of 2, 2, 1
    torch.testing.assert_close(latent_cams(encoder, "2", images, method), maps)


@pytest.mark.parametrize("method", METHODS)
def test_several_layers_in_one_pass_equal_one_at_a_time(encoder, images, method):
    runs = []
    handle = encoder.register_forward_pre_hook(lambda *_: runs.append(1))
    layers = ["3", encoder[0], "2", "4"]
    together = cams(encoder, layers, images, unit(1), method)
    assert len(runs) == 1
    handle.remove()
    assert [one.layer for one in together] == ["3", "0", "2", "4"]
    for layer, got in zip(layers, together, strict=True):
        alone = cam(encoder, layer, images, unit(1), method)
        torch.testing.assert_close(got.raw, alone.raw)
        torch.testing.assert_close(got.noise, alone.noise)


class Both(nn.Module):
    """Gives its features beside its latents, which a score of the features does not depend on."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 2, 3)

    def forward(self, x):
        features = self.first(x)
        return features, self.last(features).flatten(1)


def test_several_layers_of_which_one_comes_too_late(images):
    with pytest.raises(ValueError, match="score that depends on layer 'last'"):
        cams(Both(), ["first", "last"], images, lambda out: out[0].flatten(1).sum(1))
    with pytest.raises(ValueError, match="score that depends on layer 'first'"):
        cams(Both(), ["first", "last"], images, lambda out: out[1][:, 0].detach())


def test_a_layer_that_runs_twice():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1)
    net = nn.Sequential(conv, nn.ReLU(), conv, nn.Flatten(), nn.Linear(2 * 16, 3))
    x = torch.randn(2, 2, 4, 4)
    for call in (0, 1):
        both = latent_cams(net, "0", x, call=call)
        torch.testing.assert_close(both[:, 2], cam(net, "0", x, unit(2), call=call).raw)
    assert not torch.equal(latent_cams(net, "0", x, call=0), both)


def realness(output):
    return output[:, 0]


def test_the_score_is_named(encoder, images):
    assert cam(encoder, "2", images, realness).score == "realness"
    assert cam(encoder, "2", images, lambda output: output[:, 0]).score is None


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


@pytest.mark.parametrize("method", METHODS)
def test_zero_constant_and_negative_maps_stay_blank(method):
    a = torch.ones(3, 2, 4, 4)
    g = torch.zeros(3, 2, 4, 4)
    g[1] = 1.0  # constant
    g[2] = -torch.rand(2, 4, 4) - 0.1  # all negative
    got = heatmap(a, g, "conv", method)
    assert got.degenerate[:2].all()
    assert got.relu().degenerate.all()
    assert not got.normalised()[:2].any()
    assert not got.relu().normalised("image").any()
    assert not got.relu().normalised("batch").any()
    if method == "hires-cam":
        assert not got.degenerate[2]
        assert got.normalised()[2].max() == 1


def test_all_zero_activations(encoder, images):
    dead = nn.Sequential(encoder[0], nn.Threshold(1e9, 0.0), *list(encoder)[2:])
    for method in METHODS:
        got = cam(dead, "1", images, unit(0), method)
        assert torch.equal(got.raw, torch.zeros_like(got.raw))
        assert got.degenerate.all()


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


@pytest.mark.parametrize("places", [4, 32])
def test_grad_cam_before_instance_norm_says_that_it_shows_nothing(places):
    """There every gradient adds up to zero over space, and the weights are rounding errors."""
    torch.manual_seed(0)
    head = nn.Sequential(nn.InstanceNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten())
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), head)
    x = torch.randn(4, 3, places, places)
    blank = cam(net, "0", x, unit(5), "grad-cam")
    assert blank.raw.any()
    assert blank.degenerate.all()
    assert not cam(net, "0", x, unit(5), "hires-cam").degenerate.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_shift_moves_the_map(method, rank):
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[rank - 1]
    first = conv(1, 4, 3, padding=1, padding_mode="circular", stride=2)
    second = conv(4, 4, 3, padding=1, padding_mode="circular")
    net = nn.Sequential(first, nn.ReLU(True), second, nn.SiLU(), pool(1), nn.Flatten())
    x = torch.randn(2, 1, *(14, 6, 10)[:rank])
    maps = cam(net, "0", x, unit(0), method).raw
    assert maps.shape == (2, *(7, 3, 5)[:rank])
    steps, axes = (2, -1, 1)[:rank], tuple(range(1, rank + 1))
    shifted = x.roll([2 * s for s in steps], [d + 1 for d in axes])
    moved = cam(net, "0", shifted, unit(0), method).raw
    torch.testing.assert_close(moved, maps.roll(steps, axes), atol=1e-6, rtol=1e-4)
    assert (moved - maps).abs().max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_height_and_width_are_not_mixed_up(method):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, (2, 1)), nn.SiLU(), nn.Conv2d(3, 2, (3, 5)), nn.Flatten()
    )
    turned = nn.Sequential(nn.Conv2d(1, 3, 3, (1, 2)), nn.SiLU(), nn.Conv2d(3, 2, (5, 3)))
    for one, other in ((0, 0), (2, 2)):
        turned[other].weight.data = net[one].weight.data.mT.contiguous()
        turned[other].bias.data = net[one].bias.data
    x = torch.randn(2, 1, 9, 12)
    got = cam(net, "0", x, lambda y: y.sum(1), method).raw
    assert got.shape == (2, 4, 10)
    other = cam(turned, "0", x.mT, lambda y: y.sum((1, 2, 3)), method).raw
    torch.testing.assert_close(other.mT, got)


def test_errors_of_use(encoder, images):
    known = "'grad-cam', 'grad-cam\\+\\+', 'xgrad-cam', 'hires-cam', 'layer-cam'"
    for call in (
        lambda m: cam(encoder, "0", images, unit(0), m),
        lambda m: latent_cams(encoder, "0", images, m),
    ):
        with pytest.raises(ValueError, match=f"expected method {known}, got 'cam'"):
            call("cam")
    with pytest.raises(ValueError, match=r"layer '7' to return \(N, C, \*S\), got \(4, 5\)"):
        cam(encoder, "7", images, unit(0))
    with pytest.raises(ValueError, match=r"layer '7' to return \(N, C, \*S\), got \(4, 5\)"):
        latent_cams(encoder, "7", images)
