"""What the callbacks that draw and measure cost, as shares of the training time.

python benchmarks/callbacks.py --root data

Each shipped MNIST config trains for some steps, whose median time is taken; then each callback
draws several times, median taken, in the same process. Its share of the training follows from its
default cadence in images. What comes at the end alone is spread over the config's whole training.
Writes benchmarks/callbacks.json.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from machine import machine
from options import parser
from pytorch_lightning.loggers import TensorBoardLogger
from training import CONFIGS, Stopwatch, build

from latentkit.data.vision import Vision
from latentkit.store import write_json
from latentkit.training.health import Health
from latentkit.training.quality import Quality
from latentkit.training.watch import boards, judged
from latentkit.views.atlases import Atlases
from latentkit.views.latents import Latents
from latentkit.views.panel import Panel
from latentkit.views.projector import Projector
from latentkit.views.tensorboard import Pictures, Walks

HERE = Path(__file__).parent
PANELS = (Pictures, Walks, Latents, Atlases, Projector)


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median of several calls; the first one, which allocates, is left out."""
    run()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def measure(name: str, root: Path, folder: Path, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds a step and a drawing, and the share of the training that each callback takes."""
    config = yaml.safe_load((HERE.parent / "configs" / f"{name}.yaml").read_text())
    settings = config["data"]["init_args"] | {"root": str(root)}
    data, module = Vision(**settings), build(config["model"])
    watch, quality, health = Stopwatch(), Quality(), Health()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=steps,
        limit_val_batches=4,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        logger=TensorBoardLogger(folder, name),
        callbacks=[watch, quality, health],
    )
    opened = _timed(quality, "on_train_start")
    trainer.fit(module, data)
    images, batch = len(data.split("train")), data.batch_size
    epochs = config["trainer"]["max_epochs"]
    training = watch.seconds * images / batch * epochs
    spent = {
        type(p).__name__.lower(): _spent(p, trainer, module, images * epochs, rounds)
        for p in (panel() for panel in PANELS)
    }
    spent["quality"] = _of_quality(quality, trainer, module, rounds, epochs) + opened[0]
    rows = {key: {"seconds": value, "share": value / training} for key, value in spent.items()}
    total = sum(spent.values())
    rows["together"] = {"seconds": total, "share": total / training}
    return {"step_ms": 1e3 * watch.seconds, "training_seconds": training, "callbacks": rows}


def _timed(callback: pl.Callback, hook: str) -> list[float]:
    """Afterwards holds the seconds of the hook's call."""
    found: list[float] = []
    plain = getattr(callback, hook)

    def timed(*words: Any) -> None:
        start = time.perf_counter()
        plain(*words)
        found.append(time.perf_counter() - start)

    setattr(callback, hook, timed)
    return found


def _spent(panel: Panel, trainer: pl.Trainer, module: Any, images: int, rounds: int) -> float:
    """Seconds over a training on so many images, the last drawing included."""
    board = next(boards(trainer))

    def draw() -> None:
        with judged(trainer, module):
            panel.draw(board, trainer, module)

    times = images // panel.every + bool(images % panel.every)
    return times * seconds(draw, rounds)


def _of_quality(
    quality: Quality, trainer: pl.Trainer, module: Any, rounds: int, epochs: int
) -> float:
    def look() -> None:
        with judged(trainer, module):
            quality._generated(module)
            quality._rebuilt(trainer, module)

    return epochs * seconds(look, rounds)


def main() -> None:
    """Measures every config and writes the JSON."""
    command = parser(__doc__, "root", "runs")
    command.add_argument("--steps", type=int, default=60)
    command.add_argument("--rounds", type=int, default=5)
    chosen = command.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*num_workers.*|.*logging interval.*")
    about = {"machine": machine(), "steps": chosen.steps, "rounds": chosen.rounds}
    rows = {}
    for name in CONFIGS:
        rows[name] = measure(name, chosen.root.resolve(), chosen.runs, chosen.steps, chosen.rounds)
        print(name, json.dumps(rows[name]), flush=True)
    write_json(HERE / "callbacks.json", about | {"rows": rows})


if __name__ == "__main__":
    main()
