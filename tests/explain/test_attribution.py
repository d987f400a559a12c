import copy
import gc

import pytest
import torch
from torch import nn
from torch.nn import functional

from latentkit.explain.attribution import (
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from latentkit.explain.captum_adapter import captum_attribution
from latentkit.explain.directions import completeness_error, use_along
from latentkit.explain.guided import deconvnet, guided_backpropagation, guided_grad_cam
from latentkit.explain.occlusion import occlusion
from latentkit.explain.scores import real, unit


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 3)).double()


@pytest.fixture
def smooth():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1)
    return nn.Sequential(conv, nn.SiLU(True), nn.Flatten(), nn.Linear(480, 1), nn.Tanh())


def plain_gradient(net, x, k):
    """By `backward`, one image at a time, through functions that work nowhere in place."""
    maps = []
    for one in x:
        leaf = one[None].clone().requires_grad_()
        a = functional.conv2d(leaf, net[0].weight, net[0].bias, stride=2, padding=1)
        a = functional.conv2d(functional.leaky_relu(a, 0.2), net[2].weight, net[2].bias, padding=1)
        bn = net[3]
        a = functional.batch_norm(
            a, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps
        )
        out = functional.relu(a).flatten(1) @ net[7].weight.T + net[7].bias
        out[0, k].backward(inputs=[leaf])
        maps.append(leaf.grad[0])
    return torch.stack(maps)


def test_saliency_is_the_gradient(encoder, images):
    got = saliency(encoder, images, unit(3))
    torch.testing.assert_close(got, plain_gradient(encoder, images, 3), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(input_x_gradient(encoder, images, unit(3)), images * got)


def test_linear_score_in_closed_form():
    net, x = linear(), torch.randn(5, 2, 3, 4, dtype=torch.double)
    weight = net[1].weight[2].reshape(2, 3, 4).detach()
    torch.testing.assert_close(saliency(net, x, unit(2)), weight.expand_as(x))
    torch.testing.assert_close(smoothgrad(net, x, unit(2)), weight.expand_as(x))
    torch.testing.assert_close(input_x_gradient(net, x, unit(2)), weight * x)
    baseline = torch.randn(2, 3, 4, dtype=torch.double)
    got = integrated_gradients(net, x, unit(2), baseline, steps=1)
    torch.testing.assert_close(got, weight * (x - baseline))


# --- SmoothGrad


class Cube(nn.Module):
    """Gradient 3 x^2, whose mean under noise of deviation s is 3 (x^2 + s^2)."""

    def forward(self, x):
        return x.pow(3).flatten(1).sum(1)


def test_smoothgrad_averages_under_noise_of_the_images_own_range():
    x = torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 5.0, 10.0]]], dtype=torch.double)
    got = smoothgrad(Cube(), x, real(), noise=0.1, samples=1500)
    scale = torch.tensor([0.2, 1.0]).view(2, 1, 1)
    torch.testing.assert_close(got, 3 * (x**2 + scale**2), atol=0.02, rtol=0.06)
    assert torch.equal(smoothgrad(Cube(), x, real(), noise=0.0), saliency(Cube(), x, real()))


def test_smoothgrad_has_noise_of_its_own(encoder, images):
    state = torch.get_rng_state()
    one, same, other = (smoothgrad(encoder, images, unit(0), seed=s, samples=3) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    averaged = smoothgrad(encoder, images, unit(0), samples=3, method=guided_backpropagation)
    assert not torch.allclose(averaged, guided_backpropagation(encoder, images, unit(0)))
    with pytest.raises(ValueError, match=r"samples >= 1 and noise >= 0, got 0 and 0\.15"):
        smoothgrad(encoder, images, unit(0), samples=0)


# --- integrated gradients


@pytest.mark.parametrize("rule", ["gauss-legendre", "midpoint"])
def test_integrated_gradients_of_a_smooth_score_are_complete(smooth, images, rule):
    for baseline in (torch.zeros_like(images), images.flip(0)):
        got = integrated_gradients(smooth, images, real(), baseline, rule=rule)
        assert completeness_error(got, smooth, baseline, images, real()).max() < 1e-3


def test_integrated_gradients_of_a_network_with_kinks_are_complete(encoder, images):
    zero = torch.zeros_like(images)
    got = integrated_gradients(encoder, images, unit(1), steps=512)
    assert completeness_error(got, encoder, zero, images, unit(1)).max() < 1e-3
    once = integrated_gradients(encoder, images, unit(1), steps=1)
    assert completeness_error(once, encoder, zero, images, unit(1)).max() > 1e-2


def test_integrated_gradients_in_closed_form_for_a_cube():
    x, start = torch.randn(2, 3, 1, 5, dtype=torch.double)
    got = integrated_gradients(Cube(), x, real(), start, steps=2)  # exact up to degree 3
    torch.testing.assert_close(got, x**3 - start**3)
    rough = integrated_gradients(Cube(), x, real(), start, steps=1, rule="midpoint")
    torch.testing.assert_close(rough, (x - start) * 3 * ((x + start) / 2) ** 2)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("gauss-legendre", "gausslegendre"), ("midpoint", "riemann_middle")]
)
def test_integrated_gradients_equal_captum(make_encoder, images, ours, theirs):
    attr = pytest.importorskip("captum.attr")
    expected = attr.IntegratedGradients(make_encoder(False)).attribute(
        images, 0.3, target=2, n_steps=20, method=theirs
    )
    got = integrated_gradients(make_encoder(True), images, unit(2), 0.3, steps=20, rule=ours)
    torch.testing.assert_close(got, expected.to(got), atol=1e-6, rtol=1e-4)


def test_a_module_that_gives_a_tuple_and_a_score_for_each_image(encoder, images):
    class Both(nn.Module):
        def forward(self, x):
            return x, encoder(x)

    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    got = integrated_gradients(Both(), images, lambda output: weight * output[1][:, 2])
    expected = integrated_gradients(encoder, images, lambda output: weight * output[:, 2])
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)
    plain = integrated_gradients(encoder, images, unit(2))
    torch.testing.assert_close(got, weight.view(4, 1, 1, 1) * plain, atol=1e-6, rtol=1e-4)


def test_use_along_is_the_same_path(encoder, images):
    along = use_along(encoder, images.flip(0), images, unit(1), 7)
    pixels = integrated_gradients(encoder, images, unit(1), images.flip(0), 7)
    assert torch.equal(along, pixels.sum(1))


def test_errors_of_integrated_gradients(encoder, images):
    with pytest.raises(ValueError, match=r"broadcasts to x \(4, 3, 12, 10\), got \(7, 3, 12, 10\)"):
        integrated_gradients(encoder, images, unit(0), torch.zeros(7, 3, 12, 10))
    with pytest.raises(ValueError, match="at least one step, got 0"):
        integrated_gradients(encoder, images, unit(0), steps=0)
    with pytest.raises(ValueError, match="'gauss-legendre' or 'midpoint', got 'simpson'"):
        integrated_gradients(encoder, images, unit(0), rule="simpson")


# --- all of them


def guided_cam(module, x, score):
    return guided_grad_cam(module, "2", x, score)


def hidden(module, x, score):
    return occlusion(module, x, score, window=4)


def by_captum(module, x, score):
    return captum_attribution("Saliency", module, x, score, abs=False)


METHODS = [
    saliency,
    input_x_gradient,
    smoothgrad,
    integrated_gradients,
    guided_backpropagation,
    deconvnet,
    guided_cam,
    hidden,
    by_captum,
]


@pytest.mark.parametrize("method", METHODS)
def test_a_module_in_training_comes_back_as_it_was(encoder, images, method):
    expected = method(encoder, images, unit(2))
    encoder.train()
    encoder[3].eval()  # flags are mixed
    images.requires_grad_()
    encoder(images).sum().backward()
    attributes = [{*vars(part)} for part in encoder.modules()]
    flags = [part.training for part in encoder.modules()]
    grads = [p.grad.clone() for p in [*encoder.parameters(), images]]
    before, state = copy.deepcopy(encoder.state_dict()), torch.get_rng_state()
    got = method(encoder, images, unit(2))
    assert torch.equal(got, expected)
    assert not got.requires_grad
    assert [part.training for part in encoder.modules()] == flags
    assert [{*vars(part)} for part in encoder.modules()] == attributes
    assert encoder[1].inplace
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    kept = [p.grad for p in [*encoder.parameters(), images]]
    assert all(torch.equal(a, b) for a, b in zip(kept, grads, strict=True))
    assert not any(part._forward_hooks or part._backward_hooks for part in encoder.modules())


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_kept_alive(encoder, images, method):
    def alive():
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    method(encoder, images, unit(2))
    gc.collect()
    gc.freeze()  # what is alive by now is not gone through again
    gc.disable()
    try:
        before = alive()
        for _ in range(3):
            method(encoder, images, unit(2))
        after = alive()
        if method is by_captum:  # a module refers to itself: the collector has to come
            gc.collect()
            after = alive()
    finally:
        gc.enable()
        gc.unfreeze()
    assert after == before


@pytest.mark.parametrize("method", METHODS)
def test_contexts(encoder, images, method):
    expected = method(encoder, images, unit(2))
    with torch.no_grad():
        assert torch.equal(method(encoder, images, unit(2)), expected)
    with torch.inference_mode():
        assert torch.equal(method(encoder, images * 1, unit(2)), expected)
    encoder.requires_grad_(False)
    assert torch.equal(method(encoder, images, unit(2)), expected)
    singles = torch.cat([method(encoder, x[None], unit(2)) for x in images])
    torch.testing.assert_close(singles, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS[:6])
def test_signals_volumes_and_half_precision(method):
    torch.manual_seed(0)
    for rank, conv in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1):
        net = nn.Sequential(conv(2, 3, 3), nn.ELU(True), nn.Flatten(), nn.Linear(3 * 2**rank, 2))
        x = torch.randn(3, 2, *[4] * rank)
        got = method(net, x, unit(1))
        assert got.shape == x.shape
        half = method(net.bfloat16(), x.bfloat16(), unit(1))
        assert (half.float() - got).abs().max() < 0.1 * got.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_a_bad_sample_spoils_only_itself(encoder, images, method):
    clean = method(encoder, images, unit(1))
    images[2, 0, 0, 0] = float("nan")
    got = method(encoder, images, unit(1))
    keep = [0, 1, 3]
    torch.testing.assert_close(got[keep], clean[keep])


@pytest.mark.parametrize("method", METHODS[:6])
def test_errors(encoder, images, method):
    with pytest.raises(ValueError, match=r"one value per sample, shape \(4,\), got \(4, 5\)"):
        method(encoder, images, lambda output: output)
    with pytest.raises(ValueError, match=r"depends on layer '\(the input\)'"):
        method(encoder, images, lambda output: output[:, 0].detach())
    with pytest.raises(TypeError, match=r"floating-point input, got torch\.int64"):
        method(encoder, images.long(), unit(0))
