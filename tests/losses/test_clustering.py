import math

import pytest
import torch

from latentkit.losses.clustering import class_cycle, continuous_cycle, mutual_information


def test_continuous_cycle_is_the_mean_square_over_samples_and_coordinates():
    recovered = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    drawn = torch.tensor([[0.0, 2.0], [0.0, -3.0]])
    assert continuous_cycle(recovered, drawn).item() == pytest.approx((1 + 9) / 4)


def test_class_cycle_is_the_mean_negative_log_probability_of_the_drawn_class():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    drawn = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    first = math.log(math.exp(2) + 1 + math.exp(-1)) + 1
    assert class_cycle(logits, drawn).item() == pytest.approx((first + math.log(3)) / 2)


def test_both_vanish_for_a_perfect_encoder_and_reach_its_gradients():
    z_n, z_c = torch.randn(4, 3), torch.eye(4)
    assert continuous_cycle(z_n, z_n) == 0
    assert class_cycle(100 * z_c, z_c) < 1e-6
    logits = torch.zeros(4, 4, requires_grad=True)
    class_cycle(logits, z_c).backward()
    torch.testing.assert_close(logits.grad, (0.25 - z_c) / 4)  # softmax minus target, averaged


def test_mutual_information_of_known_tables():
    """Agreeing and sure about K equal clusters: log K; independent or unsure: 0."""
    sure = torch.eye(4).repeat(5, 1)
    assert mutual_information(sure, sure).item() == pytest.approx(math.log(4), abs=1e-4)
    assert mutual_information(sure, torch.full((20, 4), 0.25)).item() == pytest.approx(0, abs=1e-5)
    one = torch.eye(4)[:1].repeat(20, 1)
    assert mutual_information(one, one).item() == pytest.approx(0, abs=1e-5)
    half = torch.eye(4)[:2].repeat(10, 1)
    assert mutual_information(half, half).item() == pytest.approx(math.log(2), abs=1e-4)
