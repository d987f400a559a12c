import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from latentkit.explain.attribution import saliency
from latentkit.explain.cam import cam
from latentkit.explain.guided import guided_backpropagation
from latentkit.explain.randomisation import cascade, randomisation, randomised
from tests.explain.learned import learn

# --- the cascade


def changed(net, other):
    """Names of parameters and buffers that differ."""
    pairs = zip(net.state_dict().items(), other.state_dict().values(), strict=True)
    return {name for (name, a), b in pairs if not torch.equal(a, b)}


def test_layers_go_from_the_top_and_the_original_stays(encoder):
    encoder.train()
    with torch.no_grad():
        encoder[3].weight.uniform_(0.5, 1.5)
        encoder[3].bias.normal_()
    state, before = torch.get_rng_state(), copy.deepcopy(encoder.state_dict())
    stages = list(cascade(encoder, seed=3))
    assert [name for name, _ in stages] == ["7", "3", "2", "0"]
    last = {"7.weight", "7.bias"}
    norm = {"3.weight", "3.bias", "3.running_mean", "3.running_var"}
    expected = [last, last | norm, last | norm | {"2.weight", "2.bias"}]
    expected.append(expected[2] | {"0.weight", "0.bias"})
    assert [changed(encoder, stage) for _, stage in stages] == expected
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(stage.training for _, stage in stages)
    parts = [id(part) for _, stage in stages for part in stage.modules()]
    assert len(set(parts)) == len(parts)  # each is the caller's own
    torch.testing.assert_close(stages[1][1][3].weight, torch.ones(6))  # as torch makes new ones


def test_a_seed_gives_the_same_weights_again(encoder):
    one, same, other = (list(cascade(encoder, seed))[-1][1] for seed in (5, 5, 60))
    assert changed(one, same) == set()
    assert {"0.weight", "2.weight", "7.weight"} <= changed(one, other)


class Scaled(nn.Module):
    """Parameters of its own, and no `reset_parameters`."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.arange(6.0))
        self.first = nn.Linear(6, 6)
        self.second = parametrizations.spectral_norm(nn.Linear(6, 4))

    def forward(self, x):
        return self.second(self.first(x * self.scale))


def test_parameters_of_ones_own_are_shuffled_and_spectral_norms_follow():
    torch.manual_seed(0)
    net = Scaled()
    for _ in range(20):
        net(torch.randn(2, 6))  # lets the norm settle
    stages = dict(cascade(net.eval()))
    assert list(stages) == ["second", "first", "Scaled"]
    assert "second.parametrizations.weight.original" in changed(net, stages["second"])
    size = torch.linalg.matrix_norm(stages["second"].second.weight, 2)
    assert size.item() == pytest.approx(1, abs=1e-3)
    assert not stages["second"].second.parametrizations.weight[0].training
    assert "scale" not in changed(net, stages["first"])
    shuffled = stages["Scaled"].scale
    assert not torch.equal(shuffled, net.scale)
    assert shuffled.sort().values.tolist() == net.scale.tolist()


def test_old_spectral_norm_is_randomised_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 4))).eval()
    net(torch.ones(1, 6))  # leaves a weight with a graph
    stage = next(cascade(net))[1]
    assert "0.weight_orig" in changed(net, stage)
    stage(torch.ones(1, 6))
    assert torch.linalg.matrix_norm(stage[0].weight, 2).item() == pytest.approx(1, abs=1e-3)
    assert not stage[0].training


def test_a_network_without_parameters():
    with pytest.raises(ValueError, match="with parameters, got ReLU without"):
        next(cascade(nn.ReLU()))


# --- the sanity check, on a network that has learned something


@pytest.fixture(scope="module")
def trained():
    return learn()


@pytest.fixture(scope="module")
def similarity(trained):
    """Mean correlation with the trained network's maps, by method and stage."""
    net, x, y = trained

    def own_class(output):
        return output.gather(1, y[:, None])[:, 0]

    explain = {
        "grad-cam": lambda m, x: cam(m, "5", x, own_class, "grad-cam").raw,
        "hires-cam": lambda m, x: cam(m, "5", x, own_class, "hires-cam").raw,
        "saliency": lambda m, x: saliency(m, x, own_class),
        "guided": lambda m, x: guided_backpropagation(m, x, own_class),
    }
    return {
        name: {stage: rho.mean().item() for stage, rho in randomisation(f, net, x).items()}
        for name, f in explain.items()
    }


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "saliency"])
def test_maps_that_depend_on_the_weights_fall(similarity, method):
    stages = similarity[method]
    assert list(stages) == ["10", "8", "5", "3", "0"]
    assert stages["10"] < 0.7
    assert stages["3"] < 0.25
    assert abs(stages["0"]) < 0.25


def test_guided_backpropagation_is_the_control_that_fails(similarity):
    """It hardly sees new weights above the first layer: it shows edges, not decisions."""
    stages = similarity["guided"]
    assert min(stages[name] for name in ("10", "8", "5")) > 0.7
    assert stages["3"] > 0.45


def test_a_map_of_the_image_alone_never_falls(trained):
    net, x, _ = trained
    for rho in randomisation(lambda _m, x: x, net, x).values():
        assert rho.shape == (64,)
        assert rho.tolist() == pytest.approx([1] * 64)


def test_a_randomised_network_is_the_end_of_the_cascade():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    kept, blank = copy.deepcopy(net.state_dict()), randomised(net, 5)
    *_, (_, last) = cascade(net, 5)
    for name, value in blank.state_dict().items():
        assert torch.equal(value, last.state_dict()[name])
        assert not torch.equal(value, kept[name])
        assert torch.equal(net.state_dict()[name], kept[name])
