"""Two processes on one machine (gloo), through the command."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import latentkit
from latentkit.cli import main
from latentkit.cli.training.checks import _count
from latentkit.data.arrays import Arrays
from latentkit.data.digits import Digits
from tests.cli.conftest import result
from tests.cli.killed import start
from tests.cli.mistakes import CONFIG

REPOSITORY = Path(__file__).parents[2]
IMAGES = 153  # 15 to test and 15 to validate: two processes share neither equally
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


class Dump(pl.Callback):
    """Keeps what every process ends with."""

    def on_train_end(self, trainer, pl_module):
        scores = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        kept = {"state": pl_module.state_dict(), "scores": scores}
        torch.save(kept, f"rank{trainer.global_rank}.pt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Configs of a VAE and a ClusterGAN without batch norm on few images."""
    folder = tmp_path_factory.mktemp("processes")
    images, labels = Digits(size=8).split("train")[:IMAGES]
    np.savez(folder / "few.npz", x=(images * 255).byte().numpy(), y=labels.numpy())
    settings = "{path: few.npz, labels: y, batch_size: 8}"
    data = f"class_path: latentkit.data.arrays.Arrays\n  init_args: {settings}"
    config = CONFIG.replace(
        "class_path: latentkit.data.digits.Digits\n  init_args: {size: 8, batch_size: 512}", data
    )
    config = config.replace("max_epochs: 1", "max_epochs: 2")
    config = config.rstrip()[:-1] + ", callbacks: [{class_path: tests.cli.test_processes.Dump}]}\n"
    gan = config.replace("training.vae.VAE", "training.clustergan.ClusterGAN")
    gan = gan.replace("models.vae.VAE", "models.clustergan.ClusterGAN")
    (folder / "vae.yaml").write_text(config)
    (folder / "clustergan.yaml").write_text(gan.replace("latent_dim: 2, ", ""))
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """Runs the command in two processes, as a launcher of somebody else's would start them.

    They have their imports done already, which take longer than the work.
    """

    def run(*words):
        with socket.create_server(("localhost", 0)) as free:
            shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        said = [folder / f"said{rank}" for rank in (0, 1)]
        processes = [
            start(folder, *words, output=path, environ={**shared, "LOCAL_RANK": str(rank)})
            for rank, path in enumerate(said)
        ]
        for process in processes:
            process.join(300)
        printed = "".join(path.read_text() for path in said)
        assert [process.exitcode for process in processes] == [0, 0], printed
        return printed

    return run


@pytest.fixture(scope="module")
def typed_alone(folder):
    """Runs the command as it is typed: it starts the second process by itself."""

    def run(*words):
        threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "latentkit", *words]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **threads},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def ranks(folder):
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and set(a) == set(b)


@pytest.fixture(scope="module")
def vae(folder, typed_alone):
    """What the two processes end with after training the VAE, and what was printed."""
    printed = typed_alone("fit", "--config", "vae.yaml", *TWO)
    return ranks(folder), printed


def test_two_processes_train_one_vae(folder, vae):
    (first, second), printed = vae
    assert same(first["state"], second["state"])
    assert same(first["scores"], second["scores"])
    assert int(first["state"]["iteration"]) == 2 * ((IMAGES - 30) // 16)
    assert "arn" not in printed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_they_learn_what_one_process_learns_with_the_whole_batch(folder, vae, monkeypatch):
    (two, _), _ = vae
    monkeypatch.chdir(folder)
    assert main(["fit", "--config", "vae.yaml", "--data.init_args.batch_size", "16"]) == 0
    one = torch.load(folder / "rank0.pt")
    for key, value in one["state"].items():
        torch.testing.assert_close(two["state"][key], value, rtol=1e-4, atol=1e-5)
    for key, value in one["scores"].items():
        torch.testing.assert_close(two["scores"][key], value, rtol=0.05, atol=0.05)


def test_their_encodings_join_into_one_file(folder, run, vae):
    run("predict", "--config", "vae.yaml", "--ckpt_path", "checkpoints/vae/version_0", *TWO)
    latents = np.load(folder / "checkpoints/vae/version_0/predictions.npy")
    images, _ = Arrays(str(folder / "few.npz"), labels="y").split("test")[:]
    assert len(images) % 2 == 1
    with torch.no_grad():
        wanted = latentkit.load(folder / "checkpoints/vae/version_0/last.ckpt").encode(images)
    np.testing.assert_allclose(latents, wanted.numpy(), atol=1e-6)
    assert not list(folder.rglob("*shard*"))


def test_two_processes_train_one_clustergan(folder, run):
    run("fit", "--config", "clustergan.yaml", *TWO)
    first, second = ranks(folder)
    assert same(first["state"], second["state"])
    assert any(k.startswith("ema.") and "running_var" in k for k in first["state"])
    assert same(first["scores"], second["scores"])
    assert result(folder / "checkpoints/clustergan/version_0/metrics.json")["val/acc"] > 0


def test_the_first_process_alone_rings_an_alarm(folder, run):
    digits = "class_path: latentkit.data.digits.Digits\n  init_args: {size: 8, batch_size: 512}"
    text = (folder / "vae.yaml").read_text()
    own = text[text.index("class_path: latentkit.data") : text.index("\ntrainer")]
    (folder / "collapsing.yaml").write_text(text.replace(own, digits))
    words = ("--model.init_args.beta", "1e6", "--health.grace", "0", "--health.patience", "1")
    printed = run("fit", "--config", "collapsing.yaml", *words, *TWO)
    content = result(folder / "checkpoints/collapsing/version_0/health.json")
    assert content["ringing"] == ["posterior_collapse"]
    assert printed.count("posterior collapse") == 1


@pytest.mark.parametrize(
    ("devices", "count"),
    [("auto", 1), (-1, 1), (1, 1), (2, 2), ("2", 2), ("0,", 1), ("0,1", 2), ([0], 1), ([0, 1], 2)],
)
def test_devices_are_counted_in_every_form(devices, count):
    assert _count(str(devices), "cpu") == count
