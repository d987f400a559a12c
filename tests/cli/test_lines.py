"""What a training says where its output goes to a file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar

from latentkit.cli import main
from latentkit.cli.training import lightning, lines
from tests.cli.mistakes import CONFIG

SCORES = r"val/negative_elbo [\d.]+, val/nll [\d.]+, val/kl [\d.e-]+"
LINE = rf"epoch (\d+)/2 in \d+\.\d s: {SCORES}"
OWN = "tests.cli.test_lines."


class Talker(pl.Callback):
    """Speaks in Lightning's way, which asks the bar."""

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.print("epoch of a callback")


class OwnBar(ProgressBar):
    """Somebody's own."""

    def on_train_epoch_end(self, trainer, pl_module):
        print("epoch of an own bar")


@pytest.fixture
def fit(ok, place):
    """Fits a VAE for two epochs of two batches and gives the lines about them."""
    (place / "vae.yaml").write_text(CONFIG)

    def run(*words):
        said = ok("fit", "--config", "vae.yaml", "--trainer.max_epochs", "2", *words)
        return [line for line in said.splitlines() if "epoch" in line.lower()]

    return run


def test_a_file_gets_a_line_an_epoch_and_no_bar(fit):
    assert [re.fullmatch(LINE, line)[1] for line in fit()] == ["1", "2"]


def test_what_has_no_epochs_draws_no_bar_either(fit, ok):
    fit()
    said = ok("test", "--config", "vae.yaml", "--ckpt_path", "last")
    assert "test/negative_elbo" in said
    assert "it/s" not in said


def test_a_long_epoch_does_not_keep_silent(fit, monkeypatch):
    monkeypatch.setattr(lines, "_SILENCE", -1.0)
    said = fit()
    assert said[:2] == ["epoch 1/2, 1 of 2 batches", "epoch 1/2, 2 of 2 batches"]
    assert re.fullmatch(LINE, said[2])
    assert len(said) == 6


def test_batches_are_counted_right_where_steps_are_limited(fit, monkeypatch):
    monkeypatch.setattr(lines, "_SILENCE", -1.0)
    said = fit("--trainer.max_epochs", "-1", "--trainer.max_steps", "3")
    assert [line for line in said if "batches" in line] == [
        "epoch 1, 1 of 2 batches",
        "epoch 1, 2 of 2 batches",
        "epoch 2, 1 of 2 batches",
    ]


def test_scores_stand_where_they_were_measured(fit):
    first, second = fit("--trainer.check_val_every_n_epoch", "2")
    assert re.fullmatch(r"epoch 1/2 in \d+\.\d s", first)
    assert re.fullmatch(LINE, second)
    _, third = fit("--trainer.check_val_every_n_epoch", "1", "--trainer.max_steps", "3")
    assert "val/" not in third


def test_who_goes_on_within_an_epoch_does_not_know_its_time(fit, place):
    fit("--trainer.max_steps", "3")
    said = fit("--trainer.max_steps", "4", "--ckpt_path", "last")
    assert re.fullmatch(rf"epoch 2/2: {SCORES}", said[-1])


def test_lightnings_print_works(fit):
    assert "epoch of a callback" in fit("--trainer.callbacks", f"{OWN}Talker")


def test_an_own_bar_stays(fit):
    assert fit("--trainer.callbacks", f"{OWN}OwnBar") == ["epoch of an own bar"] * 2


def test_who_wants_no_bar_gets_no_lines(fit):
    assert fit("--trainer.enable_progress_bar", "false") == []


@pytest.fixture
def unread(capsys, monkeypatch):
    """Runs a command whose output nobody can read; gives its code and what it says of it."""

    def run(handle, *words):
        with os.fdopen(handle, "w") as out, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            code = main(list(words))
        return code, capsys.readouterr().err

    return run


def closed_pipe():
    read, write = os.pipe()
    os.close(read)
    return write


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


FULL = pytest.param(
    full_disk,
    marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to try here"),
)


@pytest.mark.parametrize("output", [closed_pipe, FULL])
def test_a_training_does_not_end_with_its_log(unread, place, output):
    (place / "vae.yaml").write_text(CONFIG)
    code, said = unread(output(), "fit", "--config", "vae.yaml")
    assert code == 0
    assert "latentkit:" not in said
    assert (place / "checkpoints/vae/version_0/metrics.json").exists()


def ended(words, **streams):
    """A command in a process of its own."""
    line = [sys.executable, "-m", "latentkit", *words]
    return subprocess.run(line, text=True, check=False, **streams)


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        (closed_pipe, 141, ""),
        pytest.param(full_disk, 2, "latentkit: error: no space left on device\n", marks=FULL.marks),
    ],
)
def test_a_verb_ends_with_its_output(output, code, said):
    handle = output()
    done = ended(["--help"], stdout=handle, stderr=subprocess.PIPE)
    os.close(handle)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 141), (["smaple"], 2)])
def test_nobody_reads_mistakes_either(words, code):
    handle = closed_pipe()
    assert ended(words, stdout=handle, stderr=handle).returncode == code
    os.close(handle)


def test_a_command_without_an_output_ends_as_any_other():
    for words, code in ((["--help"], 0), (["smaple"], 2)):
        shell = f"{sys.executable} -m latentkit {words[0]} >&- 2>/dev/null"
        assert subprocess.run(shell, shell=True, check=False).returncode == code


def test_a_terminal_has_the_bar(fit, monkeypatch):
    kinds = []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        lightning.TrainingCLI,
        "before_fit",
        lambda cli: kinds.append(type(cli.trainer.progress_bar_callback)),
    )
    fit()
    assert kinds[0] in {RichProgressBar, TQDMProgressBar}  # rich, where it is installed
