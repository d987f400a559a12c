"""What the tests of a user's mistakes share: wrong files, and tables of commands."""

import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import latentkit
from latentkit.models.autoencoder import Autoencoder
from tests.cli.conftest import DATA

SHORT = {
    "VAE": "vae.safetensors",
    "AE": "ae.safetensors",
    "DCGAN": "dcgan.safetensors",
    "CLUSTERGAN": "clustergan.safetensors",
    "ENDS": "--from item:0 --to item:1",
    "WALK": "interpolate vae.safetensors --to item:1 --from",
    "ATTRIBUTE": "--method attribute",
    "ZERO_ONE": "--start label:0 --end label:1",
    "FIT": "fit --config vae.yaml",
    "GAN": "fit --config dcgan.yaml",
}

FACTORIES = """
import torch

class Halves:
    def encode(self, x):
        return x.flatten(1)[:, :3]

class Bare:
    def decode(self, z):
        return z[:, :, None, None]

def integer():
    return 3

def encoder():
    return Halves()

def decoder():
    return Bare()

def linear():
    pair = Halves()
    pair.decode = lambda z: z.mean(1).sigmoid().view(-1, 1, 1, 1).expand(-1, 1, 16, 16)
    return pair

def numb():
    pair = linear()
    decode = pair.decode
    pair.decode = lambda z: torch.from_numpy(decode(z.detach()).numpy())
    return pair

number = 3

def breaks():
    raise RuntimeError("the weights are not here")
"""

# What takes longer than these runs themselves; `LOUD` has it.
QUIET = "".join(
    f"{part}: {{every: 0}}\n" for part in ("quality", "walks", "latents", "atlases", "projector")
)
LOUD = """
model:
  class_path: latentkit.training.vae.VAETraining
  init_args:
    model:
      class_path: latentkit.models.vae.VAE
      init_args: {shape: [1, 8, 8], latent_dim: 2, width: 2, hidden: 4}
data:
  class_path: latentkit.data.digits.Digits
  init_args: {size: 8, batch_size: 512}
trainer: {max_epochs: 1, accelerator: cpu}
"""
CONFIG = LOUD.replace("trainer:", QUIET + "trainer:")


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def read_table(table):
    """Lines "command => fragment", with the words of SHORT written out."""
    pairs = [line.split(" => ") for line in table.strip().splitlines()]
    return [(" ".join(SHORT.get(w, w) for w in words.split()), text) for words, text in pairs]


def files(folder):
    """Every file with its size, compiled Python apart."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path: path.stat().st_size for path in found}


def check_mistake(typed, place, words, fragment):
    """Exit code 2, one line that holds the fragment, and not one new or changed file."""
    write_models(place)
    write_endpoints(place)
    write_data(place)
    write_configs(place)
    before = files(place)
    done = typed(*words.split())
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("latentkit: error: ")
    assert fragment in line
    assert "Traceback" not in line
    assert done.out == ""
    assert files(place) == before


def write_models(folder):
    whole = (folder / "vae.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.safetensors").touch()
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": Evil()}))
    save_file({"weight": torch.zeros(2)}, folder / "foreign.safetensors")
    (folder / "model.bin").write_bytes(b"x")
    (folder / "garbage.ckpt").write_bytes(b"not a checkpoint")
    torch.save({"state_dict": Evil()}, folder / "evil.ckpt")
    torch.save({"state_dict": {}}, folder / "other.ckpt")
    write_claims(folder)
    (folder / "no_run").mkdir()
    (folder / "factories.py").write_text(FACTORIES)
    small = Autoencoder((1, 8, 8), 2, 2, 4)
    latentkit.save(small, folder / "other_size.safetensors", {"data": DATA})
    mnist = {"dataset": "torchvision.datasets.MNIST", "root": "nowhere"}
    about = {"data": {"class_path": "latentkit.data.vision.Vision", "init_args": mnist}}
    latentkit.save(Autoencoder((1, 28, 28), 2, 2, 4), folder / "of_mnist.safetensors", about)


def write_endpoints(folder):
    (folder / "picture.png").write_bytes(b"no image")
    (folder / "bomb.png").write_bytes(png_of(60_000, 60_000))
    (folder / "broken_images").mkdir()
    (folder / "broken_images" / "a.png").write_bytes(b"no image")
    np.save(folder / "long.npy", np.zeros(7, np.float32))
    np.save(folder / "texts.npy", np.array(["a", "b"]))
    np.save(folder / "objects.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.save(folder / "ones14.npy", np.ones(14, np.float32))
    np.save(folder / "nan.npy", np.full(6, np.nan, np.float32))
    np.save(folder / "scalar.npy", np.float32(1))


def write_claims(folder):
    """Files that say of themselves what is not so."""
    described = {"class_path": "latentkit.models.vae.VAE", "init_args": {}, "weights": [["", ""]]}
    torch.save({"state_dict": {"a": 3}, "latentkit": described}, folder / "number.ckpt")
    torch.save(
        {"state_dict": "x", "latentkit": {**described, "weights": [["a", "b"]]}},
        folder / "text.ckpt",
    )
    claims = {"class_path": "latentkit.models.vae.VAE"}
    claims["init_args"] = {"shape": [1, 16, 16], "latent_dim": 10**9}
    weights = {"weight": torch.zeros(2)}
    save_file(weights, folder / "claims.safetensors", {"latentkit": json.dumps(claims)})
    claims["init_args"] = {"shape": {"a": 1}}
    save_file(weights, folder / "shapeless.safetensors", {"latentkit": json.dumps(claims)})
    save_file(weights, folder / "nested.safetensors", {"latentkit": "[" * 50_000})
    rest = {"names": [3, 4], "method": "pca", "fingerprint": "0"}
    told = {"latentkit.directions": json.dumps(rest)}
    save_file({"vectors": torch.eye(2)}, folder / "nameless.safetensors", told)
    told = {"latentkit.directions": json.dumps({**rest, "names": ["a", "b"]})}
    save_file({"vectors": torch.full((2, 6), torch.nan)}, folder / "nan.safetensors", told)


def png_of(width, height):
    """A PNG that claims a size, with a right checksum, and holds next to nothing."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


def write_data(folder):
    head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, "
    (folder / "cut_header.npy").write_bytes(head + b" " * 200)
    claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 16, 16)}"
    claim = b"\x93NUMPY\x01\x00\x76\x00" + claim.ljust(117) + b"\n"
    (folder / "claims.npy").write_bytes(claim + b"0" * 100)
    with zipfile.ZipFile(folder / "claims.npz", "w") as file:
        file.writestr("x.npy", claim + b"0" * 100)
    (folder / "corrupt.npz").write_bytes(b"PK no zip")
    (folder / "truncated.npz").write_bytes((folder / "small.npz").read_bytes()[:500])
    with zipfile.ZipFile(folder / "hollow.npz", "w"):
        pass
    np.savez(folder / "no_images.npz", z=np.zeros((4, 2)))
    np.savez(folder / "objects.npz", x=np.array([Evil()], dtype=object))
    np.savez(folder / "unlabelled.npz", x=np.zeros((40, 16, 16), np.uint8))
    (folder / "empty_folder").mkdir()
    (folder / "a_file").write_text("")
    digits = "class_path: latentkit.data.digits.Digits\ninit_args: "
    contents = {
        "unknown_class": "class_path: latentkit.data.digits.Figures",
        "no_class": "size: 3",
        "broken": "class_path: [",
        "not_data": "class_path: builtins.dict",
        "number_class": "class_path: 3",
        "wrong_argument": digits + "{sizes: 8}",
        "size_0": digits + "{size: 0}",
        "size_text": digits + "{size: big}",
        "mnist5k": "class_path: latentkit.data.mnist5k.MNIST5k",
        "other_shape": digits + "{size: 8}",
        "calls": "class_path: numpy.save\ninit_args: {file: unpickled, arr: [1]}",
        "list_arguments": digits + "[8]",
        "deep": "class_path: " + "[" * 3000,
        "bomb": bomb(),
        "itself": "data: &a [*a]",
    }
    for name, text in contents.items():
        (folder / f"{name}.yaml").write_text(text + "\n")


def bomb():
    """Nine to the power of twelve values in twelve lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]")
    return "\n".join(lines)


def write_configs(folder):
    gan = CONFIG.replace("training.vae.VAETraining", "training.gan.GANTraining")
    contents = {
        "vae": CONFIG,
        "dcgan": gan.replace("models.vae.VAE", "models.dcgan.DCGAN"),
        "typo": CONFIG.replace("latent_dim", "latent_dims"),
        "top_typo": CONFIG.replace("max_epochs", "max_epoch"),
        "wrong_type": CONFIG.replace("latent_dim: 2", "latent_dim: two"),
        "wrong_class": CONFIG.replace("vae.VAETraining", "vae.VAETrainer"),
        "broken_fit": "model: [",
        "number_fit": "3",
        "class_3": CONFIG.replace("latentkit.models.vae.VAE", "3"),
        "arguments_3": CONFIG.replace("{size: 8, batch_size: 512}", "3"),
        "pictures_3": CONFIG.rstrip() + "\npictures: 3\n",
        "key_none": CONFIG.replace("latent_dim", "null"),
        "bomb_fit": CONFIG + bomb(),
        "huge": CONFIG.replace("latent_dim: 2", "latent_dim: 1000000000000"),
        "overflow": CONFIG.replace("latent_dim: 2", f"latent_dim: {10**30}"),
    }
    (folder / "latin.yaml").write_bytes(b"model: \xe9")
    for name, text in contents.items():
        (folder / f"{name}.yaml").write_text(text)
