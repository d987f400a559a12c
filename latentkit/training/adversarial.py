"""What both adversarial objectives share: the game's two steps, and the average of the generator.

Lightning's `global_step` counts both optimizers' steps here; `iteration` counts batches. The
networks take turns, so several devices need the strategy `ddp_find_unused_parameters_true`, which
the command line chooses by itself.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from latentkit.losses.adversarial import AdversarialLoss
from latentkit.protocols import Decoder, Discriminator, HasPrior, Prior
from latentkit.training.base import Training
from latentkit.training.ema import EMA, with_generator


class GAN(HasPrior, Decoder, Discriminator, Protocol):
    """What the model of an adversarial objective offers, beside the networks it is made of."""


class Adversarial(Training):
    """Abstract objective: every batch the discriminator, every `critic_steps`-th the generator too.

    A subclass says what the generator minimises.

    Args:
        model: a `GAN` with the networks `generator` and `discriminator`.
        loss: of both players.
        critic_steps: discriminator steps for one generator step.
        ema_decay: of the generator's average, for each generator step.
        seed: of the latents.

    Attributes:
        on_bar: whether the progress bar shows the losses.
    """

    on_bar = True

    def __init__(
        self,
        model: nn.Module,
        loss: AdversarialLoss,
        critic_steps: int,
        ema_decay: float,
        seed: int,
    ) -> None:
        if critic_steps < 1 or not 0 <= ema_decay < 1:
            raise ValueError(
                "expected critic_steps of 1 or more and ema_decay from 0 to below 1, "
                f"got {critic_steps} and {ema_decay}"
            )
        check_networks(model, "generator", "discriminator")
        missing = [name for name in ("prior", "decode", "discriminate") if not hasattr(model, name)]
        if missing:
            raise ValueError(
                f"expected a GAN with prior, decode and discriminate, got {type(model).__name__} "
                f"without {', '.join(missing)}"
            )
        super().__init__(model, seed)
        self.automatic_optimization = False
        self.loss, self.critic_steps = loss, critic_steps
        self.ema = EMA(self.generator, ema_decay)

    @abstractmethod
    def generator_loss(
        self, z: Tensor, fake: Tensor, real: Tensor, noise: torch.Generator
    ) -> Tensor:
        """What the second optimizer's networks minimise, a scalar.

        Args:
            z: the latents of the fakes, (N, *Z).
            fake: generated images (N, C, *S), with their graph.
            real: as many real ones.
            noise: of this iteration.
        """

    @property
    def generator(self) -> nn.Module:
        """The generator in training, not its average."""
        return self.model.get_submodule("generator")

    @property
    def discriminator(self) -> nn.Module:
        """The discriminator."""
        return self.model.get_submodule("discriminator")

    @property
    def prior(self) -> Prior:
        """The model's prior."""
        return _as_gan(self.model).prior

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, *Z) -> (N, C, *S), by the averaged generator."""
        return _as_gan(self.portable()).decode(z)

    def discriminate(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> realness logit (N,)."""
        return _as_gan(self.model).discriminate(x)

    def portable(self) -> nn.Module:
        """The model with the averaged generator."""
        return with_generator(self.model, self.ema.average)

    def weight_prefixes(self) -> dict[str, str]:
        """The model's weights, the generator's replaced by their average."""
        return {"": "model.", "generator.": "ema.average."}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: ARG002
        """Images (N, C, *S): a discriminator step and, when due, a generator step on its fakes."""
        real, noise = batch[0], self.noise()
        z = self._latents(len(real), noise)
        due = (int(self.iteration) + 1) % self.critic_steps == 0
        with torch.set_grad_enabled(due):
            fake = _as_gan(self.model).decode(z)
        self.discriminator_step(real, fake, noise)
        if due:
            self.generator_step(self.generator_loss(z, fake, real, noise))
        self.report(self.seldom, prog_bar=self.on_bar)
        self.iteration += 1

    def discriminator_step(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> None:
        """Steps the discriminator on images (N, C, *S) twice, and notes its signals."""
        logit_real, logit_fake = self.discriminate(real), self.discriminate(fake.detach())
        loss = self.loss.for_discriminator(logit_real, logit_fake)
        values = {"train/discriminator": loss, "train/gap": logit_real.mean() - logit_fake.mean()}
        if self.loss.due(int(self.iteration)):
            own = self.private(noise)
            penalty = self.loss.weighted_penalty(self.discriminate, real, fake, own)
            self.seldom |= {"train/penalty": penalty.detach()}
            loss = loss + penalty
        self._step(0, loss)
        self.note(values)

    def generator_step(self, loss: Tensor) -> None:
        """Steps the second optimizer's networks on a scalar, then the average of the generator."""
        self._step(1, loss)
        self.ema.update(self.generator, int(self.iteration) // self.critic_steps)

    def adversarial(self, fake: Tensor) -> Tensor:
        """The generator's loss on its images (N, C, *S): a scalar, through a frozen judge."""
        with frozen(self.discriminator):
            return self.loss.for_generator(self.discriminate(fake))

    @torch.no_grad()
    def log_realness(self, real: Tensor, index: int, stage: str) -> None:
        """Logs the mean logits of images (N, C, *S) and of as many generated ones.

        Args:
            real: a batch.
            index: its number, which keys the latents.
            stage: "val" or "test".
        """
        fake = self.decode(self._latents(len(real), self.noise(index)))
        values = {"real": self.discriminate(real).mean(), "fake": self.discriminate(fake).mean()}
        named = {f"{stage}/logit_{k}": v for k, v in values.items()}
        self.log_dict(named, batch_size=len(real), sync_dist=True)

    def _latents(self, n: int, noise: torch.Generator) -> Tensor:
        """This process's share of the prior's samples: (n, *Z)."""
        return self.share(n, lambda m: self.prior.sample(m, generator=noise))

    def _step(self, place: int, loss: Tensor) -> None:
        """Steps the optimizer of this place on a scalar."""
        optimizers: Any = self.optimizers()  # Lightning's type of it covers every number of them
        optimizer = optimizers[place]
        optimizer.zero_grad()
        self.manual_backward(self.finite(loss))
        optimizer.step()


def check_networks(model: nn.Module, *names: str) -> nn.Module:
    """Gives `model` back if it has the named networks, else raises a ValueError."""
    missing = [n for n in names if not isinstance(getattr(model, n, None), nn.Module)]
    if missing:
        raise ValueError(
            f"expected a model with the networks {', '.join(names)}, "
            f"got {type(model).__name__} without {', '.join(missing)}"
        )
    return model


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Lets gradients flow through `network` while none are computed for its own weights.

    Unlike `backward(inputs=...)` this also works on several devices, where every weight of the
    graph has to take part.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()


def _as_gan(model: nn.Module) -> GAN:
    return cast("GAN", model)  # a module by its type; what it offers was checked when it was given
