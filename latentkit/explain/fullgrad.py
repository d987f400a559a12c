"""FullGrad: a score taken apart into what the input and what every bias contributes.

Srinivas and Fleuret, NeurIPS 2019 (arXiv 1905.00780). In a network that is linear piece by piece
(convolution, linear, batch norm, ReLU, LeakyReLU, max pooling), exactly: score = sum(x * gradient)
plus, for every layer, sum(bias * gradient). Biases are those of convolutions, transposed ones and
linear layers, what batch norm adds in eval mode, and what a conversion of the input adds before the
first layer, such as the -1 of 2 x - 1. With other activations (SiLU, sigmoid), other norms or
parameters added by hand it does not add up; `FullGradients.error` says by how much.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from latentkit.explain.attribution import INPUT
from latentkit.explain.gradients import differentiate, values
from latentkit.explain.heatmap import Heatmap, name_of, unit_range
from latentkit.explain.hooks import borrowed, normal
from latentkit.metrics.saliency import resize
from latentkit.protocols import Score


@dataclass(frozen=True, eq=False)
class FullGradients:
    """What adds up to a score.

    Attributes:
        value: the scores, (N,).
        input: input times gradient, as the first layer sees the input, (N, C, *S).
        biases: bias times gradient by the name of the layer, (N, C, *S_layer), or (N, ..., F) for
            linear layers; the second run of a layer is called "name#1".
    """

    value: Tensor
    input: Tensor
    biases: Mapping[str, Tensor]

    @property
    def error(self) -> Tensor:
        """(N,), |sum of all parts - score| / |score|: rounding errors, or what is left out."""
        total = sum((_total(part) for part in self.biases.values()), _total(self.input))
        return (total - self.value).abs() / self.value.abs().clamp_min(
            torch.finfo(self.value.dtype).tiny
        )

    def maps(self) -> list[Tensor]:
        """The parts that have the input's space, (N, C, *S_layer) each, the input's first."""
        rank = self.input.ndim
        return [self.input, *(part for part in self.biases.values() if part.ndim == rank)]


def fullgrad(module: nn.Module, x: Tensor, score: Score, *, signed: bool = True) -> Heatmap:
    """FullGrad map at the size of the input.

    Args:
        module: the network; it comes back as it was.
        x: input (N, C, *S).
        score: the module's output -> (N,); see `scores`.
        signed: the sum of all parts that have space, each spread over the input without a change
            of its total: the map adds up to the score less the biases of layers without space. If
            not signed, as the authors draw it: the sum of absolute values, those of each layer
            rescaled to [0, 1]; layers whose values are rounding errors count zero.

    Returns:
        Maps (N, *S).

    Raises:
        ValueError, TypeError: an input without space; or a score that is not (N,) or does not
            depend on the input.
    """
    if x.ndim < 3:
        raise ValueError(f"expected an input (N, C, *S) with space, got {tuple(x.shape)}")
    parts = full_gradients(module, x, score).maps()
    size, eps = x.shape[2:], 4 * torch.finfo(x.dtype).eps
    if signed:
        raw = torch.stack([_spread(part.sum(1), size) for part in parts]).sum(0)
        gross = torch.stack([_spread(part.abs().sum(1), size) for part in parts]).sum(0)
    else:
        top = torch.stack([_largest(part) for part in parts])
        real = (top > eps * top.amax(0)) | top.isnan()
        shares = [
            resize(unit_range(part.abs()).sum(1), size) * keep.view(-1, *[1] * len(size))
            for part, keep in zip(parts, real, strict=True)
        ]
        raw = gross = torch.stack(shares).sum(0)
    noise = eps * _largest(gross)
    return Heatmap(raw.float(), INPUT, "fullgrad", noise.float(), name_of(score))


def full_gradients(module: nn.Module, x: Tensor, score: Score) -> FullGradients:
    """The parts of a score, one forward pass and one gradient; arguments as in `fullgrad`.

    Raises:
        ValueError, TypeError: a score that is not (N,) or does not depend on the input.
    """
    with borrowed(module), torch.enable_grad():
        leaf = normal(x).requires_grad_()
        seen = _Seen(leaf)
        with seen.hooked(module):
            # A copy goes in: the first layer may work in place.
            value = values(score, module(leaf.clone()), len(x))
        slopes: tuple[Tensor | None, ...] = (None,) * (1 + len(seen.biased))
        if value.requires_grad:
            wanted, ones = [leaf, *(one for _, one, _ in seen.biased)], torch.ones_like(value)
            slopes = torch.autograd.grad(value, wanted, ones, allow_unused=True)
    # Nothing depends on a detached score: there `differentiate` says what is wrong.
    own = differentiate(value.detach(), leaf, INPUT) if slopes[0] is None else slopes[0]
    biases = {
        name: _wide(slope) * _wide(bias)
        for (name, _, bias), slope in zip(seen.biased, slopes[1:], strict=True)
        if slope is not None  # the score does not depend on this layer
    }
    scaled = _wide(own) * _wide(leaf)
    if INPUT in biases and biases[INPUT].shape in (x.shape, x.flatten(1).shape):
        scaled = scaled + biases.pop(INPUT).reshape(x.shape)
    return FullGradients(_wide(value), scaled, biases)


class _Seen:
    """What is added to the signal on its way: (name, the sum, what was added), in order."""

    def __init__(self, leaf: Tensor) -> None:
        self.biased: list[tuple[str, Tensor, Tensor]] = []
        self._leaf, self._runs, self._thread = leaf, Counter[str](), threading.get_ident()

    @contextmanager
    def hooked(self, module: nn.Module) -> Iterator[None]:
        """Look at every affine layer that runs in this thread."""
        with ExitStack() as stack:
            for name, part in module.named_modules():
                if isinstance(part, _ConvNd | nn.Linear | _BatchNorm):
                    stack.enter_context(part.register_forward_hook(partial(self._look, name)))
            yield

    def _look(
        self, name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor | None:
        if threading.get_ident() != self._thread or not output.requires_grad:
            return None
        if not self._runs and inputs and inputs[0].requires_grad:
            self.biased.append((INPUT, inputs[0], _offset(inputs[0], self._leaf)))
        run = self._runs[name]
        self._runs[name] += 1
        if (bias := _bias(layer)) is None:
            return None
        if not isinstance(layer, nn.Linear):
            bias = bias.view(-1, *[1] * (output.ndim - 2))
        self.biased.append((f"{name}#{run}" if run else name, output, bias))
        return output.clone()  # so that a later in-place operation changes the copy


def _offset(converted: Tensor, x: Tensor) -> Tensor:
    """What a conversion adds: f(x) - J x, zero where f only scales or mixes."""
    seed = torch.zeros_like(converted, requires_grad=True)
    (pulled,) = torch.autograd.grad(converted, x, seed, create_graph=True)  # linear in the seed
    (pushed,) = torch.autograd.grad(pulled, seed, x.detach(), retain_graph=True)
    return (converted - pushed).detach()


def _bias(layer: nn.Module) -> Tensor | None:
    """What a layer adds, (C,)."""
    bias = layer.bias.detach() if isinstance(layer.bias, Tensor) else None
    if not isinstance(layer, _BatchNorm):
        return bias
    if layer.running_mean is None or layer.running_var is None:
        return bias  # it normalises by the batch: not linear, and the parts will not add up
    scale = torch.rsqrt(layer.running_var + layer.eps)
    scale = scale if layer.weight is None else scale * layer.weight.detach()
    shift = -layer.running_mean * scale
    return shift if bias is None else shift + bias


def _spread(maps: Tensor, size: torch.Size) -> Tensor:
    """(N, *S_layer) -> (N, *size) of the same sum."""
    larger = resize(maps, size)
    larger = larger * (maps[0].numel() / larger[0].numel())
    missing = (_total(maps) - _total(larger)) / larger[0].numel()  # of sizes that do not divide
    return larger + missing.view(-1, *[1] * len(size))


def _wide(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def _total(part: Tensor) -> Tensor:
    return part.flatten(1).sum(1)


def _largest(part: Tensor) -> Tensor:
    return part.flatten(1).abs().amax(1)
