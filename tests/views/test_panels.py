"""What trainings leave in TensorBoard: every tag with sane content, at the right images seen."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from latentkit.views.atlases import Atlases
from latentkit.views.hparams import FinalNumbers
from latentkit.views.latents import Latents, confusion, counts, kl_bars
from latentkit.views.panel import Panel
from latentkit.views.projector import Projector
from latentkit.views.tensorboard import Pictures, Walks, most_varying
from tests.training.conftest import Stop

NAMES = ["autoencoder", "vae", "gan", "clustergan"]
each = pytest.mark.parametrize("name", NAMES)
ENTRIES = {"unit 0", "unit 1", "unit 2", "unit 3", "pair 1", "pair 2"}
ENCODERS = {"traversals", "interpolations", "directions", "reconstructions"}
PICTURES = {
    "autoencoder": ENCODERS,
    "vae": ENCODERS | {"samples", "KL of each unit"},
    "gan": {"traversals", "interpolations", "directions"}
    | {"samples", "samples of the latest weights"},
    "clustergan": ENCODERS | {"samples", "samples of the latest weights", "clusters and labels"},
}
SPACES = {
    "autoencoder": {"latents"},
    "vae": {"latents", "samples"},
    "gan": {"discriminator features", "samples"},
    "clustergan": {"latents", "discriminator features", "samples"},
}


def everything():
    latents = Latents(every=48, count=16, units=2)
    drawn = [Pictures(every=48, count=8), Walks(every=48), latents, Atlases(every=48)]
    return [*drawn, Projector(every=48, count=16), FinalNumbers()]


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(torch.equal(v, b[k]) for k, v in a.items())


@each
def test_every_promised_tag_is_there_with_sane_content(make, few, run, events, name):
    folder = run(make(name), few(), *everything(), max_epochs=3, num_sanity_val_steps=1)
    found = events(folder)
    assert set(found.Tags()["images"]) == PICTURES[name]
    for tag in PICTURES[name]:
        first, last = found.Images(tag)  # after 48 of 72 images, and at the end
        assert (first.step, last.step) == (6, 9)  # batches, not the steps of two optimizers
        pixels = np.asarray(Image.open(io.BytesIO(last.encoded_image_string)))
        assert pixels.shape == (last.height, last.width, 3)
        assert 10 < last.height < 1500
        assert 20 < last.width < 2500
        assert pixels.std() > 1  # something is on it
    histograms = {"latents/all units", "latents/unit 0", "latents/unit 1"}
    assert set(found.Tags()["histograms"]) == (set() if name == "gan" else histograms)
    spaces = {p.parent.name for p in folder.rglob("tensors.tsv")}
    assert spaces == SPACES[name]
    assert "final/" in " ".join(found.Tags()["scalars"])
    config = (folder / "projector_config.pbtxt").read_text()
    assert all(space in config for space in spaces)


@each
def test_entries_of_the_latent_tab(make, few, run, events, name):
    found = events(run(make(name), few(), Atlases(every=48), max_epochs=3))
    entries = set(found.PluginTagToContent("latentkit"))
    assert {e.split()[0] for e in entries} == {"unit", "pair"}
    assert len(entries) == 6
    for tag in entries:
        first, last = found.Tensors(tag)
        assert (first.step, last.step) == (6, 9)
        head, strip, *maps = last.tensor_proto.string_val
        head = json.loads(head)
        assert head["kind"] == tag.split()[0].replace("unit", "direction")
        assert Image.open(io.BytesIO(strip)).size == (7 * 8, 8)
        assert [m["question"] for m in head["maps"]] == ["effect", "reading"]
        for place, raw in zip(head["maps"], maps, strict=True):
            values = np.frombuffer(raw, np.float32)
            assert len(values) == place["height"] * place["width"] == 64
            assert np.isfinite(values).all()
            assert values.max() > 0
        assert ("told from other directions" in " ".join(head["notes"])) == tag.startswith("unit")


@each
def test_drawing_changes_nothing_in_the_training(make, few, run, trainer, name):
    drawn, plain = make(name), make(name)
    before = torch.get_rng_state()
    run(drawn, few(), *everything(), max_epochs=3)
    assert torch.equal(torch.get_rng_state(), before)
    trainer(max_epochs=3, limit_train_batches=3, limit_val_batches=1).fit(plain, few())
    assert same(drawn, plain)
    assert drawn.training  # as the loop left it


class Counted(Panel):
    """Notes when it would draw."""

    def __init__(self, every):
        super().__init__(every)
        self.at = []

    def draw(self, board, trainer, module):
        self.at.append(int(module.iteration))


@pytest.mark.parametrize(
    ("every", "at"), [(8, [*range(1, 13)]), (32, [4, 8, 12]), (40, [5, 10, 12])]
)
def test_the_cadence_is_in_images(make, few, run, every, at):
    panel = Counted(every)
    run(make("gan"), few(), panel, max_epochs=2, limit_train_batches=6)
    assert panel.at == at


def test_never(make, few, run, events):
    panel = Counted(0)
    run(make("gan"), few(), panel)
    assert panel.at == []


def test_a_resumed_run_goes_on_counting(make, few, run, trainer, tmp_path):
    panel, path = Counted(40), tmp_path / "half.ckpt"
    stopped = trainer(callbacks=[panel, Stop(3)])
    stopped.fit(make("gan"), few())
    stopped.save_checkpoint(path)
    again = Counted(40)
    run(make("gan"), few(), again, max_epochs=2, limit_train_batches=6, ckpt_path=path)
    assert again.at == [5, 9]  # of 72 images: at 40, and at the end


def test_the_same_latents_are_drawn_each_time(make, few, run, events):
    """A generator that does not learn gives the same picture again."""
    folder = run(make("gan", critic_steps=1000), few(), Pictures(every=24), max_epochs=2)
    first, second = events(folder).Images("samples")
    assert first.encoded_image_string == second.encoded_image_string


def test_somebody_elses_data_module_will_do(make, few, run, events):
    class Own(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(few().split("train"), batch_size=None, sampler=[[0, 1], [2, 3]])

        val_dataloader = train_dataloader

    folder = run(make("vae"), Own(), *everything())
    assert {"samples", "reconstructions"} <= set(events(folder).Tags()["images"])


def test_without_validation_images(make, few, run, events):
    class Own(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(few().split("train"), batch_size=None, sampler=[[0, 1], [2, 3]])

    folder = run(make("vae"), Own(), *everything())
    assert set(events(folder).Tags()["images"]) == {"samples"}


def test_a_picture_that_fails_does_not_end_the_training(make, few, run, capsys):
    class Broken(Counted):
        def draw(self, board, trainer, module):
            super().draw(board, trainer, module)
            raise ValueError("no such thing")

    panel, training = Broken(24), make("gan")
    run(training, few(), panel, max_epochs=2)
    assert panel.at == [3, 6]
    assert int(training.iteration) == 6
    assert "broken: nothing drawn at iteration 3: no such thing" in capsys.readouterr().err


def test_nothing_else_was_left_undrawn(make, few, run, capsys):
    for name in NAMES:
        run(make(name), few(), *everything(), max_epochs=2)
    assert "nothing drawn" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Pictures(every=-1), r"pictures\.every of 0 or more"),
        (lambda: Pictures(count=0), r"pictures\.count of 1 or more"),
        (lambda: Walks(units=0), r"walks\.units"),
        (lambda: Latents(count=1), r"latents\.count of 2"),
        (lambda: Atlases(directions=0), r"atlases\.directions of 1"),
    ],
)
def test_settings_that_are_none(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_most_varying_units_come_first():
    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    assert most_varying(z * torch.tensor([1.0, 3.0, 0.0, 2.0]), 3) == [1, 3, 0]


def test_confusion_counts_every_known_label():
    clusters, labels = torch.tensor([0, 0, 2, 2, 1]), torch.tensor([1, 1, 0, -1, 1])
    assert counts(clusters, labels, 2, 3).tolist() == [[0, 2], [0, 1], [1, 0]]
    figure = confusion(clusters, labels, ["a", "b"], 3)
    image = figure.axes[0].get_images()[0].get_array()
    assert image.tolist() == [[0, 2 / 3], [0, 1 / 3], [1, 0]]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["a", "b"]


def test_bars_of_the_kl():
    (axes,) = kl_bars(torch.tensor([0.5, 2.0, 0.0])).axes
    assert [bar.get_height() for bar in axes.patches] == [2.0, 0.5, 0.0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "0", "2"]
    assert "2.5 in all" in axes.get_title()
