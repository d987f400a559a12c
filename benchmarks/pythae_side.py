"""pythae's own training of its default VAE (pip install pythae==0.1.2)."""

import logging
import tempfile
import time

from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, zeros


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
