"""A small classifier of a data set's labels, whose hidden units are features of its images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d, avg_pool3d, cross_entropy
from tqdm import tqdm

from latentkit.data.base import ImageData
from latentkit.data.images import ImageSet, random_rows
from latentkit.layers import ConvEncoder

HIDDEN = 64
"""Hidden units."""

_STEPS, _BATCH = 800, 64  # below a minute, since larger images are made smaller
_SIDE = 64  # pixels at most
_MOST = 10_000  # images that it learns from, and that it is judged on


@dataclass(frozen=True)
class Classifier:
    """The trained network.

    Attributes:
        network: images in [-1, 1] -> logits, on the device it was trained on.
        accuracy: share of validation images that it gets right (poor ones make poor features);
            None where they have no labels.
        settings: how it was trained.
    """

    network: ConvEncoder
    accuracy: float | None
    settings: dict[str, Any]

    def hidden(self, images: Tensor) -> Tensor:
        """(n, C, *S) in [0, 1] -> (n, HIDDEN)."""
        units: Tensor = self.network.hidden(self.network.stages(_scaled(images)))
        return units

    @classmethod
    def trained(cls, data: ImageData, device: torch.device, seed: int) -> "Classifier":
        """Trains one on labelled training images, here and now; always the same for one seed.

        Raises:
            ValueError: if there are fewer than two labels.
        """
        require_classes(data)
        images, generator = data.split("train"), torch.Generator().manual_seed(seed)
        known = (images.labels >= 0).nonzero().flatten()
        rows = known[torch.randperm(len(known), generator=generator)[:_MOST]]
        shape = tuple(_scaled(images[rows[:1]][0]).shape[1:])
        # Its weights are drawn from the global generator, which others draw from as well.
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            kinds = int(images.labels[rows].max()) + 1
            network = ConvEncoder(shape, kinds, width=16, hidden=HIDDEN).to(device)
            _train(network, images, rows, generator)
        accuracy, count = _held_out_accuracy(network, data, device, seed)
        settings = {"classifier_steps": _STEPS, "classifier_batch": min(_BATCH, len(rows))}
        settings |= {"classifier_images": len(rows), "classifier_val_images": count}
        return cls(network, accuracy, settings | {"classifier_side": max(shape[1:])})


def has_classes(data: ImageData) -> bool:
    """Whether the training images have two labels or more."""
    return _kinds(data) > 1


def require_classes(data: ImageData) -> None:
    """Raises a ValueError unless they have."""
    if not has_classes(data):
        raise ValueError(
            "features classifier need training images of two labels or more, got "
            f"{_kinds(data)}: use features package.module:callable"
        )


def _kinds(data: ImageData) -> int:
    labels = data.split("train").labels
    return len(set(labels[labels >= 0].tolist()))


def _scaled(images: Tensor) -> Tensor:
    """(n, C, *S) in [0, 1] -> [-1, 1], averaged over blocks of pixels until no side is too long."""
    times = -(-max(images.shape[2:]) // _SIDE)
    if times > 1:
        pool = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}[images.ndim - 2]
        images = pool(images, times, ceil_mode=True)
    return 2 * images - 1


def _train(
    network: ConvEncoder, images: ImageSet, rows: Tensor, generator: torch.Generator
) -> None:
    """On `rows`, read batch by batch: a data set may be larger than the memory."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    device = next(network.parameters()).device
    size = min(_BATCH, len(rows))
    for _ in tqdm(range(_STEPS), desc="train classifier", leave=False, disable=None):
        x, y = images[rows[torch.randint(len(rows), (size,), generator=generator)]]
        loss = cross_entropy(network(_scaled(x.to(device))), y.to(device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def _held_out_accuracy(
    network: ConvEncoder, data: ImageData, device: torch.device, seed: int
) -> tuple[float | None, int]:
    """The accuracy, and of how many images."""
    chosen = data.split("val")
    rows = random_rows(len(chosen), _MOST, seed)
    rows = rows[chosen.labels[rows] >= 0]
    if not len(rows):
        return None, 0
    right = 0
    for some in torch.split(rows, 256):
        x, y = chosen[some]
        right += int((network(_scaled(x.to(device))).argmax(1).cpu() == y).sum())
    return right / len(rows), len(rows)
