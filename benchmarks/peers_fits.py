"""Small trainings on scikit-learn's digits, ours and pythae's, for the checks of `peers.py`."""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from latentkit.data.digits import Digits
from latentkit.models.vae import VAE
from latentkit.training.health import Health
from latentkit.training.run import RunFolder
from latentkit.training.vae import VAETraining

SHAPE = (1, 8, 8)


def digits() -> tuple[Tensor, Tensor]:
    """Images to train on and to validate with, (N, 1, 8, 8)."""
    data = Digits(size=8)
    return data.split("train")[:256][0], data.split("val")[:128][0]


def fit(
    folder: str, epochs: int, resume: Path | None = None, **settings: Any
) -> tuple[VAETraining, dict[str, Any], list[str]]:
    """A small VAE trained by our objective with the command's callbacks.

    Returns:
        It, what was measured last, and the alarms that rang.
    """
    torch.manual_seed(0)
    module = VAETraining(VAE(SHAPE, 4, width=4, hidden=16), **settings)
    health = Health(grace=100)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, "last"), RunFolder(), health],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, Digits(size=8), ckpt_path=resume, weights_only=True)
    return module, trainer.callback_metrics, health.state_dict()["rang"]


def pythae_fit(folder: str, epochs: int, model: Any = None, lr: float = 1e-3) -> tuple[Any, dict]:
    """Pythae's VAE trained by pythae; the model and what was logged last."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    logged: dict[str, float] = {}

    class Note(TrainingCallback):
        def on_log(self, _config: Any, logs: dict, **_others: Any) -> None:
            logged.update(logs)

    logging.disable(logging.INFO)
    torch.manual_seed(0)
    settings = BaseTrainerConfig(
        folder,
        per_device_train_batch_size=64,
        num_epochs=epochs,
        learning_rate=lr,
        steps_saving=1,
        seed=0,
        no_cuda=True,
    )
    model = model or BetaVAE(BetaVAEConfig(SHAPE, latent_dim=4, beta=1.0))
    parts = (BaseDataset(x, torch.zeros(len(x))) for x in digits())
    trainer = BaseTrainer(model, *parts, training_config=settings, callbacks=[Note()])
    trainer.train()
    return trainer.model, logged


def difference(a: nn.Module, b: nn.Module) -> float:
    """The largest of two networks' weights."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((p - q).abs().max().item() for p, q in pairs)


def source(module: str) -> str:
    """The code of an installed package."""
    folder = Path(str(inspect.getfile(__import__(module)))).parent
    return "\n".join(file.read_text() for file in sorted(folder.rglob("*.py")))


def identity() -> tuple[Any, Any]:
    """An encoder and a decoder for pythae that change nothing."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Tensor) -> Any:
            return ModelOutput(embedding=x.flatten(1))

    class Decoder(BaseDecoder):
        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=z)

    return Encoder(), Decoder()
