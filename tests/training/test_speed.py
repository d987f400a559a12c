"""The options of speed change results by rounding alone; what nobody reads is not logged."""

import shutil

import pytest
import pytorch_lightning as pl
import torch

import latentkit
from latentkit.data.base import Splits
from latentkit.data.digits import Digits
from latentkit.data.images import TensorImages
from latentkit.models.vae import VAE
from latentkit.training.resume import Checkpoints
from latentkit.training.run import RunFolder
from latentkit.training.speed import Speed, _check_compiler
from latentkit.training.vae import VAETraining
from tests.training.conftest import Few, Stop

NAMES = ["autoencoder", "vae", "gan", "clustergan"]


def trained(training, few, trainer, *callbacks):
    """The objective after an epoch, and all that the epoch logged."""
    runner = trainer(callbacks=[*callbacks])
    runner.fit(training, few())
    return training, {k: v.item() for k, v in runner.callback_metrics.items()}


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing_but_rounding(make, few, trainer, name):
    _, wanted = trained(make(name), few, trainer)
    innermost, got = trained(make(name), few, trainer, Speed(channels_last=True))
    weights = [p for p in innermost.model.parameters() if p.dim() == 4]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert got == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_volumes_have_a_format_of_their_own():
    training = VAETraining(VAE((2, 8, 8, 8), 4, width=4, hidden=8))
    Speed(channels_last=True).setup(None, training, "fit")
    weights = [p for p in training.parameters() if p.dim() == 5]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in weights)


def test_a_channels_last_run_leaves_an_ordinary_model(make, few, trainer, tmp_path):
    logger = pl.loggers.TensorBoardLogger(tmp_path, "run")
    callbacks = [RunFolder(), Speed(channels_last=True)]
    training = make("vae")
    trainer(logger=logger, callbacks=callbacks).fit(training, few())
    model = latentkit.load(tmp_path / "run" / "version_0")
    x = few().split("test")[:][0]
    assert torch.allclose(model.encode(x), training.eval().encode(x), atol=1e-5)
    assert all(p.is_contiguous() for p in model.parameters())


def test_without_options_nothing_is_touched(make, few, trainer):
    training, _ = trained(make("vae"), few, trainer, Speed())
    assert all(p.is_contiguous() for p in training.parameters())
    assert not any(m._compiled_call_impl for m in training.modules())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["vae", "gan"])
def test_compiled_networks_train_to_the_same_values(make, few, trainer, name):
    _, wanted = trained(make(name), few, trainer)
    compiled, got = trained(make(name), few, trainer, Speed(compile=True))
    networks = dict(compiled.model.named_children())
    left_out = {"discriminator"} if name == "gan" else set()
    assert {k for k, m in networks.items() if not m._compiled_call_impl} == left_out
    assert got == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def rows(training, few, trainer, folder, **settings):
    """Logged rows of train/ values, and what each iteration had: {name: [value, ...]}."""
    found, had, given = [], {}, training.note

    def note(values, *others):
        for name, value in values.items():
            had.setdefault(name, []).append(float(torch.as_tensor(value).detach()))
        given(values, *others)

    training.note = note
    logger = pl.loggers.CSVLogger(folder)
    logger.log_metrics = lambda metrics, step: found.append(metrics)
    runner = trainer(**{"max_epochs": 2, "logger": logger, "limit_val_batches": 0, **settings})
    runner.fit(training, few())
    named = [{k: v for k, v in row.items() if k.startswith("train/")} for row in found]
    return [row for row in named if row], had, runner


def test_values_are_logged_only_where_someone_reads_them(make, few, trainer, tmp_path):
    training, steps = make("vae"), []
    given = training.log_dict
    training.log_dict = lambda values, **options: (
        training.training and steps.append(int(training.iteration) + 1),  # counted up afterwards
        given(values, **options),
    )
    rows(training, few, trainer, tmp_path, log_every_n_steps=4, limit_val_batches=None)
    # 6 batches an epoch: every fourth, and the last of each epoch for what is judged there
    assert steps == [4, 6, 8, 12]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_log_has_the_values_of_its_iteration(make, few, trainer, tmp_path, name):
    found, had, runner = rows(make(name), few, trainer, tmp_path, log_every_n_steps=2)
    assert len(found) == 6
    key = {"autoencoder": "train/mse", "vae": "train/loss"}.get(name, "train/discriminator")
    assert [row[key] for row in found] == pytest.approx(had[key][1::2])
    assert float(runner.callback_metrics[key]) == pytest.approx(had[key][-1])


def test_accumulated_batches_are_logged_by_their_last(make, few, trainer, tmp_path):
    settings = {"log_every_n_steps": 2, "accumulate_grad_batches": 4, "max_epochs": 4}
    found, had, _ = rows(make("vae"), few, trainer, tmp_path, **settings)
    # an epoch of 6 batches makes two steps, after its fourth batch and its last
    assert [row["train/loss"] for row in found] == pytest.approx(had["train/loss"][5::6])


def test_a_run_that_ends_within_an_epoch_logs_its_last_values(make, few, trainer, tmp_path):
    settings = {"log_every_n_steps": 50, "max_steps": 9, "max_epochs": -1}
    _, had, runner = rows(make("vae"), few, trainer, tmp_path, **settings)
    assert len(had["train/loss"]) == 9
    assert float(runner.callback_metrics["train/loss"]) == pytest.approx(had["train/loss"][-1])


def test_a_run_that_is_told_to_stop_logs_its_last_values(make, few, trainer, tmp_path):
    settings = {"log_every_n_steps": 50, "callbacks": [Stop(9)], "max_epochs": 5}
    found, had, _ = rows(make("vae"), few, trainer, tmp_path, **settings)
    assert [row["train/loss"] for row in found] == pytest.approx(had["train/loss"][8:9])


class Wide(Few):
    """Digits of 16x16 pixels: their convolutions have weights whose layout matters."""

    def load(self):
        splits = Digits(size=16)
        images, labels = splits.split("train")[:64]
        parts = (slice(0, 48), slice(48, 64), slice(48, 64))
        return Splits(*(TensorImages(images[part], labels[part]) for part in parts))


@pytest.mark.parametrize("options", [(False, True), (True, False), (True, True)])
def test_the_memory_format_may_change_on_resuming(trainer, tmp_path, options):
    def fit(epochs, channels_last, folder, ckpt_path=None):
        torch.manual_seed(0)
        training = VAETraining(VAE((1, 16, 16), 4, width=4, hidden=16), lr=1e-2)
        logger = pl.loggers.TensorBoardLogger(tmp_path, folder, version="version_0")
        kept = [Checkpoints(), Speed(channels_last=channels_last)]
        runner = trainer(
            max_epochs=epochs, logger=logger, callbacks=kept, enable_checkpointing=True
        )
        runner.fit(training, Wide(), ckpt_path=ckpt_path, weights_only=True)
        return training

    whole = fit(4, False, "whole")
    fit(2, options[0], "parts")
    resumed = fit(4, options[1], "parts", tmp_path / "parts" / "version_0" / "last.ckpt")
    wanted = whole.state_dict()
    for key, value in resumed.state_dict().items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("cxx", ["no-such-compiler", "env no-such-compiler", "env 'unclosed", ""])
def test_a_missing_compiler_is_named(make, few, trainer, monkeypatch, cxx):
    monkeypatch.setenv("CXX", cxx)
    with pytest.raises(ValueError, match=rf"needs a C\+\+ compiler, and {cxx} does not run"):
        trained(make("vae"), few, trainer, Speed(compile=True))


def test_a_compiler_may_have_words_before_it(monkeypatch, tmp_path):
    compiler = tmp_path / "my compiler"
    compiler.write_text("#!/bin/sh\nexit 0\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"env A=1 '{compiler}'")
    _check_compiler()
    compiler.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ValueError, match="does not run"):
        _check_compiler()
