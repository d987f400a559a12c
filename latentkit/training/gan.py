"""Trains a GAN: every batch the discriminator, every `critic_steps`-th the generator too.

Its losses do not say how good it is; `latentkit.training.quality` logs what does.

Lightning's `global_step` counts both optimizers' steps here; `iteration` counts batches. The
networks take turns, so several devices need the strategy `ddp_find_unused_parameters_true`, which
the command line chooses by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentkit.losses.adversarial import AdversarialLoss, Kind
from latentkit.training.base import Training, adam
from latentkit.training.ema import EMA, with_generator


class GANTraining(Training):
    """Plays generator against discriminator, with a moving average of the generator.

    Args:
        model: has `generator`, `discriminator`, `prior`, `decode` and `discriminate`, such as
            `latentkit.models.dcgan.DCGAN`.
        loss: "nonsaturating" (penalty: R1) or "wasserstein" (penalty: WGAN-GP).
        penalty: weight of the gradient penalty.
        penalty_every: iterations between penalties.
        critic_steps: discriminator steps for one generator step.
        lr: Adam's learning rate, of both.
        betas: Adam's betas, of both.
        ema_decay: of the generator's average, for each generator step.
        seed: of the latents.
    """

    def __init__(  # noqa: PLR0913  (one argument a config key)
        self,
        model: nn.Module,
        loss: Kind = "nonsaturating",
        penalty: float = 1.0,
        penalty_every: int = 4,
        critic_steps: int = 1,
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.0, 0.99),
        ema_decay: float = 0.995,
        seed: int = 0,
    ) -> None:
        super().__init__(check_networks(model, "generator", "discriminator"), seed)
        layers: Any = model.discriminator
        if penalty > 0 and any("BatchNorm" in type(m).__name__ for m in layers.modules()):
            raise ValueError(
                "a gradient penalty needs a discriminator without batch norm, which mixes the "
                "samples: set norm to none or spectral, or penalty to 0"
            )
        self.save_hyperparameters(ignore=["model"])
        self.automatic_optimization = False
        self.loss = AdversarialLoss(loss, penalty, penalty_every)
        self.critic_steps, self.lr, self.betas = critic_steps, lr, betas
        self.ema = EMA(model.generator, ema_decay)  # type: ignore[arg-type]

    @property
    def prior(self) -> Any:  # noqa: ANN401  (any Prior)
        """The model's prior."""
        return self.model.prior

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, *Z) -> (N, C, *S), by the averaged generator."""
        image: Tensor = self.portable().decode(z)  # type: ignore[operator]
        return image

    def discriminate(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> realness logit (N,)."""
        logit: Tensor = self.model.discriminate(x)  # type: ignore[operator]
        return logit

    def portable(self) -> nn.Module:
        """The model with the averaged generator."""
        return with_generator(self.model, self.ema.average)

    def weight_prefixes(self) -> dict[str, str]:
        """The model's weights, the generator's replaced by their average."""
        return {"": "model.", "generator.": "ema.average."}

    def configure_optimizers(self) -> list[Optimizer]:
        """One Adam for the discriminator, one for the generator."""
        networks: list[Any] = [self.model.discriminator, self.model.generator]
        return [adam(network, self.lr, self.betas) for network in networks]

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # noqa: ARG002
        """One discriminator step and, when it is due, one generator step on the same fakes."""
        noise, optimizers = self.noise(), self.optimizers()
        z = latents(self, len(batch[0]), noise)
        with torch.set_grad_enabled(generator_due(self)):
            fake: Tensor = self.model.decode(z)  # type: ignore[operator]
        discriminator_step(self, optimizers[0], batch[0], fake, noise)  # type: ignore[index]
        if generator_due(self):
            with frozen(self.model.discriminator):  # type: ignore[arg-type]
                loss = self.loss.for_generator(self.discriminate(fake))
            self.seldom |= {"train/generator": loss.detach()}
            generator_step(self, optimizers[1], loss)  # type: ignore[index]
        self.report(self.seldom, prog_bar=True)
        self.iteration += 1

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the mean logit of held-out images and of generated ones."""
        log_realness(self, batch[0], index, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the mean logit of test images and of generated ones."""
        log_realness(self, batch[0], index, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Realness logits of a batch (N,)."""
        return self.discriminate(batch[0])


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


def latents(training: Any, n: int, noise: torch.Generator) -> Tensor:  # noqa: ANN401
    """This process's share of the prior's samples: (n, *Z)."""
    z: Tensor = training.share(n, lambda m: training.prior.sample(m, generator=noise))
    return z


def generator_due(training: Any) -> bool:  # noqa: ANN401  (any adversarial objective)
    """Whether the generator is trained in this iteration."""
    return (int(training.iteration) + 1) % int(training.critic_steps) == 0


def discriminator_step(
    training: Any,  # noqa: ANN401  (any adversarial objective)
    optimizer: Any,  # noqa: ANN401  (a LightningOptimizer)
    real: Tensor,
    fake: Tensor,
    noise: torch.Generator,
) -> None:
    """Steps the discriminator on images (N, C, *S) twice, and notes its signals."""
    objective: AdversarialLoss = training.loss
    logit_real, logit_fake = training.discriminate(real), training.discriminate(fake.detach())
    loss = objective.for_discriminator(logit_real, logit_fake)
    values = {"train/discriminator": loss, "train/gap": logit_real.mean() - logit_fake.mean()}
    if objective.due(int(training.iteration)):
        own = training.private(noise)
        penalty = objective.weighted_penalty(training.discriminate, real, fake, own)
        training.seldom |= {"train/penalty": penalty.detach()}
        loss = loss + penalty
    optimizer.zero_grad()
    training.manual_backward(training.finite(loss))
    optimizer.step()
    training.note(values)


def generator_step(training: Any, optimizer: Any, loss: Tensor) -> None:  # noqa: ANN401
    """Steps the optimizer's networks on `loss`, which saw the discriminator frozen."""
    optimizer.zero_grad()
    training.manual_backward(training.finite(loss))
    optimizer.step()
    updates = int(training.iteration) // int(training.critic_steps)
    training.ema.update(training.model.generator, updates)


@torch.no_grad()
def log_realness(training: Any, real: Tensor, index: int, stage: str) -> None:  # noqa: ANN401
    """Logs the mean logits of images (N, C, *S) and of as many generated ones."""
    fake = training.decode(latents(training, len(real), training.noise(index)))
    values = {
        "real": training.discriminate(real).mean(),
        "fake": training.discriminate(fake).mean(),
    }
    named = {f"{stage}/logit_{k}": v for k, v in values.items()}
    training.log_dict(named, batch_size=len(real), sync_dist=True)
