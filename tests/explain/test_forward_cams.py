import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from latentkit.explain import forward_cams
from latentkit.explain.forward_cams import ablation_cam, score_cam
from latentkit.explain.scores import logit, unit

BOTH = pytest.mark.parametrize("method", [score_cam, ablation_cam])


def tail(net, a):
    """The encoder after layer 2, by functions."""
    bn = net[3]
    a = functional.batch_norm(a, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
    return functional.relu(a).flatten(1) @ net[7].weight.T + net[7].bias


def head(net, x):
    a = functional.conv2d(x, net[0].weight, net[0].bias, stride=2, padding=1)
    return functional.conv2d(functional.leaky_relu(a, 0.2), net[2].weight, net[2].bias, padding=1)


@torch.no_grad()
def slow_score_cam(net, x, k, baseline):
    """Algorithm 1 of the paper, one sample and one channel at a time."""
    maps = []
    for sample in x[:, None]:
        a = head(net, sample)
        increases = []
        for c in range(a.shape[1]):
            up = functional.interpolate(a[:, c : c + 1], x.shape[2:], mode="bilinear")
            mask = (up - up.min()) / (up.max() - up.min())
            gain = tail(net, head(net, sample * mask)) - tail(net, head(net, baseline[None]))
            increases.append(gain[0, k])
        weights = torch.stack(increases).softmax(0)
        maps.append(sum(w * channel for w, channel in zip(weights, a[0], strict=True)))
    return torch.stack(maps)


@torch.no_grad()
def slow_ablation_cam(net, x, k):
    """The paper's weights (y - y_k) / y, and the y that divides them."""
    maps, scores = [], []
    for sample in x[:, None]:
        a = head(net, sample)
        y = tail(net, a)[0, k]
        weights = []
        for c in range(a.shape[1]):
            without = a.clone()
            without[:, c] = 0
            weights.append((y - tail(net, without)[0, k]) / y)
        maps.append(sum(w * channel for w, channel in zip(weights, a[0], strict=True)))
        scores.append(y)
    return torch.stack(maps), torch.stack(scores)


@pytest.mark.parametrize("at_once", [1, 2**10, 2**22])
def test_score_cam_is_the_papers_with_any_baseline(encoder, images, at_once, monkeypatch):
    monkeypatch.setattr(forward_cams, "_AT_ONCE", at_once)
    got = score_cam(encoder, "2", images, unit(3))
    assert (got.method, got.layer) == ("score-cam", "2")
    for baseline in (torch.zeros(3, 12, 10), torch.randn(3, 12, 10)):
        expected = slow_score_cam(encoder, images, 3, baseline)
        torch.testing.assert_close(got.raw, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at_once", [1, 2**10, 2**22])
def test_ablation_cam_is_the_papers_times_the_score(encoder, images, at_once, monkeypatch):
    monkeypatch.setattr(forward_cams, "_AT_ONCE", at_once)
    got = ablation_cam(encoder, "2", images, unit(3))
    expected, y = slow_ablation_cam(encoder, images, 3)
    torch.testing.assert_close(got.raw, expected * y[:, None, None], atol=1e-5, rtol=1e-5)
    minus = ablation_cam(encoder, "2", images, lambda out: -out[:, 3])
    torch.testing.assert_close(minus.raw, -got.raw, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(9,), (4, 7), (2, 5, 3)])
def test_linear_networks_have_a_closed_form_in_any_rank(size):
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(size) - 1](2, 4, 3, padding=1)
    net = nn.Sequential(conv, nn.Flatten(), nn.Linear(4 * torch.Size(size).numel(), 3))
    x = torch.rand(3, 2, *size)
    with torch.no_grad():
        a = conv(x)
        weights = (net[2].weight[1].view(4, *size) * a).flatten(2).sum(2)  # what each one adds
    expected = torch.einsum("nc,nc...->n...", weights, a)
    got = ablation_cam(net, "0", x, logit(1)).raw
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    got = score_cam(net, conv, x, logit(1))
    assert got.raw.shape == (3, *size)
    assert not got.degenerate.any()


class Awkward(nn.Module):
    """Adds in place to what comes before the layer, and lets Python read a value: not for vmap."""

    def __init__(self, inplace):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last, self.inplace = nn.Linear(4, 2), inplace

    def forward(self, x):
        a = self.first(x)
        b = self.second(a.relu())
        if self.inplace:
            a += b
            assert a.detach().sum().item() is not None
        else:
            a = a + b
        return self.last(a.relu().flatten(2).mean(2))


@BOTH
def test_networks_that_cannot_be_batched_give_the_same(images, method):
    torch.manual_seed(0)
    awkward, plain = Awkward(True), Awkward(False)
    plain.load_state_dict(awkward.state_dict())
    runs = []
    awkward.first.register_forward_hook(lambda *_: runs.append(1))
    got = method(awkward, "second", images, logit(1))
    assert len(runs) > 4  # one channel at a time, indeed
    expected = method(plain, "second", images, logit(1))
    torch.testing.assert_close(got.raw, expected.raw, atol=1e-6, rtol=1e-5)
    assert not got.degenerate.any()


@BOTH
def test_what_lies_before_the_layer_runs_once_for_many_channels(encoder, images, method):
    runs = []
    encoder[0].register_forward_hook(lambda *_: runs.append(1))
    method(encoder, "2", images, unit(0))
    assert len(runs) == 3  # what is looked at, six channels but one in one go, and one by itself


@BOTH
def test_batch_is_singles_with_a_target_for_each_sample(encoder, images, method):
    columns = torch.tensor([4, 0, 1, 1])

    def own(which):
        return lambda output: output[torch.arange(len(output)), which]

    whole = method(encoder, "2", images, own(columns)).raw
    singles = [method(encoder, "2", images[i : i + 1], own(columns[i])).raw for i in range(4)]
    torch.testing.assert_close(whole, torch.cat(singles), atol=1e-5, rtol=1e-5)


@BOTH
def test_a_bad_sample_spoils_only_itself(encoder, images, method):
    clean = method(encoder, "2", images, unit(1)).raw
    images[2, 0, 0, 0] = torch.nan
    got = method(encoder, "2", images, unit(1))
    assert got.degenerate.tolist() == [False, False, True, False]
    torch.testing.assert_close(got.raw[[0, 1, 3]], clean[[0, 1, 3]], atol=1e-5, rtol=1e-5)


def test_channels_that_do_not_matter(encoder, images):
    encoder[2].weight.data[3] = 0
    encoder[2].bias.data[3] = 0.7  # constant over space: nothing of the input is left
    expected = []
    with torch.no_grad():
        for sample in images[:, None]:
            a = head(encoder, sample)
            masks = functional.interpolate(a, sample.shape[2:], mode="bilinear")[0]
            low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
            masks = (masks - low) / (high - low)
            masks[3] = 0
            weights = tail(encoder, head(encoder, sample * masks[:, None]))[:, 1].softmax(0)
            expected.append((weights[:, None, None] * a[0]).sum(0))
    got = score_cam(encoder, "2", images, unit(1)).raw
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)
    encoder[7].weight.data.zero_()  # and now none does
    got = ablation_cam(encoder, "2", images, unit(1))
    assert got.degenerate.all()
    assert not got.normalised().any()


def test_a_layer_with_one_channel(images):
    net = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.Flatten(), nn.Linear(120, 2))
    got = score_cam(net, "0", images, unit(0)).raw
    with torch.no_grad():
        torch.testing.assert_close(got, net[0](images)[:, 0])  # the softmax of one is one
    assert ablation_cam(net, "0", images, unit(0)).raw.shape == (4, 12, 10)


def test_a_layer_that_runs_twice():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 1)
    net = nn.Sequential(conv, nn.ReLU(), conv, nn.Flatten(), nn.Linear(2 * 16, 3))
    x = torch.rand(2, 2, 4, 4)
    with torch.no_grad():
        first, second = conv(x), conv(conv(x).relu())
        y = net(x)[:, 1]
        for call, a in enumerate((first, second)):
            expected = 0
            for c in range(2):
                b = a.clone()
                b[:, c] = 0
                without = net[4]((conv(b.relu()) if call == 0 else b).flatten(1))[:, 1]
                expected = expected + (y - without)[:, None, None] * a[:, c]
            got = ablation_cam(net, "0", x, logit(1), call=call).raw
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


@BOTH
def test_a_first_operation_in_place_does_not_reach_the_input(converts, images, method):
    kept, (net, plain) = images.clone(), converts
    for _ in range(2):
        got = method(net, "2", images, unit(3)).raw
        torch.testing.assert_close(got, method(plain, "2", images, unit(3)).raw)
    assert torch.equal(images, kept)


class Pair(nn.Module):
    """What it is given, and something that nobody reads."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, a):
        return {"tuple": (a, a.mean()), "twice": (a, a), "dict": {"map": a, "rest": [a.sum()]}}[
            self.kind
        ]


class Picks(nn.Module):
    def forward(self, pair):
        return (pair["map"] if isinstance(pair, dict) else pair[0]).relu()


@pytest.mark.parametrize(("kind", "path"), [("tuple", "[0]"), ("twice", ""), ("dict", "[map]")])
def test_a_layer_of_several_tensors(images, kind, path):
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(320, 3))
    net = nn.Sequential(conv, Pair(kind), Picks(), *head)
    got = ablation_cam(net, "1" + path, images, unit(1))
    expected = ablation_cam(nn.Sequential(conv, nn.ReLU(), *head), "0", images, unit(1))
    torch.testing.assert_close(got.raw, expected.raw)
    assert got.layer == "1" + path
    assert got.raw.any()


class InPlace(nn.Module):
    """Rectifies in the memory of what comes before, whose name it goes on with, or a view of it."""

    def __init__(self, inplace, half):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.half = nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2, inplace), half
        self.head = nn.Linear(320, 3)

    def forward(self, x):
        a = self.conv(x)
        part = a[:, :2] if self.half else a
        rectified = self.act(part)
        if not self.act.inplace:
            a = torch.cat([rectified, a[:, 2:]], 1) if self.half else rectified
        return self.head(a.flatten(1))


def test_in_place_layers_whose_memory_is_not_read_take_many_channels_at_a_time(encoder, images):
    runs, plain = [], nn.Sequential(*encoder)
    plain[4] = nn.ReLU()
    expected = ablation_cam(plain, "4", images, unit(1)).raw
    encoder[0].register_forward_hook(lambda *_: runs.append(1))
    torch.testing.assert_close(ablation_cam(encoder, "4", images, unit(1)).raw, expected)
    assert len(runs) == 5  # two of them to see whether it is


@pytest.mark.parametrize("half", [True, False])
def test_an_in_place_layer_whose_return_value_is_ignored(images, half):
    maps = [
        ablation_cam(InPlace(inplace, half), "act", images, unit(1)).raw
        for inplace in (True, False)
    ]
    torch.testing.assert_close(*maps)
    assert maps[0].any()


class Doubles(nn.Module):
    """Works in place, and does not say so."""

    def forward(self, a):
        return a.mul_(2)


class Aside(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.doubling, self.head = nn.Conv2d(3, 4, 3), Doubles(), nn.Linear(320, 3)
        self.unused = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        a = self.conv(x)
        self.doubling(a)
        self.unused(a)
        return self.head(a.flatten(1))


@pytest.mark.parametrize("layer", ["doubling", "unused"])
def test_a_layer_whose_return_value_is_left_aside_is_refused(images, layer):
    message = f"depends on what layer '{layer}' returns, got one that does not"
    with pytest.raises(ValueError, match=message):
        ablation_cam(Aside(), layer, images, unit(1))


class Compares(nn.Module):
    """A rectifier by comparison: what is no number does not get through."""

    def forward(self, a):
        return torch.where(a > 0, a, 0.0)


def test_a_layer_whose_channels_are_all_dead_weighs_nothing(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Compares(), nn.Flatten(), nn.Linear(320, 3))
    net[0].bias.data.fill_(-100)
    got = ablation_cam(net, "0", images, unit(1))
    assert not got.raw.any()
    assert got.degenerate.all()


class Remembers(nn.Module):
    """Keeps its last output, and how often it ran."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), None

    def forward(self, x):
        self.last = self.linear(self.conv(x).flatten(2).mean(2))
        return self.last


@BOTH
def test_nothing_is_left_behind(images, method):
    net = Remembers().train()
    net.conv.eval()
    before = torch.get_rng_state()
    got = method(net, "conv", images, unit(0))
    assert (net.training, net.conv.training, net.linear.training) == (True, False, True)
    assert not any(part._forward_hooks for part in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
    assert net.last.add(0).isfinite().all()  # an ordinary tensor, not one of vmap's

    def fail(output):
        if output.dim() and fail.after == 0:
            raise KeyError("mine")
        fail.after -= 1
        return output[:, 0]

    fail.after = 1
    with pytest.raises(KeyError, match="mine"):
        method(net, "conv", images, fail)
    assert not any(part._forward_hooks for part in net.modules())
    torch.testing.assert_close(method(net, "conv", images, unit(0)).raw, got.raw)


@BOTH
@pytest.mark.parametrize("context", ["inference", "autocast", "half", "double", "compiled"])
def test_contexts(encoder, images, method, context):
    expected = method(encoder, "2", images, unit(1)).raw
    if context == "inference":
        with torch.inference_mode():
            got = method(encoder, "2", images.clone(), unit(1)).raw
    elif context == "autocast":
        with torch.autocast("cpu"):
            got = method(encoder, "2", images, unit(1)).raw
    elif context == "compiled":
        got = method(torch.compile(encoder, backend="eager"), "2", images, unit(1)).raw
    else:
        dtype = torch.bfloat16 if context == "half" else torch.double
        got = method(encoder.to(dtype), "2", images.to(dtype), unit(1)).raw
    assert got.dtype == torch.float32
    near = 0.1 if context in ("autocast", "half") else 1e-5
    torch.testing.assert_close(got, expected, atol=near * float(expected.abs().max()), rtol=near)


def test_a_forward_of_another_thread_is_not_ablated(encoder, images):
    expected = ablation_cam(encoder, "2", images, unit(1)).raw
    plain = encoder(images)
    other = []

    def score(output):
        thread = threading.Thread(target=lambda: other.append(encoder(images)))
        thread.start()
        thread.join()
        return output[:, 1]

    torch.testing.assert_close(ablation_cam(encoder, "2", images, score).raw, expected)
    assert other
    for output in other:
        torch.testing.assert_close(output, plain)


def test_errors(encoder, images):
    for method in (score_cam, ablation_cam):
        with pytest.raises(ValueError, match=r"layer '7' to return \(N, C, \*S\), got \(4, 5\)"):
            method(encoder, "7", images, unit(0))
        with pytest.raises(ValueError, match=r"one value per sample, shape \(4,\), got \(4, 5\)"):
            method(encoder, "2", images, lambda output: output)
        with pytest.raises(RuntimeError, match=r"size of tensor|must match"):  # the score's own
            method(encoder, "2", images, lambda output: (output + torch.ones(7))[:, 0])


class Placed(nn.Module):
    """An in-place layer that is given the network's own parameter."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 3, 4, 4))
        self.drop = nn.Dropout(0.1, inplace=True)

    def forward(self, x):
        placed = self.drop(self.place.expand(len(x), -1, -1, -1))
        return (placed * x.mean((1, 2, 3), keepdim=True)).flatten(1).sum(1)


@pytest.mark.parametrize("n", [1, 2])
def test_ablation_never_writes_into_a_parameter(n):
    net = Placed().eval()
    before = net.place.detach().clone()
    found = ablation_cam(net, "drop", torch.rand(n, 1, 4, 4), lambda o: o)
    assert torch.equal(net.place, before)
    assert not found.degenerate.any()
