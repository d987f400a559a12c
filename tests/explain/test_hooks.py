"""The engine in the contexts where hooks usually go wrong, and that it leaves no trace."""

import copy
import gc
import sys
import threading
import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from latentkit.explain.cam import cam, heatmap, latent_cams
from latentkit.explain.directions import use
from latentkit.explain.hooks import borrowed, differentiate, owner, slopes, watched
from latentkit.explain.scores import unit


def count_hooks(net):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in net.modules() for kind in kinds)


def traces(net, x):
    """All that an explanation could leave behind, as text that can be compared."""
    tensors = [*net.state_dict().values(), *(p.grad for p in net.parameters()), x, x.grad]
    return {
        "tensors": [None if t is None else t.tolist() for t in tensors],
        "versions": [t._version for t in [*net.parameters(), *net.buffers(), x]],
        "asked": [t.requires_grad for t in [*net.parameters(), x]],
        "hooks": count_hooks(net),
        "training": [part.training for part in net.modules()],
        "random": torch.get_rng_state().tolist(),
        "modes": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.enabled,
            torch.get_default_dtype(),
        ),
    }


@pytest.fixture
def plain(encoder, images):
    """The maps in the plainest context, compared with an independent rewrite in test_cam."""
    return cam(encoder, "0", images, unit(2)).raw


# --- leaves no trace


def test_a_module_in_training_is_explained_in_eval_and_comes_back_as_it_was(encoder, images, plain):
    encoder.train()
    encoder[3].eval()  # frozen batch norm: flags are mixed
    flags = [part.training for part in encoder.modules()]
    before = copy.deepcopy(encoder.state_dict())
    state = torch.get_rng_state()
    assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)
    latent_cams(encoder, "2", images)
    use(encoder, images, images, unit(0))
    assert [part.training for part in encoder.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_keeps_its_buffers(images, norm):
    torch.manual_seed(0)
    net = nn.Sequential(norm(nn.Conv2d(3, 4, 3)), nn.ReLU(True), nn.Flatten(), nn.LazyLinear(2))
    net(images)  # in train mode each pass moves u and v
    before = copy.deepcopy(net.state_dict())
    cam(net, "1", images, unit(0))
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    net(images)
    assert any(not torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_noise_inside_the_network_does_not_move_the_random_state(images):
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(x + torch.randn_like(x))

    net = Noisy(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(160, 2))
    state = torch.get_rng_state()
    cam(net, "0", images, unit(0))
    assert torch.equal(torch.get_rng_state(), state)


class Breaks(nn.Module):
    """Raises when told to."""

    error = None

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x


@pytest.fixture
def busy(images):
    """A network in the middle of training, with all that could change."""
    norm = parametrizations.spectral_norm
    net = nn.Sequential(
        norm(nn.Conv2d(3, 4, 3, padding=1)),
        nn.LeakyReLU(0.2, inplace=True),
        nn.BatchNorm2d(4),
        Breaks(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(480, 3),
    )
    net[2].eval()  # flags are mixed
    net[0].requires_grad_(False)
    net(images.requires_grad_()).square().sum().backward()
    return net


def fails(_output):
    raise ArithmeticError


def interrupt(_output):
    raise KeyboardInterrupt


def closed(net, x):
    def walk():
        with watched(net, ["0"], x):
            yield
            yield

    generator = walk()
    next(generator)
    assert not net.training
    generator.close()


def nested(net, x):
    with watched(net, ["0"], x) as outer, watched(net, ["2"], x) as inner:
        assert torch.equal(outer.output, inner.output)
        with borrowed(net):
            assert not torch.is_grad_enabled()
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("error", "explain"),
    [
        (None, lambda net, x: cam(net, "0", x, unit(2))),
        (None, lambda net, x: cam(net, "1", x, unit(2))),  # an in-place layer
        (None, lambda net, x: latent_cams(net, "2", x)),
        (None, lambda net, x: use(net, x, x, unit(0))),
        (None, lambda net, x: cam(net, "0", x, lambda y: (y * torch.rand_like(y)).sum(1))),
        (None, nested),
        (None, closed),
        (RuntimeError, lambda net, x: cam(net, "0", x, unit(0))),
        (KeyboardInterrupt, lambda net, x: cam(net, "0", x, unit(0))),
        (ArithmeticError, lambda net, x: cam(net, "0", x, fails)),
        (KeyboardInterrupt, lambda net, x: cam(net, "0", x, interrupt)),
        (KeyboardInterrupt, lambda net, x: use(net, x, x, interrupt)),
        (ValueError, lambda net, x: cam(net, "0", x, unit(99))),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_no_trace_is_left(busy, images, error, explain, grad):
    with torch.set_grad_enabled(grad):
        before = traces(busy, images)
        if error is not None:
            busy[3].error = error()
            with pytest.raises(error):
                explain(busy, images)
        else:
            explain(busy, images)
        assert traces(busy, images) == before
        busy[3].error = None
        busy(images.detach())
        assert traces(busy, images) != before  # training itself does leave traces


def test_a_training_step_is_the_same_with_an_explanation_in_its_middle(busy, images):
    busy.zero_grad()  # a copy of a parameter has no gradient
    other, results = copy.deepcopy(busy), []
    for net, explained in ((busy, False), (other, True)):
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        loss = net(images.detach()).square().sum()
        if explained:
            for layer in ("0", "1", "2"):
                cam(net, layer, images, unit(1))
        loss.backward()
        optimizer.step()
        results.append(net(images.detach()))
    assert torch.equal(*results)


def test_hooks_of_others_survive_and_ours_are_gone_before_the_score(encoder, images, plain):
    seen = []
    encoder[0].register_forward_hook(lambda *_: seen.append(1))

    def nested(output):
        assert count_hooks(encoder) == 1
        inner = cam(encoder, "0", images, unit(2)).raw
        assert torch.equal(inner, plain)
        return output[:, 2]

    assert torch.equal(cam(encoder, "0", images, nested).raw, plain)
    assert count_hooks(encoder) == 1
    assert len(seen) == 2


def test_nothing_is_kept_alive(encoder, images):
    score = unit(0)
    images = images * 1
    gc.disable()  # what only the collector frees, fills the memory meanwhile
    try:
        with watched(encoder, ["0", "1", "2"], images) as run:
            value = score(run.output).sum()
            kept = [run, *run.activations, run.output, value, *slopes(value, run)]
            refs = [weakref.ref(thing) for thing in kept]
        del run, value, kept
        got = cam(encoder, "0", images, score)
        refs += [weakref.ref(thing) for thing in (images, score, encoder[7])]
        del images, score, encoder[7]
        assert [ref() for ref in refs] == [None] * len(refs)
    finally:
        gc.enable()
    assert got.raw.grad_fn is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_memory_stays_flat_over_a_thousand_calls():
    net = nn.Sequential(nn.Conv2d(1, 16, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.ones(4, 1, 64, 64)  # each call holds a megabyte for a moment

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    gc.disable()
    try:
        for _ in range(20):
            cam(net, "0", x, unit(0))
        start = resident()
        for _ in range(980):
            cam(net, "0", x, unit(0))
        assert resident() - start < 16 * 2**20
    finally:
        gc.enable()


def test_gradients_of_others_are_not_touched(encoder, images):
    images.requires_grad_()
    encoder(images).square().sum().backward()
    parameters = list(encoder.parameters())
    grads = [p.grad.clone() for p in parameters]
    of_images = images.grad.clone()
    flips = []
    flags = [p.requires_grad for p in parameters]
    encoder[3].register_forward_hook(
        lambda *_: flips.append([p.requires_grad for p in parameters] != flags)
    )
    cam(encoder, "2", images, unit(0))
    latent_cams(encoder, "0", images)
    use(encoder, images, images, unit(1))
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters, grads, strict=True))
    assert torch.equal(images.grad, of_images)
    assert images.requires_grad
    assert flips == [False] * 3


@pytest.mark.parametrize("layers", [["0", "2", "3"], ["1"], ["4", "0"], [""], []])
def test_the_network_gives_the_same_bits_while_watched(encoder, images, layers):
    images = images.to(memory_format=torch.channels_last)
    formats = []
    encoder[3].register_forward_hook(lambda _layer, inputs, _output: formats.append(layout(inputs)))
    with torch.no_grad():
        expected = encoder(images)
    with watched(encoder, layers, images) as run:
        assert torch.equal(run.output, expected)
        spatial = [a for a in run.activations if a.ndim == 4]
        assert all(a.is_contiguous(memory_format=torch.channels_last) for a in spatial)
    assert formats[0] == formats[1]  # what comes after the copy keeps its layout


def layout(inputs):
    return [(item.stride(), item.dtype, item.device) for item in inputs]


def test_nothing_is_recorded_before_the_earliest_layer(encoder, images):
    with watched(encoder, ["3", "2"], images) as run:
        later, earliest = run.activations
        assert earliest.is_leaf
        assert not later.is_leaf
        value = run.output[:, 1].sum()
        before, after = encoder[0].weight, encoder[3].weight
        found = torch.autograd.grad(value, (before, after), retain_graph=True, allow_unused=True)
        assert found[0] is None
        assert found[1] is not None
        together = slopes(run.output[:, 1], run)
    for gradient, activation, layer in zip(together, run.activations, run.layers, strict=True):
        alone = cam(encoder, layer, images, unit(1))
        both = heatmap(activation, gradient, layer, "grad-cam")
        torch.testing.assert_close(both.raw, alone.raw)


# --- contexts


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
    wrong, interval = [], sys.getswitchinterval()

    def work(k):
        torch.set_num_threads(1)
        for _ in range(40):
            try:
                if not torch.equal(cam(encoder, "0", images, unit(k)).raw, expected[k]):
                    wrong.append(k)
            except Exception as error:  # noqa: BLE001  (a thread's error would be lost)
                wrong.append(error)

    try:
        sys.setswitchinterval(1e-4)
        threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
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
