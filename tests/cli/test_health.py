"""The alarms through the command: on by default, set by `--health`, silent on what is shipped."""

import pytest

from tests.cli.conftest import result
from tests.cli.mistakes import CONFIG

COLLAPSE = ("--model.init_args.beta", 1e6, "--model.init_args.lr", 0.01)
SOON = ("--health.grace", 6, "--health.patience", 1, "--trainer.max_epochs", 8)


@pytest.fixture
def fit(typed, place):
    """Fits a VAE; gives what was typed out, and the run folder."""
    (place / "vae.yaml").write_text(CONFIG)

    def run(*words):
        done = typed("fit", "--config", "vae.yaml", *words)
        return done, place / "checkpoints/vae/version_0"

    return run


def test_a_collapse_is_said_once_and_recorded(fit):
    done, folder = fit(*COLLAPSE, *SOON)
    assert done.code == 0
    content = result(folder / "health.json")
    assert content["iteration"] == 16
    assert content["ringing"] == ["posterior_collapse"]
    assert content["judged"] >= content["needed"] == 1
    (record,) = content["alarms"]
    said = f"alarm at iteration {record['iteration']}: posterior collapse: "
    assert record["iteration"] >= 6
    assert record["text"] in done.err
    assert (done.out + done.err).count("posterior collapse") == done.err.count(said) == 1


def test_a_short_run_is_within_the_grace(fit):
    done, folder = fit(*COLLAPSE)
    assert "alarm" not in done.out + done.err
    content = result(folder / "health.json")
    assert set(content["values"]) == {"active_units", "kl", "kl_per_unit"}
    assert content["alarms"] == []
    assert (content["judged"], content["needed"]) == (0, 3)


def test_the_alarms_can_be_switched_off(fit):
    done, folder = fit(*COLLAPSE, *SOON, "--health.every", 0)
    assert done.code == 0
    assert "alarm" not in done.out + done.err
    assert not (folder / "health.json").exists()


def test_a_loss_that_is_no_number_is_one_line_and_recorded(fit):
    done, folder = fit("--model.init_args.lr", 1e30, "--trainer.max_epochs", 4)
    assert done.code == 2
    line = done.err.splitlines()[-1]
    assert line.startswith("latentkit: error: the loss is nan at iteration ")
    assert "try a smaller learning rate" in line
    content = result(folder / "health.json")
    (record,) = content["alarms"]
    assert record["name"] == "non_finite_loss"
    assert line == f"latentkit: error: {record['text']}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs"), [("autoencoder", 67), ("vae", 67), ("dcgan", 34), ("clustergan", 67)]
)
def test_the_shipped_configs_raise_no_alarm(ok, place, name, epochs):
    """On the digits, past grace and patience."""
    config = f"{name}_digits"
    ok("fit", "--config", f"{config}.yaml", "--trainer.max_epochs", epochs, "--pictures.every", 0)
    content = result(place / f"checkpoints/{config}/version_0/health.json")
    assert content["iteration"] > 600
    assert content["alarms"] == []
