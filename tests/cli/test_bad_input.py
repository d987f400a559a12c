"""A user's mistakes: exit code 2, one sentence that helps, no traceback, nothing left behind."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import latentkit
from latentkit.models.autoencoder import Autoencoder
from tests.cli.conftest import DATA, SHAPE

VAE, AE, DCGAN, CLUSTERGAN = (
    f"{name}.safetensors" for name in ("vae", "ae", "dcgan", "clustergan")
)
ENDS = ("--from", "item:0", "--to", "item:1")
WALK = ("interpolate", VAE, "--to", "item:1", "--from")
FIT = ("fit", "--config", "vae.yaml")
GAN = ("fit", "--config", "dcgan.yaml")

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

number = 3

def breaks():
    raise RuntimeError("the weights are not here")
"""

CONFIG = """
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


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("outputs_pwned"),)


def write_inputs(folder):
    """Everything the cases name, good and bad."""
    whole = (folder / VAE).read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.safetensors").touch()
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": Evil()}))
    save_file({"weight": torch.zeros(2)}, folder / "foreign.safetensors")
    (folder / "model.bin").write_bytes(b"x")
    (folder / "garbage.ckpt").write_bytes(b"not a checkpoint")
    torch.save({"state_dict": Evil()}, folder / "evil.ckpt")
    torch.save({"state_dict": {}}, folder / "other.ckpt")
    (folder / "no_run").mkdir()
    (folder / "factories.py").write_text(FACTORIES)
    (folder / "picture.png").write_bytes(b"no image")
    np.save(folder / "long.npy", np.zeros(7, np.float32))
    np.save(folder / "texts.npy", np.array(["a", "b"]))
    np.save(folder / "objects.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.save(folder / "nan.npy", np.full(6, np.nan, np.float32))
    np.save(folder / "scalar.npy", np.float32(1))
    (folder / "corrupt.npz").write_bytes(b"PK no zip")
    with zipfile.ZipFile(folder / "hollow.npz", "w"):
        pass
    np.savez(folder / "no_images.npz", z=np.zeros((4, 2)))
    np.savez(folder / "objects.npz", x=np.array([Evil()], dtype=object))
    np.savez(folder / "tall.npz", x=np.zeros((20, 8, 20), np.uint8))
    np.savez(folder / "unlabelled.npz", x=np.zeros((40, 16, 16), np.uint8))
    (folder / "empty_folder").mkdir()
    (folder / "unknown_class.yaml").write_text("class_path: latentkit.data.digits.Figures\n")
    (folder / "no_class.yaml").write_text("size: 3\n")
    (folder / "broken.yaml").write_text("class_path: [\n")
    (folder / "wrong_argument.yaml").write_text(
        "class_path: latentkit.data.digits.Digits\ninit_args: {sizes: 8}\n"
    )
    (folder / "not_data.yaml").write_text("class_path: builtins.dict\n")
    (folder / "other_shape.yaml").write_text(
        "class_path: latentkit.data.digits.Digits\ninit_args: {size: 8}\n"
    )
    (folder / "a_file").write_text("")
    latentkit.save(Autoencoder((1, 8, 8), 2, 2, 4), folder / "other_size.safetensors", {"data": DATA})
    write_configs(folder)


def write_configs(folder):
    (folder / "vae.yaml").write_text(CONFIG)
    gan = CONFIG.replace("training.vae.VAETraining", "training.gan.GANTraining")
    (folder / "dcgan.yaml").write_text(gan.replace("models.vae.VAE", "models.dcgan.DCGAN"))
    (folder / "typo.yaml").write_text(CONFIG.replace("latent_dim", "latent_dims"))
    (folder / "top_typo.yaml").write_text(CONFIG.replace("max_epochs", "max_epoch"))
    (folder / "wrong_type.yaml").write_text(CONFIG.replace("latent_dim: 2", "latent_dim: two"))
    (folder / "wrong_class.yaml").write_text(CONFIG.replace("vae.VAETraining", "vae.VAETrainer"))
    (folder / "broken_fit.yaml").write_text("model: [\n")


CASES = [
    ("unknown command", ["train", VAE], "xxx"),
    ("unknown option", ["sample", VAE, "--colour", "red"], "xxx"),
    ("abbreviated option", ["interpolate", VAE, *ENDS, "--step", "3"], "xxx"),
    ("missing model", ["sample"], "xxx"),
    ("missing --from", ["interpolate", VAE, "--to", "item:1"], "xxx"),
    ("two models", ["sample", VAE, AE], "xxx"),
    ("model file missing", ["sample", "none.safetensors"], "xxx"),
    ("model file truncated", ["sample", "truncated.safetensors"], "xxx"),
    ("model file empty", ["sample", "empty.safetensors"], "xxx"),
    ("pickle in disguise", ["sample", "pickle.safetensors"], "xxx"),
    ("foreign safetensors", ["sample", "foreign.safetensors"], "xxx"),
    ("unknown ending", ["sample", "model.bin"], "xxx"),
    ("garbage checkpoint", ["sample", "garbage.ckpt"], "xxx"),
    ("malicious checkpoint", ["sample", "evil.ckpt"], "xxx"),
    ("foreign checkpoint", ["sample", "other.ckpt"], "xxx"),
    ("run folder without model", ["sample", "no_run"], "xxx"),
    ("factory module missing", ["sample", "no_such_module:make"], "xxx"),
    ("factory attribute missing", ["sample", "factories:make"], "xxx"),
    ("factory of an int", ["sample", "factories:integer"], "xxx"),
    ("factory not callable", ["sample", "factories:number"], "xxx"),
    ("factory without name", ["sample", "factories:"], "xxx"),
    ("no encode", ["reconstruct", DCGAN], "xxx"),
    ("no prior", ["sample", AE], "xxx"),
    ("no decode", ["interpolate", "factories:encoder", *ENDS], "xxx"),
    ("no prior for matched", ["interpolate", AE, *ENDS, "--method", "matched"], "xxx"),
    ("unknown method", ["interpolate", VAE, *ENDS, "--method", "spline"], "xxx"),
    ("steps 1", ["interpolate", VAE, *ENDS, "--steps", "1"], "xxx"),
    ("steps abc", ["interpolate", VAE, *ENDS, "--steps", "abc"], "xxx"),
    ("steps 2.5", ["interpolate", VAE, *ENDS, "--steps", "2.5"], "xxx"),
    ("count 0", ["sample", VAE, "--count", "0"], "xxx"),
    ("columns 0", ["sample", VAE, "--columns", "0"], "xxx"),
    ("seed text", ["sample", VAE, "--seed", "x"], "xxx"),
    ("seed negative", ["cluster", VAE, "--seed", "-1"], "xxx"),
    ("endpoint seed:x", [*WALK, "seed:x"], "xxx"),
    ("endpoint seed:-1", [*WALK, "seed:-1"], "xxx"),
    ("endpoint seed too large", [*WALK, "seed:99999999999999999999999"], "xxx"),
    ("endpoint item:99999", [*WALK, "item:99999"], "xxx"),
    ("endpoint item:-1", [*WALK, "item:-1"], "xxx"),
    ("endpoint cluster:99", [*WALK, "cluster:99"], "xxx"),
    ("endpoint cluster:99 own", ["interpolate", CLUSTERGAN, "--from", "cluster:99", "--to", "item:0"], "xxx"),
    ("endpoint nonsense", [*WALK, "nonsense"], "xxx"),
    ("endpoint is no image", [*WALK, "picture.png"], "xxx"),
    ("endpoint of wrong size", [*WALK, "long.npy"], "xxx"),
    ("endpoint of texts", [*WALK, "texts.npy"], "xxx"),
    ("endpoint of objects", [*WALK, "objects.npy"], "xxx"),
    ("endpoint of NaN", [*WALK, "nan.npy"], "xxx"),
    ("endpoint scalar", [*WALK, "scalar.npy"], "xxx"),
    ("endpoint item of a GAN", ["interpolate", DCGAN, *ENDS], "xxx"),
    ("through nonsense", ["interpolate", VAE, *ENDS, "--through", "nonsense"], "xxx"),
    ("data missing", ["encode", VAE, "--data", "none.npz"], "xxx"),
    ("data corrupt", ["encode", VAE, "--data", "corrupt.npz"], "xxx"),
    ("data hollow", ["encode", VAE, "--data", "hollow.npz"], "xxx"),
    ("data without images", ["encode", VAE, "--data", "no_images.npz"], "xxx"),
    ("data of objects", ["encode", VAE, "--data", "objects.npz"], "xxx"),
    ("data folder empty", ["encode", VAE, "--data", "empty_folder"], "xxx"),
    ("data of unknown class", ["encode", VAE, "--data", "unknown_class.yaml"], "xxx"),
    ("data without class", ["encode", VAE, "--data", "no_class.yaml"], "xxx"),
    ("data YAML broken", ["encode", VAE, "--data", "broken.yaml"], "xxx"),
    ("data argument unknown", ["encode", VAE, "--data", "wrong_argument.yaml"], "xxx"),
    ("data of no data class", ["encode", VAE, "--data", "not_data.yaml"], "xxx"),
    ("data of another shape", ["encode", VAE, "--data", "other_shape.yaml"], "xxx"),
    ("data is a text file", ["encode", VAE, "--data", "a_file"], "xxx"),
    ("data is a picture", ["encode", VAE, "--data", "picture.png"], "xxx"),
    ("model's data of another shape", ["encode", "other_size.safetensors"], "xxx"),
    ("model without data", ["encode", "homeless.safetensors"], "xxx"),
    ("foreign without data", ["encode", "factories:encoder"], "xxx"),
    ("unknown split", ["encode", VAE, "--split", "all"], "xxx"),
    ("limit 0", ["encode", VAE, "--limit", "0"], "xxx"),
    ("limit negative", ["encode", VAE, "--limit", "-5"], "xxx"),
    ("unknown layer to mix", ["mix", VAE, "--layers", "decoder.stage.0"], "xxx"),
    ("styles without a style decoder", ["mix", VAE, "--layers", "coarse"], "xxx"),
    ("two layers to mix", ["mix", VAE, "--layers", "decoder.stem", "decoder.stages"], "xxx"),
    ("encoder layer to mix", ["mix", VAE, "--layers", "encoder.stages.0"], "xxx"),
    ("region of no space", ["mix", VAE, "--layers", "decoder.stem.0", "--region", "left"], "xxx"),
    ("unknown region", ["mix", VAE, "--region", "middle"], "xxx"),
    ("rows 0", ["mix", VAE, "--rows", "0"], "xxx"),
    ("mix without encode or prior", ["mix", "factories:decoder"], "xxx"),
    ("unknown layer to explain", ["explain", VAE, "--layer", "stages.9"], "xxx"),
    ("unknown layer for a score", ["explain", VAE, "--score", "unit:0", "--layer", "stages.9"], "xxx"),
    ("unit:999", ["explain", VAE, "--score", "unit:999"], "xxx"),
    ("score nonsense", ["explain", VAE, "--score", "nonsense"], "xxx"),
    ("score unit:x", ["explain", VAE, "--score", "unit:x"], "xxx"),
    ("score unit:", ["explain", VAE, "--score", "unit:"], "xxx"),
    ("real without discriminator", ["explain", VAE, "--score", "real"], "xxx"),
    ("cluster score for a VAE", ["explain", VAE, "--score", "cluster:1"], "xxx"),
    ("cluster:99 score", ["explain", CLUSTERGAN, "--score", "cluster:99"], "xxx"),
    ("unit for a GAN", ["explain", DCGAN, "--score", "unit:1"], "xxx"),
    ("explain step 0", ["explain", VAE, "--step", "0"], "xxx"),
    ("explain step nan", ["explain", VAE, "--step", "nan"], "xxx"),
    ("explain images 0", ["explain", VAE, "--images", "0"], "xxx"),
    ("directions file missing", ["explain", VAE, "--directions", "none.safetensors"], "xxx"),
    ("directions file is a model", ["explain", VAE, "--directions", AE], "xxx"),
    ("directions and score", ["explain", VAE, "--directions", AE, "--score", "unit:0"], "xxx"),
    ("attribute without --start", ["directions", VAE, "--method", "attribute", "--end", "label:1"], "xxx"),
    ("start without attribute", ["directions", VAE, "--start", "label:1"], "xxx"),
    ("attribute label:77", ["directions", VAE, "--method", "attribute", "--start", "label:77", "--end", "label:1"], "xxx"),
    ("attribute label:x", ["directions", VAE, "--method", "attribute", "--start", "label:x", "--end", "label:1"], "xxx"),
    ("attribute of one group", ["directions", VAE, "--method", "attribute", "--start", "label:1", "--end", "label:1"], "xxx"),
    ("group folder empty", ["directions", VAE, "--method", "attribute", "--start", "empty_folder", "--end", "label:1"], "xxx"),
    ("group is nothing", ["directions", VAE, "--method", "attribute", "--start", "nonsense", "--end", "label:1"], "xxx"),
    ("attribute of a GAN", ["directions", DCGAN, "--method", "attribute", "--start", "label:1", "--end", "label:2"], "xxx"),
    ("too many directions", ["directions", VAE, "--count", "99"], "xxx"),
    ("too many axes", ["directions", VAE, "--count", "99", "--method", "axes"], "xxx"),
    ("pca of a GAN", ["directions", DCGAN], "xxx"),
    ("directions limit 1", ["directions", VAE, "--limit", "1"], "xxx"),
    ("more clusters than images", ["cluster", VAE, "--data", "small.npz", "--clusters", "50"], "xxx"),
    ("clusters 0", ["cluster", VAE, "--clusters", "0"], "xxx"),
    ("clusters negative", ["cluster", VAE, "--clusters", "-3"], "xxx"),
    ("too few images to draw", ["cluster", VAE, "--data", "small.npz", "--clusters", "2"], "xxx"),
    ("encoder clusters of a VAE", ["cluster", VAE, "--method", "encoder"], "xxx"),
    ("augment without labels", ["augment", VAE, "--data", "unlabelled.npz"], "xxx"),
    ("augment one image per class", ["augment", VAE, "--limit", "1"], "xxx"),
    ("augment per class 0", ["augment", VAE, "--per-class", "0"], "xxx"),
    ("nothing to evaluate", ["evaluate", "factories:decoder", "--data", "small.npz"], "xxx"),
    ("out below a file", ["sample", VAE, "--out", "a_file/deep"], "xxx"),
    ("out is a file", ["sample", VAE, "--out", "a_file"], "xxx"),
    ("out of wrong ending", ["sample", VAE, "--out", "sheet.jpg"], "xxx"),
    ("out of wrong ending for directions", ["directions", VAE, "--out", "found.npz"], "xxx"),
    ("export to wrong ending", ["export", VAE, "--out", "model.pt"], "xxx"),
    ("report to wrong ending", ["report", "empty_folder", "--out", "page.pdf"], "xxx"),
    ("device nonsense", ["sample", VAE, "--device", "abacus"], "xxx"),
    ("report on an empty folder", ["report", "empty_folder"], "xxx"),
    ("report on nothing", ["report", "nowhere"], "xxx"),
    ("export of nothing", ["export", "nowhere"], "xxx"),
    ("export of an empty folder", ["export", "no_run"], "xxx"),
    ("export of a foreign model", ["export", "factories:encoder"], "xxx"),
    ("fit without config", ["fit"], "xxx"),
    ("fit config missing", ["fit", "--config", "none.yaml"], "xxx"),
    ("fit config missing, with =", ["fit", "--config=none.yaml"], "xxx"),
    ("fit config is a folder", ["fit", "--config", "no_run"], "xxx"),
    ("fit config broken", ["fit", "--config", "broken_fit.yaml"], "xxx"),
    ("fit key unknown", ["fit", "--config", "typo.yaml"], "xxx"),
    ("fit trainer key unknown", ["fit", "--config", "top_typo.yaml"], "xxx"),
    ("fit type wrong", ["fit", "--config", "wrong_type.yaml"], "xxx"),
    ("fit class unknown", ["fit", "--config", "wrong_class.yaml"], "xxx"),
    ("fit abbreviated", [*FIT, "--trainer.max_epoch", "3"], "xxx"),
    ("fit option unknown", [*FIT, "--model.init_args.colour", "3"], "xxx"),
    ("fit value wrong", [*FIT, "--trainer.max_epochs", "many"], "xxx"),
    ("fit value missing", [*FIT, "--trainer.max_epochs"], "xxx"),
    ("fit stray word", [*FIT, "quickly"], "xxx"),
    ("fit config last", ["fit", "--config"], "xxx"),
    ("fit ckpt last without run", [*FIT, "--ckpt_path", "last"], "xxx"),
    ("fit ckpt missing", [*FIT, "--ckpt_path", "none.ckpt"], "xxx"),
    ("fit ckpt garbage", [*FIT, "--ckpt_path", "garbage.ckpt"], "xxx"),
    ("fit ckpt malicious", [*FIT, "--ckpt_path", "evil.ckpt"], "xxx"),
    ("fit ckpt foreign", [*FIT, "--ckpt_path", "other.ckpt"], "xxx"),
    ("fit ckpt folder without", [*FIT, "--ckpt_path", "no_run"], "xxx"),
    ("validate without ckpt", ["validate", "--config", "vae.yaml"], "xxx"),
    ("predict ckpt last without run", ["predict", "--config", "vae.yaml", "--ckpt_path", "last"], "xxx"),
    ("fit GAN with clipping", [*GAN, "--trainer.gradient_clip_val", "1"], "xxx"),
    ("fit GAN with accumulation", [*GAN, "--trainer.accumulate_grad_batches", "2"], "xxx"),
    ("fit device nonsense", [*FIT, "--trainer.accelerator", "abacus"], "xxx"),
    ("fit image shape wrong", [*FIT, "--data.init_args.size", "16"], "xxx"),
    ("fit negative seed", [*FIT, "--seed_everything", "-1"], "xxx"),
]


def listing(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("words", "fragment"), [pytest.param(w, f, id=i) for i, w, f in CASES])
def test_mistake(typed, place, words, fragment):
    write_inputs(place)
    before = listing(place)
    done = typed(*words)
    print("$$", " ".join(words), "=>", done.code, "\n  ERR:", done.err.strip())
    left = [str(p.relative_to(place)) for p in set(listing(place)) - set(before) if "__pycache__" not in str(p)]
    bad = done.code != 2 or len(done.err.splitlines()) != 1 or left or done.out
    if bad: print("!!BAD", left, "OUT:", done.out)
