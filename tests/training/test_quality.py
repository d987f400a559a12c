"""What a run logs of its images' quality: right, repeatable, and out of the training's way."""

import json

import pytest
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentkit.data.base import ImageData, Splits
from latentkit.data.digits import Digits
from latentkit.data.images import TensorImages
from latentkit.metrics.frechet import frechet_distance
from latentkit.metrics.reconstruction import ssim
from latentkit.models.vae import VAE
from latentkit.training import classifier
from latentkit.training.features import named_space
from latentkit.training.quality import Quality
from latentkit.training.resume import Checkpoints
from latentkit.training.vae import VAETraining
from tests.training.conftest import Few

SHARES = ("precision", "recall", "density", "coverage")
NAMES = {f"val/{k}_classifier64" for k in ("frechet", "kernel", *SHARES)}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(classifier, "_STEPS", 30)


@pytest.fixture
def fit(trainer, tmp_path):
    """Fits with a logger; gives the folder, the logged values, and the trainer."""

    def run(training, quality, *others, data=None, ckpt_path=None, **settings):
        board = TensorBoardLogger(tmp_path, "runs", version=0, default_hp_metric=False)
        quick = {"limit_train_batches": 3, "log_every_n_steps": 2, **settings}
        quick["enable_checkpointing"] = bool(others)
        runner = trainer(logger=board, callbacks=[quality, *others], **quick)
        runner.fit(training, data or Digits(size=8, batch_size=16), ckpt_path=ckpt_path)
        return tmp_path / "runs" / "version_0", runner

    return run


def scalars(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if any(word in tag for word in ("classifier", "ssim", "Space"))
    }


def large_vae():
    torch.manual_seed(0)
    return VAETraining(VAE((1, 16, 16), 4, width=4, hidden=16))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("autoencoder", set()), ("vae", NAMES), ("gan", NAMES), ("clustergan", NAMES)],
)
def test_what_applies_is_logged_after_each_validation(make, fit, name, wanted):
    folder, _ = fit(make(name), Quality(count=64), max_epochs=2)
    found = scalars(folder)
    assert set(found) == wanted  # images of 8 pixels are too small for SSIM
    assert all(len(values) == 2 for values in found.values())
    assert (folder / "quality.json").exists() == bool(wanted)


def test_the_numbers_are_those_of_the_definitions(fit):
    training, data = large_vae(), Digits(size=16, batch_size=16)
    folder, runner = fit(training, Quality(count=100), data=data, max_epochs=1)
    about = json.loads((folder / "quality.json").read_text())
    order = torch.randperm(len(data.split("val")), generator=torch.Generator().manual_seed(0))
    real = data.split("val")[order[:100].sort().values][0]
    space = named_space("classifier", data, torch.device("cpu"), 0)
    generator = torch.Generator().manual_seed(0)
    training.eval()
    with torch.no_grad():
        fake = training.decode(training.prior.sample(100, generator=generator))
        wanted = frechet_distance(space.flat(real), space.flat(fake))
        rebuilt = ssim(training.decode(training.encode(real[::4])), real[::4]).mean()
    found = runner.callback_metrics
    assert found["val/frechet_classifier64"].item() == pytest.approx(wanted, rel=1e-5)
    assert found["val/ssim"].item() == pytest.approx(rebuilt.item(), rel=1e-5)
    assert about["features"] == "classifier64"
    assert about["real_images"] == about["generated_images"] == 100
    assert about["ssim_images"] == 25
    assert about["classifier_steps"] == 30
    assert about["precision_recall_k"] == 3
    assert 0 < about["of_training_images"]["frechet_classifier64"] < wanted


def test_the_training_does_not_notice(make, fit):
    a, b = make("clustergan"), make("clustergan")
    fit(a, Quality(count=64), max_epochs=2)
    fit(b, Quality(every=0), max_epochs=2)
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_a_resumed_run_logs_the_same(make, fit):
    folder, _ = fit(make("gan"), Quality(count=64), max_epochs=3)
    whole = scalars(folder)["val/frechet_classifier64"]
    for path in folder.iterdir():
        path.unlink()
    fit(make("gan"), Quality(count=64), Checkpoints(), max_epochs=1)
    last = str(folder / "last.ckpt")
    fit(make("gan"), Quality(count=64), Checkpoints(), max_epochs=3, ckpt_path=last)
    assert scalars(folder)["val/frechet_classifier64"] == whole
    assert len({value for _, value in whole}) == 3


def test_every_other_validation(make, fit):
    folder, _ = fit(make("gan"), Quality(every=2, count=64), max_epochs=3)
    assert len(scalars(folder)["val/frechet_classifier64"]) == 2


class Unlabelled(ImageData):
    """Digits whose labels nobody knows."""

    def load(self):
        parts = [Digits(size=8).split(name) for name in ("train", "val", "test")]
        return Splits(*(TensorImages(p.images, torch.full_like(p.labels, -1)) for p in parts))


@pytest.mark.parametrize(
    ("quality", "data"),
    [
        (Quality(every=0), Digits(size=8, batch_size=16)),
        (Quality(), Few()),  # 16 images to validate with
        (Quality(), Unlabelled(batch_size=16)),
    ],
    ids=["switched off", "too few", "no labels"],
)
def test_where_there_is_nothing_to_compare(make, fit, quality, data):
    folder, _ = fit(make("gan"), quality, data=data)
    assert scalars(folder) == {}
    assert not (folder / "quality.json").exists()


class Odd(ImageData):
    """Labelled images of 15 pixels, which the classifier cannot take."""

    def load(self):
        parts = [Digits(size=16).split(name) for name in ("train", "val", "test")]
        return Splits(*(TensorImages(p.images[:, :, :15, :15], p.labels) for p in parts))


class Fifteen(VAE):
    """Makes and takes images of 15 pixels."""

    def decode(self, z, /):
        return super().decode(z)[:, :, :15, :15]

    def posterior(self, x):
        return super().posterior(torch.nn.functional.pad(x, (0, 1, 0, 1)))

    def nll(self, x, z):
        return super().nll(torch.nn.functional.pad(x, (0, 1, 0, 1)), z)


def test_images_that_the_classifier_cannot_take_are_not_compared(fit):
    training = VAETraining(Fifteen((1, 16, 16), 4, width=4, hidden=16))
    folder, _ = fit(training, Quality(), data=Odd(batch_size=16))
    assert set(scalars(folder)) == {"val/ssim"}
    with pytest.raises(ValueError, match="sizes of 8 or more"):
        fit(training, Quality(features="classifier"), data=Odd(batch_size=16))


def test_images_that_are_no_numbers_do_not_end_the_run(make, fit):
    training = make("gan")
    training.decode = lambda z: torch.full((len(z), 1, 8, 8), torch.nan)
    _, runner = fit(training, Quality(count=64))
    assert runner.callback_metrics["val/frechet_classifier64"].isnan()


def test_large_images_are_made_smaller_for_the_classifier():
    small = classifier._scaled(torch.rand(2, 3, 100, 200))
    assert small.shape == (2, 3, 25, 50)
    assert classifier._scaled(torch.ones(1, 1, 64, 64)).shape[-1] == 64
    assert classifier._scaled(torch.ones(1, 1, 128, 128)).unique().tolist() == [1.0]


def test_features_of_one_s_own(make, fit):
    quality = Quality(count=64, features="tests.training.spaces:pixels")
    folder, _ = fit(make("gan"), quality, data=Unlabelled(batch_size=16))
    assert "val/frechet_tests.training.spaces.pixels" in runner_names(folder)


def runner_names(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events.Tags()["scalars"]


def test_features_that_cannot_be_had():
    with pytest.raises(ValueError, match="expected features encoder, classifier"):
        Quality(features="nonsense").check(Digits(size=8))
    with pytest.raises(ValueError, match="two labels or more, got 0"):
        Quality(features="classifier").check(Unlabelled())
    Quality(features="classifier").check(Digits(size=8))
    Quality(every=0, features="nonsense").check(Digits(size=8))


@pytest.mark.parametrize("settings", [{"every": -1}, {"count": 3}, {"features": "encoder"}])
def test_settings_that_are_none(settings):
    with pytest.raises(ValueError, match="quality"):
        Quality(**settings)
