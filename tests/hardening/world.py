"""The files that the cases start from: small models, a run, directions, data of every form."""

import csv
import os
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import latentkit
from latentkit.cli import main
from latentkit.models.autoencoder import Autoencoder
from latentkit.models.clustergan import ClusterGAN
from latentkit.models.dcgan import DCGAN
from latentkit.models.vae import VAE

SHAPE = (1, 16, 16)
DATA = {"class_path": "latentkit.data.digits.Digits", "init_args": {"size": 16}}
QUIET = (
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_model_summary", "false"),
)

DRY = ("--trainer.fast_dev_run", "true")  # one batch, and nothing is written
RUN = """
model:
  class_path: latentkit.training.vae.VAETraining
  init_args:
    model:
      class_path: latentkit.models.vae.VAE
      init_args: {shape: [1, 16, 16], latent_dim: 6, width: 4, hidden: 16}
data:
  class_path: latentkit.data.arrays.Arrays
  init_args: {path: small.npz, labels: y, batch_size: 32}
trainer: {max_epochs: 1, accelerator: cpu}
"""
OFF = ("quality", "walks", "latents", "atlases", "projector", "pictures", "hparams")
FACTORY = """
from types import SimpleNamespace
def load():
    images = lambda z: z.mean(1).sigmoid().view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    return SimpleNamespace(decode=images, encode=lambda x: x.flatten(1)[:, :3])
def breaks():
    raise KeyError("weights")
"""
IMAGES_YAML = """
class_path: latentkit.data.folder.Images
init_args: {root: pictures, size: 16, channels: 1, attributes: table.csv}
"""
MNIST_YAML = """
class_path: latentkit.data.vision.Vision
init_args: {dataset: torchvision.datasets.MNIST, root: mnist, download: false, size: 16}
"""


def build(folder: Path) -> Path:
    """Writes everything into `folder`."""
    torch.manual_seed(0)
    _models(folder)
    _arrays(folder)
    _pictures(folder)
    _mnist(folder / "mnist" / "MNIST" / "raw")
    (folder / "mine.py").write_text(FACTORY)
    (folder / "images.yaml").write_text(IMAGES_YAML)
    (folder / "mnist.yaml").write_text(MNIST_YAML)
    (folder / "run.yaml").write_text(RUN)
    (folder / "a_file").write_text("")
    here = Path.cwd()
    os.chdir(folder)
    try:
        _made_by_commands(folder)
    finally:
        os.chdir(here)
    return folder


def _models(folder: Path) -> None:
    small = {"width": 4, "hidden": 16}
    models = {
        "vae": VAE(SHAPE, latent_dim=6, **small),
        "ae": Autoencoder(SHAPE, latent_dim=6, **small),
        "dcgan": DCGAN(SHAPE, latent_dim=6, **small),
        "clustergan": ClusterGAN(SHAPE, continuous=4, classes=10, **small),
    }
    about = {"data": DATA, "input_shape": list(SHAPE), "config": "world"}
    for name, model in models.items():
        latentkit.save(model, folder / f"{name}.safetensors", about)


def _arrays(folder: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (60, 16, 16), dtype=np.uint8)
    np.savez(folder / "small.npz", x=pixels, y=np.arange(60) % 10)
    np.save(folder / "small.npy", pixels)
    np.save(folder / "latent.npy", random.normal(size=6).astype(np.float32))
    emoji = random.integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    names = np.array([f"face {i}" for i in range(40)])
    np.savez_compressed(folder / "emoji64.npz", x=emoji, group=names[np.arange(40) % 4], name=names)


def _pictures(folder: Path) -> None:
    random = np.random.default_rng(1)
    (folder / "pictures").mkdir()
    lines = [["file", "label", "size"]]
    for i in range(20):
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{i:02}.png")
        lines.append([f"{i:02}.png", "ab"[i % 2], str(i / 7)])
    Image.fromarray(pixels).save(folder / "picture.png")
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def _mnist(folder: Path) -> None:
    """Sixty random images a part in MNIST's own format."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(2)
    for part in ("train", "t10k"):
        images = random.integers(0, 256, (60, 28, 28), dtype=np.uint8)
        head = struct.pack(">4i", 0x803, 60, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = struct.pack(">2i", 0x801, 60) + bytes(i % 10 for i in range(60))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def _made_by_commands(folder: Path) -> None:
    """A run, results and directions, by the commands that users make them with."""
    off = [word for part in OFF[:-1] for word in (f"--{part}.every", "0")]
    commands = [
        ["directions", "vae.safetensors", "--count", "2", "--out", "found.safetensors"],
        ["sample", "vae.safetensors", "--count", "4", "--out", "results"],
        ["fit", "--config", "run.yaml", *QUIET, "--health.every", "32", *off],
    ]
    for argv in commands:
        code = main(argv)
        if code != 0:
            raise RuntimeError(f"{argv} ended with {code}")
    (folder / "checkpoints").rename(folder / "trained")
