import pytest
import torch

from latentkit.losses.elbo import bernoulli_nll, gaussian_nll
from latentkit.models.vae import VAE

SMALL = {"latent_dim": 4, "width": 2, "hidden": 8}
SHAPE = (1, 8, 8)


def test_the_posterior_is_the_two_halves_of_the_encoders_output():
    model, x = VAE(SHAPE, **SMALL), torch.rand(3, *SHAPE)
    mean, log_var = model.posterior(x)
    assert torch.equal(torch.cat([mean, log_var], 1), model.encoder(x))
    assert torch.equal(model.encode(x), mean)
    assert torch.equal(model(x), model.decode(mean))


def test_the_likelihood_of_pixels():
    x, z = torch.rand(3, *SHAPE), torch.randn(3, 4)
    grey = VAE(SHAPE, **SMALL)
    assert torch.equal(grey.nll(x, z), bernoulli_nll(grey.decoder(z), x))
    scaled = VAE(SHAPE, **SMALL, likelihood="gaussian")
    scaled.log_scale.data.fill_(-2.0)
    wanted = gaussian_nll(scaled.decode(z), x, torch.tensor(-2.0))
    torch.testing.assert_close(scaled.nll(x, z), wanted)


def test_the_gaussian_scale_is_learned_and_saved():
    model = VAE(SHAPE, **SMALL, likelihood="gaussian")
    model.nll(torch.rand(3, *SHAPE), torch.randn(3, 4)).sum().backward()
    assert model.log_scale.grad.abs() > 0
    assert "log_scale" in model.state_dict()
    assert "log_scale" not in VAE(SHAPE, **SMALL).state_dict()


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(ValueError, match="bernoulli or gaussian, got 'normal'"):
        VAE(SHAPE, **SMALL, likelihood="normal")
