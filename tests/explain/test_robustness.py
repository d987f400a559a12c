import copy

import pytest
import torch
from torch import nn

from latentkit.explain.attribution import input_x_gradient, integrated_gradients, saliency
from latentkit.explain.cam import cam
from latentkit.explain.robustness import Perturbation, compensated, fragility, input_shift
from latentkit.explain.scores import real, unit
from tests.explain.learned import learn

# --- input shift


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 2)).double()


def test_linear_networks_in_closed_form(linear):
    x, shift = torch.randn(5, 2, 3, 4).double(), torch.randn(2, 3, 4).double()
    weight = linear[1].weight[1].reshape(2, 3, 4).detach()
    for by in (0.7, shift):
        got = input_shift(lambda m, x: saliency(m, x, unit(1)), linear, x, by)
        assert got.tolist() == [0] * 5
        moved = (weight * (by + torch.zeros_like(shift))).norm()
        expected = moved / (weight * x).flatten(1).norm(dim=1)
        got = input_shift(lambda m, x: input_x_gradient(m, x, unit(1)), linear, x, by)
        torch.testing.assert_close(got, expected)
        black = input_shift(lambda m, x: integrated_gradients(m, x, unit(1)), linear, x, by)
        torch.testing.assert_close(black, expected)  # a black baseline is not shifted along


def test_the_bias_that_takes_back_a_constant(linear):
    twin = compensated(linear, torch.zeros(1, 2, 3, 4).double(), 0.5)
    x = torch.randn(4, 2, 3, 4).double()
    by_hand = copy.deepcopy(linear)
    with torch.no_grad():
        by_hand[1].bias -= 0.5 * by_hand[1].weight.sum(1)
        torch.testing.assert_close(twin(x), by_hand(x))


@pytest.mark.parametrize("shift", [1.3, torch.linspace(-1, 1, 10)])
def test_convolutions_with_padding_and_in_place_successors(encoder, images, shift):
    before = copy.deepcopy(encoder.state_dict())
    assert input_shift(lambda m, x: saliency(m, x, unit(2)), encoder, images, shift).max() < 1e-4
    reading = input_shift(lambda m, x: cam(m, "0", x, unit(2)).raw, encoder, images, shift)
    assert reading.max() < 1e-4  # a map of activations behind the first layer
    times = input_shift(lambda m, x: input_x_gradient(m, x, unit(2)), encoder, images, shift)
    assert times.min() > 0.1
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert not encoder[0]._forward_hooks


def test_a_normalised_input_still_counts_as_seen_by_the_first_layer(images):
    class Centred(nn.Sequential):
        def forward(self, x):
            return super().forward((x - 0.5) / 0.5)

    torch.manual_seed(0)
    net = Centred(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(160, 2))
    assert input_shift(lambda m, x: saliency(m, x, unit(0)), net, images, 0.4).max() < 1e-5


def test_a_first_operation_in_place_does_not_reach_the_input(converts, images):
    kept, (net, plain) = images.clone(), converts
    got, expected = (
        input_shift(lambda m, x: input_x_gradient(m, x, unit(2)), one, images, 0.4)
        for one in (net, plain)
    )
    torch.testing.assert_close(got, expected)
    got, expected = (
        fragility(lambda m, x: saliency(m, x, unit(2)), one, images, unit(2))
        for one in (net, plain)
    )
    assert torch.equal(got.kept, expected.kept)
    assert torch.equal(got.spearman, expected.spearman)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shift", [1.3, torch.linspace(-1, 1, 10)])
def test_half_precision_is_not_refused_for_its_rounding(encoder, images, dtype, shift):
    low, x = encoder.to(dtype), images.to(dtype)
    assert input_shift(lambda m, x: saliency(m, x, unit(2)), low, x, shift).max() < 0.3
    behind = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten()).to(dtype)
    with pytest.raises(ValueError, match="alone sees the input"):
        input_shift(lambda m, x: saliency(m, x, unit(0)), behind, x, shift)


def test_errors_of_input_shift(images):
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return (x + self.conv(x)).flatten(1)

    def explain(m, x):
        return saliency(m, x, unit(0))

    with pytest.raises(ValueError, match=r"alone sees the input, once.*still differs by 1 "):
        input_shift(explain, Skips(), images, 1.0)
    behind = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten())
    with pytest.raises(ValueError, match="alone sees the input"):
        input_shift(explain, behind, images, 1.0)
    with pytest.raises(ValueError, match="a Conv or Linear layer, got ReLU"):
        input_shift(explain, nn.ReLU(), images, 1.0)

    class Two(nn.Sequential):
        def forward(self, x):
            return x, super().forward(x)

    with pytest.raises(TypeError, match="returns a tensor, got tuple"):
        input_shift(explain, Two(nn.Linear(10, 2)), images, 1.0)


# --- fragility


class Cube(nn.Module):
    """The gradient of its score is x^2."""

    def forward(self, x):
        return x.pow(3).flatten(1).sum(1) / 3


def slope(m, x):
    return saliency(m, x, real())


@pytest.mark.parametrize("guide", ["random", "gradient"])
def test_the_map_of_a_linear_score_cannot_be_moved(linear, guide):
    x = 1 + torch.rand(3, 2, 3, 4).double()
    how = Perturbation(0.3, guide, tolerance=100.0)
    got = fragility(lambda m, x: saliency(m, x, unit(1)), linear, x, unit(1), how)
    assert got.spearman.tolist() == pytest.approx([1, 1, 1])
    assert got.top_overlap.tolist() == [1, 1, 1]
    assert got.kept.tolist() == [10, 10, 10]


def test_steps_along_the_gradients_gradient_in_closed_form():
    """The gradient of x^2 on the two top places is 2 x: both shrink by `size`, others stay."""
    x = torch.tensor([[[1.0, 0.98, -0.9, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01]]]).double()
    how = Perturbation(0.1, "gradient", trials=5, tolerance=1.0, top=0.2)
    seen = []

    def explain(m, x):
        seen.append(x)
        return slope(m, x)

    got = fragility(explain, Cube(), x, real(), how)
    expected = x.clone()
    expected[..., :2] -= 0.1
    torch.testing.assert_close(seen[-1], expected)
    assert (seen[-1] - x).abs().max() <= 0.1 + 1e-12
    assert got.top_overlap.tolist() == [0.5]  # 0.9 and -0.9 are on top now, the tie to the first
    assert got.kept.tolist() == [5]


def test_gradients_guide_better_than_chance_and_hires_cam_is_harder_to_move():
    net, x, y = learn()

    def own_class(output):
        return output.gather(1, y[:, None])[:, 0]

    def hires(m, x):
        return cam(m, "5", x, own_class, "hires-cam").raw

    def pixels(m, x):
        return saliency(m, x, own_class)

    chance, guided = (Perturbation(0.03, guide, tolerance=0.2) for guide in ("random", "gradient"))
    by_chance, by_gradient = (fragility(pixels, net, x, own_class, h) for h in (chance, guided))
    assert by_chance.kept.min() == by_gradient.kept.min() == 10
    assert by_gradient.top_overlap.mean() < by_chance.top_overlap.mean() - 0.1
    assert fragility(hires, net, x, own_class, guided).top_overlap.mean() > 0.8
    assert (net(x).argmax(1) == y).float().mean() > 0.95


def test_kinks_are_felt(encoder, images):
    """A ReLU network has no second derivative, and still the attack moves its map."""
    how = Perturbation(0.1, "gradient", tolerance=10.0)
    got = fragility(lambda m, x: saliency(m, x, unit(0)), encoder, images, unit(0), how)
    assert (got.top_overlap < 1).all()


def test_only_what_keeps_the_score_counts():
    x = 1 + torch.rand(3, 1, 6).double()
    strict = fragility(slope, Cube(), x, real(), Perturbation(0.1, tolerance=0.0))
    assert strict.kept.tolist() == [0, 0, 0]
    assert strict.spearman.isnan().all()
    assert strict.top_overlap.isnan().all()
    loose = fragility(slope, Cube(), x, real(), Perturbation(0.1, tolerance=0.2))
    strictish = fragility(slope, Cube(), x, real(), Perturbation(0.1, tolerance=0.05))
    assert (loose.kept >= strictish.kept).all()
    assert (loose.spearman <= strictish.spearman.nan_to_num(1)).all()


def test_an_image_does_not_depend_on_its_neighbours_and_seeds_repeat():
    x = 1 + torch.rand(3, 1, 20).double()
    how = Perturbation(0.3, tolerance=1.0, seed=4)
    state = torch.get_rng_state()
    together = fragility(slope, Cube(), x, real(), how)
    alone = [fragility(slope, Cube(), one[None], real(), how).spearman for one in x]
    assert torch.equal(torch.cat(alone), together.spearman)
    assert torch.equal(torch.get_rng_state(), state)
    other = fragility(slope, Cube(), x, real(), Perturbation(0.3, tolerance=1.0, seed=5))
    assert not torch.equal(other.spearman, together.spearman)


def test_errors_of_perturbations():
    with pytest.raises(ValueError, match="'random' or 'gradient', got 'fgsm'"):
        Perturbation(guide="fgsm")
    with pytest.raises(ValueError, match=r"trials >= 1 and size > 0, got 0 and 0\.02"):
        Perturbation(trials=0)
