"""Going on from a checkpoint: bit for bit, safely, and with the settings of the new run."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningCLI

import latentkit
from latentkit.training.base import Training
from latentkit.training.resume import Checkpoints
from latentkit.training.run import RunFolder
from tests.training.conftest import Stop

NAMES = ["autoencoder", "vae", "gan", "clustergan"]
each = pytest.mark.parametrize("name", NAMES)


def keeping(folder):
    """The callbacks of the command line: the latest checkpoint, and the run folder."""
    latest = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    return {"callbacks": [latest, RunFolder()], "enable_checkpointing": True}


@pytest.fixture
def checkpoint(make, few, trainer, tmp_path):
    """Train one epoch and give the checkpoint's path."""

    def build(name, **settings):
        trainer(**keeping(tmp_path)).fit(make(name, **settings), few())
        return tmp_path / "last.ckpt"

    return build


@each
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    make, few, trainer, checkpoint, tmp_path, name
):
    whole, runner = make(name), trainer(max_epochs=3)
    runner.fit(whole, few())
    path = checkpoint(name)
    torch.manual_seed(123)  # a new process knows nothing of the old one's random state
    resumed = make(name)
    with torch.no_grad():
        for p in resumed.parameters():
            p.add_(1)  # whatever is not restored shows
    torch.manual_seed(123)
    again = trainer(max_epochs=3, **keeping(tmp_path / "b"))
    again.fit(resumed, few(), ckpt_path=path, weights_only=True)
    assert int(resumed.iteration) == int(whole.iteration) == 18
    wanted = whole.state_dict()
    assert any("running_var" in k for k in wanted)
    assert any("ema." in k for k in wanted) == (name in {"gan", "clustergan"})
    for key, value in resumed.state_dict().items():
        assert torch.equal(value, wanted[key]), key
    for key, value in runner.callback_metrics.items():
        assert torch.equal(value, again.callback_metrics[key]), key
    states = [runner.optimizers, again.optimizers]
    for a, b in zip(*states, strict=True):
        for moments, others in zip(a.state.values(), b.state.values(), strict=True):
            assert all(torch.equal(moments[k], others[k]) for k in moments)


@each
def test_a_checkpoint_made_in_python_never_needs_pickle(checkpoint, name):
    content = torch.load(checkpoint(name), weights_only=True)
    assert content["hyper_parameters"]["seed"] == 0
    assert content["latentkit"]["about"]["iteration"] == 6
    assert content["latentkit"]["class_path"].startswith("latentkit.models.")


@each
def test_a_checkpoint_gives_the_portable_model(make, few, trainer, tmp_path, name):
    training = make(name)
    trainer(**keeping(tmp_path)).fit(training, few())
    loaded = latentkit.load(tmp_path / "last.ckpt")
    wanted = training.portable().state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(v, wanted[k]) for k, v in loaded.state_dict().items())


@each
def test_a_checkpoint_can_be_validated_and_loaded_with_a_model(
    make, few, trainer, checkpoint, name
):
    path, training = checkpoint(name), make(name)
    runner = trainer()
    first = runner.validate(training, few(), ckpt_path=path, verbose=False, weights_only=True)
    kind, network = type(training), make(name).model
    loaded = kind.load_from_checkpoint(path, model=network, weights_only=True)
    assert first == trainer().validate(loaded, few(), verbose=False)


@each
def test_the_typed_learning_rate_wins_and_the_moments_are_kept(
    make, few, trainer, checkpoint, name
):
    path = checkpoint(name, lr=1e-3)
    resumed, seen = make(name, lr=0.125), []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            if not seen:
                for optimizer in trainer.optimizers:
                    seen.append([group["lr"] for group in optimizer.param_groups])
                    assert all(state["step"] > 0 for state in optimizer.state.values())
                    assert len(optimizer.state) > 0

    runner = trainer(max_epochs=2, callbacks=[Look()])
    runner.fit(resumed, few(), ckpt_path=path, weights_only=True)
    assert seen
    assert all(rates == [0.125] for rates in seen)
    assert all(o.param_groups[0]["lr"] == 0.125 for o in runner.optimizers)


def test_typed_betas_win_too(make, few, trainer, checkpoint):
    path = checkpoint("gan", betas=(0.0, 0.99))
    runner = trainer(max_epochs=2)
    runner.fit(make("gan", betas=(0.25, 0.5)), few(), ckpt_path=path, weights_only=True)
    assert all(o.param_groups[0]["betas"] == (0.25, 0.5) for o in runner.optimizers)


def test_changed_settings_are_said(make, few, trainer, checkpoint, monkeypatch):
    path, said = checkpoint("vae", lr=1e-3), []
    monkeypatch.setattr("latentkit.training.base.rank_zero_info", said.append)
    trainer(max_epochs=2).fit(make("vae", lr=0.125), few(), ckpt_path=path, weights_only=True)
    assert said == ["lr is 0.125 in this run (it was 0.001 in the checkpoint)"]


CONFIG = """
model:
  class_path: latentkit.training.{module}
  init_args:
    lr: 0.01
    model:
      class_path: latentkit.models.{model}
      init_args: {{shape: [1, 8, 8], width: 4, hidden: 16}}
data:
  class_path: latentkit.data.digits.Digits
  init_args: {{size: 8, batch_size: 64}}
trainer:
  max_epochs: 1
  limit_train_batches: 3
  accelerator: cpu
  logger: false
  enable_checkpointing: true
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
"""
CONFIGS = {
    "autoencoder": ("autoencoder.AutoencoderTraining", "autoencoder.Autoencoder"),
    "vae": ("vae.VAETraining", "vae.VAE"),
    "gan": ("gan.GANTraining", "dcgan.DCGAN"),
    "clustergan": ("clustergan.ClusterGANTraining", "clustergan.ClusterGAN"),
}


@each
def test_a_checkpoint_made_from_a_config_never_needs_pickle(tmp_path, name):
    module, model = CONFIGS[name]
    (tmp_path / "c.yaml").write_text(CONFIG.format(module=module, model=model))
    cli = LightningCLI(
        Training,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        run=False,
        save_config_callback=None,
        trainer_defaults=keeping(tmp_path),
        args=["--config", str(tmp_path / "c.yaml")],
    )
    cli.trainer.fit(cli.model, cli.datamodule)
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["hyper_parameters"]["lr"] == 0.01
    assert content["latentkit"]["about"]["data"]["init_args"]["size"] == 8
    assert content["latentkit"]["about"]["training"]["lr"] == 0.01
    assert latentkit.load(tmp_path / "last.ckpt").shape == (1, 8, 8)


def test_a_run_killed_before_its_last_file_gets_it_on_resuming(make, few, trainer, tmp_path):
    def fit(ckpt_path=None):
        logger = pl.loggers.TensorBoardLogger(tmp_path, "run", version="version_0")
        callbacks = [RunFolder(), Checkpoints()]
        kept = {"callbacks": callbacks, "enable_checkpointing": True}
        runner = trainer(max_epochs=2, logger=logger, limit_val_batches=0, **kept)
        runner.fit(make("vae"), few(), ckpt_path=ckpt_path, weights_only=True)

    fit()
    folder = tmp_path / "run" / "version_0"
    wanted = {k: (folder / k).read_bytes() for k in ("model.safetensors", "metrics.json")}
    fit(folder / "last.ckpt")  # nothing is left to do
    assert all((folder / k).read_bytes() == v for k, v in wanted.items())
    (folder / "metrics.json").write_text('{"iteration": 6}')
    (folder / "model.safetensors").unlink()
    fit(folder / "last.ckpt")
    assert all((folder / k).read_bytes() == v for k, v in wanted.items())


def test_going_on_from_an_older_checkpoint_abandons_the_later_ones(make, few, trainer, tmp_path):
    def fit(epochs, ckpt_path=None, *others):
        logger = pl.loggers.TensorBoardLogger(tmp_path, "run", version="version_0")
        kept = {"callbacks": [Checkpoints(), *others], "enable_checkpointing": True}
        runner = trainer(max_epochs=epochs, logger=logger, **kept)
        runner.fit(make("vae"), few(), ckpt_path=ckpt_path, weights_only=True)

    fit(1)
    folder = tmp_path / "run" / "version_0"
    older = (folder / "last.ckpt").rename(folder / "older.ckpt")
    fit(3)

    class Killed(pl.Callback):
        def on_train_batch_start(self, *_):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(3, older, Killed())
    assert (folder / "last.ckpt").read_bytes() == older.read_bytes()
    assert (folder / "abandoned.ckpt").exists()
    assert not (folder / "previous.ckpt").exists()
    resumed = make("vae")
    trainer(max_epochs=3).fit(resumed, few(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert int(resumed.iteration) == 18


def test_processes_draw_their_own_amounts(make, monkeypatch):
    training = make("gan")
    drawn = []
    for rank in range(3):
        monkeypatch.setattr("latentkit.training.base.process", lambda rank=rank: (rank, 3))
        drawn.append(torch.rand(4, generator=training.private(training.noise())))
        assert torch.equal(drawn[-1], torch.rand(4, generator=training.private(training.noise())))
    assert len({tuple(d.tolist()) for d in drawn}) == 3
    monkeypatch.setattr("latentkit.training.base.process", lambda: (0, 1))
    noise = training.noise()
    assert training.private(noise) is noise


def test_another_training_of_as_many_iterations_replaces_the_model(make, few, trainer, tmp_path):
    def fit(lr):
        logger = pl.loggers.TensorBoardLogger(tmp_path, "run", version="version_0")
        runner = trainer(logger=logger, callbacks=[RunFolder()], limit_val_batches=0)
        training = make("vae", lr=lr)
        runner.fit(training, few())
        return training

    fit(1e-3)
    second = fit(1e-2).portable().state_dict()
    kept = latentkit.load(tmp_path / "run" / "version_0").state_dict()
    assert all(torch.equal(kept[k], v) for k, v in second.items())


@pytest.mark.parametrize("validated", [0, None])
def test_runs_of_so_many_steps_are_resumed_bit_for_bit(make, few, trainer, tmp_path, validated):
    class Killed(pl.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if int(module.iteration) == 14:
                raise RuntimeError("killed")

    def fit(folder, *others, ckpt_path=None):
        training = make("vae")
        logger = pl.loggers.TensorBoardLogger(tmp_path, folder, version="version_0")
        runner = trainer(
            max_epochs=-1,
            max_steps=15,
            logger=logger,
            limit_val_batches=validated,
            callbacks=[Checkpoints(), *others],
            enable_checkpointing=True,
        )
        runner.fit(training, few(), ckpt_path=ckpt_path, weights_only=True)
        return training

    whole = fit("whole").state_dict()
    with pytest.raises(RuntimeError, match="killed"):
        fit("parts", Killed())
    resumed = fit("parts", ckpt_path=tmp_path / "parts" / "version_0" / "last.ckpt")
    assert int(resumed.iteration) == 15
    assert all(torch.equal(v, whole[k]) for k, v in resumed.state_dict().items())


ENDS = {
    "a callback": ({"max_epochs": 4, "callbacks": [Stop(9)]}, {"max_epochs": 4}),
    "the last of an epoch": ({"max_epochs": 4, "callbacks": [Stop(12)]}, {"max_epochs": 4}),
    "steps": ({"max_epochs": -1, "max_steps": 18}, {"max_epochs": 4}),
    "more steps": ({"max_epochs": -1, "max_steps": 18}, {"max_epochs": -1, "max_steps": 48}),
    "after a validation": (
        {"max_epochs": 4, "callbacks": [Stop(9)], "val_check_interval": 3},
        {"max_epochs": 4, "val_check_interval": 3},
    ),
}


@pytest.fixture
def fit_into(make, few, trainer, tmp_path):
    """Train in a named run folder; gives the objective, the trainer and the steps logged."""

    def fit(name, folder, ckpt_path=None, callbacks=(), **settings):
        logger = pl.loggers.TensorBoardLogger(tmp_path, folder, version="version_0")
        steps, write = [], logger.log_metrics

        def log(metrics, step=None):
            if any(k.startswith("train/") for k in metrics):
                steps.append(step)
            write(metrics, step)

        logger.log_metrics = log
        kept = {"callbacks": [RunFolder(), Checkpoints(), *callbacks], "enable_checkpointing": True}
        training, runner = make(name), trainer(logger=logger, **kept, **settings)
        runner.log_every_n_steps = 2
        runner.fit(training, few(), ckpt_path=ckpt_path, weights_only=True)
        return training, runner, steps

    return fit


@pytest.mark.parametrize("name", ["vae", "gan"])
@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_ended_within_an_epoch_goes_on_in_it(fit_into, tmp_path, name, end):
    first, then = ENDS[end]
    if name == "vae":  # which takes one step an iteration, where the GAN takes two
        first, then = (
            {k: v // 2 if k == "max_steps" else v for k, v in part.items()}
            for part in (first, then)
        )
    whole, runner, steps = fit_into(name, "whole", **then)
    part, _, begun = fit_into(name, "parts", **first)
    assert int(part.iteration) == (12 if "last" in end else 9)
    resumed, again, rest = fit_into(
        name, "parts", tmp_path / "parts" / "version_0" / "last.ckpt", **then
    )
    assert int(resumed.iteration) == int(whole.iteration) == 24
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())
    for key, value in runner.callback_metrics.items():
        assert torch.equal(value, again.callback_metrics[key]), key
    assert again.current_epoch == runner.current_epoch
    assert set(begun + rest) - set(steps) <= {8}  # a stop logs its iteration, too
    assert set(steps) <= set(begun + rest)


class Kill(pl.Callback):
    """Ends a run, as a kill would, before it begins the iteration after so many."""

    def __init__(self, iterations):
        self.iterations = iterations

    def on_train_batch_start(self, trainer, module, *_):
        if int(module.iteration) == self.iterations:
            raise RuntimeError("killed")


@pytest.mark.parametrize(
    ("accumulated", "iterations"),
    [(3, 7), (3, 8), (3, 10), (4, 9), (4, 11)],  # of 6 batches an epoch: its last step takes 3 or 2
)
def test_steps_over_several_batches_are_resumed_bit_for_bit(
    fit_into, tmp_path, monkeypatch, accumulated, iterations
):
    settings = {"max_epochs": 3, "accumulate_grad_batches": accumulated}
    whole, *_ = fit_into("vae", "whole", **settings)
    monkeypatch.setattr("latentkit.training.resume.reported", lambda _: False)  # save at all times
    monkeypatch.setattr(Checkpoints.__init__, "__defaults__", (1e-9,))
    with pytest.raises(RuntimeError, match="killed"):
        fit_into("vae", "parts", callbacks=[Kill(iterations)], **settings)
    path = tmp_path / "parts" / "version_0" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert "gradients" not in content
    saved = int(content["state_dict"]["iteration"])
    assert saved == 6 + (iterations - 6) // accumulated * accumulated  # the step before the kill
    resumed, *_ = fit_into("vae", "parts", path, **settings)
    assert int(resumed.iteration) == 18
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())


@pytest.mark.parametrize("iterations", [7, 8, 9, 12])
def test_a_run_that_ended_between_two_steps_keeps_its_gradients(fit_into, tmp_path, iterations):
    settings = {"max_epochs": 3, "accumulate_grad_batches": 3}
    whole, *_ = fit_into("vae", "whole", **settings)
    fit_into("vae", "parts", callbacks=[Stop(iterations)], **settings)
    path = tmp_path / "parts" / "version_0" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert ("gradients" in content) == (iterations in {7, 8})
    resumed, *_ = fit_into("vae", "parts", path, **settings)
    assert int(resumed.iteration) == 18
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())


def test_a_run_may_end_within_an_epoch_again_and_again(fit_into, tmp_path):
    path = tmp_path / "parts" / "version_0" / "last.ckpt"
    whole, *_ = fit_into("vae", "whole", max_epochs=4)
    fit_into("vae", "parts", callbacks=[Stop(2)], max_epochs=4)
    for iterations in (3, 8, 11):
        part, *_ = fit_into("vae", "parts", path, [Stop(iterations)], max_epochs=4)
        assert int(part.iteration) == iterations
    resumed, *_ = fit_into("vae", "parts", path, max_epochs=4)
    assert int(resumed.iteration) == 24
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())


def test_somebodys_checkpoint_of_a_stopped_run_goes_on_in_the_epoch_too(fit_into, tmp_path):
    keep = ModelCheckpoint(tmp_path / "own", "{epoch}", save_last=True)
    fit_into("vae", "parts", callbacks=[Stop(9), keep], max_epochs=4)
    whole, *_ = fit_into("vae", "whole", max_epochs=4)
    resumed, *_ = fit_into("vae", "again", tmp_path / "own" / "last.ckpt", max_epochs=4)
    assert int(resumed.iteration) == 24
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in resumed.state_dict().items())
