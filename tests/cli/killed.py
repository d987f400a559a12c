"""A run of the command that is killed at some moment, and what it leaves behind."""

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tests.cli.mistakes import CONFIG

EPOCHS, BATCHES = 8, 18  # of 64 images
WORDS = ("--trainer.max_epochs", str(EPOCHS), "--trainer.log_every_n_steps", "2")
WARMUP = 60  # iterations of 144, so that it ends within an epoch
LONGEST = 0.05  # seconds from the wanted iteration to the kill: a few iterations, writes and all
OFTEN = ("--checkpoints.minutes", "0.0005")  # nearly after every batch: kills hit writes, too


def write_configs(folder):
    """Writes vae.yaml, clustergan.yaml and, with a warm-up, warming.yaml."""
    config = CONFIG.replace("batch_size: 512", "batch_size: 64").rstrip()[:-1]
    config += ", enable_progress_bar: false, enable_model_summary: false}\n"
    gan = config.replace("training.vae.VAE", "training.clustergan.ClusterGAN")
    gan = gan.replace("models.vae.VAE", "models.clustergan.ClusterGAN")
    gan = gan.replace("latent_dim: 2, ", "")
    warm = f"    consistency: 1.0\n    warmup: {WARMUP}\n    model:"
    (folder / "vae.yaml").write_text(config)
    (folder / "clustergan.yaml").write_text(gan)
    (folder / "warming.yaml").write_text(gan.replace("    model:", warm))


def _main(folder, words, output, environ):
    os.chdir(folder)
    os.environ.update(environ)
    sys.stdout = sys.stderr = open(output, "w")  # noqa: SIM115, PTH123
    torch.set_num_threads(1)
    from latentkit.cli import main

    code = main(list(words))
    sys.stdout.flush()
    os._exit(code)


def start(folder, *words, output=os.devnull, environ=None):
    """Starts the command in a process that has its imports done already.

    Args:
        folder: to work in.
        words: of the command.
        output: file for what it prints.
        environ: variables to set.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["latentkit.cli.training.lightning", "torch.utils.tensorboard"])
    process = context.Process(target=_main, args=(str(folder), words, output, environ or {}))
    process.start()
    return process


def finish(folder, *words):
    """Runs the command to its end."""
    process = start(folder, *words)
    process.join(600)
    assert process.exitcode == 0


def kill(folder, name, iteration, seconds, *words):
    """Starts the command and kills it so long after a checkpoint of `iteration` or later.

    Returns:
        The files that were left, and whether it was killed before its end.
    """
    run, process = folder / "checkpoints" / name / "version_0", start(folder, *words)
    while process.is_alive() and reached(run) < iteration:
        time.sleep(0.002)
    process.join(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return sorted(p.name for p in run.iterdir()), process.exitcode == -signal.SIGKILL


def reached(run):
    """The iteration of the newest checkpoint; -1 where there is none yet."""
    for path in (run / "last.ckpt", run / "previous.ckpt"):
        try:
            return int(torch.load(path, weights_only=True)["state_dict"]["iteration"])
        except FileNotFoundError:  # for a moment between two renamings
            continue
    return -1


def scalars(run):
    """Every logged value: {(name, step): set of values}."""
    found = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField("tensor") and value.tensor.float_val:
                    key = (value.tag, event.step)
                    found.setdefault(key, set()).add(value.tensor.float_val[0])
    return found


def differences(a, b, path=""):
    """Where two checkpoints differ, at any depth."""
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        keys = {*a, *b}
        return [d for k in keys for d in differences(a.get(k), b.get(k), f"{path}/{k}")]
    if isinstance(a, list | tuple) and len(a) == len(b):
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, f"{path}/{i}")
        ]
    return [] if a == b else [f"{path}: {a} and {b}"]


COMPARED = ("state_dict", "optimizer_states", "epoch", "global_step", "latentkit", "callbacks")


def checkpoint(run):
    content = torch.load(run / "last.ckpt", weights_only=True)
    return {key: content[key] for key in COMPARED}


def trial(folder: Path, whole: Path, name: str, part: int, parts: int) -> tuple[str, int]:
    """Kills a run at a random moment, goes on, and compares with an uninterrupted run.

    Args:
        folder: of the run.
        whole: folder of the uninterrupted run.
        name: of the config.
        part: of equal parts of the run, the one that the moment lies in.
        parts: how many.

    Returns:
        What differs, empty if nothing does; and the epoch, from 0, of the newest checkpoint that
        was left, -1 where the run had ended.
    """
    folder.mkdir(parents=True)
    write_configs(folder)
    chance = random.Random(f"{name} {part} {parts}")
    inside = 0.1 + 0.7 * chance.random()  # not at the edges: a kill comes some batches late
    iteration = int((part + inside) / parts * EPOCHS * BATCHES)
    words = ("fit", "--config", f"{name}.yaml", *WORDS, *OFTEN)
    left, killed = kill(folder, name, iteration, chance.uniform(0, LONGEST), *words)
    run = folder / "checkpoints" / name / "version_0"
    last = reached(run)
    finish(folder, *words, "--ckpt_path", "last")
    wrong = compared(run, whole)
    text = f"wanted {iteration}, killed at {last}, left {left}: {wrong}" if wrong else ""
    return text, last // BATCHES if killed else -1


def compared(run, whole):
    """What differs between two runs: weights, optimizers, counters, model file, logged values."""
    wrong = differences(checkpoint(whole), checkpoint(run))
    model = "model.safetensors"
    wrong += [] if (run / model).read_bytes() == (whole / model).read_bytes() else [model]
    logged, wanted = scalars(run), scalars(whole)
    wrong += [f"{k}: {logged.get(k)} and {v}" for k, v in wanted.items() if logged.get(k) != v]
    return wrong
