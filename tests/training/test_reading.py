"""What callbacks, files and loggers get to read is the value of the iteration they read it at."""

import time
from datetime import timedelta

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from latentkit.training.run import RunFolder
from tests.training.conftest import Stop

VALUES = {"autoencoder": "train/mse", "vae": "train/loss", "gan": "train/discriminator"}
each = pytest.mark.parametrize("name", VALUES)


@pytest.fixture
def listen(make):
    """Build an objective and a list that gets the true value of each iteration."""

    def build(name):
        training, true = make(name), []
        note = training.note

        def both(values, prog_bar=False):
            if VALUES[name] in values:
                true.append(float(torch.as_tensor(values[VALUES[name]]).detach()))
            note(values, prog_bar)

        training.note = both
        return training, true

    return build


@each
@pytest.mark.parametrize("every", [2, 3])
def test_a_checkpoint_has_the_score_of_its_own_step(listen, few, trainer, tmp_path, name, every):
    training, true = listen(name)
    keep = ModelCheckpoint(
        tmp_path,
        "{step}",
        monitor=VALUES[name],
        every_n_train_steps=every,
        save_top_k=-1,
        save_on_train_epoch_end=True,
    )
    trainer(max_epochs=2, enable_checkpointing=True, callbacks=[keep]).fit(training, few())
    scores = {}
    for path, score in keep.best_k_models.items():
        iteration = torch.load(path, weights_only=True)["latentkit"]["about"]["iteration"]
        scores[iteration] = float(score)
    steps = 2 if name == "gan" else 1
    due = {i for i in range(1, 13) if i * steps % every == 0}
    assert scores == {i: true[i - 1] for i in due | {6, 12}}
    assert len({true[i - 1] for i in due}) == len(due)  # a stale one would show


def test_a_checkpoint_by_the_clock_has_the_score_of_its_own_step(listen, few, trainer, tmp_path):
    training, true = listen("vae")
    keep = ModelCheckpoint(
        tmp_path, "{step}", monitor="train/loss", train_time_interval=timedelta(0), save_top_k=-1
    )
    runner = trainer(enable_checkpointing=True, callbacks=[keep], limit_val_batches=0)
    runner.fit(training, few())
    assert [float(score) for score in keep.best_k_models.values()] == true


@each
def test_somebodys_callback_reads_the_value_of_each_batch(listen, few, trainer, name):
    training, true = listen(name)
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(float(trainer.callback_metrics[VALUES[name]]))

    trainer(callbacks=[Look()]).fit(training, few())
    assert seen == true
    assert len(set(true)) == 6


def test_where_nobody_reads_nothing_is_logged(listen, few, trainer, monkeypatch):
    training, true = listen("vae")
    logged = []
    monkeypatch.setattr(training, "log_dict", lambda values, **_: logged.append(dict(values)))
    trainer(limit_val_batches=0).fit(training, few())
    assert len(true) == 6
    assert [float(values["train/loss"]) for values in logged] == true[-1:]


def test_stopping_early_reads_the_last_value_of_an_epoch(listen, few, trainer):
    training, true = listen("vae")
    seen = []

    class Watched(EarlyStopping):
        def _evaluate_stopping_criteria(self, current):
            seen.append(float(current))
            return super()._evaluate_stopping_criteria(current)

    stop = Watched("train/loss", patience=9, check_on_train_epoch_end=True)
    trainer(max_epochs=3, callbacks=[stop]).fit(training, few())
    assert seen == true[5::6]


@pytest.mark.parametrize("limit", [{"max_steps": 4}, {"callbacks": [Stop(4)]}])
def test_the_last_value_of_a_run_is_logged(listen, few, trainer, limit):
    training, true = listen("vae")
    runner = trainer(limit_val_batches=0, **limit)
    runner.fit(training, few())
    assert float(runner.callback_metrics["train/loss"]) == true[3]
    assert len(true) == 4


def test_values_noted_by_a_callback_are_logged_with_the_others(make, few, trainer):
    class Add(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            module.note({"train/index": float(index)})

    runner = trainer(callbacks=[Add()])
    runner.fit(make("vae"), few())
    assert float(runner.callback_metrics["train/index"]) == 5
    assert "train/loss" in runner.callback_metrics


def test_validations_by_the_clock_see_the_value_before_them(listen, few, trainer):
    training, true = listen("vae")
    seen = {}

    class Slow(pl.Callback):
        def on_train_batch_start(self, *_):
            time.sleep(0.05)

        def on_validation_end(self, trainer, module):
            seen[int(module.iteration)] = float(trainer.callback_metrics["train/loss"])

    interval = {"seconds": 0.1}
    trainer(max_epochs=2, callbacks=[Slow()], val_check_interval=interval).fit(training, few())
    assert len(seen) > 1
    assert seen == {i: true[i - 1] for i in seen}


@pytest.mark.parametrize(("every", "rows"), [(0, 0), (1, 12), (4, 3), (50, 2)])
def test_steps_are_logged_as_often_as_asked(make, few, trainer, tmp_path, every, rows):
    logger = pl.loggers.CSVLogger(tmp_path)
    write, steps = logger.log_metrics, []

    def count(metrics, step=None):
        steps.extend([step] * ("train/loss" in metrics))
        write(metrics, step)

    logger.log_metrics = count
    settings = {"log_every_n_steps": every, "callbacks": [RunFolder()], "logger": logger}
    runner = trainer(max_epochs=2, **settings)
    runner.fit(make("vae"), few())
    assert len(steps) == rows
    assert "train/loss" in runner.callback_metrics
