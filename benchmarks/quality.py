"""Trains MNIST configs with several seeds, by the command, and measures each on test images.

python benchmarks/quality.py NAME NAME ...      (names of files in configs/)

One thread a run. Runs stay in --runs and are not repeated. Labels choose nothing: the best
validation error or bound decides for autoencoder and VAE, of a GAN the last model is taken.
Writes benchmarks/quality.json, a row a run, each with the machine it was measured on and with the
floor: real training images judged by the classifier that judged its samples.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from generators import judge, samples, train_classifier
from machine import machine
from options import parser
from runs import evaluate, fit, place, settings_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import latentkit
from latentkit.data.vision import Vision
from latentkit.store import write_json

HERE = Path(__file__).parent
PASSED = 0.7  # ACC whose time is noted


def on_data(run: Path, root: Path) -> Path:
    """A data YAML beside a run: its own data, read from root."""
    data = run.parent / "data.yaml"
    chosen = yaml.safe_load((run / "config.yaml").read_text())["data"]
    chosen["init_args"]["root"] = str(root)
    data.write_text(yaml.safe_dump(chosen))
    return data


def seconds_to_accuracy(run: Path) -> float | None:
    """Wall-clock seconds from the first step to the first validation with that ACC."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    if "val/acc" not in events.Tags()["scalars"]:
        return None
    passed = [e.wall_time for e in events.Scalars("val/acc") if e.value >= PASSED]
    return passed[0] - events.FirstEventTimestamp() if passed else None


def measure(name: str, seed: int, chosen: argparse.Namespace, network: torch.nn.Module) -> dict:
    """The row of one run."""
    root = chosen.root.resolve()
    folder = place(chosen.runs, name, seed, chosen.epochs)
    run = fit(name, folder, seed, chosen.epochs, root)
    model = latentkit.load(run)
    found = evaluate(run, on_data(run, root))
    row = {"config": name, "seed": seed, "epochs": chosen.epochs} | json.loads(
        (run / "metrics.json").read_text()
    )
    row |= json.loads((run.parents[2] / "time.json").read_text())
    row |= {"test": found["numbers"], "test_settings": settings_of(found)}
    if hasattr(model, "discriminate"):
        images, code = samples(model)
        test, labels = Vision(root=root).split("test")[:]
        row["generated"] = judge(network, images, test, code, labels)
        row[f"seconds_to_acc_{PASSED}"] = seconds_to_accuracy(run)
    return row


def main() -> None:
    """Trains and measures what is not in the JSON yet."""
    command = parser(__doc__, "root", "runs", "seeds", "epochs")
    command.add_argument("configs", nargs="+")
    chosen = command.parse_args()
    torch.set_num_threads(1)
    root, file = chosen.root.resolve(), HERE / "quality.json"
    data = Vision(root=root)
    network = train_classifier(data)
    test = data.split("test")[:][0]
    about = {"floor": judge(network, data.split("train")[:10_000][0], test), "machine": machine()}
    for name in chosen.configs:
        for seed in chosen.seeds:
            wanted = (name, seed, chosen.epochs)
            if not any((r["config"], r["seed"], r["epochs"]) == wanted for r in _rows(file)):
                row = measure(name, seed, chosen, network) | about
                print(json.dumps(row), flush=True)
                rows = sorted([*_rows(file), row], key=lambda r: (r["config"], r["seed"]))
                write_json(file, {"rows": rows})


def _rows(file: Path) -> list[dict]:
    """Read anew each time, so that two processes may share the work."""
    return json.loads(file.read_text())["rows"] if file.exists() else []


if __name__ == "__main__":
    main()
