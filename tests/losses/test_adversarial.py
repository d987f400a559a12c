import math

import pytest
import torch
from torch import nn

from latentkit.losses.adversarial import (
    AdversarialLoss,
    gradient_penalty,
    nonsaturating_discriminator,
    nonsaturating_generator,
    r1_penalty,
    wasserstein_discriminator,
    wasserstein_generator,
)

W = torch.tensor([[[1.0, -2.0], [0.5, 3.0]]])  # |W|^2 = 14.25
NORM2 = 14.25
REAL, FAKE = torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2)


def linear(x, w=W):
    return (x * w).flatten(1).sum(1)


def keyed(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nonsaturating_losses_are_the_cross_entropies_of_the_right_labels():
    real, fake = torch.randn(6), torch.randn(4)
    p = [[1 / (1 + math.exp(-v)) for v in logits.tolist()] for logits in (real, fake)]
    as_real = -sum(map(math.log, p[0])) / 6
    as_fake = -sum(math.log(1 - v) for v in p[1]) / 4
    assert nonsaturating_discriminator(real, fake).item() == pytest.approx(as_real + as_fake, 1e-5)
    wanted = -sum(map(math.log, p[1])) / 4
    assert nonsaturating_generator(fake).item() == pytest.approx(wanted, 1e-5)


def test_nonsaturating_losses_stay_finite_and_push_hard_where_the_discriminator_is_sure():
    fake = torch.tensor([-200.0], requires_grad=True)
    loss = nonsaturating_generator(fake)
    assert loss.item() == pytest.approx(200)
    loss.backward()
    assert fake.grad.item() == pytest.approx(-1)
    assert nonsaturating_discriminator(-fake.detach(), fake.detach()).item() == pytest.approx(0)


def test_wasserstein_losses_are_mean_differences():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0, 4.0])
    assert wasserstein_discriminator(real, fake).item() == pytest.approx(1 - 2)
    assert wasserstein_generator(fake).item() == pytest.approx(-1)


def test_r1_of_a_linear_critic_is_half_the_squared_norm():
    assert r1_penalty(linear, REAL).item() == pytest.approx(NORM2 / 2)


def test_r1_of_a_quadratic_critic():
    """D(x) = |x|^2 / 2 has gradient x."""
    value = r1_penalty(lambda x: x.flatten(1).square().sum(1) / 2, REAL)
    assert value.item() == pytest.approx(REAL.square().sum().item() / 5 / 2)


def test_gradient_penalty_of_a_linear_critic_does_not_depend_on_the_images():
    for real in (REAL, 10 * REAL):
        value = gradient_penalty(linear, real, FAKE, keyed())
        assert value.item() == pytest.approx((math.sqrt(NORM2) - 1) ** 2, 1e-5)
    assert gradient_penalty(lambda x: linear(x) / math.sqrt(NORM2), REAL, FAKE, keyed()) < 1e-10


def test_gradient_penalty_mixes_each_pair_with_its_own_weight():
    """With real = 1 and fake = 0, the mixed images are the weights; D = |x|^2/2 shows them."""
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).square().sum(1) / 2

    gradient_penalty(critic, torch.ones(500, 1, 2, 2), torch.zeros(500, 1, 2, 2), keyed())
    weight = seen[0].flatten(1)
    assert weight.std(1).max() == 0  # one weight for an image ...
    assert len(weight[:, 0].unique()) > 490  # ... and another for the next
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight.mean().item() == pytest.approx(0.5, abs=0.05)


def test_gradient_penalty_is_keyed_by_the_generator():
    def critic(x):
        return x.flatten(1).pow(3).sum(1)

    before = torch.get_rng_state()
    values = [gradient_penalty(critic, REAL, FAKE, keyed(s)).item() for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_gradient_penalty_of_a_flat_critic_has_finite_gradients():
    w = torch.zeros(1, 2, 2, requires_grad=True)
    value = gradient_penalty(lambda x: linear(x, w), REAL, FAKE, keyed())
    value.backward()
    assert value.item() == pytest.approx(1, abs=1e-4)
    assert w.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["nonsaturating", "wasserstein"])
def test_penalties_reach_the_discriminator_and_only_it(kind):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))
    fake = FAKE.clone().requires_grad_()
    real = REAL.clone()
    AdversarialLoss(kind).weighted_penalty(net, real, fake, keyed()).backward()
    for name, p in net.named_parameters():
        if name != "3.bias":  # the last bias does not change the gradient
            assert p.grad is not None
            assert p.grad.abs().max() > 0, name
    assert fake.grad is None
    assert not real.requires_grad


def test_r1_gradient_is_the_weight_vector_for_a_linear_critic():
    w = W.clone().requires_grad_()
    r1_penalty(lambda x: linear(x, w), REAL).backward()
    torch.testing.assert_close(w.grad, W)  # d/dw of |w|^2 / 2


@pytest.mark.parametrize("kind", ["nonsaturating", "wasserstein"])
def test_losses_of_a_kind_belong_together(kind):
    real, fake = torch.randn(4), torch.randn(4)
    pair = {
        "nonsaturating": (nonsaturating_discriminator, nonsaturating_generator),
        "wasserstein": (wasserstein_discriminator, wasserstein_generator),
    }[kind]
    loss = AdversarialLoss(kind)
    assert loss.for_discriminator(real, fake) == pair[0](real, fake)
    assert loss.for_generator(fake) == pair[1](fake)


def test_the_penalty_weighs_as_much_when_it_comes_seldom():
    r1, gp = NORM2 / 2, (math.sqrt(NORM2) - 1) ** 2
    for kind, one in (("nonsaturating", r1), ("wasserstein", gp)):
        for every in (1, 4):
            loss = AdversarialLoss(kind, penalty=3.0, every=every)
            total = sum(
                loss.weighted_penalty(linear, REAL, FAKE, keyed()).item()
                for iteration in range(8)
                if loss.due(iteration)
            )
            assert total == pytest.approx(8 * 3 * one, 1e-5)


def test_when_the_penalty_is_due():
    assert [AdversarialLoss(every=3).due(i) for i in range(5)] == [True, False, False, True, False]
    assert not any(AdversarialLoss(penalty=0).due(i) for i in range(5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "wgan"}, "nonsaturating or wasserstein, got 'wgan'"),
        ({"every": 0}, "every of 1 or more, got penalty 1.0 and every 0"),
        ({"penalty": -1.0}, "expected penalty of 0 or more .*got penalty -1.0 and every 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AdversarialLoss(**settings)
