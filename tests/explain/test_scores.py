import pytest
import torch
from torch.distributions import Normal, kl_divergence

from latentkit.explain.scores import cluster, direction, fake, kl, logit, real, unit
from latentkit.models.clustergan import ClusterGAN

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


def test_cluster_by_its_logit_or_by_its_centre():
    output = torch.tensor([[9.0, 9.0, 1.0, 2.0, 3.0], [8.0, 8.0, 4.0, 5.0, 7.0]])  # z_n, z_c
    assert cluster(0, 3)(output).tolist() == [1, 4]
    assert cluster(2, 3)(output).tolist() == [3, 7]
    centres = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]])
    assert cluster(1, centres)(OUTPUT).tolist() == [-1, -(9 + 9 + 9)]
    in_space = cluster(1, centres.reshape(2, 3, 1, 1))
    assert in_space(OUTPUT.reshape(2, 3, 1, 1)).tolist() == [-1, -27]


def test_cluster_of_a_clustergan_is_what_its_encoder_says():
    torch.manual_seed(0)
    model = ClusterGAN((1, 16, 16), continuous=3, classes=4, width=2, hidden=5)
    x = torch.rand(6, 1, 16, 16)
    logits = model.code(x)[1]
    for k in range(4):
        assert torch.equal(cluster(k, model.classes)(model.encoder(x)), logits[:, k])


def test_kl_of_a_posterior():
    mean, log_var = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    posterior = Normal(mean, (log_var / 2).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0))
    for output in ((mean, log_var), [mean, log_var], torch.cat([mean, log_var], 1)):
        torch.testing.assert_close(kl()(output), expected.sum(1))
        torch.testing.assert_close(kl(1)(output), expected[:, 1])


def test_errors_of_clusters_and_kl():
    with pytest.raises(ValueError, match=r"a cluster in 0 \.\.\. 2, got 3"):
        cluster(3, 3)
    with pytest.raises(ValueError, match=r"outputs \(N, at least 4\), got \(2, 3\)"):
        cluster(0, 4)(OUTPUT)
    with pytest.raises(ValueError, match=r"outputs \(N, 2\), got \(2, 3\)"):
        cluster(0, torch.zeros(5, 2))(OUTPUT)
    with pytest.raises(ValueError, match=r"an even width, \(N, 2 D\), got \(2, 3\)"):
        kl()(OUTPUT)
    with pytest.raises(TypeError, match="got tuple"):
        kl()((OUTPUT, OUTPUT, OUTPUT))


def test_every_score_has_a_name():
    scores = [unit(3), logit(2), direction(torch.ones(3)), real(), fake(), cluster(1, 2), kl()]
    names = ["unit(3)", "logit(2)", "direction", "real", "fake", "cluster(1)", "kl"]
    assert [score.__qualname__ for score in scores] == names
    assert kl(4).__qualname__ == "kl(4)"
    assert unit(1).__qualname__ == "unit(1)"  # one does not rename the other
    assert scores[0].__qualname__ == "unit(3)"
