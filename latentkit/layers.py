"""Convolutional blocks for signals, images and volumes, and the two networks built from them.

Every block takes the spatial rank (1, 2 or 3) or reads it off the shape it is given. Sizes are
arguments: 28 is halved to 7, and 32 and 64 to 4, so one class serves them all.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["none", "batch", "spectral"]

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}

_SMALLEST = 7  # a size is halved while it is even and larger than this


def halvings(size: Sequence[int]) -> list[tuple[int, ...]]:
    """Gives the sizes that a network of this input size goes through, largest first.

    Args:
        size: the input's spatial sizes *S.

    Returns:
        `size` and each of its halvings, at least two entries.

    Raises:
        ValueError: the size cannot be halved once.

    >>> halvings((28, 28))
    [(28, 28), (14, 14), (7, 7)]
    >>> halvings((64,))
    [(64,), (32,), (16,), (8,), (4,)]
    """
    if not 1 <= len(size) <= 3:
        raise ValueError(f"expected 1, 2 or 3 spatial sizes, got {tuple(size)}")
    sizes = [tuple(size)]
    while min(sizes[-1]) > _SMALLEST and all(s % 2 == 0 for s in sizes[-1]):
        sizes.append(tuple(s // 2 for s in sizes[-1]))
    if len(sizes) == 1:
        raise ValueError(f"expected even spatial sizes of 8 or more, got {tuple(size)}")
    return sizes


def _finish(conv: nn.Module, rank: int, channels: int, norm: Norm, act: nn.Module) -> nn.Module:
    if norm not in get_args(Norm):
        raise ValueError(f"expected norm none, batch or spectral, got {norm!r}")
    if norm == "spectral":
        return nn.Sequential(spectral_norm(conv), act)
    if norm == "batch":
        return nn.Sequential(conv, _BATCH_NORM[rank](channels), act)
    return nn.Sequential(conv, act)


def down(rank: int, inputs: int, outputs: int, norm: Norm = "none") -> nn.Module:
    """Block that halves every spatial size: (N, inputs, *S) -> (N, outputs, *S/2), LeakyReLU.

    Raises:
        ValueError: an unknown norm.
    """
    conv = _CONV[rank](inputs, outputs, kernel_size=4, stride=2, padding=1, bias=norm != "batch")
    return _finish(conv, rank, outputs, norm, nn.LeakyReLU(0.2))


def up(rank: int, inputs: int, outputs: int, norm: Norm = "none") -> nn.Module:
    """Block that doubles every spatial size: (N, inputs, *S) -> (N, outputs, 2*S), ReLU.

    Raises:
        ValueError: an unknown norm.
    """
    conv = _CONV_TRANSPOSE[rank](inputs, outputs, 4, stride=2, padding=1, bias=norm != "batch")
    return _finish(conv, rank, outputs, norm, nn.ReLU())


def dense(inputs: int, outputs: int, norm: Norm, act: nn.Module) -> nn.Module:
    """Fully connected block: (N, inputs) -> (N, outputs).

    Raises:
        ValueError: an unknown norm.
    """
    linear = nn.Linear(inputs, outputs, bias=norm != "batch")
    return _finish(linear, 1, outputs, norm, act)


def _widths(stages: int, width: int) -> list[int]:
    return [width * min(2**i, 8) for i in range(stages)]


class ConvEncoder(nn.Module):
    """Images to vectors: halving convolutions, one hidden layer, one linear layer.

    `stages.0` is the earliest and finest feature map (half the image's size): the layer whose
    heatmaps say most. Images come in [0, 1] and are centred to [-1, 1] inside.

    Args:
        shape: (C, *S) of one image.
        outputs: size of the output vector.
        width: channels of the first stage; doubled at each further one, up to 8 times.
        hidden: units of the hidden layer; 0 for none.
        norm: normalisation of every layer but the last; "spectral" takes the last one too, since
            it bounds the slope of the whole network.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        width: int = 32,
        hidden: int = 256,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, width=width)
        self.shape = tuple(shape)
        sizes = halvings(self.shape[1:])
        rank, widths = len(sizes[0]), _widths(len(sizes) - 1, width)
        channels = pairwise([self.shape[0], *widths])
        self.stages = nn.Sequential(*(down(rank, i, o, norm) for i, o in channels))
        features = widths[-1] * prod(sizes[-1])
        self.hidden = nn.Sequential(nn.Flatten())
        if hidden:
            self.hidden.append(dense(features, hidden, norm, nn.LeakyReLU(0.2)))
        last = nn.Linear(hidden or features, outputs)
        self.head = spectral_norm(last) if norm == "spectral" else last

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the feature maps, finest first."""
        return tuple(f"stages.{i}" for i in range(len(self.stages)))

    def features(self, x: Tensor) -> Tensor:
        """(N, C, *S) in [0, 1] -> what the last layer sees, (N, hidden).

        Raises:
            ValueError: images of another shape.
        """
        check_shape(x, self.shape, "image")
        hidden: Tensor = self.hidden(self.stages(2 * x - 1))
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *S) in [0, 1] -> (N, outputs).

        Raises:
            ValueError: images of another shape.
        """
        vector: Tensor = self.head(self.features(x))
        return vector


class ConvDecoder(nn.Module):
    """Vectors to images: fully connected layers, then doubling transposed convolutions.

    The output is a logit per pixel; models squash it as their likelihood asks.

    Args:
        inputs: size of the input vector D.
        shape: (C, *S) of one image.
        width: channels of the last hidden stage; doubled at each coarser one, up to 8 times.
        hidden: units of a first fully connected layer; 0 for none.
        norm: normalisation of every layer but the last.
    """

    def __init__(
        self,
        inputs: int,
        shape: Sequence[int],
        width: int = 32,
        hidden: int = 256,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        check_sizes(inputs=inputs, width=width)
        self.inputs, self.shape = inputs, tuple(shape)
        sizes = halvings(self.shape[1:])[::-1]
        rank, widths = len(sizes[0]), _widths(len(sizes) - 1, width)[::-1]
        first = [dense(inputs, hidden, norm, nn.ReLU())] if hidden else []
        features = widths[0] * prod(sizes[0])
        self.stem = nn.Sequential(
            *first,
            dense(hidden or inputs, features, norm, nn.ReLU()),
            nn.Unflatten(1, (widths[0], *sizes[0])),
        )
        self.stages = nn.Sequential(*(up(rank, i, o, norm) for i, o in pairwise(widths)))
        self.to_image = _CONV_TRANSPOSE[rank](widths[-1], self.shape[0], 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, C, *S).

        Raises:
            ValueError: latents of another size.
        """
        check_shape(z, (self.inputs,), "latent")
        image: Tensor = self.to_image(self.stages(self.stem(z)))
        return image


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError, naming it, for a size that is not 1 or more."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"expected {name} of 1 or more, got {size}")


def check_shape(x: Tensor, shape: Sequence[int], what: str) -> None:
    """Raises a ValueError unless `x` is a batch of `shape`, naming both."""
    if tuple(x.shape[1:]) != tuple(shape) or x.ndim != len(shape) + 1:
        wanted = "(N, " + ", ".join(map(str, shape)) + ")"
        raise ValueError(f"expected {what}s of shape {wanted}, got {tuple(x.shape)}")


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Sets every convolution and linear weight to N(0, std), every bias to zero (DCGAN's init).

    Radford et al., "Unsupervised Representation Learning with Deep Convolutional GANs", ICLR 2016
    (arXiv 1511.06434), section 3.
    """
    kinds = (nn.Linear, *_CONV.values(), *_CONV_TRANSPOSE.values())
    for layer in module.modules():
        if isinstance(layer, kinds):
            for name, value in layer.named_parameters(recurse=False):
                if name == "weight":
                    nn.init.normal_(value, std=std)
                else:
                    nn.init.zeros_(value)
