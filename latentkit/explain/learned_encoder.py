"""An encoder for a generator that has none, learned from the generator's own images."""

from typing import Protocol

import torch
from torch import Tensor, nn

from latentkit.data.batches import keyed_generator
from latentkit.explain import hooks
from latentkit.explain.borrow import seeded
from latentkit.latent.watch import Watch
from latentkit.layers import ConvEncoder
from latentkit.protocols import Decoder, HasPrior, Part


class Generator(Decoder, HasPrior, Protocol):
    """A model that makes images of its prior's latents."""


def encoder_for(shape: tuple[int, ...], latent_dim: int, width: int = 16, seed: int = 0) -> Part:
    """A small encoder with first weights of its seed: images (N, *shape) -> (N, latent_dim).

    Args:
        shape: (C, *S) of an image.
        latent_dim: D.
        width: channels of the first stage.
        seed: of the first weights; the global random state is not touched.
    """
    with seeded(seed):
        module = ConvEncoder(shape, latent_dim, width, hidden=128)
    return Part(module, module.layers)


def train_encoder(
    module: nn.Module,
    model: Generator,
    steps: int = 10_000,
    images: int = 20_000,
    batch: int = 64,
    rebuild: float = 0.0,
    seed: int = 0,
    watch: Watch = iter,
) -> float:
    """Teaches a network the latents of decoded images, in place.

    Args:
        module: images (N, C, *S) -> latents (N, D).
        model: what decodes latents (N, D) of its prior into images (N, C, *S) in [0, 1].
        steps: of Adam, with one cycle of the learning rate.
        images: decoded once, and kept as bytes.
        batch: images of a step.
        rebuild: weight of the error of the images decoded again, over their variance, beside that
            of the latents. A generator that makes one image of many latents cannot be undone, and
            the latents' error is mostly about what no image shows: with 5, the encoder learns what
            can be seen (measured in benchmarks/README.md). Costs a pass through the generator.
        seed: of latents and order.
        watch: passes the numbers of the steps on, such as a progress bar.

    Returns:
        Mean squared error on 500 images of its own; compare with the latents' variance.
    """
    decode, prior = model.decode, model.prior
    noise, device = keyed_generator(seed, 1), next(module.parameters()).device
    held_out = prior.sample(500, generator=noise).to(device)
    z = prior.sample(images, generator=noise).to(device)
    with hooks.borrowed(hooks.owner(decode)):
        x = torch.cat([(decode(some.clone()) * 255).round().byte() for some in torch.split(z, 500)])
        unseen = decode(held_out.clone())
        spread = (unseen - unseen.mean(0)).square().mean().clamp_min(1e-12)
        optimizer = torch.optim.Adam(module.parameters(), fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
        module.train()
        for _ in watch(range(steps)):
            rows = torch.randint(images, (batch,), generator=noise)
            with torch.enable_grad():
                pixels = x[rows].float() / 255
                found = module(pixels)
                loss = (found - z[rows]).square().mean()
                if rebuild:
                    loss = (
                        loss + rebuild * (decode(found.clone()) - pixels).square().mean() / spread
                    )
            _step(optimizer, loss)
            schedule.step()
    module.eval()  # after what borrows has set back the modes, if the encoder is the model's own
    with torch.no_grad():
        return float((module(unseen) - held_out).square().mean())


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Moves the optimiser's parameters alone: the generator gets no gradient."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    optimizer.zero_grad()
    torch.autograd.backward(loss, inputs=parameters)
    optimizer.step()
