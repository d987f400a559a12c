"""Trains a GAN: generator against discriminator.

Its losses do not say how good it is; `latentkit.training.quality` logs what does.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentkit.losses.adversarial import AdversarialLoss, Kind
from latentkit.training.adversarial import Adversarial
from latentkit.training.base import adam


class GANTraining(Adversarial):
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

    Raises:
        ValueError: a network is missing, a value is out of its range, or a penalty is asked of a
            discriminator with batch norm.
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
        game = AdversarialLoss(loss, penalty, penalty_every)
        super().__init__(model, game, critic_steps, ema_decay, seed)
        if penalty > 0 and any(
            "BatchNorm" in type(m).__name__ for m in self.discriminator.modules()
        ):
            raise ValueError(
                "a gradient penalty needs a discriminator without batch norm, which mixes the "
                "samples: set norm to none or spectral, or penalty to 0"
            )
        self.save_hyperparameters(ignore=["model"])
        self.lr, self.betas = lr, betas

    def configure_optimizers(self) -> list[Optimizer]:
        """One Adam for the discriminator, one for the generator."""
        networks = [self.discriminator, self.generator]
        return [adam(network, self.lr, self.betas) for network in networks]

    def generator_loss(
        self,
        z: Tensor,  # noqa: ARG002
        fake: Tensor,
        real: Tensor,  # noqa: ARG002
        noise: torch.Generator,  # noqa: ARG002
    ) -> Tensor:
        """The generator's side of the game."""
        loss = self.adversarial(fake)
        self.seldom |= {"train/generator": loss.detach()}
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the mean logit of held-out images and of generated ones."""
        self.log_realness(batch[0], index, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the mean logit of test images and of generated ones."""
        self.log_realness(batch[0], index, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Realness logits of a batch (N,)."""
        return self.discriminate(batch[0])
