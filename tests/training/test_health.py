"""The alarms: each provoked, each silent where nothing is wrong."""

import contextlib
import io
import json
import math
import random
import re

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, IterableDataset

from latentkit.data.base import ImageData, Splits
from latentkit.data.digits import Digits
from latentkit.data.images import TensorImages
from latentkit.training import alarms
from latentkit.training.alarms import Alarm
from latentkit.training.base import NonFiniteLossError, adam
from latentkit.training.health import Health
from tests.training.conftest import vae

NAMES = ["autoencoder", "vae", "gan", "clustergan"]
each = pytest.mark.parametrize("name", NAMES)
AT_ONCE = {"grace": 0, "patience": 1}


# The measures, against a closed form or the definition written out.


def test_diversity_is_the_ratio_of_mean_distances():
    a, b = torch.rand(9, 1, 3, 3), torch.rand(9, 1, 3, 3)

    def slow(x):
        distance = [[(p - q).norm().item() for q in x] for p in x]
        pairs = [distance[i][j] for i in range(9) for j in range(i)]
        nearest = [min(distance[i][j] for j in range(9) if j != i) for i in range(9)]
        return np.mean(pairs), np.mean(nearest)

    wanted = np.divide(slow(a), slow(b))
    np.testing.assert_allclose([float(v) for v in alarms.diversity(a, b)], wanted, rtol=1e-3)


def test_diversity_of_collapsed_images():
    real = torch.rand(64, 1, 8, 8)
    same, two = real[:1].expand(64, -1, -1, -1), real[:2].repeat(32, 1, 1, 1)
    assert [float(v) for v in alarms.diversity(real, real)] == [1, 1]
    assert alarms.diversity(same, real)[0] < 1e-3
    assert alarms.diversity(two, real)[0] == pytest.approx(0.5, abs=0.1)
    assert alarms.diversity(two, real)[1] < 1e-3


def test_balance_counts_right_answers():
    accuracy, gap = alarms.balance(torch.tensor([2.0, -1, 3, 4]), torch.tensor([-2.0, -2]))
    assert float(accuracy) == (3 / 4 + 1) / 2
    assert float(gap) == 4


@pytest.mark.parametrize("used", [1, 3, 10])
def test_the_effective_number_of_clusters(used):
    assert float(alarms.cluster_usage(torch.arange(60) % used, 10)) == pytest.approx(used)
    uneven = torch.tensor([0, 0, 0, 1])
    wanted = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert float(alarms.cluster_usage(uneven, 10)) == pytest.approx(wanted)


# The alarms, as plain functions.


@pytest.mark.parametrize(
    ("alarm", "fine", "bad"),
    [
        (alarms.posterior_collapse, [(2, 8, 2), (8, 8, 2), (1, 1, 2)], [(0, 8, 2), (1, 8, 2)]),
        (alarms.mode_collapse, [(0.3, 0.3), (1.2, 0.3)], [(0.29, 0.3), (0.0, 0.3)]),
        (alarms.flat_reconstructions, [(0.3, 0.3)], [(0.1, 0.3), (math.nan, 0.3)]),
        (
            alarms.discriminator_wins,
            [(1.0, 10.0, 10), (0.98, 50.0, 10)],
            [(1.0, 10.1, 10), (0.995, math.inf, 10)],
        ),
        (alarms.lost_clusters, [(4.0, 10, 0.4), (9.0, 10, 0.4)], [(3.0, 10, 0.4)]),
        (alarms.mode_collapse, [], [(math.nan, 0.3)]),
    ],
)
def test_alarms_ring_beyond_their_threshold(alarm, fine, bad):
    assert [alarm(*values) for values in fine] == [None] * len(fine)
    rung = [alarm(*values) for values in bad]
    assert {a.name for a in rung} == {alarm.__name__}
    assert all("; try " in a.text and len(a.text) < 300 for a in rung)


def test_the_words():
    assert alarms.posterior_collapse(0, 8, 2).text == (
        "posterior collapse: 0 of 8 latent units carry information (variance of the posterior mean "
        "above 0.01), so the latent says next to nothing about the image; try a smaller beta, "
        "warmup or free_bits"
    )
    assert "differ 0.02 times as much as real ones (below 0.3)" in (
        alarms.mode_collapse(0.02, 0.3).text
    )
    assert "3.0 of 10 clusters (effective number, below 4)" in (
        alarms.lost_clusters(3.0, 10, 0.4).text
    )
    wins = alarms.discriminator_wins(0.998, 12.34, 10).text
    assert "right on 99.8% of the images, with a gap of 12.3" in wins


# Ringing and clearing.

BAD = Alarm("mode_collapse", "all the same", 0.0, 0.3)


def said(health, script):
    """What is said at each measurement: "x" is a bad one."""
    return [health.update([BAD] if c == "x" else [], i) for i, c in enumerate(script)]


def test_an_alarm_rings_once_and_clears_once():
    texts = said(Health(patience=3), "xxxxxx.x..xx...xx.xxx")
    assert {i: t for i, t in enumerate(texts) if t} == {
        2: ["alarm at iteration 2: all the same"],
        14: ["cleared at iteration 14: mode collapse"],
        20: ["alarm at iteration 20: all the same"],
    }


def test_without_patience_it_rings_at_once():
    assert [bool(t) for t in said(Health(patience=1), "x.xx")] == [True, True, True, False]


@pytest.mark.parametrize("cut", range(9))
def test_its_state_can_be_restored_anywhere(cut):
    script = "xx.xxxx.."
    whole, first, second = Health(patience=2), Health(patience=2), Health(patience=2)
    wanted = said(whole, script)
    begun = said(first, script[:cut])
    second.load_state_dict(first.state_dict())
    rest = [second.update([BAD] if c == "x" else [], cut + i) for i, c in enumerate(script[cut:])]
    assert begun + rest == wanted
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize("settings", [{"every": -1}, {"count": 8}, {"grace": -1}, {"patience": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    ((key, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"expected health.*got.* {key} {value}\b"):
        Health(**settings)


# In training.


@pytest.fixture
def watched(trainer, few, tmp_path, capsys):
    """Fit with the alarms on; gives `health.json`, the console's stderr, and TensorBoard's log."""

    def fit(training, data=None, fails=False, settings=AT_ONCE, **more):
        board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
        runner = trainer(logger=board, callbacks=[Health(**settings)], **{"max_epochs": 3, **more})
        capsys.readouterr()
        with pytest.raises(NonFiniteLossError) if fails else contextlib.nullcontext():
            runner.fit(training, data or few())
        folder = tmp_path / "runs" / "version_0"
        log = EventAccumulator(str(folder), dict.fromkeys(("scalars", "histograms", "tensors"), 0))
        log.Reload()
        return json.loads((folder / "health.json").read_text()), capsys.readouterr().err, log

    return fit


def texts(log):
    tag = "health/text_summary"
    if tag not in log.Tags()["tensors"]:
        return []
    return [e.tensor_proto.string_val[0].decode() for e in log.Tensors(tag)]


def check_rang(watched_run, name, words):
    """The alarm is in the file, once on the console and once in TensorBoard; gives its record."""
    content, err, log = watched_run
    assert name in content["ringing"]
    (record,) = [a for a in content["alarms"] if a["name"] == name]
    assert words in record["text"]
    line = f"alarm at iteration {record['iteration']}: {record['text']}"
    assert err.splitlines().count(line) == 1
    assert texts(log).count(line) == 1
    assert len(err.splitlines()) == len(content["alarms"])
    return record


def freeze(training, *names):
    """Lets these networks learn nothing."""
    networks = [training.model.discriminator, training.model.generator]

    def configure():
        rates = [0 if n in names else training.lr for n in ("discriminator", "generator")]
        return [adam(x, lr, training.betas) for x, lr in zip(networks, rates, strict=True)]

    training.configure_optimizers = configure
    return training


def test_posterior_collapse(make, watched):
    settings = {"grace": 24, "patience": 1}
    run = watched(make("vae", beta=1e5, lr=0.01), settings=settings, max_epochs=8)
    check_rang(run, "posterior_collapse", "of 4 latent units carry information")
    values = run[0]["values"]
    assert values["active_units"] < 2
    assert len(values["kl_per_unit"]) == 4
    assert sum(values["kl_per_unit"]) == pytest.approx(values["kl"], rel=1e-4)
    assert values["kl"] < 0.1
    log = run[2]
    steps = [e.step for e in log.Scalars("health/active_units")]
    assert steps == [6 * k for k in range(1, 9)]
    assert [e.step for e in log.Histograms("health/kl_per_unit")] == steps


def test_a_generator_that_always_gives_the_same_image(make, watched):
    run = watched(freeze(make("gan"), "generator"))
    record = check_rang(run, "mode_collapse", "times as much as real ones (below 0.3)")
    assert record["value"] < 0.1
    assert [e.step for e in run[2].Scalars("health/diversity")] == [6, 12, 18], "not global_step"


@pytest.mark.parametrize("loss", ["nonsaturating", "wasserstein"])
def test_a_discriminator_that_always_wins(make, watched, loss):
    """A critic's logits have no scale of their own: only the other loss has this alarm."""
    training = freeze(make("gan", penalty=0, lr=0.01, loss=loss), "generator")
    run = watched(training, max_epochs=8)
    assert run[0]["values"]["gap"] > 10
    if loss == "wasserstein":
        assert "discriminator_wins" not in run[0]["ringing"]
    else:
        check_rang(
            run, "discriminator_wins", "the discriminator wins always: it is right on 100.0%"
        )


def test_three_of_ten_clusters(make, watched):
    training = make("clustergan")
    code = training.model.code

    def three(x):
        z_n, logits = code(x)
        return z_n, torch.cat([logits[:, :3], logits[:, 3:] - 1e4], 1)

    training.model.code = three
    run = watched(training, Digits(size=8, batch_size=256), max_epochs=1)
    record = check_rang(run, "lost_clusters", "of 10 clusters (effective number, below 4)")
    assert record["value"] <= 3.001


def test_an_autoencoder_that_gives_the_mean_image(make, watched):
    check_rang(watched(make("autoencoder", lr=0.0)), "flat_reconstructions", "the latent is lost")


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_loss_that_is_no_number_stops_the_run_and_is_recorded(make, watched, name):
    content, err, log = watched(make(name, lr=1e30), fails=True)
    (record,) = [a for a in content["alarms"] if a["name"] == "non_finite_loss"]
    assert f"at iteration {record['iteration']}: try a smaller learning rate" in record["text"]
    assert 0 <= record["iteration"] < 6
    assert texts(log) == [f"alarm at iteration {record['iteration']}: {record['text']}"]
    assert err == "", "the console has the exception"


def test_other_exceptions_are_none_of_its_business(make, few, trainer, tmp_path):
    board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
    training = make("vae")
    training.training_step = lambda batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer(logger=board, callbacks=[Health()]).fit(training, few())
    assert not (tmp_path / "runs/version_0/health.json").exists()


@pytest.mark.parametrize(
    "name", ["vae", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "vae")]
)
def test_a_healthy_run_raises_no_alarm_with_the_defaults(make, watched, name):
    """The negative control of all of the above, past the grace and patience of the defaults."""
    settings = {"critic_steps": 1, "loss": "nonsaturating", "penalty": 1.0, "lr": 5e-4}
    training = make(name, **settings, betas=(0.0, 0.99)) if name == "clustergan" else make(name)
    data = Digits(size=8, batch_size=32)
    content, err, log = watched(training, data, settings={}, max_epochs=17)
    assert content["iteration"] >= 500 + 3 * 37
    assert content["alarms"] == content["ringing"] == []
    assert err == ""
    assert texts(log) == []


def test_the_start_of_training_would_ring_without_grace(make, watched):
    content, _, _ = watched(make("gan"), Digits(size=8, batch_size=64), max_epochs=4)
    assert "mode_collapse" in {a["name"] for a in content["alarms"]}


def test_grace_counts_the_generators_updates(make, watched):
    training = freeze(make("gan", critic_steps=3), "generator")
    settings = {"grace": 4, "patience": 1}
    content, _, _ = watched(training, settings=settings, max_epochs=3)
    (record,) = content["alarms"]
    assert record["iteration"] == 12


def test_every_second_validation(make, watched):
    _, _, log = watched(make("gan"), settings={"every": 2}, max_epochs=4)
    assert [e.step for e in log.Scalars("health/diversity")] == [6, 18]


@pytest.mark.parametrize("kind", ["tqdm", "rich"])
def test_an_alarm_leaves_the_progress_bar_in_one_piece(make, few, trainer, kind):
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        if kind == "rich":
            pytest.importorskip("rich")
            bar = RichProgressBar(console_kwargs={"force_terminal": True, "width": 400})
        else:
            bar = TQDMProgressBar()
        callbacks = [Health(**AT_ONCE), bar]
        runner = trainer(callbacks=callbacks, enable_progress_bar=True, max_epochs=2)
        runner.fit(freeze(make("gan"), "generator"), few())
    wiped = screen.getvalue().replace("\x1b[2K", "\r \r")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", wiped)
    (line,) = [line for line in plain.split("\n") if "mode collapse" in line]
    *below, shown = line.rstrip("\r").split("\r")
    assert shown.startswith("alarm at iteration 6: mode collapse: ")
    assert shown.rstrip().endswith("critic_steps")
    assert not below or below[-1].strip() == "", "the bar is wiped first"


# It changes nothing.


@each
def test_it_gives_back_modes_gradients_and_random_states(make, few, trainer, name):
    training = make(name)
    health, seen = Health(**AT_ONCE), []

    class Look(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            old = str(np.random.get_state())  # noqa: NPY002  (it is there, so it must stay)
            state = random.getstate(), old, torch.get_rng_state().tolist()
            modes = [part.training for part in pl_module.modules()]
            parameters = [(p.requires_grad, p.grad is None) for p in pl_module.parameters()]
            seen.append((*state, modes, parameters, torch.is_grad_enabled()))

    runner = trainer(callbacks=[Look(), health, Look()])
    pl.seed_everything(0, verbose=False)
    mixed = next(training.model.children())
    training.on_validation_model_eval = lambda: (training.eval(), mixed.train())
    runner.fit(training, few())
    assert seen[0] == seen[1]
    assert len(set(seen[0][3])) == 2, "not all in one mode"
    assert health.state_dict()["values"], "it did measure"


@each
def test_a_run_with_alarms_is_the_run_without_bit_for_bit(make, few, trainer, name):
    with_alarms, without = make(name), make(name)
    trainer(callbacks=[Health(**AT_ONCE)], max_epochs=2).fit(with_alarms, few())
    trainer(max_epochs=2).fit(without, few())
    wanted = without.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in with_alarms.state_dict().items())


@pytest.mark.parametrize("name", ["autoencoder", "gan"])
def test_a_resumed_run_knows_what_rang(make, few, trainer, tmp_path, capsys, name):
    def fit(folder, epochs, resume=False):
        board = TensorBoardLogger(tmp_path, folder, version=0, default_hp_metric=False)
        latest = ModelCheckpoint(tmp_path / folder, "last", enable_version_counter=False)
        health = Health(grace=0, patience=2)
        runner = trainer(
            logger=board, callbacks=[health, latest], enable_checkpointing=True, max_epochs=epochs
        )
        path = tmp_path / folder / "last.ckpt" if resume else None
        runner.fit(make(name), few(), ckpt_path=path, weights_only=True)
        state = torch.load(tmp_path / folder / "last.ckpt", weights_only=True)["callbacks"]
        text = (tmp_path / folder / "version_0" / "health.json").read_text()
        return state["Health"], text, capsys.readouterr().err

    state, text, whole = fit("whole", 5)
    begun = [fit("parts", k, resume=k > 1) for k in range(1, 6)]
    assert begun[-1][:2] == (state, text)
    assert "".join(err for *_, err in begun) == whole
    assert whole.count("alarm at iteration 12") == 1
    assert state["seen"] == 5


def test_too_few_images_say_nothing(make, few, trainer):
    health = Health(**AT_ONCE)
    trainer(callbacks=[health], limit_val_batches=1).fit(make("vae", beta=1e5), few())
    assert health.state_dict()["values"] == {}


def test_it_measures_neither_sanity_checks_nor_validate(make, few, trainer):
    health = Health(**AT_ONCE)
    runner = trainer(callbacks=[health], num_sanity_val_steps=2)
    runner.fit(make("vae"), few())
    runner.validate(make("vae"), few(), verbose=False)
    assert health.state_dict()["seen"] == 1


class Sorted(ImageData):
    """Digits sorted by label to validate on, as in a folder for each class."""

    def load(self):
        images, labels = Digits(size=8).split("train")[:]
        order = labels[:192].argsort(stable=True)
        val = TensorImages(images[order], labels[order])
        few = TensorImages(images[192:208], labels[192:208])
        return Splits(few, val, few)


@pytest.mark.parametrize(
    ("batch_size", "count", "apart"),
    [(16, 50, 4), (8, 25, 8), (4, 25, 8), (512, 100, 2), (8, 300, 1)],
)
def test_it_measures_on_evenly_spaced_images(make, trainer, batch_size, count, apart):
    """Else a sorted set would look like a model that uses one cluster."""
    health, data, seen = Health(count=count), Sorted(batch_size=batch_size), []
    health.checkup = lambda module, x: (seen.append(x), ({}, []))[1]
    trainer(callbacks=[health]).fit(make("gan"), data)
    wanted = data.split("val")[:][0][::apart]
    assert torch.equal(seen[0], wanted)


def test_a_validation_set_may_hide_its_size(make, few, trainer):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([few().split("val")[:16]])

    data, health = few(), Health(**AT_ONCE)
    data.val_dataloader = lambda: DataLoader(Stream(), batch_size=None)
    trainer(callbacks=[health]).fit(make("gan"), data)
    assert health.state_dict()["values"]


@each
def test_it_works_in_mixed_precision(make, few, trainer, name):
    health = Health(**AT_ONCE)
    training = make(name, **({"loss": "nonsaturating"} if name == "clustergan" else {}))
    trainer(callbacks=[health], precision="bf16-mixed").fit(training, few())
    assert health.state_dict()["values"]


def test_another_module_than_ours_is_left_alone(few, trainer):
    class Other(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = vae()

        def training_step(self, batch, index):
            return self.inner.model.encode(batch[0]).square().mean()

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return self.inner.configure_optimizers()

    health = Health(**AT_ONCE)
    trainer(callbacks=[health]).fit(Other(), few())
    assert health.state_dict()["values"] == {}
