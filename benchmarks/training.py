"""Times a training step against a bare PyTorch loop of the same arithmetic, and against pythae.

python benchmarks/training.py --root data      (pip install pythae==0.1.2 for the row beside it)

Both sides of a ratio run in turn within one process (see `paired`). Ours is what `fit` does in the
steps of an epoch: Lightning's loop, the data, logging to TensorBoard, and the hooks that the
command's callbacks have around a step. Not in it: the progress bar, and what comes once an epoch
(validation, health measures, pictures, checkpoints). Writes benchmarks/training.json.
"""

import importlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from bare import LOOPS, MLPVAE
from machine import machine
from options import parser
from paired import paired
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from latentkit.data.vision import Vision
from latentkit.store import write_json
from latentkit.training.health import Health
from latentkit.training.resume import Checkpoints
from latentkit.training.run import RunFolder
from latentkit.training.speed import Speed
from latentkit.training.vae import VAETraining
from latentkit.views.tensorboard import Pictures

CONFIGS = ("autoencoder_mnist", "vae_mnist", "dcgan_mnist", "clustergan_mnist")
HERE = Path(__file__).parent
SKIPPED = 10  # first steps of a measurement, which allocate
FED = 200  # batches of a measurement of data alone


class Stopwatch(pl.Callback):
    """Seconds a step, from the start of the SKIPPED-th step of the epoch to that of its last.

    It looks at starts alone: for a callback that looks at the end of a step, every step is logged.
    """

    def on_train_batch_start(self, *others: Any) -> None:
        """Starts or reads the watch."""
        index = others[-1]
        if index == SKIPPED:
            self.start = time.perf_counter()
        elif index > SKIPPED:
            self.seconds = (time.perf_counter() - self.start) / (index - SKIPPED)


def build(entry: dict) -> object:
    """The object that a config's `class_path` and `init_args` describe."""
    module, name = entry["class_path"].rsplit(".", 1)
    settings = {
        k: build(v) if isinstance(v, dict) and "class_path" in v else v
        for k, v in entry.get("init_args", {}).items()
    }
    return getattr(importlib.import_module(module), name)(**settings)


def fit(
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    steps: int,
    precision: Any = None,
    threads: int | None = None,
    **speed: bool,
) -> float:
    """Seconds a step under Lightning, with all that the command adds."""
    watch, usual = Stopwatch(), torch.get_num_threads()
    torch.set_num_threads(threads or usual)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            precision=precision,
            max_epochs=1,
            limit_train_batches=steps,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=TensorBoardLogger(folder, "run"),
            callbacks=[watch, RunFolder(), Checkpoints(), Health(), Pictures(), Speed(**speed)],
        )
        trainer.fit(module, data)
    torch.set_num_threads(usual)
    return watch.seconds


def beside_bare_loops(root: str, steps: int, rounds: int) -> dict:
    """Each shipped MNIST config against the same arithmetic without Lightning.

    ClusterGAN's twice: its warm-up, a quarter of the training, and the cycles after it.
    """
    rows = {}
    for name in CONFIGS:
        config = yaml.safe_load((HERE.parent / "configs" / f"{name}.yaml").read_text())
        data, kind = Vision(**config["data"]["init_args"] | {"root": root}), name.split("_")[0]
        phases = {name: (config["model"], LOOPS[kind])}
        if kind == "clustergan":
            cycles = config["model"] | {"init_args": config["model"]["init_args"] | {"warmup": 0}}
            phases = {
                f"{name}, warm-up": phases[name],
                f"{name}, cycles": (cycles, LOOPS["cycles"]),
            }
        for phase, (model, loop) in phases.items():
            rows[phase] = paired(
                partial(_seeded, fit, model, data, steps),
                partial(_seeded, loop, model, data, steps, SKIPPED),
                rounds,
            )
            print(phase, json.dumps(rows[phase]), flush=True)
    return rows


def options(root: str, steps: int, rounds: int) -> dict:
    """What memory format, precision, threads and compilation do to the shipped configs' steps."""
    tried: dict[str, dict[str, Any]] = {
        "channels_last": {"channels_last": True},
        "bf16-mixed": {"precision": "bf16-mixed"},
        "bf16-mixed, channels_last": {"precision": "bf16-mixed", "channels_last": True},
        "one thread": {"threads": 1},
        "compile": {"compile": True},
    }
    rows: dict[str, dict] = {}
    for name in CONFIGS:
        config = yaml.safe_load((HERE.parent / "configs" / f"{name}.yaml").read_text())
        data = Vision(**config["data"]["init_args"] | {"root": root})
        rows[name] = {}
        for option, settings in tried.items():
            if option == "compile" and name != "vae_mnist":
                continue  # a minute a round: one config tells
            rows[name][option] = paired(
                partial(_seeded, fit, config["model"], data, steps, **settings),
                partial(_seeded, fit, config["model"], data, steps),
                rounds,
            )
            print(name, option, json.dumps(rows[name][option]), flush=True)
    return rows


def _seeded(run: Callable[..., float], model: dict, *others: Any, **settings: Any) -> float:
    torch.manual_seed(0)
    return run(build(model), *others, **settings)


def beside_pythae(root: str, steps: int, rounds: int) -> dict | None:
    """A VAE with pythae's default networks, batch 128, in both; ours also in bfloat16."""
    try:
        from pythae_side import pythae_seconds
    except ImportError:
        print("pythae is not installed: its row is left out")
        return None
    data = Vision(root=root, batch_size=128)
    images = data.split("train")[: 128 * steps][0]
    rows = {}
    for precision in ("32-true", "bf16-mixed"):
        rows[precision] = paired(
            lambda precision=precision: fit(VAETraining(MLPVAE()), data, steps, precision),
            lambda: pythae_seconds(images, 128),
            rounds,
        )
        print("pythae", precision, json.dumps(rows[precision]), flush=True)
    return rows


def beside_torchvision(root: str, rounds: int) -> dict:
    """An epoch of batches of MNIST, against torchvision's data set and a plain DataLoader."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    ours = Vision(root=root, batch_size=128).train_dataloader()
    theirs = DataLoader(MNIST(root, transform=ToTensor()), batch_size=128, shuffle=True)

    def feed(loader: DataLoader) -> float:
        start = time.perf_counter()
        count = sum(1 for _ in zip(range(FED), loader, strict=False))
        return (time.perf_counter() - start) / count

    row = paired(lambda: feed(ours), lambda: feed(theirs), rounds)
    print("data", json.dumps(row), flush=True)
    return row


def main() -> None:
    """Measures everything and writes the JSON."""
    command = parser(__doc__, "root")
    command.add_argument("--steps", type=int, default=60)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--parts", nargs="*", help="bare_loop, pythae_vae, data_feeding, options")
    chosen = command.parse_args()
    warnings.filterwarnings("ignore", message=".*num_workers|.*bottleneck.*")
    size = (chosen.root, chosen.steps, chosen.rounds)
    parts: dict[str, Callable[[], Any]] = {
        "bare_loop": lambda: beside_bare_loops(*size),
        "pythae_vae": lambda: beside_pythae(*size),
        "data_feeding": lambda: beside_torchvision(chosen.root, chosen.rounds),
        "options": lambda: options(*size),
    }
    file = HERE / "training.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for name in chosen.parts or parts:
        steps = FED if name == "data_feeding" else chosen.steps
        about = {"machine": machine(), "steps": steps, "rounds": chosen.rounds}
        kept[name] = about | {"rows": parts[name]()}
        write_json(file, kept)


if __name__ == "__main__":
    main()
