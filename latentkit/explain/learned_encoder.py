"""An encoder for a generator that has none, learned from the generator's own images."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from latentkit.data.batches import keyed_generator
from latentkit.explain import hooks
from latentkit.layers import ConvEncoder
from latentkit.protocols import Decode, Part, Prior


def encoder_for(shape: tuple[int, ...], latent_dim: int, width: int = 16, seed: int = 0) -> Part:
    """A small encoder with first weights of its seed: images (N, *shape) -> (N, latent_dim)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = ConvEncoder(shape, latent_dim, width, hidden=128)
    return Part(module, module.layers)


def train_encoder(
    module: nn.Module,
    decode: Decode,
    prior: Prior,
    steps: int = 10_000,
    images: int = 20_000,
    batch: int = 64,
    seed: int = 0,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> float:
    """Teaches a network the latents of decoded images, in place.

    Args:
        module: images (N, C, *S) -> latents (N, D).
        decode: latents (N, D) -> images (N, C, *S) in [0, 1].
        prior: where latents come from.
        steps: of Adam, with one cycle of the learning rate.
        images: decoded once, and kept as bytes.
        batch: images of a step.
        seed: of latents and order.
        watch: passes the numbers of the steps on, such as a progress bar.

    Returns:
        Mean squared error on 500 images of its own; compare with the latents' variance.
    """
    noise, device = keyed_generator(seed, 1), next(module.parameters()).device
    held_out = prior.sample(500, generator=noise).to(device)
    z = prior.sample(images, generator=noise).to(device)
    with hooks.borrowed(hooks.owner(decode)):
        x = torch.cat([(decode(some) * 255).round().byte() for some in torch.split(z, 500)])
        unseen = decode(held_out)
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    module.train()
    for _ in watch(range(steps)):
        rows = torch.randint(images, (batch,), generator=noise)
        _step(optimizer, (module(x[rows].float() / 255) - z[rows]).square().mean())
        schedule.step()
    module.eval()
    with torch.no_grad():
        return float((module(unseen) - held_out).square().mean())


def _step(optimizer: Any, loss: Tensor) -> None:  # noqa: ANN401  (an Optimizer)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
