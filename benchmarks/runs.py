"""Trains shipped configs by the command, each once, and evaluates them by the command."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from latentkit.store import write_json

CONFIGS = Path(__file__).parent.parent / "configs"


def place(runs: Path, name: str, seed: int, epochs: int | None) -> Path:
    """The folder of a training; one of other epochs than are published has its own."""
    return runs.resolve() / (f"{name}-{seed}" + (f"-{epochs}-epochs" if epochs else ""))


def fit(name: str, folder: Path, seed: int, epochs: int | None, root: Path | None = None) -> Path:
    """Runs `latentkit fit` on one thread, unless the run has ended; gives its run folder.

    Args:
        name: of a file in configs/.
        folder: where to; time.json there holds the seconds.
        seed: of everything.
        epochs: instead of the config's, if given.
        root: folder of MNIST, for the configs that read it.
    """
    notes, run = folder / "time.json", folder / "checkpoints" / name / "version_0"
    if notes.exists():
        return run
    if run.exists():
        raise SystemExit(f"{run} was interrupted: remove it, since its time is not known")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "latentkit", "fit", "--config", str(CONFIGS / f"{name}.yaml")]
    command += ["--seed_everything", str(seed)]
    command += ["--data.init_args.root", str(root)] if root else []
    command += ["--trainer.max_epochs", str(epochs)] if epochs else []
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=os.environ | threads, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    write_json(notes, {"seconds": time.perf_counter() - start, "cpu_seconds": used})
    return run


def evaluate(run: Path, data: Path | None = None) -> dict[str, Any]:
    """What `latentkit evaluate` says of a run, on its own data or on those of a YAML."""
    out = run.parent / "evaluation"
    command = [sys.executable, "-m", "latentkit", "evaluate", str(run), "--out", str(out)]
    command += ["--data", str(data)] if data else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(next(out.glob("*.json")).read_text())
    return found


def settings_of(found: dict[str, Any]) -> dict[str, Any]:
    """What the numbers of `evaluate` depend on, without this machine's paths."""
    settings = found["settings"] | {"fingerprint": found["fingerprint"]}
    return {k: v for k, v in settings.items() if not str(v).startswith("/")}
