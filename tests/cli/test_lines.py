"""What a training says where its output goes to a file."""

import re
import sys

import pytest
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar

from latentkit.cli.training import lightning, lines
from tests.cli.mistakes import LOUD

LINE = r"epoch (\d+)/2 in \d+\.\d s: val/negative_elbo [\d.]+, val/nll [\d.]+, val/kl [\d.e-]+"


@pytest.fixture
def fit(ok, place):
    """Fits a VAE for two epochs and gives the lines about them."""
    (place / "vae.yaml").write_text(LOUD)

    def run(*words):
        said = ok("fit", "--config", "vae.yaml", "--trainer.max_epochs", "2", *words)
        return [line for line in said.splitlines() if "epoch" in line.lower()]

    return run


def test_a_file_gets_a_line_an_epoch_and_no_bar(fit):
    assert [re.fullmatch(LINE, line)[1] for line in fit()] == ["1", "2"]


def test_a_long_epoch_does_not_keep_silent(fit, monkeypatch):
    monkeypatch.setattr(lines, "_SILENCE", -1.0)
    said = fit()
    assert said[0] == "epoch 1/2, 1 of 2 batches"
    assert len(said) == 6


def test_who_wants_no_bar_gets_no_lines(fit):
    assert fit("--trainer.enable_progress_bar", "false") == []


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
