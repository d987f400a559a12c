"""`fit`, `validate`, `test`, `predict`: the run folder, and every trap of LightningCLI closed."""

import shutil
import warnings
from contextlib import chdir

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import latentkit
from latentkit.cli import main
from latentkit.shipped import config_names, find_config
from latentkit.store import read_about
from tests.cli.conftest import result
from tests.cli.mistakes import CONFIG, LOUD

TRAINING = ["fit", "validate", "test", "predict"]
BATCHES = 2  # an epoch of CONFIG has so many


def write_configs(folder):
    """Writes vae.yaml and dcgan.yaml."""
    (folder / "vae.yaml").write_text(CONFIG)
    gan = CONFIG.replace("training.vae.VAETraining", "training.gan.GANTraining")
    (folder / "dcgan.yaml").write_text(gan.replace("models.vae.VAE", "models.dcgan.DCGAN"))


@pytest.fixture
def configs(place):
    """vae.yaml and dcgan.yaml in the working folder."""
    write_configs(place)
    return place


@pytest.fixture
def fit(ok, configs):
    """Fits a config and gives what was printed."""

    def run(name, *words):
        return ok("fit", "--config", f"{name}.yaml", *words)

    return run


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A folder in which vae.yaml and dcgan.yaml were fitted, once for all tests that go on."""
    folder = tmp_path_factory.mktemp("template")
    write_configs(folder)
    with chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in ("vae", "dcgan"):
            assert main(["fit", "--config", f"{name}.yaml"]) == 0
    return folder / "checkpoints"


@pytest.fixture
def trained(template, configs):
    """Puts a run of a config where the next `fit` of it would land; gives the run's folder."""

    def copy(name="vae"):
        runs = configs / "checkpoints" / name
        run = runs / f"version_{len(list(runs.glob('*')))}"
        shutil.copytree(template / name / "version_0", run)
        return run

    return copy


def checkpoint(path):
    return torch.load(path, weights_only=True)


def test_a_run_folder_holds_everything(fit, configs):
    (configs / "vae.yaml").write_text(LOUD)
    printed = fit("vae")
    run = configs / "checkpoints" / "vae" / "version_0"
    assert "run: checkpoints/vae/version_0" in printed
    names = {p.name for p in run.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    wanted = {"config.yaml", "last.ckpt", "previous.ckpt", "model.safetensors"}
    wanted |= {"metrics.json", "health.json", "quality.json", "hparams.yaml"}
    wanted |= {"projector_config.pbtxt", "00002"}
    assert names == wanted | events
    metrics = result(run / "metrics.json")
    assert metrics["iteration"] == BATCHES
    assert metrics["val/negative_elbo"] > 0
    assert {p.name for p in (configs / "checkpoints").iterdir()} == {"vae"}
    board = EventAccumulator(str(run))
    board.Reload()
    assert "train/loss" in board.Tags()["scalars"] or "val/negative_elbo" in board.Tags()["scalars"]
    pictures = {"samples", "reconstructions", "traversals", "interpolations", "directions"}
    assert pictures | {"KL of each unit"} == set(board.Tags()["images"])


def test_the_model_file_and_the_checkpoint_hold_the_same_model(trained):
    run = trained()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        a, b, c = (
            latentkit.load(source).encode(x)
            for source in (run, run / "model.safetensors", run / "last.ckpt")
        )
    assert torch.equal(a, b)
    assert torch.equal(a, c)
    about = read_about(run)
    assert about["data"]["class_path"] == "latentkit.data.digits.Digits"
    assert about["data"]["init_args"]["size"] == 8
    assert about["input_shape"] == [1, 8, 8]
    assert about["config"] == "vae"
    assert about["iteration"] == BATCHES


def test_a_trained_run_is_a_model_for_the_verbs(trained, ok, configs):
    trained()
    ok("reconstruct", "checkpoints/vae/version_0", "--count", 4)
    ok("sample", "checkpoints/vae/version_0/last.ckpt", "--count", 4)
    ok("export", "checkpoints/vae/version_0/last.ckpt", "--out", "v.safetensors")
    ok("report", "checkpoints/vae/version_0", "--images", 30)
    page = (configs / "checkpoints/vae/version_0/report.html").read_text()
    assert "<h3>Scores of the kept model</h3>" in page
    assert "val/negative_elbo" in page
    assert "class_path: latentkit.models.vae.VAE" in page


def test_versions_count_up(fit, configs):
    assert "version_0" in fit("vae")
    assert "version_1" in fit("vae")
    assert "dcgan/version_0" in fit("dcgan")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(fit, configs):
    for seed in (1, 1, 2):
        fit("vae", "--seed_everything", seed)
    a, b, c = (
        checkpoint(configs / f"checkpoints/vae/version_{k}/last.ckpt")["state_dict"]
        for k in range(3)
    )
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_the_seed_reaches_model_and_data(fit, configs):
    fit("vae", "--seed_everything", 7)
    run = configs / "checkpoints/vae/version_0"
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["seed_everything"] == 7
    assert saved["model"]["init_args"]["seed"] == 7
    assert saved["data"]["init_args"]["seed"] == 7
    about = read_about(run)
    assert about["seed"] == 7
    assert about["data"]["init_args"]["seed"] == 7


def test_a_seed_that_is_set_is_kept(fit, configs):
    fit("vae", "--seed_everything", 7, "--data.init_args.seed", 3)
    saved = yaml.safe_load((configs / "checkpoints/vae/version_0/config.yaml").read_text())
    assert saved["data"]["init_args"]["seed"] == 3
    assert saved["model"]["init_args"]["seed"] == 7


def test_the_command_line_wins_over_the_checkpoint_and_says_so(trained, typed, monkeypatch):
    """Trap 1: Lightning 2.6 merges the checkpoint's hyper-parameters on top of the config."""
    run = trained()
    words = ["--ckpt_path", "last", "--trainer.max_epochs", 2, "--model.init_args.lr", 0.5]
    said = []
    monkeypatch.setattr("latentkit.training.base.rank_zero_info", said.append)
    done = typed("fit", "--config", "vae.yaml", *words)
    assert done.code == 0
    assert said == ["lr is 0.5 in this run (it was 0.001 in the checkpoint)"]
    saved = checkpoint(run / "last.ckpt")
    assert saved["hyper_parameters"]["lr"] == 0.5
    assert [g["lr"] for g in saved["optimizer_states"][0]["param_groups"]] == [0.5]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["lr"] == 0.5


def test_the_checkpoints_settings_are_not_taken_silently(fit, configs):
    """The same trap the other way: the config's default stays, though the checkpoint had 0.5."""
    fit("vae", "--model.init_args.lr", 0.5)
    fit("vae", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    saved = checkpoint(configs / "checkpoints/vae/version_0/last.ckpt")
    assert saved["hyper_parameters"]["lr"] == 1e-3


@pytest.mark.parametrize("command", TRAINING)
def test_a_checkpoint_of_another_model_is_refused_by_key(trained, typed, configs, command):
    trained()
    before = sorted(configs.rglob("*"))
    words = ["--config", "vae.yaml", "--ckpt_path", "last"]
    done = typed(command, *words, "--model.init_args.model.init_args.latent_dim", 3)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "does not fit this config: latent_dim is 3 in this run and 2 in the checkpoint" in line
    assert sorted(configs.rglob("*")) == before


def test_a_checkpoint_of_another_objective_is_refused(trained, typed, configs):
    trained()
    run = "checkpoints/vae/version_0"
    done = typed("fit", "--config", "dcgan.yaml", "--ckpt_path", run)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "latentkit.models.vae.VAE in the checkpoint" in line
    assert "objective is latentkit.training.gan.GANTraining in this run" in line
    assert not (configs / "checkpoints/dcgan").exists()


def test_last_goes_on_in_the_newest_run_of_this_config(fit, trained, configs):
    """Traps 2 and 3: plain Lightning starts afresh in a new folder, or stops at config.yaml."""
    trained()
    fit("vae", "--trainer.max_epochs", 2)
    trained("dcgan")
    runs = configs / "checkpoints"
    older = (runs / "vae/version_0/last.ckpt").read_bytes()
    printed = fit("vae", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert "run: checkpoints/vae/version_1" in printed
    assert {p.name for p in (runs / "vae").iterdir()} == {"version_0", "version_1"}
    saved = checkpoint(runs / "vae/version_1/last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 3 * BATCHES
    assert saved["epoch"] == 2
    assert (runs / "vae/version_0/last.ckpt").read_bytes() == older
    assert {p.name for p in (runs / "vae/version_1").iterdir() if p.suffix == ".ckpt"} == {
        "last.ckpt",
        "previous.ckpt",
    }


def test_last_does_not_pass_over_a_run_that_saved_nothing(trained, typed, configs):
    trained()
    newest = configs / "checkpoints/vae/version_1"
    newest.mkdir()
    done = typed("fit", "--config", "vae.yaml", "--ckpt_path", "last")
    assert done.code == 2
    assert "the newest run, checkpoints/vae/version_1, has no last.ckpt" in done.err
    assert list(newest.iterdir()) == []


def test_the_learning_rate_stays_as_typed_to_the_end(fit, configs):
    """Trap 6: Lightning leaves schedulers standing under manual optimisation; none is used."""
    fit("dcgan", "--trainer.max_epochs", 3, "--model.init_args.lr", 0.003)
    saved = checkpoint(configs / "checkpoints/dcgan/version_0/last.ckpt")
    assert saved["lr_schedulers"] == []
    rates = [g["lr"] for o in saved["optimizer_states"] for g in o["param_groups"]]
    assert rates == [0.003, 0.003]


def test_a_short_run_logs_its_training_loss(trained):
    board = EventAccumulator(str(trained()))
    board.Reload()
    assert len(board.Scalars("train/loss")) == 1


def test_newest_is_by_number_not_by_name(fit, trained, configs):
    trained()
    runs = configs / "checkpoints/vae"
    (runs / "version_0").rename(runs / "version_9")
    fit("vae")
    assert (runs / "version_10").is_dir()
    printed = fit("vae", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    assert "version_10" in printed


def test_resuming_repeats_an_uninterrupted_run_exactly(fit, trained, configs):
    """Trap 11: the same weights, bit for bit."""
    for name in ("vae", "dcgan"):
        fit(name, "--trainer.max_epochs", 2)
        trained(name)
        fit(name, "--trainer.max_epochs", 2, "--ckpt_path", "last")
        whole, parts = (
            checkpoint(configs / f"checkpoints/{name}/version_{k}/last.ckpt")["state_dict"]
            for k in range(2)
        )
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[k], parts[k]) for k in whole)


@pytest.mark.parametrize("source", ["version_0", "version_0/last.ckpt", "absolute"])
def test_a_run_can_be_named_instead_of_last(fit, trained, configs, source):
    trained()
    trained()
    folder = configs if source == "absolute" else ""
    path = f"{folder}/checkpoints/vae/version_0" if folder else f"checkpoints/vae/{source}"
    fit("vae", "--ckpt_path", path, "--trainer.max_epochs", 2)
    runs = [configs / f"checkpoints/vae/version_{k}/last.ckpt" for k in range(2)]
    iterations = [int(checkpoint(run)["state_dict"]["iteration"]) for run in runs]
    assert iterations == [2 * BATCHES, BATCHES]


def test_the_checkpoint_of_another_folder_starts_a_new_run(fit, trained, configs):
    trained()
    (configs / "kept").mkdir()
    (configs / "checkpoints/vae/version_0/last.ckpt").rename(configs / "kept/a.ckpt")
    printed = fit("vae", "--ckpt_path", "kept/a.ckpt", "--trainer.max_epochs", 2)
    assert "run: checkpoints/vae/version_1" in printed
    saved = checkpoint(configs / "checkpoints/vae/version_1/last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 2 * BATCHES
    assert {p.name for p in (configs / "kept").iterdir()} == {"a.ckpt"}


def test_validate_test_and_predict_use_the_last_run(trained, ok, configs):
    run = trained()
    before = {p.name for p in run.iterdir()}
    words = ["--config", "vae.yaml", "--ckpt_path", "last"]
    metrics = result(run / "metrics.json")
    said = ok("validate", *words)
    assert "val/negative_elbo" in said
    assert f"{metrics['val/negative_elbo']:.3f}"[:5] in said
    assert "test/negative_elbo" in ok("test", *words)
    assert "predictions: checkpoints/vae/version_0/predictions.npy" in ok("predict", *words)
    assert {p.name for p in run.iterdir()} == before | {"predictions.npy"}
    assert {p.name for p in configs.iterdir() if p.is_dir()} == {"checkpoints"}


@torch.no_grad()
@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_predictions_are_those_of_the_test_split(trained, ok, name):
    """Trap 15: a VAE predicts latents, a GAN logits."""
    run = trained(name)
    ok("predict", "--config", f"{name}.yaml", "--ckpt_path", "last")
    from latentkit.data.digits import Digits

    x, _ = Digits(size=8).split("test")[:]
    model = latentkit.load(run)
    expected = model.encode(x) if name == "vae" else model.discriminate(x)
    found = torch.from_numpy(np.load(run / "predictions.npy"))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("command", TRAINING)
@pytest.mark.parametrize(
    "option", ["--trainer.max_epoch", "--seed_every", "--ckpt_pat", "--trainer.accel"]
)
def test_options_cannot_be_abbreviated(typed, configs, command, option):
    """Trap 13: argparse takes a prefix for the option."""
    done = typed(command, "--config", "vae.yaml", option, "3")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert option in line
    assert not (configs / "checkpoints").exists()


def test_a_gan_counts_its_own_iterations(fit, configs):
    """Trap 4: `global_step` counts both optimizers, the files and curves do not."""
    fit("dcgan", "--trainer.max_epochs", 3, "--pictures.every", 1000)
    run = configs / "checkpoints/dcgan/version_0"
    saved = checkpoint(run / "last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 3 * BATCHES
    assert saved["global_step"] == 2 * 3 * BATCHES
    assert result(run / "metrics.json")["iteration"] == 3 * BATCHES
    board = EventAccumulator(str(run))
    board.Reload()
    steps = [event.step for event in board.Images("samples")]
    assert steps == [BATCHES, 2 * BATCHES, 3 * BATCHES]  # after 1,024, 2,048 and 3,072 images
    curve = [event.step for event in board.Scalars("val/logit_real")]
    assert curve == [k * BATCHES - 1 for k in (1, 2, 3)]


def test_the_model_of_a_gan_is_the_averaged_generator(fit, configs):
    fit("dcgan", "--model.init_args.ema_decay", 0.5)
    run = configs / "checkpoints/dcgan/version_0"
    state = checkpoint(run / "last.ckpt")["state_dict"]
    ours = latentkit.load(run).state_dict()
    key = next(k for k in ours if k.startswith("generator.") and k.endswith("weight"))
    assert torch.equal(ours[key], state["ema.average." + key.removeprefix("generator.")])
    assert not torch.equal(ours[key], state["model." + key])
    disc = next(k for k in ours if k.startswith("discriminator."))
    assert torch.equal(ours[disc], state["model." + disc])


def test_the_config_of_a_run_can_be_fed_back(fit, ok, configs):
    fit("vae", "--seed_everything", 5)
    config = "checkpoints/vae/version_0/config.yaml"
    printed = ok("fit", "--config", config)
    assert "run: checkpoints/vae/version_1" in printed
    a, b = (
        checkpoint(configs / f"checkpoints/vae/version_{k}/last.ckpt")["state_dict"]
        for k in range(2)
    )
    assert all(torch.equal(a[k], b[k]) for k in a)
    texts = [(configs / f"checkpoints/vae/version_{k}/config.yaml").read_text() for k in range(2)]
    assert texts[0] == texts[1]
    ok("fit", "--config", config, "--ckpt_path", "last", "--trainer.max_epochs", 2)
    saved = checkpoint(configs / "checkpoints/vae/version_1/last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 2 * BATCHES
    ok("validate", "--config", config, "--ckpt_path", "last")


def test_the_config_of_a_resumed_run_describes_the_whole_run(fit, trained, ok, configs):
    trained()
    fit("vae", "--ckpt_path", "last", "--trainer.max_epochs", 2)
    config = "checkpoints/vae/version_0/config.yaml"
    assert yaml.safe_load((configs / config).read_text())["ckpt_path"] is None
    assert "version_1" in ok("fit", "--config", config)
    saved = checkpoint(configs / "checkpoints/vae/version_1/last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 2 * BATCHES


def test_a_printed_config_can_be_fed_back(fit, typed, ok, configs, capsys):
    with pytest.raises(SystemExit) as stop:
        typed("fit", "--config", "vae.yaml", "--trainer.max_epochs", "2", "--print_config")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    printed = yaml.safe_load(text)
    assert printed["trainer"]["max_epochs"] == 2
    assert printed["model"]["init_args"]["beta"] == 1.0  # a default
    (configs / "whole.yaml").write_text(text)
    fit("vae", "--trainer.max_epochs", 2)
    assert "run: checkpoints/whole/version_0" in ok("fit", "--config", "whole.yaml")
    a, b = (
        checkpoint(configs / f"checkpoints/{name}/version_0/last.ckpt")["state_dict"]
        for name in ("vae", "whole")
    )
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_configs_are_merged_in_order_and_the_last_names_the_run(ok, configs):
    (configs / "short.yaml").write_text("trainer: {max_steps: 1}\n")
    printed = ok("fit", "-c", "vae.yaml", "--config=short.yaml")
    assert "run: checkpoints/short/version_0" in printed
    saved = checkpoint(configs / "checkpoints/short/version_0/last.ckpt")
    assert int(saved["state_dict"]["iteration"]) == 1


def test_the_name_of_a_shipped_config_is_enough(typed, configs, capsys):
    with pytest.raises(SystemExit):
        typed("fit", "--config", "vae_digits.yaml", "--print_config")
    shipped = yaml.safe_load(find_config("vae_digits.yaml").read_text())
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["class_path"] == shipped["model"]["class_path"]
    assert "vae_digits.yaml" in config_names()


def test_a_file_here_goes_before_a_shipped_one_of_that_name(ok, configs):
    (configs / "vae_digits.yaml").write_text(CONFIG)
    ok("fit", "--config", "vae_digits.yaml")
    assert latentkit.load("checkpoints/vae_digits/version_0").latent_dim == 2


def test_checkpoints_hold_plain_values_only(trained):
    """Traps 9 and 10: `weights_only=True` loads them, and names no class to be called."""
    for name in ("vae", "dcgan"):
        saved = checkpoint(trained(name) / "last.ckpt")
        assert "model" not in saved["hyper_parameters"]
        plain(saved["hyper_parameters"])


def plain(value):
    if isinstance(value, dict):
        [plain(v) for v in value.values()]
    elif isinstance(value, list | tuple):
        [plain(v) for v in value]
    else:
        assert value is None or isinstance(value, bool | int | float | str)


def test_a_checkpoint_that_names_a_foreign_class_is_refused(trained, typed, configs):
    saved = checkpoint(trained() / "last.ckpt")
    saved["latentkit"]["class_path"] = "subprocess.Popen"
    torch.save(saved, configs / "foreign.ckpt")
    with pytest.raises(ValueError, match=r"subprocess\.Popen, which is outside latentkit"):
        latentkit.load(configs / "foreign.ckpt")
    done = typed("sample", "foreign.ckpt")
    assert done.code == 2
    assert "outside latentkit" in done.err


def test_a_run_without_logger_leaves_the_users_config_alone(ok, configs):
    """Without a logger Lightning takes the working folder for the run's."""
    (configs / "config.yaml").write_text(CONFIG)
    ok("fit", "--config", "config.yaml", "--trainer.logger", "false")
    assert (configs / "config.yaml").read_text() == CONFIG
    assert not (configs / "last.ckpt").exists()


def test_a_trial_run_writes_nothing(ok, configs):
    before = {*configs.rglob("*")}
    ok("fit", "--config", "vae.yaml", "--trainer.fast_dev_run", "true")
    assert {*configs.rglob("*")} == before


def test_no_warning_or_tip_of_lightning_reaches_the_user(typed, configs):
    """Trap 16: what is left is what the user can act on."""
    for words in (
        ["fit"],
        ["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"],
        ["validate", "--ckpt_path", "last"],
        ["predict", "--ckpt_path", "last"],
    ):
        done = typed(words[0], "--config", "dcgan.yaml", *words[1:])
        assert done.code == 0
        known = ("`Trainer.fit` stopped", "Restor", "Loaded model weights")
        assert [line for line in done.err.splitlines() if not line.startswith(known)] == []


def test_the_run_lands_where_a_given_logger_writes(ok, configs):
    logger = "pytorch_lightning.loggers.TensorBoardLogger"
    words = ["--trainer.logger", logger, "--trainer.logger.save_dir", "elsewhere"]
    printed = ok("fit", "--config", "vae.yaml", *words, "--trainer.logger.name", "mine")
    run = configs / "elsewhere/mine/version_0"
    assert "run: elsewhere/mine/version_0" in printed
    assert {"config.yaml", "last.ckpt", "model.safetensors"} <= {p.name for p in run.iterdir()}
    assert not (configs / "checkpoints").exists()


def test_the_best_model_is_kept_and_the_last_checkpoint(fit, configs):
    """A learning rate that ruins the model: the model file stays the better, earlier one."""
    fit("vae", "--model.init_args.lr", 0.01)
    run = configs / "checkpoints/vae/version_0"
    good = result(run / "metrics.json")
    words = ["--ckpt_path", "last", "--trainer.max_epochs", 2, "--model.init_args.lr", 50]
    fit("vae", *words)
    assert result(run / "metrics.json") == good
    assert read_about(run / "model.safetensors")["iteration"] == BATCHES
    assert int(checkpoint(run / "last.ckpt")["state_dict"]["iteration"]) == 2 * BATCHES


def test_main_takes_the_words_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["latentkit", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.strip() == latentkit.__version__
