"""Borrow a network: run it once, keep what chosen layers gave, and give everything back.

The one engine under every heatmap. It records nothing upstream of the earliest watched layer, so
a heatmap costs about the memory of a plain forward pass, and it is right where hooks usually go
wrong: in-place successors, `no_grad`, `inference_mode`, frozen parameters, train mode, compiled
modules, half precision, repeated layers, layers that return several tensors, and several threads.
Out of reach, with an error: reentrant checkpoints (use `use_reentrant=False`), forwards spread over
devices (`DataParallel`; give its `.module`) and TorchScript. Not claimed: inside `torch.func`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from latentkit.explain.borrow import borrowed as borrowed
from latentkit.explain.lookup import check_batch, check_parts, choose, find, substitute

Call: TypeAlias = int | Literal["each"] | None
"""Which call of a layer that runs several times in one forward pass, from 0; each; or the only."""


@dataclass(frozen=True, eq=False)
class Run:
    """One watched forward pass; use it inside the `with watched(...)` that made it.

    Attributes:
        output: what the module returned, as it is: a tensor, tuple, mapping, dataclass ...
        layers: names of the watched layers, as asked for.
        activations: what each of them gave, (N, ...); gradients can be taken with respect to them.
        calls: which call of the layer each of them is from. With call="each" a layer has as many
            entries, next to each other, in `layers`, `activations` and `calls` as it had calls.
        batch: N.
    """

    output: Any
    layers: tuple[str, ...]
    activations: tuple[Tensor, ...]
    calls: tuple[int, ...]
    batch: int


@contextmanager
def watched(
    module: nn.Module, layers: Sequence[str | nn.Module], x: Tensor, call: Call = None
) -> Iterator[Run]:
    """Run the module on x in `borrowed` state and give what the layers returned.

    Only the earliest layer to run becomes a leaf; later ones stay attached to it, so that the
    gradient with respect to each is its own. Gradients are on inside the `with`. The module returns
    the same bits as without us.

    Args:
        module: the network.
        layers: dotted names inside the module, or its sub-modules, in any order. Of a layer that
            returns several floating-point tensors, say which: "rnn[0]", "block[1][0]", "net[key]".
        x: input (N, ...).
        call: which call of each layer, from 0, or "each"; needed only where one runs several times.

    Raises:
        ValueError: no such layer or tensor of a layer; a layer that did not run, ran several times
            without `call`, puts time before the batch, or whose output was overwritten; parameters
            made in inference mode.
        TypeError: a layer that gives no floating-point tensor; a module that is spread over
            devices; a layer of TorchScript.
    """
    found = [find(module, layer) for layer in layers]
    check_parts(module)
    with borrowed(module):
        records: list[_Record] = [[] for _ in found]
        # The hooks are gone before the caller goes on: nothing done inside the `with` fires them.
        with ExitStack() as hooks:
            for (name, path, part), record in zip(found, records, strict=True):
                hooks.enter_context(part.register_forward_hook(_keeper(name, path, record)))
            output = module(own(x))
        names, calls, activations = [], [], []
        for (name, path, part), record in zip(found, records, strict=True):
            for k, activation in _pick(name + path, record, call, len(x)):
                check_batch(part, name, path)
                names.append(name + path)
                calls.append(k)
                activations.append(activation)
        with torch.enable_grad():
            yield Run(output, tuple(names), tuple(activations), tuple(calls), len(x))


def find_layer(module: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A dotted name or a sub-module -> its dotted name and the sub-module.

    Which of the layer's tensors is meant, as in "rnn[0]", stays at the end of the name.

    Raises:
        ValueError, TypeError: as `lookup.find` does.
    """
    name, path, part = find(module, layer)  # a wrapper by torch.compile leaves no trace in names
    return name + path, part


def owner(function: Callable[..., object]) -> nn.Module | None:
    """The module that a callable is, or is a bound method of; None for lambdas and the like.

    Args:
        function: a module, a bound method, or anything else that can be called.
    """
    bound = getattr(function, "__self__", function)
    return bound if isinstance(bound, nn.Module) else None


def normal(x: Tensor) -> Tensor:
    """The same values, cut from any graph, as a tensor that autograd may record.

    Args:
        x: of any shape.

    Returns:
        The same shape; memory is shared but for tensors of inference mode.
    """
    return x.clone() if x.is_inference() else x.detach()


def own(x: Tensor) -> Tensor:
    """The same as `normal`, in memory of its own: a network's first operation may work in place.

    Args:
        x: of any shape.

    Returns:
        The same shape.
    """
    return x.detach().clone()


def works_in_place(layer: nn.Module, inputs: tuple[object, ...], given: Tensor) -> bool:
    """Whether the layer wrote into its own input, which may live on under other names."""
    return getattr(layer, "inplace", False) is True and any(given is item for item in inputs)


_Record: TypeAlias = list[tuple[Tensor, int]]  # what a layer gave, and its version at that time


def _keeper(name: str, path: str, kept: _Record) -> Callable[..., object]:
    thread = threading.get_ident()

    def keep(layer: nn.Module, inputs: tuple[object, ...], output: object) -> object:
        if threading.get_ident() != thread:
            return None  # someone else's forward pass of the same module
        given = choose(output, path, name)
        if torch.is_inference_mode_enabled():
            raise ValueError(
                f"expected layer {name!r} to run where autograd may record, got one that runs"
                " inside torch.inference_mode(); use torch.no_grad() there, or nothing"
            )
        leaf, in_place = given, False
        if not given.requires_grad:
            # Autograd lets nobody write into a view made in no_grad.
            in_place = works_in_place(layer, inputs, given) and not given._is_view()
            leaf = (given.clone() if in_place else normal(given)).requires_grad_()
        kept.append((leaf, leaf._version))
        torch.set_grad_enabled(True)  # from here on; `borrowed` switches back
        if in_place:  # all names of this memory keep their bits, and now lead back to the leaf
            given.copy_(leaf)
            return None
        return substitute(output, given, leaf.clone())  # a later in-place operation meets the copy

    return keep


def _pick(name: str, kept: _Record, call: Call, batch: int) -> list[tuple[int, Tensor]]:
    """The calls asked for, each with its activation."""
    if not kept:
        raise ValueError(
            f"layer {name!r} was not reached: the forward pass did not run it in this thread;"
            " choose a layer that runs (containers such as ModuleList do not)"
        )
    only = call is None and len(kept) == 1
    chosen = [k for k in range(len(kept)) if only or call in ("each", k)]
    if not chosen:
        raise ValueError(
            f"layer {name!r} ran {len(kept)} times in one forward pass, got call={call!r};"
            f" give call=0 ... {len(kept) - 1}"
        )
    for leaf, version in (kept[k] for k in chosen):
        if leaf._version != version:
            raise ValueError(
                f"what layer {name!r} returned was overwritten in place through another name for"
                " the same memory; choose the layer before or after it"
            )
        if leaf.shape[:1] != (batch,):
            raise ValueError(
                f"expected layer {name!r} to return one entry per sample, ({batch}, ...), got"
                f" {tuple(leaf.shape)}; choose a layer that keeps the batch"
            )
    return [(k, kept[k][0]) for k in chosen]
