"""Held-out likelihood of a VAE on MNIST: ours and pythae's, same networks, same time.

python benchmarks/likelihood.py --root data      (needs pip install pythae==0.1.2)

pythae's default networks (one hidden layer of 512, 16 latents), Bernoulli pixels, batch 128, on one
thread; the trainings of a seed run one after the other. Time is that of the processor, which on one
thread is wall-clock time where nothing else runs; both sides look at the clock at every batch, and
validate once more when it is over. The likelihood is the
importance-weighted bound of 100 samples on the 10,000 test images (Burda et al., 2016, arXiv
1509.00519), computed by the same code for all. Writes benchmarks/likelihood.json.
"""

import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from bare import MLPVAE
from machine import machine
from options import parser
from pythae_side import pythae_best
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from latentkit.data.vision import Vision
from latentkit.losses.elbo import kl_to_standard_normal, reparameterise
from latentkit.metrics.likelihood import importance_bound, log_normal
from latentkit.store import write_json
from latentkit.training.health import Health
from latentkit.training.vae import VAETraining

HERE = Path(__file__).parent
SAMPLES = 100


class Best(pl.Callback):
    """Keeps the model with the best validation bound, and stops when the time is over."""

    value, model = float("inf"), None

    def __init__(self, seconds: float) -> None:
        self.end = time.process_time() + seconds

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Lets this batch be the last one when the time is over."""
        trainer.should_stop = time.process_time() > self.end

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Copies it."""
        value = float(trainer.callback_metrics["val/negative_elbo"])
        if not trainer.sanity_checking and value < self.value:
            self.value, self.model = value, copy.deepcopy(module.model)


def ours(data: Vision, seed: int, seconds: float, precision: str) -> tuple[Any, int]:
    """Trains for that long; the best model by the validation bound, and the epochs."""
    torch.manual_seed(seed)
    best = Best(seconds)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=precision,
            max_epochs=10_000,
            enable_model_summary=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            logger=TensorBoardLogger(folder, "run"),
            callbacks=[best, Health()],
        )
        trainer.fit(VAETraining(MLPVAE(bernoulli=True), seed=seed), data)
    return best.model.eval(), trainer.current_epoch


@torch.no_grad()
def bounds(model: Any, images: Tensor) -> dict[str, float]:
    """Mean bounds over images, in nats: of one posterior sample, and of SAMPLES."""
    torch.manual_seed(0)
    plain, tight = [], []
    for x in torch.split(images, 50):
        mean, log_var = model.posterior(x)

        def weights(count: int, x=x, mean=mean, log_var=log_var) -> Tensor:  # noqa: ANN001
            noise = torch.randn(count, *mean.shape)
            z = reparameterise(mean, log_var, noise)
            many = x.expand(count, *x.shape).flatten(0, 1)
            log_x = -model.nll(many, z.flatten(0, 1)).view(count, len(x))
            return log_x + model.prior.log_prob(z) - log_normal(z, mean, log_var)

        tight.append(importance_bound(weights, SAMPLES, SAMPLES))
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        plain.append(-model.nll(x, z) - kl_to_standard_normal(mean, log_var).sum(1))
    return {
        "elbo": torch.cat(plain).mean().item(),
        f"iwae_{SAMPLES}": torch.cat(tight).mean().item(),
    }


def main() -> None:
    """Trains and writes the JSON."""
    command = parser(__doc__, "root", "seeds")
    command.add_argument("--seconds", type=float, default=60)
    chosen = command.parse_args()
    torch.set_num_threads(1)
    data = Vision(root=chosen.root, batch_size=128)
    parts = tuple(data.split(name)[:][0] for name in ("train", "val"))
    test = data.split("test")[:][0]
    rows = []
    for seed in chosen.seeds:
        data.seed = seed  # of the order of the batches
        sides = {
            "latentkit": lambda s=seed: ours(data, s, chosen.seconds, "32-true"),
            "latentkit, bf16-mixed": lambda s=seed: ours(data, s, chosen.seconds, "bf16-mixed"),
            "pythae, its default lr 1e-4": lambda s=seed: pythae_best(
                parts, 128, 1e-4, s, chosen.seconds
            ),
            "pythae, our lr 1e-3": lambda s=seed: pythae_best(parts, 128, 1e-3, s, chosen.seconds),
        }
        for name, side in sides.items():
            model, epochs = side()
            rows.append({"side": name, "seed": seed, "epochs": epochs} | bounds(model, test))
            print(json.dumps(rows[-1]), flush=True)
    content = {"machine": machine(), "seconds": chosen.seconds, "rows": rows}
    write_json(HERE / "likelihood.json", content)


if __name__ == "__main__":
    main()
