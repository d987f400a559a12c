"""DirBench in full: on the oracle, and on four kinds of models of scenes, three seeds each.

python benchmarks/directions.py    (the DCGANs: python benchmarks/directions.py dcgan --steps 5000)

Trains the Shapes configs (some minutes a run on one thread; runs stay in --runs and are not
repeated) and measures them by `latentkit bench directions`, the seeds of a kind together, so that
one judges the other. Writes benchmarks/directions.json, rounded to four digits.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from machine import machine
from options import parser
from runs import fit, place

from latentkit.store import write_json

HERE = Path(__file__).parent
EPOCHS = {"autoencoder": 15, "vae": 15, "dcgan": 25, "clustergan": 10}  # what two cores can carry


def bench(out: Path, arguments: list[str]) -> dict[str, Any]:
    """What `latentkit bench directions` measures."""
    command = [sys.executable, "-m", "latentkit", "bench", "directions", *arguments]
    subprocess.run([*command, "--out", str(out)], check=True)
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def models(kind: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures the seeds of a kind."""
    name, folder = f"{kind}_shapes", chosen.runs.resolve()
    places = {s: place(folder, name, s, chosen.epochs) for s in chosen.seeds}
    epochs = chosen.epochs or EPOCHS[kind]
    runs = {s: fit(name, there, s, epochs) for s, there in places.items()}
    arguments = ["--images", str(chosen.images), "--steps", str(chosen.steps), "--model"]
    found = bench(folder / f"bench-{kind}", [*arguments, *map(str, runs.values())])
    return {f"{kind} {seed}": of_run(found, str(run)) for seed, run in runs.items()}


def of_run(found: dict[str, Any], run: str) -> dict[str, Any]:
    """The part of a result that is about one run, under names without its path."""
    numbers = found["numbers"]
    parts = {
        key: {t.removeprefix(run).strip(): v for t, v in numbers[key].items() if t.startswith(run)}
        for key in ("tables", "completeness")
    }
    return parts | {"fingerprint": found["settings"]["fingerprints"][run]}


def rounded(value: Any) -> Any:
    """The same content, numbers with four digits."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    """Measures everything, or the parts that are named, and writes the JSON."""
    command = parser(__doc__, "runs", "seeds", "epochs")
    command.add_argument("parts", nargs="*", help=f"oracle, {', '.join(EPOCHS)}; all if none")
    command.add_argument("--images", type=int, default=40, help="of each model; 300 of the oracle")
    command.add_argument("--steps", type=int, default=10_000, help="of the training of an encoder")
    chosen = command.parse_args()
    file = HERE / "directions.json"
    for part in chosen.parts or ["oracle", *EPOCHS]:
        if part == "oracle":
            steps = ["--images", "300", "--steps", str(chosen.steps)]
            found = bench(chosen.runs.resolve() / "bench-oracle", steps)
            about, content = {"images": 300, "steps": chosen.steps}, found["numbers"]
        else:
            about = {"images": chosen.images, "steps": chosen.steps}
            about["epochs"] = chosen.epochs or EPOCHS[part]
            content = models(part, chosen)
        # Read anew each time, so that two processes may share the work.
        kept = json.loads(file.read_text()) if file.exists() else {}
        kept[part] = about | {"machine": machine(), "found": rounded(content)}
        write_json(file, kept)


if __name__ == "__main__":
    main()
