"""TensorBoard: the projector's files, and the pictures logged during training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentkit.priors import Gaussian
from latentkit.views.tensorboard import ImageGrids, write_projector


def sprite_of(folder):
    (found,) = folder.rglob("sprite.png")
    return Image.open(found)


def projector(folder, count, side):
    images = torch.zeros(count, 1, 1, 1).expand(count, 1, side, side)
    labels = torch.arange(count) % 3 - 1
    write_projector(folder, torch.zeros(count, 2), images, labels, ["zero", "one"])


@pytest.mark.parametrize(
    ("count", "side", "wide"),
    [(5, 28, 3 * 28), (100, 28, 280), (10_000, 100, 8100), (90_000, 28, 300 * 27)],
)
def test_a_sprite_is_never_larger_than_the_projector_reads(
    tmp_path, monkeypatch, count, side, wide
):
    """The pictures are watched on their way, since writing the large ones takes seconds."""
    seen = []
    monkeypatch.setattr(
        "torch.utils.tensorboard.SummaryWriter.add_embedding",
        lambda _self, _z, metadata, label_img: seen.append((len(metadata), label_img.shape)),
    )
    monkeypatch.setattr(
        "torch.nn.functional.interpolate",
        lambda x, size: torch.zeros(1).expand(*x.shape[:2], *size),
    )
    projector(tmp_path, count, side)
    ((names, shape),) = seen
    assert names == count
    per_side = int(np.ceil(np.sqrt(count)))
    assert shape[-1] * per_side == wide <= 8192


def test_too_many_images_have_no_thumbnails(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "torch.utils.tensorboard.SummaryWriter.add_embedding",
        lambda _self, _z, metadata, label_img: seen.append(label_img),
    )
    projector(tmp_path, 1025**2, 8)
    assert seen == [None]


def test_the_files_of_the_projector(tmp_path):
    images = torch.rand(5, 3, 8, 8)
    z = torch.arange(10.0).view(5, 2)
    write_projector(tmp_path, z, images, torch.tensor([0, 1, -1, 1, 0]), ["zero", "one"])
    (names,) = tmp_path.rglob("metadata.tsv")
    assert names.read_text().split() == ["zero", "one", "-1", "one", "zero"]
    (table,) = tmp_path.rglob("tensors.tsv")
    assert np.array_equal(np.loadtxt(table), z.numpy())
    sprite = np.array(sprite_of(tmp_path))
    assert sprite.shape[:2] == (24, 24)
    expected = (images[4] * 255).to(torch.uint8).movedim(0, -1).numpy()
    assert np.abs(sprite[8:16, 8:16, :3].astype(int) - expected).max() <= 1


class Half:
    """Encodes and decodes, with a prior; counts its own iterations."""

    device = torch.device("cpu")
    iteration = torch.tensor(11)
    prior = Gaussian(2)

    def encode(self, x):
        return x.flatten(1)[:, :2]

    def decode(self, z):
        return z.mean(1).sigmoid().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def trainer(folder, **settings):
    loader = [(torch.rand(40, 1, 4, 4), torch.zeros(40))]
    base = {"loggers": [TensorBoardLogger(folder)], "sanity_checking": False}
    base |= {"is_global_zero": True, "val_dataloaders": loader, "global_step": 22}
    return SimpleNamespace(**{**base, **settings})


def logged(folder):
    board = EventAccumulator(str(next(folder.rglob("events*")).parent))
    board.Reload()
    return {tag: [e.step for e in board.Images(tag)] for tag in board.Tags()["images"]}


def test_pictures_are_logged_at_the_modules_own_iteration(tmp_path):
    run = trainer(tmp_path)
    ImageGrids(count=4).on_validation_end(run, Half())
    run.loggers[0].experiment.flush()
    assert logged(tmp_path) == {"samples": [11], "reconstructions": [11]}


def test_pictures_come_every_so_often(tmp_path):
    run, grids, module = trainer(tmp_path), ImageGrids(every=3, count=4), Half()
    for step in range(7):
        module.iteration = torch.tensor(step)
        grids.on_validation_end(run, module)
    run.loggers[0].experiment.flush()
    assert logged(tmp_path)["samples"] == [0, 3, 6]


@pytest.mark.parametrize(
    "settings", [{"sanity_checking": True}, {"is_global_zero": False}, {"loggers": []}]
)
def test_no_pictures_where_there_is_no_need(tmp_path, settings):
    ImageGrids().on_validation_end(trainer(tmp_path, **settings), Half())
    assert not list(tmp_path.rglob("events*"))


def test_none_if_turned_off(tmp_path):
    ImageGrids(every=0).on_validation_end(trainer(tmp_path), Half())
    assert not list(tmp_path.rglob("events*"))


def test_the_latents_are_the_same_each_time_and_the_global_state_is_left(tmp_path):
    run, seen = trainer(tmp_path), []
    module = Half()
    module.prior = SimpleNamespace(
        sample=lambda n, generator: seen.append(torch.randn(n, 2, generator=generator)) or seen[-1]
    )
    before = torch.random.get_rng_state()
    for _ in range(2):
        ImageGrids(count=3).on_validation_end(run, module)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(torch.random.get_rng_state(), before)
