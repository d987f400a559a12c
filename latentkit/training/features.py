"""Named feature spaces that generated images are compared with real ones in.

A distance between images means nothing without the features it was taken in, so their name is part
of the name of every number that rests on them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from latentkit.data.base import ImageData
from latentkit.store.imports import imported
from latentkit.training.classifier import HIDDEN, Classifier
from latentkit.training.inception import inception

_BATCH = 256  # images in one call


@dataclass(frozen=True)
class Space:
    """Features of images.

    Attributes:
        name: short, part of the numbers' names.
        of: images (n, C, *S) -> features (n, ...), on the device that it was opened on.
        numbers: what is known of its quality.
        settings: how it was made.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    numbers: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def flat(self, images: Tensor) -> Tensor:
        """(n, C, *S) -> (n, F), refusing what are no features."""
        found = self.of(images)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(images):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"expected features {self.name} to turn {len(images)} images into features "
                f"({len(images)}, F), got {got}"
            )
        return found.flatten(1)

    @torch.no_grad()
    def read(self, images: Tensor, device: torch.device) -> Tensor:
        """(N, C, *S) -> (N, F), in batches with a progress bar, on the CPU."""
        batches = torch.split(images, _BATCH)
        bar = tqdm(batches, desc=self.name, leave=False, disable=len(batches) < 10 or None)
        return torch.cat([self.flat(x.to(device).float()).float().cpu() for x in bar])


def named_space(spec: str, data: ImageData, device: torch.device, seed: int) -> Space:
    """The feature space of this name.

    Args:
        spec: classifier (trained here and now on the data's labels), inception (torchvision's,
            where its weights are) or package.module:callable.
        data: whose images will be compared.
        device: where they will be.
        seed: of the classifier.

    Raises:
        ValueError: for any other name, data that give no classifier, and weights that are missing.
    """
    if spec == "classifier":
        return _classifier_space(Classifier.trained(data, device, seed))
    if spec == "inception":
        return Space("inception2048", inception().to(device))
    if ":" in spec:
        return _imported(spec, device)
    raise ValueError(
        f"expected features encoder, classifier, inception or package.module:callable, got {spec!r}"
    )


def _classifier_space(classifier: Classifier) -> Space:
    name, numbers = f"classifier{HIDDEN}", {}
    if classifier.accuracy is not None:
        numbers[f"{name}_val_accuracy"] = classifier.accuracy
    return Space(name, classifier.hidden, numbers, classifier.settings)


def _imported(spec: str, device: torch.device) -> Space:
    found = imported(spec, "callable")
    if not callable(found):
        raise ValueError(
            f"expected {spec} to be callable, images (N, C, *S) -> features (N, F), "
            f"got {type(found).__name__}"
        )
    if isinstance(found, nn.Module):
        found = found.to(device).eval()
    return Space(spec.replace(":", ".", 1), _guarded(found, spec))


def _guarded(features: Callable[[Tensor], Tensor], spec: str) -> Callable[[Tensor], Tensor]:
    """What the user's own code refuses is his mistake, not a bug of this package."""

    def guarded(images: Tensor) -> Tensor:
        try:
            return features(images)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{spec} refused images {tuple(images.shape)}: {error}") from error

    return guarded
