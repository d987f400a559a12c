"""TensorBoard's embedding projector: latents with thumbnails and labels."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from latentkit.explain.hooks import watched
from latentkit.protocols import Part
from latentkit.store import explained, write_all
from latentkit.training.base import Training
from latentkit.training.watch import data_of, events_kept
from latentkit.views.labels import label_name
from latentkit.views.panel import HeldOut, Panel, drawn, inputs

MOST = 100_000
"""Points the projector reads; it silently takes the first ones of more."""

_LARGEST_SPRITE = 8192  # pixels a side
_LIST = "projector_config.pbtxt"  # of the spaces of a folder
_SMALLEST = 8  # pixels of a thumbnail that shows anything
_BLANKS = str.maketrans("\t\n\r", "   ")  # what ends a cell or a line of a table


class Projector(Panel):
    """Writes the latent spaces of one model for the Projector tab.

    `latents` are those of validation images, `discriminator features` what its deepest layer makes
    of them, `samples` latents of the prior with the images made of them. Each point has its image,
    its label, its number in the validation set and, where the model clusters, its cluster.

    Args:
        every: training images between writings; it is written at the end in any case, unless this
            is 0. The files grow by some megabytes each time.
        count: validation images, at most; and samples.

    Raises:
        ValueError: `every` is below 0, or `count` is not from 2 to 100,000.
    """

    def __init__(self, every: int = 10_000_000, count: int = 1000) -> None:
        super().__init__(every)
        if not 2 <= count <= MOST:
            raise ValueError(f"expected projector.count of 2 to {MOST}, got {count}")
        self.count = count

    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Writes every space that the model has."""
        model: Any = module.portable()
        step, some = int(module.iteration), self.held_out(trainer, self.count)
        x = inputs(trainer, module, some.images)
        spaces = _spaces(model, x) if len(x) else {}
        columns = _columns(trainer, model, x, some) if spaces else {}
        for name, points in spaces.items():
            write_space(board.log_dir, name, points, some.images, columns, step)
        said = [f"{len(x)} validation images, {some.chosen}"] if spaces else []
        if hasattr(model, "prior"):
            z = drawn(module, self.count)
            made = torch.cat([model.decode(part) for part in torch.split(z, 256)])
            numbers = {"number": [str(k) for k in range(len(z))]}
            made = made.float().cpu()
            write_space(board.log_dir, "samples", z.float().cpu(), made, numbers, step)
            said.append(f"{len(z)} samples")
        if said:
            board.add_text("projector", "; ".join(said), step)


def write_projector(
    folder: str | Path,
    latents: Tensor,
    images: Tensor,
    labels: Tensor,
    class_names: Sequence[str] = (),
) -> int:
    """Writes latents (N, *Z) for TensorBoard's projector, with thumbnails where they fit.

    Args:
        folder: where to; it may hold event files and other spaces.
        latents: (N, *Z); of more than 100,000 a random sample is written.
        images: (N, C, H, W) in [0, 1].
        labels: (N,), -1 where there is none.
        class_names: of the labels.

    Returns:
        The number of points written.
    """
    rows = torch.arange(len(latents))
    if len(rows) > MOST:
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(rows), generator=generator)[:MOST].sort().values
    columns = {
        "label": [label_name(k, class_names) for k in labels[rows].tolist()],
        "number": [str(k) for k in rows.tolist()],
    }
    write_space(folder, "latents", latents[rows], images[rows], columns, 0)
    if not any(Path(folder).glob("events.out.tfevents.*")):  # TensorBoard sees no folder without
        with explained(folder), events_kept(), SummaryWriter(str(folder)):
            pass
    return len(rows)


def write_space(
    folder: str | Path,
    name: str,
    points: Tensor,
    images: Tensor,
    columns: Mapping[str, Sequence[str]],
    step: int,
) -> None:
    """Adds one space to a run's projector.

    The projector reads no sprite larger than 8,192 pixels, so for many images the thumbnails are
    made smaller, and left out where they would be smaller than 8 pixels. Images that are neither
    grey nor coloured have none.

    The files of a space and the list of all spaces are written together, or not at all.

    Args:
        folder: of the run.
        name: of the space.
        points: (N, *Z), N of at most 100,000.
        images: (N, C, H, W) in [0, 1].
        columns: name -> a value of each point.
        step: the iteration.
    """
    per_side = math.ceil(math.sqrt(len(points)))
    size = min(max(images.shape[-2:]), _LARGEST_SPRITE // per_side)
    shown = size >= _SMALLEST and images.shape[1] in {1, 3}
    small = functional.interpolate(images, size=(size, size)) if shown else None
    head, rows = _table(columns)
    folder = Path(folder)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".space-") as place:
            with events_kept(), SummaryWriter(place) as board:
                board.add_embedding(
                    points.flatten(1),
                    metadata=rows,
                    metadata_header=head,
                    label_img=small,
                    global_step=step,
                    tag=name,
                )
            _move(Path(place), folder)


def _table(columns: Mapping[str, Sequence[str]]) -> tuple[list[str] | None, list[Any]]:
    """Head and rows as `add_embedding` takes them, without what would move the cells.

    TensorBoard takes the first line for a head if it holds a tab: a single column can have none.
    """
    cells = [[value.translate(_BLANKS) for value in values] for values in columns.values()]
    if len(cells) == 1:
        return None, cells[0]
    return list(columns), [list(row) for row in zip(*cells, strict=True)]


def _move(place: Path, folder: Path) -> None:
    """Moves the spaces of `place` into the folder, beside those that are there."""
    new = _spaces_in(place)
    names = {space.tensor_name for space in new}
    earlier = [space for space in _spaces_in(folder) if space.tensor_name not in names]
    files = [path for space in new for path in (place / space.tensor_path).parent.iterdir()]
    writers: dict[Path, Callable[[Path], object]] = {
        folder / path.relative_to(place): path.replace for path in files
    }
    text = text_format.MessageToString(ProjectorConfig(embeddings=[*earlier, *new]))
    write_all({**writers, folder / _LIST: partial(Path.write_text, data=text, encoding="utf-8")})


def _spaces_in(folder: Path) -> list[Any]:
    """The spaces that a folder lists and has; none where the list cannot be read."""
    config = ProjectorConfig()
    try:
        text_format.Parse((folder / _LIST).read_text(encoding="utf-8"), config)
    except (OSError, text_format.ParseError, UnicodeDecodeError):
        return []
    return [space for space in config.embeddings if (folder / space.tensor_path).is_file()]


def _columns(
    trainer: pl.Trainer,
    model: Any,  # noqa: ANN401
    images: Tensor,
    some: HeldOut,
) -> dict[str, list[str]]:
    names = getattr(data_of(trainer), "class_names", ())
    labels = [label_name(k, names) for k in some.labels.tolist()]
    columns = {"label": labels, "number": [str(k) for k in some.rows.tolist()]}
    if hasattr(model, "cluster"):
        found = torch.cat([model.cluster(x) for x in torch.split(images, 256)])
        columns["cluster"] = [str(k) for k in found.tolist()]
    return columns


def _spaces(model: Any, images: Tensor) -> dict[str, Tensor]:  # noqa: ANN401
    """Name -> points of the images (N, D), on the CPU."""
    found, batches = {}, torch.split(images, 256)
    if hasattr(model, "encode"):
        found["latents"] = torch.cat([model.encode(x).flatten(1) for x in batches])
    part = model.explainable().get("discriminator") if hasattr(model, "explainable") else None
    if part is not None:
        found["discriminator features"] = torch.cat([_deepest(part, x) for x in batches])
    return {name: points.float().cpu() for name, points in found.items()}


def _deepest(part: Part, x: Tensor) -> Tensor:
    """What the deepest default layer makes of images, averaged over space: (N, C)."""
    with watched(part.module, [part.layers[-1]], x) as run:
        return run.activations[0].detach().flatten(2).mean(2)
