"""The run folder, and the pictures in its event file."""

import json
import math

import pytest
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

import latentkit
from latentkit.data.digits import Digits
from latentkit.store import read_about
from latentkit.training.run import RunFolder
from latentkit.views.tensorboard import Pictures

QUICK = {"limit_train_batches": 3, "limit_val_batches": 1}


@pytest.fixture
def run(trainer, tmp_path):
    """Fit with a logger; gives the run's folder."""

    def fit(training, data, *others, **settings):
        board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
        runner = trainer(logger=board, callbacks=[RunFolder(), *others], **{**QUICK, **settings})
        runner.fit(training, data)
        return tmp_path / "runs" / "version_0"

    return fit


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(v, b[k]) for k, v in a.items())


class Scripted:
    """Lets an objective's monitored value be what the script says, and keeps the weights it had."""

    def __init__(self, training, values):
        self.weights, self.values = [], iter(values)
        training.validation_step = lambda batch: None

        def end():
            self.weights.append({k: v.clone() for k, v in training.portable().state_dict().items()})
            training.log(training.monitor, torch.tensor(next(self.values)))

        training.on_validation_epoch_end = end


def test_a_run_folder_holds_the_model_and_its_scores(make, few, run):
    training = make("vae", seed=3)
    folder = run(training, few(), max_epochs=1)
    assert same(latentkit.load(folder), training.model)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["iteration"] == 3
    assert metrics["val/negative_elbo"] == pytest.approx(metrics["val/nll"] + metrics["val/kl"])
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_the_model_knows_where_it_comes_from(make, run):
    about = read_about(run(make("vae", seed=3, beta=2.0), Digits(size=8, batch_size=16)))
    assert about["seed"] == 3
    assert about["config"] == "runs"
    assert about["iteration"] == 3
    assert about["input_shape"] == [1, 8, 8]
    assert about["objective"] == "latentkit.training.vae.VAETraining"
    assert about["training"]["beta"] == 2.0
    assert about["data"]["class_path"] == "latentkit.data.digits.Digits"
    assert about["data"]["init_args"] == {"size": 8, "batch_size": 16, "seed": 0}
    assert about["scores"]["val/negative_elbo"] > 0
    assert about["versions"]["latentkit"] == latentkit.__version__


def test_the_best_model_is_kept(make, few, run):
    training = make("autoencoder")
    script = Scripted(training, [3.0, 1.0, 2.0, 1.5])
    folder = run(training, few(), max_epochs=4)
    kept = latentkit.load(folder).state_dict()
    match = [all(torch.equal(v, kept[k]) for k, v in w.items()) for w in script.weights]
    assert match == [False, True, False, False]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["val/mse"] == 1.0
    assert metrics["iteration"] == 6


def test_a_value_that_is_no_number_is_never_the_best(make, few, run):
    training = make("autoencoder")
    Scripted(training, [2.0, math.nan, 1.0, math.nan])
    folder = run(training, few(), max_epochs=4)
    assert json.loads((folder / "metrics.json").read_text())["iteration"] == 9


def test_the_best_value_survives_a_resumption(make, few, trainer, tmp_path):
    from pytorch_lightning.callbacks import ModelCheckpoint

    folder = tmp_path / "runs" / "version_0"
    for epochs, values in ((1, [1.0]), (2, [5.0])):
        board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
        latest = ModelCheckpoint(tmp_path, "last", save_top_k=1, enable_version_counter=False)
        training = make("autoencoder")
        Scripted(training, values)
        runner = trainer(
            logger=board,
            callbacks=[latest, RunFolder()],
            enable_checkpointing=True,
            max_epochs=epochs,
        )
        path = tmp_path / "last.ckpt" if epochs == 2 else None
        runner.fit(training, few(), ckpt_path=path, weights_only=True)
    assert json.loads((folder / "metrics.json").read_text())["val/mse"] == 1.0


@pytest.mark.parametrize("name", ["gan", "clustergan"])
def test_of_a_gan_the_latest_average_is_kept(make, few, run, name):
    training = make(name)
    folder = run(training, few(), max_epochs=3)
    loaded = latentkit.load(folder)
    assert same(loaded, training.portable())
    assert not same(loaded, training.model)
    assert json.loads((folder / "metrics.json").read_text())["iteration"] == 9


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_without_validation_the_last_model_is_kept(make, few, run, name):
    training = make(name)
    folder = run(training, few(), max_epochs=2, limit_val_batches=0)
    assert same(latentkit.load(folder), training.portable())


def test_the_sanity_check_writes_nothing_and_counts_for_nothing(make, few, run):
    training = make("autoencoder")
    Scripted(training, [0.0, 2.0])
    folder = run(training, few(), max_epochs=1, num_sanity_val_steps=1)
    assert json.loads((folder / "metrics.json").read_text())["val/mse"] == 2.0


def test_without_a_logger_nothing_is_written(make, few, trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer(callbacks=[RunFolder(), Pictures()], **QUICK).fit(make("gan"), few())
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_data_module_will_do(make, few, run):
    class Own(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(few().split("train"), batch_size=None, sampler=[[0, 1], [2, 3]])

        val_dataloader = train_dataloader

    about = read_about(run(make("autoencoder"), Own()))
    assert about["data"]["class_path"].endswith("Own")
    assert "input_shape" not in about
