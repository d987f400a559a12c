"""A small classifier of a data set's labels, whose hidden units are features of its images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from latentkit.data.base import ImageData
from latentkit.layers import ConvEncoder

HIDDEN = 64
"""Hidden units."""

_STEPS, _BATCH = 800, 64  # below a minute up to 64x64 pixels
_MOST = 10_000  # images held in memory for it


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
        units: Tensor = self.network.hidden(self.network.stages(2 * images - 1))
        return units

    @classmethod
    def trained(cls, data: ImageData, device: torch.device, seed: int) -> "Classifier":
        """Trains one on labelled training images, here and now; always the same for one seed.

        Raises:
            ValueError: if there are fewer than two labels.
        """
        x, y, generator = _labelled(data, seed)
        # Its weights are drawn from the global generator, which others draw from as well.
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(seed)
            kinds = int(y.max()) + 1
            network = ConvEncoder(tuple(x.shape[1:]), kinds, width=16, hidden=HIDDEN).to(device)
            _train(network, x, y, generator)
        accuracy, images = _held_out_accuracy(network, data, device, seed)
        settings = {"classifier_steps": _STEPS, "classifier_batch": min(_BATCH, len(x))}
        settings |= {"classifier_images": len(x), "classifier_val_images": images}
        return cls(network, accuracy, settings)


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


def _labelled(data: ImageData, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """Training images and labels, at random, and the generator to go on with."""
    require_classes(data)
    images = data.split("train")
    known = (images.labels >= 0).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    x, y = images[known[torch.randperm(len(known), generator=generator)[:_MOST]]]
    return x, y, generator


def _train(network: ConvEncoder, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    device = next(network.parameters()).device
    size = min(_BATCH, len(x))
    for _ in tqdm(range(_STEPS), desc="train classifier", leave=False, disable=None):
        rows = torch.randint(len(x), (size,), generator=generator)
        loss = cross_entropy(network(x[rows].to(device)), y[rows].to(device))
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
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(seed))
    x, y = chosen[order[:_MOST].sort().values]
    x, y = x[y >= 0], y[y >= 0]
    if not len(y):
        return None, 0
    found = [network(batch.to(device)).argmax(1).cpu() for batch in torch.split(x, 256)]
    return (torch.cat(found) == y).double().mean().item(), len(y)
