"""Exponential moving average of a generator's weights."""

import copy
from typing import Self

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """Keeps a slowly following copy of a network; only the copy is used to generate.

    Parameters are averaged, buffers (batch norm's statistics) are copied. The average starts
    quickly: its decay is at most (1 + n) / (10 + n) after n updates.

    Args:
        module: the network to follow.
        decay: of the average, for each update.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.average = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, updates: int) -> None:
        """Moves the average towards `module`, after `updates` earlier ones."""
        share = 1 - min(self.decay, (1 + updates) / (10 + updates))
        ours: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(ours, theirs, share)  # one kernel for all: a tenth of the loop's time
        for mine, other in zip(self.average.buffers(), module.buffers(), strict=True):
            mine.copy_(other)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """The average is never in training mode."""
        return super().train(False)


def with_generator(model: nn.Module, generator: nn.Module) -> nn.Module:
    """A view of `model` that generates with `generator` and shares everything else."""
    view = copy.copy(model)
    view._modules = {**model._modules, "generator": generator}
    return view
