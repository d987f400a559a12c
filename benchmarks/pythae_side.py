"""pythae's own training of its default VAE (pip install pythae==0.1.2)."""

import copy
import logging
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F  # noqa: N812
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, manual_seed, zeros

from latentkit.priors import Gaussian


class Trained:
    """A pythae VAE with Bernoulli pixels, as our likelihood bound wants it."""

    def __init__(self, model: VAE) -> None:
        self.model = model.eval()
        self.prior = Gaussian(model.latent_dim)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 1, 28, 28) -> mean and log-variance, each (N, D)."""
        found = self.model.encoder(x)
        return found.embedding, found.log_covariance

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """(N,) nats."""
        mean = self.model.decoder(z).reconstruction.flatten(1)
        return F.binary_cross_entropy(mean, x.flatten(1), reduction="none").sum(1)


class Until:
    """A loader that ends with its epoch or with the time, whichever comes first."""

    def __init__(self, loader: Any, end: float) -> None:
        self.loader, self.end = loader, end
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            yield batch
            if time.process_time() > self.end:
                return


def pythae_best(
    parts: tuple[Tensor, Tensor], batch_size: int, lr: float, seed: int, seconds: float
) -> tuple[Trained, int]:
    """Trains for that long and gives the best model by pythae's own choice, and the epochs.

    Args:
        parts: images (N, 1, 28, 28) to train on and to validate with.
        batch_size: of both.
        lr: Adam's learning rate; pythae's default is 1e-4.
        seed: of weights and order.
        seconds: of processor time, training and validation.
    """
    logging.disable(logging.INFO)
    train, held_out = (BaseDataset(x, zeros(len(x))) for x in parts)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            folder,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            num_epochs=10_000,
            learning_rate=lr,
            seed=seed,
            no_cuda=True,
        )
        settings = VAEConfig((1, 28, 28), latent_dim=16, reconstruction_loss="bce")
        manual_seed(seed)  # pythae sets its own after the weights are made
        trainer = BaseTrainer(VAE(settings), train, held_out, training_config=config)
        trainer.prepare_training()
        end = time.process_time() + seconds
        trainer.train_loader = Until(trainer.train_loader, end)
        best, kept, epoch = float("inf"), trainer.model, 0
        while time.process_time() < end:
            epoch += 1
            trainer.train_step(epoch)
            if (loss := trainer.eval_step(epoch)) < best:
                best, kept = loss, copy.deepcopy(trainer.model)
    return Trained(kept), epoch


def pythae_seconds(images: Tensor, batch_size: int) -> float:
    """Seconds a batch of one training epoch over images (N, 1, 28, 28)."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            folder, per_device_train_batch_size=batch_size, num_epochs=1, no_cuda=True
        )
        trainer = BaseTrainer(
            VAE(VAEConfig(input_dim=(1, 28, 28), latent_dim=16)),
            BaseDataset(images, zeros(len(images))),
            training_config=config,
        )
        trainer.prepare_training()
        start = time.perf_counter()
        trainer.train_step(1)
        return (time.perf_counter() - start) / (len(images) // batch_size)
