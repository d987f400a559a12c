import sys

import numpy as np
import pytest
import torch
from torch import nn

from latentkit.explain.captum_adapter import captum_attribution
from latentkit.explain.references import outputs, similarity
from latentkit.explain.scores import direction, unit

attr = pytest.importorskip("captum.attr")

REGIONS = torch.arange(80).reshape(1, 1, 8, 10) // 20


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(48, 3),
    ).train()


@pytest.fixture
def x():
    return torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(1))


METHODS = {
    "Saliency": {"abs": False},
    "IntegratedGradients": {"n_steps": 8, "method": "riemann_middle", "multiply_by_inputs": False},
    "DeepLift": {"baselines": 0.1},
    "InputXGradient": {},
    "Occlusion": {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2)},
    "FeatureAblation": {"feature_mask": REGIONS},
    "ShapleyValues": {"feature_mask": REGIONS},
    "LayerGradCam": {"layer": "0"},
    "LayerConductance": {"layer": "2", "n_steps": 5},
    "NeuronGradient": {"layer": "0", "neuron_selector": (1, 2, 3)},
}


@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize("name", METHODS)
def test_gives_what_captum_gives(net, x, name):
    settings = dict(METHODS[name])
    got = captum_attribution(name, net, x, unit(1), **settings)
    net.eval()
    build = {key: settings.pop(key) for key in ("layer", "multiply_by_inputs") if key in settings}
    if "layer" in build:
        build["layer"] = net[int(build["layer"])]
    if not name.startswith("Neuron"):
        settings["target"] = 1
    expected = getattr(attr, name)(net, **build).attribute(x.clone(), **settings)
    torch.testing.assert_close(got, expected.detach())
    assert not got.requires_grad
    by_class = captum_attribution(getattr(attr, name), net, x, unit(1), **METHODS[name])
    assert torch.equal(by_class, got)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["DeepLift", "GuidedBackprop", "GradientShap", "LRP"])
def test_module_input_and_random_states_come_back(net, x, name):
    if name == "LRP":  # it has no rule for Flatten
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, (6, 8))).train()
    score = direction(torch.ones(3, 1, 1) if name == "LRP" else torch.ones(3))
    settings = {"baselines": torch.zeros(3, 3, 8, 10)} if name == "GradientShap" else {}
    before = {key: value.clone() for key, value in net.state_dict().items()}
    attributes = [{*vars(part)} for part in net.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.inference_mode():
        one, same, other = (
            captum_attribution(name, net, x * 1, score, seed, **settings) for seed in (1, 1, 2)
        )
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (name != "GradientShap")
    assert one.shape == x.shape
    assert one.any()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert all(part.training for part in net.modules())
    assert [{*vars(part)} for part in net.modules()] == attributes
    assert not any(part._forward_hooks or part._backward_hooks for part in net.modules())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not x.requires_grad


def test_nothing_stays_behind_after_an_error(net, x):
    net[2] = nn.MaxPool2d(9)  # too large
    attributes = [{*vars(part)} for part in net.modules()]
    with pytest.raises(RuntimeError):
        captum_attribution("DeepLift", net, x, unit(0))
    assert [{*vars(part)} for part in net.modules()] == attributes
    assert net.training
    assert not any(part._forward_pre_hooks for part in net.modules())


def test_several_results_and_a_builder(net, x):
    maps, delta = captum_attribution(
        "IntegratedGradients", net, x, unit(1), n_steps=64, return_convergence_delta=True
    )
    assert maps.shape == x.shape
    assert delta.abs().max() < 0.05
    smooth = captum_attribution(
        lambda f: attr.NoiseTunnel(attr.Saliency(f)), net, x, unit(1), nt_samples=3, stdevs=0.1
    )
    assert smooth.shape == x.shape


def test_an_in_place_first_layer_and_a_score_for_each_sample(x):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(240, 2))
    kept = x.clone()
    captum_attribution("Saliency", net, x, unit(0))
    assert torch.equal(x, kept)
    score = similarity(outputs(net, x))
    assert captum_attribution("Saliency", net, x, score).shape == x.shape
    with pytest.raises(ValueError, match=r"reference for each sample, \(6, 2\).*got \(2, 2\)"):
        captum_attribution("IntegratedGradients", net, x, score, n_steps=3)


def test_errors(net, x, monkeypatch):
    with pytest.raises(ValueError, match=r"captum\.attr, .*DeepLift.*, got 'DeepLifts'"):
        captum_attribution("DeepLifts", net, x, unit(0))
    with pytest.raises(ValueError, match="name of a layer inside Sequential, got 'conv'"):
        captum_attribution("LayerGradCam", net, x, unit(0), layer="conv")
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModuleNotFoundError, match=r"latentkit-lightning\[attribution\]"):
        captum_attribution("Saliency", net, x, unit(0))
