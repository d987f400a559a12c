"""Named feature spaces that generated images are compared with real ones in.

A distance between images means nothing without the features it was taken in, so their name is part
of the name of every number that rests on them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from tqdm import tqdm

from latentkit.cli.sources import BATCH, Source
from latentkit.layers import ConvEncoder
from latentkit.store.imports import imported

_STEPS, _CLASSIFIER_BATCH = 800, 64  # of the classifier: below a minute up to 64x64 pixels
_FOR_CLASSIFIER = 10_000  # training images held in memory for it
_HIDDEN = 64
_WEIGHTS = "inception_v3_google-0cc3c7bd.pth"  # as torchvision names the file it downloads
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # that it was trained with


@dataclass(frozen=True)
class Space:
    """Features of images.

    Attributes:
        name: short, part of the numbers' names.
        of: images (n, C, *S) -> features (n, ...), on the model's device.
        numbers: what is known of its quality.
        settings: how it was made.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    numbers: dict[str, float]
    settings: dict[str, Any] = field(default_factory=dict)

    def flat(self, images: Tensor) -> Tensor:
        """(n, C, *S) -> (n, F), refusing what are no features."""
        found = self.of(images)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(images):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"expected --features {self.name} to turn {len(images)} images into features "
                f"({len(images)}, F), got {got}"
            )
        return found.flatten(1)

    @torch.no_grad()
    def read(self, images: Tensor, device: torch.device) -> Tensor:
        """(N, C, *S) -> (N, F), in batches with a progress bar, on the CPU."""
        batches = torch.split(images, BATCH)
        bar = tqdm(batches, desc=self.name, leave=False, disable=len(batches) < 10 or None)
        return torch.cat([self.flat(x.to(device)).cpu() for x in bar])


def open_space(source: Source, spec: str | None, seed: int) -> Space | None:
    """The feature space that the user named.

    By default the model's own encoder; without one, for a model that generates, a classifier of the
    data's labels; None where there are none either.
    """
    if spec is None and hasattr(source.model, "encode"):
        return _own(source)
    if spec is None:
        generates = hasattr(source.model, "decode") and hasattr(source.model, "prior")
        return _classifier(source, seed) if generates and _labelled(source) else None
    source.require("decode", "prior")
    return named_space(source, spec, seed)


def named_space(source: Source, spec: str, seed: int) -> Space:
    """The feature space of this name: encoder, classifier, inception or package.module:callable."""
    if spec == "encoder":
        source.require("encode")
        return _own(source)
    if spec == "classifier":
        return _classifier(source, seed)
    if spec == "inception":
        return Space("inception2048", _inception().to(source.device), {})
    if ":" in spec:
        return _imported(source, spec)
    raise ValueError(
        "expected --features encoder, classifier, inception or package.module:callable, "
        f"got {spec!r}"
    )


def _own(source: Source) -> Space:
    return Space("encoder", lambda x: source.model.encode(x).flatten(1), {})


def _imported(source: Source, spec: str) -> Space:
    found = imported(spec, "callable")
    if not callable(found):
        raise ValueError(
            f"expected {spec} to be callable, images (N, C, *S) -> features (N, F), "
            f"got {type(found).__name__}"
        )
    if isinstance(found, nn.Module):
        found = found.to(source.device).eval()
    return Space(spec.replace(":", ".", 1), _guarded(found, spec), {})


def _guarded(features: Callable[[Tensor], Tensor], spec: str) -> Callable[[Tensor], Tensor]:
    """What the user's own code refuses is his mistake, not a bug of this package."""

    def guarded(images: Tensor) -> Tensor:
        try:
            return features(images)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{spec} refused images {tuple(images.shape)}: {error}") from error

    return guarded


def _classifier(source: Source, seed: int) -> Space:
    """Hidden units of a small classifier of the data's labels, trained here and now."""
    images = source.data.split("train")
    known = (images.labels >= 0).nonzero().flatten()
    kinds = int(images.labels.max()) + 1 if len(known) else 0
    found = len(set(images.labels[known].tolist()))
    if found < 2:
        raise ValueError(
            "--features classifier needs training images of two labels or more, got "
            f"{found}: use --features package.module:callable"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = known[torch.randperm(len(known), generator=generator)[:_FOR_CLASSIFIER]]
    x, y = images[rows]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ConvEncoder(tuple(x.shape[1:]), kinds, width=16, hidden=_HIDDEN)
    _train(network.to(source.device), x, y, generator)

    def hidden(batch: Tensor) -> Tensor:
        units: Tensor = network.hidden(network.stages(2 * batch - 1))
        return units

    right, how = _held_out_accuracy(source, network, seed)
    how |= {"classifier_steps": _STEPS, "classifier_batch": min(_CLASSIFIER_BATCH, len(x))}
    how["classifier_images"] = len(x)
    return Space(f"classifier{_HIDDEN}", hidden, right, how)


def _labelled(source: Source) -> bool:
    labels = source.data.split("train").labels
    return len(set(labels[labels >= 0].tolist())) > 1


@torch.enable_grad()
def _train(network: ConvEncoder, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    device = next(network.parameters()).device
    size = min(_CLASSIFIER_BATCH, len(x))
    for _ in tqdm(range(_STEPS), desc="train classifier", leave=False, disable=None):
        rows = torch.randint(len(x), (size,), generator=generator)
        loss = cross_entropy(network(x[rows].to(device)), y[rows].to(device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.eval().requires_grad_(requires_grad=False)


def _held_out_accuracy(
    source: Source, network: ConvEncoder, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """How well the classifier does on validation images: poor ones make poor features."""
    x, y = source.sample("val", _FOR_CLASSIFIER, seed)
    x, y = x[y >= 0], y[y >= 0]
    if not len(y):
        return {}, {}
    found = [network(batch.to(source.device)).argmax(1).cpu() for batch in torch.split(x, BATCH)]
    share = (torch.cat(found) == y).double().mean().item()
    return {f"classifier{_HIDDEN}_val_accuracy": share}, {"classifier_val_images": len(y)}


class _Inception(nn.Module):
    """Torchvision's Inception v3 up to its last pooling, for images of any size in [0, 1].

    The weights are torchvision's, not those of the TensorFlow network that published FIDs use, so
    distances in it compare with each other only.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) in [0, 1] -> (N, 2048)."""
        if x.ndim != 4 or x.shape[1] not in {1, 3}:
            raise ValueError(
                f"expected images (N, 1 or 3, H, W) for --features inception, got {tuple(x.shape)}"
            )
        x = interpolate(x.expand(-1, 3, -1, -1), size=(299, 299), mode="bilinear", antialias=True)
        features: Tensor = self.network((x - self.mean) / self.deviation)
        return features


def _inception() -> nn.Module:
    path = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
    if not path.is_file():
        raise ValueError(
            f"expected torchvision's Inception v3 weights at {path}, found none: put the file "
            f"https://download.pytorch.org/models/{_WEIGHTS} there, or use --features classifier"
        )
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, transform_input=False)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises its own kinds for a damaged file
        raise ValueError(f"{path} is damaged or holds other weights: {error}") from error
    network.fc = nn.Identity()
    return _Inception(network).eval().requires_grad_(requires_grad=False)
