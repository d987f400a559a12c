"""Trains a ClusterGAN: a GAN whose encoder must recover the latent from the generated image.

Mukherjee et al., "ClusterGAN", AAAI 2019 (arXiv 1809.03627), algorithm 1. The generator and the
encoder share one optimizer and one loss: adversarial + beta_n * MSE(z_n) + beta_c * CE(z_c).
An addition of our own, off by default: `consistency`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latentkit.losses.adversarial import AdversarialLoss, Kind
from latentkit.losses.clustering import class_cycle, continuous_cycle, mutual_information
from latentkit.metrics.clustering import accuracy, ari, nmi, purity
from latentkit.models.clustergan import ClusterGAN
from latentkit.training.adversarial import Adversarial
from latentkit.training.affine import random_affine
from latentkit.training.base import adam, everyones
from latentkit.training.consistency import Heads, adopt_clusters
from latentkit.training.watch import data_of

_FOR_CLUSTERS = 10_000  # training images (of each process) that K-means sees


class ClusterGANTraining(Adversarial):
    """Plays the GAN's game with a latent that the encoder has to give back.

    Args:
        model: the ClusterGAN.
        beta_n: weight of the squared error of z_n.
        beta_c: weight of the cross-entropy of z_c: what makes it cluster.
        consistency: weight of a term that is not in the paper: the clusters of real images must
            stay the same under small rotations, shifts, scalings and shears (see `affine`), by
            invariant information clustering. It assumes that these do not change the class.
        warmup: iterations before the cycles. Until then the encoder learns to cluster real images
            (see `consistency`) and the generator plays the plain game, in which it learns to vary
            with z_n: a generator that has to please a sure encoder from the start makes one image
            a cluster. 0 for none, as in the paper.
        loss: "wasserstein" with WGAN-GP as in the paper, or "nonsaturating" with R1.
        penalty: weight of the gradient penalty.
        penalty_every: iterations between penalties.
        critic_steps: discriminator steps for one step of generator and encoder.
        lr: Adam's learning rate, of all.
        betas: Adam's betas, of all.
        ema_decay: of the generator's average, for each generator step.
        seed: of the latents.

    Raises:
        ValueError: a value is out of its range, or a warm-up is asked for without consistency.
    """

    model: ClusterGAN
    adopted: Tensor
    on_bar = False  # which shows what the encoder clusters

    def __init__(  # noqa: PLR0913  (one argument a config key)
        self,
        model: ClusterGAN,
        beta_n: float = 10.0,
        beta_c: float = 10.0,
        consistency: float = 0.0,
        warmup: int = 0,
        loss: Kind = "wasserstein",
        penalty: float = 10.0,
        penalty_every: int = 1,
        critic_steps: int = 5,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        ema_decay: float = 0.995,
        seed: int = 0,
    ) -> None:
        game = AdversarialLoss(loss, penalty, penalty_every)
        super().__init__(model, game, critic_steps, ema_decay, seed)
        if warmup < 0 or (warmup and not consistency):
            raise ValueError(
                "expected warmup of 0, or above it with consistency above 0, "
                f"got warmup {warmup} and consistency {consistency}"
            )
        self.save_hyperparameters(ignore=["model"])
        self.beta_n, self.beta_c, self.consistency = beta_n, beta_c, consistency
        self.lr, self.betas, self.warmup = lr, betas, warmup
        self.heads = Heads(model.encoder, model.classes) if warmup else None
        self.register_buffer("adopted", torch.tensor(not warmup))
        self._probabilities: list[Tensor] = []
        self._labels: list[Tensor] = []

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> [z_n, softmax z_c] (N, D)."""
        return self.model.encode(x)

    def configure_optimizers(self) -> list[Optimizer]:
        """One Adam for the discriminator, one for generator and encoder."""
        pair = nn.ModuleList([self.model.generator, self.model.encoder])
        if self.heads is not None:
            pair.append(self.heads)
        networks = [self.model.discriminator, pair]
        return [adam(network, self.lr, self.betas) for network in networks]

    def on_fit_start(self) -> None:
        """Refuses a warm-up without the data module that it takes its clusters from."""
        if not self.adopted and data_of(self.trainer) is None:
            raise ValueError(
                "a warm-up needs the images again: give fit a LightningDataModule, not loaders"
            )

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Takes over the clusters when the warm-up is over, and plays on."""
        if not self.adopted and int(self.iteration) >= self.warmup:
            self._adopt_clusters()
        super().training_step(batch, index)

    def generator_loss(
        self, z: Tensor, fake: Tensor, real: Tensor, noise: torch.Generator
    ) -> Tensor:
        """That of generator and encoder: with the cycles, once there are clusters."""
        if self.adopted:
            return self._cycle_loss(z, fake, real, noise)
        return self._warm_up_loss(fake, real, noise)

    def _cycle_loss(self, z: Tensor, fake: Tensor, real: Tensor, noise: torch.Generator) -> Tensor:
        """Adversarial and cycle losses on the fakes, and consistency on the real images."""
        z_n, z_c = self.model.prior.split(z)
        images = [fake]
        if self.consistency:
            images += [real, random_affine(real, self.private(noise))]
        # In one pass, so that a batch norm sees what its running statistics describe.
        recovered, logits = self.model.code(torch.cat(images))
        adversarial, n = self.adversarial(fake), len(fake)
        cycle_n, cycle_c = continuous_cycle(recovered[:n], z_n), class_cycle(logits[:n], z_c)
        values = {"generator": adversarial, "cycle_n": cycle_n, "cycle_c": cycle_c}
        loss = adversarial + self.beta_n * cycle_n + self.beta_c * cycle_c
        if self.consistency:
            views = torch.split(logits[n:].softmax(1), len(real))
            values["shared_information"] = mutual_information(*views)
            loss = loss - self.consistency * values["shared_information"]
        self.seldom |= {f"train/{k}": v.detach() for k, v in values.items()}
        return loss

    def _warm_up_loss(self, fake: Tensor, real: Tensor, noise: torch.Generator) -> Tensor:
        """The plain game for the generator, and for the encoder features of real images alone."""
        other = random_affine(real, self.private(noise))
        views = self.model.encoder.features(torch.cat([real, other]))
        heads: Heads = self.heads  # type: ignore[assignment]
        shared = heads.shared_information(*torch.split(views, len(real)))
        adversarial = self.adversarial(fake)
        self.seldom |= {"train/generator": adversarial.detach()}
        return adversarial - self.consistency * shared

    @torch.no_grad()
    def _adopt_clusters(self) -> None:
        """Starts the encoder's clusters from K-means on the features of training images."""
        encoder, seen = self.model.encoder.eval(), 0
        features = []
        data: Any = data_of(self.trainer)  # there is one: see on_fit_start
        for x, _ in data.train_dataloader():
            features.append(encoder.features(x.to(self.device)).float())
            seen += len(x)
            if seen >= _FOR_CLUSTERS:
                break
        encoder.train()
        adopt_clusters(encoder, everyones(torch.cat(features)), self.model.classes, self.seed)
        self.adopted.fill_(True)

    def _evaluate(self, batch: tuple[Tensor, Tensor], index: int, stage: str) -> None:
        self.log_realness(batch[0], index, stage)
        self._probabilities.append(self.model.code(batch[0])[1].softmax(1))
        self._labels.append(batch[1])

    def _log_clusters(self, stage: str) -> None:
        probability = self.gathered(self._probabilities, stage)
        labels = self.gathered(self._labels, stage)
        clusters = probability.argmax(1)
        share = clusters.bincount(minlength=self.model.classes) / len(clusters)
        values = {"confidence": probability.amax(1).mean(), "clusters_used": share.count_nonzero()}
        if (labels >= 0).all():  # -1 marks images without a label
            scores = {"acc": accuracy, "purity": purity, "nmi": nmi, "ari": ari}
            values |= {k: torch.tensor(f(labels, clusters)) for k, f in scores.items()}
        named = {f"{stage}/{k}": v.float() for k, v in values.items()}
        self.log_dict(named, prog_bar=True, sync_dist=True)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the discriminator's view and collects the encoder's clusters."""
        self._evaluate(batch, index, "val")

    def on_validation_epoch_end(self) -> None:
        """Logs cluster usage, and the agreement with labels where there are any."""
        self._log_clusters("val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Logs the discriminator's view and collects the encoder's clusters."""
        self._evaluate(batch, index, "test")

    def on_test_epoch_end(self) -> None:
        """Logs cluster usage, and the agreement with labels where there are any."""
        self._log_clusters("test")

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Encodings of a batch (N, D)."""
        return self.encode(batch[0])
