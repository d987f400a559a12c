"""The engine leaves no trace: whatever happens, the network and the process are as before."""

import copy
import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from latentkit.explain.cam import cam, heatmap, latent_cams
from latentkit.explain.directions import use
from latentkit.explain.gradients import slopes
from latentkit.explain.hooks import borrowed, watched
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


def test_flags_change_without_side_effects(images):
    class Strict(nn.Sequential):
        def train(self, mode=True):
            raise AssertionError("a training loop's own business")

    net = Strict(nn.Conv2d(3, 2, 3), nn.Dropout(0.9), nn.Flatten(), nn.Linear(160, 2))
    maps = [cam(net, "0", images, unit(0)).raw for _ in range(2)]
    assert torch.equal(*maps)  # dropout was off
    assert net.training
    assert net[1].training


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
