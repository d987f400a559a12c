"""TensorBoard: the spread of latents, the cost of each unit, clusters against labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from latentkit.losses.elbo import kl_to_standard_normal
from latentkit.training.base import Training
from latentkit.training.watch import data_of
from latentkit.views.figures import rendered
from latentkit.views.panel import Panel, inputs

_BATCH = 256
_MOST_BARS = 64  # that can be told apart


class Latents(Panel):
    """Histograms of the latents of validation images, KL of each unit, clusters against labels.

    Args:
        every: training images between drawings; 0 for none.
        count: validation images, at most.
        units: that have a histogram of their own: the first ones.

    Raises:
        ValueError: `every` or `units` is below 0, or `count` below 2.
    """

    def __init__(self, every: int = 100_000, count: int = 500, units: int = 8) -> None:
        super().__init__(every)
        if count < 2 or units < 0:
            raise ValueError(
                "expected latents.count of 2 or more and latents.units of 0 or more, got "
                f"{count} and {units}"
            )
        self.count, self.units = count, units

    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Logs `latents/...`, `KL of each unit` (VAE) and `clusters and labels` (ClusterGAN)."""
        model: Any = module.portable()
        some = self.held_out(trainer, self.count)
        labels, step = some.labels, int(module.iteration)
        if not hasattr(model, "encode") or not len(labels):
            return
        batches = torch.split(inputs(trainer, module, some.images), _BATCH)
        z, kl = _read(model, batches)
        if z.isfinite().all():  # TensorBoard refuses others
            board.add_histogram("latents/all units", z, step)
            for unit in range(min(self.units, z.shape[1])):
                board.add_histogram(f"latents/unit {unit}", z[:, unit], step)
        if kl is not None:
            board.add_image("KL of each unit", rendered(kl_bars(kl.mean(0))), step)
        if hasattr(model, "cluster") and (labels >= 0).any():
            clusters = torch.cat([model.cluster(x) for x in batches]).cpu()
            names = getattr(data_of(trainer), "class_names", ())
            figure = confusion(clusters, labels, names, int(model.classes))
            board.add_image("clusters and labels", rendered(figure), step)


def _read(model: Any, batches: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
    """Latents (N, D) of images and, of a VAE, the KL of each unit (N, D), on the CPU."""
    if not hasattr(model, "posterior"):
        return torch.cat([model.encode(x) for x in batches]).flatten(1).float().cpu(), None
    found = [model.posterior(x) for x in batches]
    kl = torch.cat([kl_to_standard_normal(*parts) for parts in found])
    return torch.cat([mean for mean, _ in found]).float().cpu(), kl.float().cpu()


def kl_bars(kl: Tensor) -> Figure:
    """One bar a unit, (D,) nats, the largest first; of more than 64 only those."""
    order = kl.argsort(descending=True)[:_MOST_BARS]
    places = np.arange(len(order))
    figure = Figure(figsize=(max(4.0, 0.22 * len(order) + 1.5), 3), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(places, kl[order].numpy())
    size = 8 if len(order) <= 32 else 5
    axes.set_xticks(places, [str(k) for k in order.tolist()], fontsize=size)
    few = "" if len(order) == len(kl) else f"; the {len(order)} largest of {len(kl)} units"
    title = f"KL of each unit, {kl.sum():.1f} in all{few}"
    axes.set(xlabel="latent unit", ylabel="nats", title=title)
    return figure


def counts(clusters: Tensor, labels: Tensor, kinds: int, classes: int) -> NDArray[np.int64]:
    """How many images of each label each cluster holds: (classes, kinds); label -1 is left out."""
    known = labels >= 0
    cells = clusters[known] * kinds + labels[known]
    table: NDArray[np.int64] = cells.bincount(minlength=classes * kinds).numpy()
    return table.reshape(classes, kinds)


def confusion(clusters: Tensor, labels: Tensor, names: Sequence[str], classes: int) -> Figure:
    """Which cluster (row) holds how much of which label (column), in shares of the label.

    Args:
        clusters: (N,) from 0.
        labels: (N,), -1 where unknown.
        names: of the labels; empty for their numbers.
        classes: number of clusters.
    """
    kinds = max(int(labels.max()) + 1, len(names))
    table = counts(clusters, labels, kinds, classes)
    shares = table / np.maximum(table.sum(0), 1)
    figure = Figure(figsize=(0.45 * kinds + 2, 0.4 * classes + 1.5), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    shown = names or [str(k) for k in range(kinds)]
    axes.set_xticks(np.arange(kinds), shown, fontsize=8, rotation=90 if names else 0)
    axes.set_yticks(np.arange(classes), [str(k) for k in range(classes)], fontsize=8)
    axes.set(xlabel="label", ylabel="cluster", title="share of each label's images")
    figure.colorbar(drawn, ax=axes)
    return figure
