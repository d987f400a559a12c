"""The engine in the contexts where hooks usually go wrong, and that it leaves no trace."""

import copy
import gc
import sys
import threading
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from latentkit.explain.cam import cam, latent_cams
from latentkit.explain.directions import use
from latentkit.explain.hooks import differentiate, find_layer, owner, watched
from latentkit.explain.scores import unit


def count_hooks(net):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in net.modules() for kind in kinds)


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


def interrupt(_output):
    raise KeyboardInterrupt


class Breaks(nn.Module):
    def forward(self, x):
        raise RuntimeError("broken")


@pytest.mark.parametrize("where", ["forward", "score", "interrupt"])
def test_everything_comes_back_after_an_error(encoder, images, where):
    if where == "forward":
        encoder[4] = Breaks()
    encoder.train()
    score = {"forward": unit(0), "score": unit(99), "interrupt": interrupt}[where]
    kind = {"forward": RuntimeError, "score": ValueError, "interrupt": KeyboardInterrupt}[where]
    with torch.no_grad():
        with pytest.raises(kind):
            cam(encoder, "0", images, score)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert all(part.training for part in encoder.modules())
    assert count_hooks(encoder) == 0


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
    with watched(encoder, ["0"], images) as run:
        kept = [weakref.ref(run), weakref.ref(run.activations[0]), weakref.ref(run.output)]
    got = cam(encoder, "0", images, unit(0))
    kept.append(weakref.ref(encoder[7]))
    del run, encoder[7]
    gc.collect()
    assert [ref() for ref in kept] == [None] * 4
    assert got.raw.grad_fn is None


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


def test_the_network_gives_the_same_output_while_watched(encoder, images):
    images = images.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = encoder(images)
    with watched(encoder, ["0", "2", "3"], images) as run:
        assert torch.equal(run.output, expected)
        assert run.activations[0].is_contiguous(memory_format=torch.channels_last)


def test_nothing_is_recorded_before_the_earliest_layer(encoder, images):
    with watched(encoder, ["3", "2"], images) as run:
        later, earliest = run.activations
        assert earliest.is_leaf
        assert not later.is_leaf
        value = run.output[:, 1]
        for found, layer in ((later, "3"), (earliest, "2")):
            (expected,) = torch.autograd.grad(value.sum(), found, retain_graph=True)
            assert found.shape == expected.shape
            single = cam(encoder, layer, images, unit(1)).raw
            weights = expected.mean((2, 3), keepdim=True)
            torch.testing.assert_close((weights * found).sum(1), single)


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


def test_frozen_parameters_and_inputs_with_a_graph(encoder, images, plain):
    encoder.requires_grad_(False)
    images = (images.requires_grad_() * 1).requires_grad_()
    assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)
    assert torch.equal(cam(encoder, "0", images, unit(2)).raw, plain)


def test_half_precision_is_near_and_gives_single_precision_maps(encoder, images, plain):
    tolerance = {"atol": 0.03 * float(plain.abs().max()), "rtol": 0.0}
    with torch.autocast("cpu", torch.bfloat16):
        under = cam(encoder, "0", images, unit(2)).raw
    low = copy.deepcopy(encoder).bfloat16()
    for maps in (under, cam(low, "0", images.bfloat16(), unit(2)).raw):
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


@pytest.mark.parametrize("how", ["function", "method", "inner"])
def test_compiled_modules(encoder, images, plain, how):
    target = encoder
    if how == "function":
        target = torch.compile(encoder, backend="eager")
    elif how == "method":
        encoder.compile(backend="eager")
    else:
        encoder = nn.Sequential(torch.compile(encoder, backend="eager"))
        target = encoder
    with torch.no_grad():
        expected = target(images)  # compiled before the hook comes
    layer = "0.0" if how == "inner" else "0"
    got = cam(target, layer, images, unit(2))
    torch.testing.assert_close(got.raw, plain)
    assert got.layer == layer
    assert count_hooks(target) == 0
    with torch.no_grad():
        torch.testing.assert_close(target(images), expected)


def test_channels_last(encoder, images, plain):
    encoder.to(memory_format=torch.channels_last)
    got = cam(encoder, "0", images.to(memory_format=torch.channels_last), unit(2)).raw
    torch.testing.assert_close(got, plain)


def test_checkpoints(make_encoder, images):
    encoder = make_encoder(inplace=False)
    plain = cam(encoder, "0", images, unit(2)).raw

    class Saving(nn.Module):
        def __init__(self, reentrant):
            super().__init__()
            self.net, self.reentrant = encoder, reentrant

        def forward(self, x):
            x = self.net[0](x)
            return checkpoint(self.net[1:], x, use_reentrant=self.reentrant)

    assert torch.equal(cam(Saving(False).train(), "net.0", images, unit(2)).raw, plain)
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        cam(Saving(True), "net.0", images, unit(2))


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


def test_a_forward_of_another_thread_is_not_recorded(encoder, images, plain):
    class Meanwhile(nn.Module):
        def forward(self, x):
            other = threading.Thread(target=encoder[0], args=(images + 1,))
            other.start()
            other.join()
            return x

    net = nn.Sequential(encoder[:1], Meanwhile(), encoder[1:])
    assert torch.equal(cam(net, "0.0", images, unit(2)).raw, plain)


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
    with pytest.raises(ValueError, match=r"ran 2 times.*got call=2"):
        cam(net, "net.0", images, unit(2), call=2)
    first, second = (cam(net, "net.0", images, unit(2), call=k).raw for k in range(2))
    torch.testing.assert_close(first, cam(encoder, "0", images, unit(2)).raw)
    torch.testing.assert_close(second, -2 * cam(encoder, "0", images.flip(-1), unit(2)).raw)


# --- errors by name


class Odd(nn.Module):
    """One fault at a time."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.unused = nn.Conv2d(2, 2, 1)
        self.parts = nn.ModuleList([nn.Identity()])
        self.rows = nn.LSTM(4, 4, batch_first=True)
        self.norm = nn.Identity()

    def forward(self, x):
        x = self.first(x)
        if self.fault == "cut":
            x = x.detach()
        if self.fault == "tuple":
            x = self.rows(x.flatten(1, 2))[0][:, None]
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


def test_a_layer_that_returns_a_tuple():
    with pytest.raises(TypeError, match="'rows' to return one floating-point tensor, got tuple"):
        cam(Odd("tuple"), "rows", torch.ones(2, 1, 4, 4), unit(0))


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


def test_a_module_with_several_outputs_takes_a_score_that_picks_one(encoder, images, plain):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = encoder

        def forward(self, x):
            return x, self.net(x)

    with pytest.raises(TypeError, match="got tuple; for a module that returns several"):
        cam(Both(), "net.0", images, unit(2))
    got = cam(Both(), "net.0", images, lambda output: output[1][:, 2]).raw
    assert torch.equal(got, plain)


def test_parameters_made_in_inference_mode():
    with torch.inference_mode():
        net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten())
    with pytest.raises(ValueError, match=r"'0.weight' created inside torch.inference_mode"):
        cam(net, "0", torch.ones(1, 1, 2, 2), unit(0))
    assert cam(copy.deepcopy(net), "0", torch.ones(1, 1, 2, 2), unit(0)).raw.shape == (1, 2, 2)


def test_names(encoder):
    assert find_layer(encoder, encoder[2])[0] == "2"
    compiled = torch.compile(nn.Sequential(encoder), backend="eager")
    for name in ("0.2", "_orig_mod.0.2"):
        assert find_layer(compiled, name) == ("0.2", encoder[2])
    shared = nn.ModuleDict({"one": encoder, "two": encoder})
    assert find_layer(shared, "two.2") == ("two.2", encoder[2])
    assert owner(encoder) is encoder
    assert owner(encoder.forward) is encoder
    assert owner(lambda z: encoder(z)) is None


def test_batched_gradients_keep_the_graph():
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    target = a**2
    for _ in range(2):
        assert differentiate(target, a, "a", torch.eye(2)).tolist() == [[2, 0], [0, 4]]
