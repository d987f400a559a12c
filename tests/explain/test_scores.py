import pytest
import torch

from latentkit.explain.scores import direction, fake, logit, real, unit

OUTPUT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])


@pytest.mark.parametrize("score", [unit, logit])
def test_one_column(score):
    assert score(2)(OUTPUT).tolist() == [3, 7]


def test_length_along_a_direction_whatever_its_own_length():
    expected = [(3 + 8) / 5, (12 + 20) / 5]
    for length in (1, 1e-8, 1e8):
        along = direction(length * torch.tensor([3.0, 4.0, 0.0]))
        assert along(OUTPUT).tolist() == pytest.approx(expected)
    assert direction(-torch.tensor([3.0, 4.0, 0.0]))(OUTPUT).tolist() == pytest.approx(
        [-e for e in expected]
    )


def test_direction_in_a_latent_with_space():
    output = torch.arange(16.0).reshape(2, 2, 2, 2)
    d = torch.zeros(2, 2, 2)
    d[1, 0, 1] = 3
    assert direction(d)(output).tolist() == [5, 13]


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1, 1)])
def test_real_and_fake_take_a_logit_per_sample(shape):
    output = torch.tensor([1.5, -2.0]).reshape(shape)
    assert real()(output).tolist() == [1.5, -2.0]
    assert fake()(output).tolist() == [-1.5, 2.0]


def test_wrong_widths_say_expected_and_got():
    with pytest.raises(ValueError, match=r"more than 3\) to pick latent unit 3, got \(2, 3\)"):
        unit(3)(OUTPUT)
    with pytest.raises(ValueError, match=r"class 0, got \(2,\)"):
        logit(0)(OUTPUT[:, 0])
    with pytest.raises(ValueError, match=r"expected outputs \(N, 4\).*got \(2, 3\)"):
        direction(torch.ones(4))(OUTPUT)
    with pytest.raises(ValueError, match=r"one logit per sample.*got \(2, 3\)"):
        real()(OUTPUT)
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        unit(-1)


@pytest.mark.parametrize("score", [unit(0), direction(torch.ones(3)), real(), fake()])
def test_a_tuple_says_how_to_pick(score):
    with pytest.raises(TypeError, match="got tuple; for a module that returns several"):
        score((OUTPUT, OUTPUT))


@pytest.mark.parametrize("d", [torch.zeros(3), torch.tensor([1.0, float("nan"), 0.0])])
def test_a_direction_has_a_length(d):
    with pytest.raises(ValueError, match="positive length, got"):
        direction(d)
