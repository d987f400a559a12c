import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from latentkit.latent.directions import sefa
from latentkit.latent.first_layer import first_weight
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE


def watched(network, layer, z):
    """What a layer gives for latents: the reference, by running the network."""
    seen = []
    hook = layer.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    network(z)
    hook.remove()
    return seen[0].flatten(1)


LAYERS = {
    "linear": (nn.Flatten(), nn.Linear(6, 9)),
    "transposed": (nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 4, 3)),
    "no bias": (nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 4, 3, bias=False)),
    "padding and stride": (
        nn.Unflatten(1, (6, 1)),
        nn.ConvTranspose1d(6, 4, 5, stride=2, padding=1, output_padding=1),
    ),
    "groups": (nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 4, 3, groups=2)),
    "a latent with places": (nn.Unflatten(1, (2, 3)), nn.ConvTranspose1d(2, 4, 3, dilation=2)),
    "volumes": (nn.Unflatten(1, (6, 1, 1, 1)), nn.ConvTranspose3d(6, 2, 2)),
    "convolution": (nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 4, 1)),
    "spectral": (nn.Flatten(), spectral_norm(nn.Linear(6, 9))),
}


@torch.no_grad()
@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_slope_of_the_first_layer(name):
    first, layer = (part.double() for part in LAYERS[name])
    network = nn.Sequential(first, layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).double().eval()
    z = torch.randn(1, 6, dtype=torch.float64)
    network(z)
    weight = first_weight(network, network, z)
    step = 1e-4 * torch.eye(6, dtype=torch.float64)
    slopes = (watched(network, layer, z + step) - watched(network, layer, z - step)) / 2e-4
    assert torch.allclose(weight.T, slopes, atol=1e-8)
    assert weight.dtype == z.dtype


def test_a_plain_transposed_convolution_is_its_weight_unfolded():
    layer = nn.ConvTranspose2d(6, 4, 3)
    network = nn.Sequential(nn.Unflatten(1, (6, 1, 1)), layer)
    found = first_weight(network, network, torch.zeros(6))
    assert torch.allclose(found, layer.weight.flatten(1).T, atol=1e-6)


@pytest.mark.parametrize("model", [VAE((1, 16, 16), 6, 4, 16), DCGAN((1, 16, 16), 6, 4, 16)])
def test_sefa_of_a_shipped_network_moves_its_first_layer_most(model):
    model = model.eval()
    weight = first_weight(model.decode, model, torch.zeros(6))
    first = next(m for m in (model.decoder if isinstance(model, VAE) else model.generator).modules()
                 if isinstance(m, nn.Linear))  # fmt: skip
    assert torch.allclose(weight, first.weight, atol=1e-6)
    d = sefa(weight, 3)
    moved = (weight @ d.T).norm(dim=0)
    assert (moved.diff() <= 0).all()
    assert moved[0].item() == pytest.approx(torch.linalg.matrix_norm(weight, 2).item(), rel=1e-5)


def test_layers_that_do_not_take_the_latent_are_passed_over():
    class Styled(nn.Module):
        """Starts from a learned constant, as StyleGAN does, in networks of their own."""

        def __init__(self):
            super().__init__()
            self.image, self.mapping = nn.Conv2d(3, 3, 1), nn.Linear(5, 3)

        def forward(self, z):
            return self.image(torch.ones(len(z), 3, 4, 4)) * self.mapping(z)[:, :, None, None]

    model = Styled()
    found = first_weight(model, model, torch.zeros(5))
    assert torch.allclose(found, model.mapping.weight, atol=1e-6)
    assert torch.allclose(
        first_weight(model, nn.ModuleList([model.mapping]), torch.zeros(5)), found
    )
    assert not model.mapping._forward_pre_hooks


def test_no_such_layer_is_a_named_error():
    model = nn.Sequential(nn.ReLU(), nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 1))
    with pytest.raises(ValueError, match=r"a latent of 3 numbers.*got 0 such layers"):
        first_weight(lambda z: z, nn.ReLU(), torch.zeros(3))
    with pytest.raises(ValueError, match=r"inputs of other sizes \(\[4\]\)"):
        first_weight(lambda z: model(torch.cat([z, z[:, :1]], 1)), model, torch.zeros(3))
