"""TensorBoard's projector: its files, and what it cannot read."""

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from latentkit.views import projector as module
from latentkit.views.projector import Projector, write_projector, write_space


def sprite_of(folder):
    (found,) = folder.rglob("sprite.png")
    return Image.open(found)


def write(folder, count, side):
    images = torch.zeros(count, 1, 1, 1).expand(count, 1, side, side)
    labels = torch.arange(count) % 3 - 1
    return write_projector(folder, torch.zeros(count, 2), images, labels, ["zero", "one"])


@pytest.fixture
def written(monkeypatch):
    """What would be written; the pictures are not made, since that takes seconds."""
    seen = []
    monkeypatch.setattr(
        "torch.utils.tensorboard.SummaryWriter.add_embedding",
        lambda _self, points, metadata, label_img, **_: seen.append(
            (len(points), metadata, label_img)
        ),
    )
    monkeypatch.setattr(
        "torch.nn.functional.interpolate",
        lambda x, size: torch.zeros(1).expand(*x.shape[:2], *size),
    )
    return seen


@pytest.mark.parametrize(
    ("count", "side", "wide"),
    [(5, 28, 3 * 28), (100, 28, 280), (10_000, 100, 8100), (90_000, 28, 300 * 27)],
)
def test_a_sprite_is_never_larger_than_the_projector_reads(tmp_path, written, count, side, wide):
    assert write(tmp_path, count, side) == count
    ((points, names, images),) = written
    assert points == len(names) == count
    assert images.shape[-1] * int(np.ceil(np.sqrt(count))) == wide <= 8192


def test_too_many_points_are_sampled(tmp_path, written):
    assert write(tmp_path, 150_000, 4) == 100_000
    ((points, names, images),) = written
    assert points == len(names) == 100_000
    assert images is None  # thumbnails of 4 pixels show nothing
    numbers = [int(number) for _, number in names]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 149_000  # not the first ones


def test_where_the_thumbnails_would_be_too_small_there_are_none(tmp_path, written, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST_SPRITE", 70)
    write(tmp_path, 100, 28)
    assert written[0][2] is None


def test_the_files_of_the_projector(tmp_path):
    images = torch.rand(5, 3, 8, 8)
    z = torch.arange(10.0).view(5, 2)
    write_projector(tmp_path, z, images, torch.tensor([0, 1, -1, 1, 0]), ["zero", "one"])
    (table,) = tmp_path.rglob("metadata.tsv")
    head, *rows = (line.split("\t") for line in table.read_text().splitlines())
    assert head == ["label", "number"]
    assert rows == [["zero", "0"], ["one", "1"], ["unlabelled", "2"], ["one", "3"], ["zero", "4"]]
    (table,) = tmp_path.rglob("tensors.tsv")
    assert np.array_equal(np.loadtxt(table), z.numpy())
    sprite = np.array(sprite_of(tmp_path))
    assert sprite.shape[:2] == (24, 24)
    expected = (images[4] * 255).to(torch.uint8).movedim(0, -1).numpy()
    assert np.abs(sprite[8:16, 8:16, :3].astype(int) - expected).max() <= 1


def shown(table):
    """Columns and their values, as the page of TensorBoard reads them."""
    lines = [line.split("\t") for line in table.read_text().split("\n") if line.strip()]
    head = lines.pop(0) if len(lines[0]) > 1 else ["label"]
    return {name: [line[k] for line in lines] for k, name in enumerate(head)}


def write_columns(folder, columns, name="samples", step=0):
    images = torch.rand(3, 1, 8, 8)
    write_space(folder, name, torch.zeros(3, 2), images, columns, step)


@pytest.mark.parametrize(
    "columns",
    [
        {"number": ["0", "1", "2"]},
        {"label": ["a", "b", "c"], "number": ["0", "1", "2"]},
    ],
)
def test_every_point_has_its_own_label(tmp_path, columns):
    write_columns(tmp_path, columns)
    (table,) = tmp_path.rglob("metadata.tsv")
    assert list(shown(table).values()) == list(columns.values())


def test_labels_with_tabs_and_lines_move_no_column(tmp_path):
    labels, images = torch.tensor([0, 1, 2]), torch.rand(3, 1, 8, 8)
    write_projector(tmp_path, torch.zeros(3, 2), images, labels, ["a", "b\tx", "c\ny"])
    (table,) = tmp_path.rglob("metadata.tsv")
    assert shown(table) == {"label": ["a", "b x", "c y"], "number": ["0", "1", "2"]}
    write_columns(tmp_path / "one", {"label": ["a\tx", "b", "c"]})
    (table,) = (tmp_path / "one").rglob("metadata.tsv")
    assert shown(table) == {"label": ["a x", "b", "c"]}


def listed(folder):
    text = (folder / "projector_config.pbtxt").read_text()
    return [e.tensor_name for e in text_format.Parse(text, ProjectorConfig()).embeddings]


def test_a_later_writer_keeps_the_spaces_of_an_earlier_one(tmp_path):
    columns = {"number": ["0", "1", "2"]}
    for name, step in (("samples", 5), ("latents", 5), ("samples", 9), ("latents", 5)):
        write_columns(tmp_path, columns, name, step)
    assert listed(tmp_path) == ["samples:00005", "samples:00009", "latents:00005"]


def test_a_damaged_list_of_spaces_is_written_anew(tmp_path):
    (tmp_path / "projector_config.pbtxt").write_text("embeddings {\n  tensor_na")
    write_columns(tmp_path, {"number": ["0", "1", "2"]})
    assert listed(tmp_path) == ["samples:00000"]


def test_images_of_two_channels_have_no_thumbnails(tmp_path):
    images = torch.rand(5, 2, 8, 8)
    assert write_projector(tmp_path, torch.zeros(5, 2), images, torch.zeros(5).long()) == 5
    assert not list(tmp_path.rglob("sprite.png"))


@pytest.mark.parametrize("count", [1, 100_001])
def test_a_count_that_the_projector_cannot_show(count):
    with pytest.raises(ValueError, match=r"projector\.count of 2 to 100000"):
        Projector(count=count)
