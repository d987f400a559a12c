"""The engine in the contexts where hooks usually go wrong; what it leaves: test_traces."""

import copy
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from latentkit.explain.cam import cam, heatmap, latent_cams
from latentkit.explain.directions import use
from latentkit.explain.gradients import differentiate, slopes
from latentkit.explain.hooks import owner, watched
from latentkit.explain.scores import unit
from tests.explain.test_traces import count_hooks
from tests.explain.threads import together


@pytest.fixture
def plain(encoder, images):
    """The maps in the plainest context, compared with an independent rewrite in test_cam."""
    return cam(encoder, "0", images, unit(2)).raw


def test_without_gradients(encoder, images, plain):
    with torch.no_grad():
        assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)
    with torch.inference_mode():
        inside = images * 1
        assert inside.is_inference()
        assert torch.equal(cam(encoder, "0", inside, unit(2)).raw, plain)
        assert torch.is_inference_mode_enabled()
        maps = latent_cams(encoder, "0", inside)
        assert use(encoder, inside, inside, unit(0)).shape == (4, 12, 10)
    torch.testing.assert_close(maps[:, 2], plain)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_an_input_that_is_used_again_behind_the_layer(images, mode):
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return (self.conv(x) * x).flatten(1)

    net = Gate()
    with mode():
        x = images.requires_grad_() * 1
        with watched(net, ["conv"], x) as run:
            value = run.output.sum(1)
            if x.requires_grad:  # the caller's graph is not walked
                found = torch.autograd.grad(value.sum(), x, retain_graph=True, allow_unused=True)
                assert found == (None,)
            assert torch.equal(slopes(value, run)[0], images)


def test_frozen_parameters_and_inputs_with_a_graph(encoder, images, plain):
    encoder.requires_grad_(False)
    images = (images.requires_grad_() * 1).requires_grad_()
    assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)
    assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_gives_single_precision_maps(encoder, images, plain, dtype):
    tolerance = {"atol": 0.03 * float(plain.abs().max()), "rtol": 0.0}
    with torch.autocast("cpu", dtype):
        under = cam(encoder, "0", images, unit(2)).raw
        every = latent_cams(encoder, "0", images)[:, 2]
    low = copy.deepcopy(encoder).to(dtype)
    for maps in (under, every, cam(low, "0", images.to(dtype), unit(2)).raw):
        assert maps.dtype == torch.float32
        assert not torch.equal(maps, plain)
        torch.testing.assert_close(maps, plain, **tolerance)


def test_autocast_does_not_lose_the_gradients_of_a_later_step(encoder, images):
    with torch.autocast("cpu", torch.bfloat16):
        cam(encoder, "2", images, unit(0))  # weights cast here must not be reused without graph
        loss = encoder(images).sum()
    loss.backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_double_precision(encoder, images, plain):
    got = cam(encoder.double(), "0", images.double(), unit(2)).raw
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, plain)


@pytest.mark.parametrize("how", ["function", "method", "inner", "layer", "forward"])
@pytest.mark.parametrize("ran", [True, False])
def test_compiled_modules(encoder, images, plain, how, ran):
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    target, layer = encoder, "0"
    if how == "function":
        target = torch.compile(encoder, backend=backend)
    elif how == "method":
        encoder.compile(backend=backend)
    elif how == "inner":
        target, layer = nn.Sequential(torch.compile(encoder, backend=backend)), "0.0"
    elif how == "layer":
        encoder[0] = torch.compile(encoder[0], backend=backend)
    else:
        encoder.forward = torch.compile(encoder.forward, backend=backend)
    with torch.no_grad():
        expected = target(images) if ran else None  # compiled before the hook comes, or after
        compiled = len(graphs)
        assert compiled == ran
        got = cam(target, layer, images, unit(2))
        assert len(graphs) == compiled
        assert torch.equal(got.raw, plain)
        assert got.layer == layer
        assert count_hooks(target) == 0
        again = target(images)
        assert len(graphs) == 1  # nor is it compiled anew afterwards
    assert expected is None or torch.equal(again, expected)


def test_channels_last(encoder, images, plain):
    encoder.to(memory_format=torch.channels_last)
    got = cam(encoder, "0", images.to(memory_format=torch.channels_last), unit(2)).raw
    torch.testing.assert_close(got, plain)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_rank(rank):
    conv, norm = getattr(nn, f"Conv{rank}d"), getattr(nn, f"BatchNorm{rank}d")
    net = nn.Sequential(
        conv(2, 3, 3, padding=1), norm(3), nn.LeakyReLU(0.2, True), nn.Flatten(), nn.LazyLinear(4)
    )
    x = torch.randn(2, 2, *(5, 4, 3)[:rank])
    net(x)
    flags = copy.deepcopy(net.state_dict())
    got = cam(net, "0", x, unit(1), "hires-cam").raw
    leaf = net[0](x).detach().requires_grad_()
    tail = copy.deepcopy(net[1:]).eval()
    tail(leaf.clone())[:, 1].sum().backward()
    torch.testing.assert_close(got, (leaf * leaf.grad).sum(1).detach())
    assert all(torch.equal(flags[name], value) for name, value in net.state_dict().items())


class Saving(nn.Module):
    """Runs the layers from `start` to `stop` inside a checkpoint."""

    def __init__(self, net, start, stop, reentrant):
        super().__init__()
        self.net, self.start, self.stop, self.reentrant = net, start, stop, reentrant

    def forward(self, x):
        x = self.net[: self.start](x) if self.start else x
        x = checkpoint(self.net[self.start : self.stop], x, use_reentrant=self.reentrant)
        return self.net[self.stop :](x)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize(("start", "stop"), [(0, 2), (0, 5), (1, 5), (2, 4), (3, 5)])
def test_checkpoints(make_encoder, images, layer, start, stop):
    encoder = make_encoder(inplace=False)
    expected = latent_cams(encoder, layer, images)
    net = Saving(encoder, start, stop, reentrant=False).train()
    maps = cam(net, f"net.{layer}", images, unit(2)).raw
    torch.testing.assert_close(maps, expected[:, 2])
    torch.testing.assert_close(latent_cams(net, f"net.{layer}", images), expected)
    net.reentrant = True
    if int(layer) >= stop:  # the checkpoint is over before the layer runs
        assert torch.equal(cam(net, f"net.{layer}", images, unit(2)).raw, maps)
        return
    for seeds in (None, torch.eye(4)):
        message = f"layer 'net.{layer}'.*use_reentrant=False"
        with (
            pytest.raises(ValueError, match=message),
            watched(net, [f"net.{layer}"], images) as run,
        ):
            slopes(run.output[:, 2], run, seeds)
    assert count_hooks(net) == 0


def test_two_threads_with_different_targets(encoder, images):
    encoder.train()
    expected = [cam(encoder, "0", images, unit(k)).raw for k in range(2)]
    wrong = []

    def work(k):
        torch.set_num_threads(1)
        for _ in range(40):
            if not torch.equal(cam(encoder, "0", images, unit(k)).raw, expected[k]):
                wrong.append(k)

    together(work, 2, 1e-4)
    assert wrong == []
    assert all(part.training for part in encoder.modules())


class Elsewhere(nn.Module):
    """Runs a network in a thread of its own, as `nn.DataParallel` does."""

    def __init__(self, net, shift=0.0):
        super().__init__()
        self.net, self.shift, self.hidden = net, shift, {}

    def forward(self, x):
        def work():
            with torch.no_grad():
                self.hidden["output"] = self.net(self.shift + x)

        other = threading.Thread(target=work)
        other.start()
        other.join()
        return self.hidden["output"]


def test_forwards_of_other_threads_are_not_recorded(encoder, images, plain):
    class Meanwhile(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.also = encoder, Elsewhere(encoder, 1.0)

        def forward(self, x):
            hidden = self.net[0](x)
            self.also(x)
            return self.net[1:](hidden)

    assert torch.equal(cam(Meanwhile(), "net.0", images, unit(2)).raw, plain)
    with pytest.raises(ValueError, match=r"'net.0' was not reached.*in this thread"):
        cam(Elsewhere(encoder), "net.0", images, unit(2))


def test_networks_spread_over_devices_are_refused(encoder, images, plain):
    spread = nn.Sequential(nn.DataParallel(encoder))
    with pytest.raises(TypeError, match=r"in one piece, got DataParallel.*give its \.module"):
        cam(spread, "0.module.0", images, unit(2))
    assert torch.equal(cam(spread[0].module, "0", images, unit(2)).raw, plain)


class Shortcut(nn.Module):
    """act(x)^2 + conv(act(x)), where `inplace` gives both terms the same memory."""

    def __init__(self, inplace, halves):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.next = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.halves = nn.LeakyReLU(0.2, inplace), halves

    def forward(self, x):
        x = self.conv(x)
        if self.halves:  # autograd lets nobody write into such a view
            return torch.cat([x[:, :2], self.act(x[:, 2:])], 1).square().flatten(1)
        y = self.act(x)
        return (y.square() + self.next(x if self.act.inplace else y)).flatten(1)


@pytest.mark.parametrize("halves", [False, True])
def test_an_in_place_layer_changes_its_input_under_all_names(images, halves):
    score = unit(9 + 240 * halves)
    nets = [Shortcut(inplace, halves) for inplace in (True, False)]
    maps = [cam(net, "act", images, score, "hires-cam").raw for net in nets]
    torch.testing.assert_close(*maps)
    assert maps[0].any()


def test_a_first_operation_in_place_does_not_reach_the_input(converts, images):
    kept, (net, plain) = images.clone(), converts
    for mode in (torch.enable_grad, torch.inference_mode):
        with mode():
            x = images * 1
            for layer in ("0", "2"):
                expected = cam(plain, layer, images, unit(2)).raw
                for _ in range(2):
                    assert torch.equal(cam(net, layer, x, unit(2)).raw, expected)
            assert torch.equal(x, kept)


def test_a_sampled_latent_is_explained_for_the_noise_that_was_drawn(images):
    """z = mu + eps sigma: dz/dA depends on eps, which a seed fixes; mu's map does not."""

    class Sampled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mean = nn.Conv2d(3, 4, 3), nn.Linear(320, 2)
            self.log_sigma = nn.Linear(320, 2)

        def parts(self, a):
            mean, sigma = self.mean(a.flatten(1)), self.log_sigma(a.flatten(1)).exp()
            return mean, sigma

        def forward(self, x):
            mean, sigma = self.parts(self.conv(x))
            return {"z": mean + torch.randn_like(mean) * sigma, "mean": mean}

    torch.manual_seed(0)
    net = Sampled()

    def maps(name, seed):
        torch.manual_seed(seed)
        return cam(net, "conv", images, lambda out: out[name][:, 1], "hires-cam").raw

    for seed in (1, 2):
        torch.manual_seed(seed)
        noise = torch.randn(4, 2)
        leaf = net.conv(images).detach().requires_grad_()
        mean, sigma = net.parts(leaf)
        (slope,) = torch.autograd.grad((mean + noise * sigma)[:, 1].sum(), leaf)
        torch.testing.assert_close(maps("z", seed), (leaf * slope).sum(1).detach())
        assert torch.equal(maps("z", seed), maps("z", seed))
    assert not torch.allclose(maps("z", 1), maps("z", 2))
    assert torch.equal(maps("mean", 1), maps("mean", 2))
    torch.manual_seed(1)
    again = [cam(net, "conv", images, lambda out: out["z"][:, 1]).raw for _ in range(2)]
    assert torch.equal(*again)  # the random state comes back: the same noise


# --- one layer, several calls


class Siamese(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x) - 2 * self.net(x.flip(-1))


def test_a_layer_that_runs_twice_needs_a_call(encoder, images):
    net = Siamese(encoder)
    with pytest.raises(ValueError, match=r"'net.0' ran 2 times.*got call=None; give call=0 ... 1"):
        cam(net, "net.0", images, unit(2))
    for call in (2, -1, "sum"):
        with pytest.raises(ValueError, match=f"ran 2 times.*got call={call!r}"):
            cam(net, "net.0", images, unit(2), call=call)
    first, second = (cam(net, "net.0", images, unit(2), call=k).raw for k in range(2))
    torch.testing.assert_close(first, cam(encoder, "0", images, unit(2)).raw)
    torch.testing.assert_close(second, -2 * cam(encoder, "0", images.flip(-1), unit(2)).raw)
    with watched(net, ["net.2", "net.0"], images, "each") as run:
        gradients = slopes(run.output[:, 2], run)
    assert run.layers == ("net.2", "net.2", "net.0", "net.0")
    assert run.calls == (0, 1, 0, 1)
    for k, expected in ((2, first), (3, second)):
        got = heatmap(run.activations[k], gradients[k], "net.0", "grad-cam")
        torch.testing.assert_close(got.raw, expected)


@pytest.mark.parametrize("inplace", [True, False])
def test_calls_that_feed_each_other(images, inplace):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.LeakyReLU(0.2, inplace)

        def forward(self, x):
            for _ in range(3):
                x = self.act(self.conv(x))
            return x.flatten(1)

    torch.manual_seed(0)
    net = Loop()
    leaf = net.conv(images).detach().requires_grad_()  # the first call; unrolled by hand
    second = net.conv(torch.where(leaf > 0, leaf, 0.2 * leaf))
    third = net.conv(torch.where(second > 0, second, 0.2 * second))
    value = torch.where(third > 0, third, 0.2 * third).flatten(1)[:, 7].sum()
    for k, step in enumerate((leaf, second, third)):
        (slope,) = torch.autograd.grad(value, step, retain_graph=True)
        got = cam(net, "conv", images, lambda y: y[:, 7], "hires-cam", call=k).raw
        torch.testing.assert_close(got, (slope * step).sum(1).detach())


# --- errors by name


class Odd(nn.Module):
    """One fault at a time."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.unused = nn.Conv2d(2, 2, 1)
        self.parts = nn.ModuleList([nn.Identity()])
        self.norm = nn.Identity()

    def forward(self, x):
        mode = {"frozen": torch.no_grad, "inference": torch.inference_mode}
        with mode.get(self.fault, nullcontext)():
            x = self.first(x)
        if self.fault == "cut":
            x = x.detach()
        if self.fault == "after":
            with torch.inference_mode():
                return x.flatten(1)
        if self.fault == "alias":
            same = self.norm(x)
            x.add_(1)
            x = same
        if self.fault == "late":
            self.unused(x)
        if self.fault == "fold":
            x = self.norm(torch.cat([x, x]))[: len(x)]
        return x.flatten(1)


@pytest.mark.parametrize(
    ("fault", "layer", "message"),
    [
        ("", "frist", "inside Odd, got 'frist'; nearest: 'first'"),
        ("", nn.ReLU(), "got a ReLU that is not part of it"),
        ("", "unused", "'unused' was not reached"),
        ("", "parts", "'parts' was not reached"),
        ("cut", "first", "depends on layer 'first'"),
        ("frozen", "first", "depends on layer 'first'.*may pass a no_grad or inference_mode block"),
        ("inference", "first", r"layer 'first' to run where.*inside torch.inference_mode\(\)"),
        ("after", "first", "depends on layer 'first'.*may pass a no_grad or inference_mode block"),
        ("late", "unused", "depends on layer 'unused', got one that does not; the layer may come"),
        ("alias", "norm", "'norm' returned was overwritten in place"),
        ("fold", "norm", r"one entry per sample, \(2, ...\), got \(4, 2, 4, 4\)"),
    ],
)
def test_errors_about_layers(fault, layer, message):
    net = Odd(fault).requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        cam(net, layer, torch.ones(2, 1, 4, 4), unit(0))
    assert count_hooks(net) == 0


def test_errors_about_scores(encoder, images):
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(4, 1\)"):
        cam(encoder, "0", images, lambda output: output[:, :1])
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(\)"):
        cam(encoder, "0", images, lambda output: output.sum())
    with pytest.raises(TypeError, match="got float"):
        cam(encoder, "0", images, lambda output: 1.0)
    with pytest.raises(ValueError, match="depends on layer '0'"):
        cam(encoder, "0", images, lambda output: output[:, 0].detach())
    with pytest.raises(ValueError, match="depends on layer '0'"):
        latent_cams(encoder[:4].append(Detached()), "0", images)


class Detached(nn.Module):
    def forward(self, x):
        return x.detach().flatten(1)


@dataclass
class Output:
    picture: torch.Tensor
    latent: torch.Tensor


@pytest.mark.parametrize("kind", [tuple, dict, Output])
def test_a_module_with_several_outputs_takes_a_score_that_picks_one(encoder, images, plain, kind):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = encoder

        def forward(self, x):
            fields = {"picture": x, "latent": self.net(x)}
            return tuple(fields.values()) if kind is tuple else kind(**fields)

    def third(output):
        assert type(output) is kind
        latent = {tuple: lambda: output[1], dict: lambda: output["latent"]}
        return latent.get(kind, lambda: output.latent)()[:, 2]

    assert torch.equal(cam(Both(), "net.0", images, third).raw, plain)
    with pytest.raises(TypeError, match=f"got {kind.__name__}; for a module that returns several"):
        cam(Both(), "net.0", images, unit(2))
    with pytest.raises(ValueError, match=f"return latents .*got {kind.__name__}"):
        latent_cams(Both(), "net.0", images)


def test_parameters_made_in_inference_mode():
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    with pytest.raises(ValueError, match=r"'0.weight' created inside torch.inference_mode"):
        cam(net, "0", torch.ones(1, 1, 2, 2), unit(0))
    assert cam(copy.deepcopy(net), "0", torch.ones(1, 1, 2, 2), unit(0)).raw.shape == (1, 2, 2)


def test_owner(encoder):
    assert owner(encoder) is encoder
    assert owner(encoder.forward) is encoder
    assert owner(lambda z: encoder(z)) is None


def test_batched_gradients_keep_the_graph():
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    target = a**2
    for _ in range(2):
        assert differentiate(target, a, "a", torch.eye(2)).tolist() == [[2, 0], [0, 4]]
