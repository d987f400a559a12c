import torch

from latentkit.models.clustergan import ClusterGAN

SHAPE = (1, 8, 8)
SMALL = {"continuous": 3, "classes": 4, "width": 2, "hidden": 8}


def test_the_encoding_is_the_gaussian_part_and_class_probabilities():
    model, x = ClusterGAN(SHAPE, **SMALL), torch.rand(5, *SHAPE)
    z_n, logits = model.code(x)
    assert torch.equal(torch.cat([z_n, logits], 1), model.encoder(x))
    encoding = model.encode(x)
    assert torch.equal(encoding[:, :3], z_n)
    torch.testing.assert_close(encoding[:, 3:].sum(1), torch.ones(5))
    torch.testing.assert_close(encoding[:, 3:].log().diff(dim=1), logits.diff(dim=1))
    assert torch.equal(model.cluster(x), encoding[:, 3:].argmax(1))


def test_the_prior_is_the_models_own():
    model = ClusterGAN(SHAPE, **SMALL, sigma=0.7)
    z_n, z_c = model.prior.split(model.prior.sample(4000))
    assert z_n.shape == (4000, 3)
    assert abs(z_n.std().item() - 0.7) < 0.02
    assert z_c.shape == (4000, 4)


def test_the_generator_starts_small():
    model = ClusterGAN((1, 16, 16), **SMALL)
    assert 0.01 < model.generator.stem[0][0].weight.std() < 0.03
