"""Borrow a network: run it once, keep what chosen layers gave, and give everything back.

The one engine under every heatmap. It records nothing upstream of the earliest watched layer, so
a heatmap costs about the memory of a plain forward pass, and it is right where hooks usually go
wrong: in-place successors, `no_grad`, `inference_mode`, frozen parameters, train mode, compiled
modules, half precision, repeated layers and several threads. Out of reach, with an error: reentrant
checkpoints (use `use_reentrant=False`) and forwards spread over threads (`DataParallel`).
"""

import difflib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentkit.protocols import Score

# Train flags and the compiler's stance belong to the module and to the process, not to a thread:
# explainers take turns, or one would restore the flags while another still runs.
_turn = threading.RLock()


@dataclass(frozen=True, eq=False)
class Run:
    """One watched forward pass; use it inside the `with watched(...)` that made it.

    Attributes:
        output: what the module returned.
        layers: dotted names of the watched layers, as asked for.
        activations: what each of them gave, (N, ...); gradients can be taken with respect to them.
        batch: N.
    """

    output: Tensor
    layers: tuple[str, ...]
    activations: tuple[Tensor, ...]
    batch: int


@contextmanager
def borrowed(module: nn.Module | None) -> Iterator[None]:
    """Inside: every sub-module in eval mode, gradients off, no inference mode, nothing compiled.

    Flags (one by one), modes and random state come back also after an error. Other threads that
    run the same module meanwhile see it in eval mode; other explainers wait.

    Args:
        module: the network; None borrows the modes alone.
    """
    parts = [] if module is None else list(module.modules())
    with _turn, ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(_cuda(module)))
        stack.enter_context(_eager())
        for part in parts:
            # The attribute, not .train(): a class may have overridden that with side effects.
            stack.callback(setattr, part, "training", part.training)
        for part in parts:
            part.training = False
        yield


@contextmanager
def watched(
    module: nn.Module, layers: Sequence[str | nn.Module], x: Tensor, call: int | None = None
) -> Iterator[Run]:
    """Run the module on x in `borrowed` state and give what the layers returned.

    Only the earliest layer to run becomes a leaf; later ones stay attached to it, so that the
    gradient with respect to each is its own. Gradients are on inside the `with`.

    Args:
        module: the network.
        layers: dotted names inside the module, or its sub-modules, in any order.
        x: input (N, ...).
        call: which call of each layer, from 0; needed only where a layer runs several times.

    Raises:
        ValueError: no such layer, a layer that did not run, or ran several times without `call`,
            or whose output was overwritten; parameters made in inference mode.
        TypeError: a layer that gives no floating-point tensor.
    """
    found = [find_layer(module, layer) for layer in layers]
    _check_parameters(module)
    with borrowed(module):
        calls: list[list[tuple[Tensor, int]]] = [[] for _ in found]
        with (
            ExitStack() as hooks
        ):  # gone before the caller goes on: nothing inside `with` fires them
            for (name, layer), kept in zip(found, calls, strict=True):
                hooks.enter_context(layer.register_forward_hook(_keeper(name, kept)))
            output = module(normal(x))
        names = tuple(name for name, _ in found)
        pairs = zip(names, calls, strict=True)
        activations = tuple(_pick(name, kept, call, len(x)) for name, kept in pairs)
        with torch.enable_grad():
            yield Run(output, names, activations, len(x))


def find_layer(module: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A dotted name or a sub-module -> its dotted name and the sub-module.

    The wrapper that `torch.compile` puts around a module leaves no trace in names.
    """
    named = module.named_modules(remove_duplicate=False)  # a shared layer has several names
    parts = [(_plain(name), part) for name, part in named]
    if isinstance(layer, nn.Module):
        for name, part in parts:
            if part is layer:
                return name, layer
        raise ValueError(
            f"expected a layer inside {type(module).__name__}, got a {type(layer).__name__} that is"
            " not part of it; give one of its sub-modules or a dotted name"
        )
    by_name = dict(parts)
    if (name := _plain(layer)) not in by_name:
        near = difflib.get_close_matches(name, list(filter(None, by_name)), n=3, cutoff=0.0)
        raise ValueError(
            f"expected the name of a layer inside {type(module).__name__}, got {layer!r};"
            f" nearest: {', '.join(map(repr, near))}"
        )
    return name, by_name[name]


def owner(function: Callable[..., object]) -> nn.Module | None:
    """The module that a callable is, or is a bound method of; None for lambdas and the like."""
    bound = getattr(function, "__self__", function)
    return bound if isinstance(bound, nn.Module) else None


def normal(x: Tensor) -> Tensor:
    """The same values, cut from any graph, as a tensor that autograd may record."""
    return x.clone() if x.is_inference() else x.detach()


def values(score: Score, output: Tensor, batch: int) -> Tensor:
    """Apply a score -> (N,), or say what is wrong with it."""
    value = score(output)
    if not isinstance(value, Tensor):
        raise TypeError(
            f"expected the score to return a tensor ({batch},), got {type(value).__name__}"
        )
    if value.shape != (batch,):
        raise ValueError(
            f"score must return one value per sample, shape ({batch},), got {tuple(value.shape)}"
        )
    return value


def differentiate(
    target: Tensor, activation: Tensor, layer: str, seeds: Tensor | None = None
) -> Tensor:
    """Derivative of target by activation, by `autograd.grad`: no parameter's `.grad` is touched.

    Args:
        target: (N,) or, with seeds, any shape.
        activation: a tensor the target was computed from.
        layer: its name, for the error.
        seeds: (k, *target.shape) asks for k vector-Jacobian products in one batched pass, and keeps
            the graph for more.

    Returns:
        The shape of the activation, after a leading k with seeds.
    """
    found: tuple[Tensor | None, ...] = (None,)
    if target.requires_grad:
        weights = torch.ones_like(target) if seeds is None else seeds
        batched = seeds is not None
        found = torch.autograd.grad(
            target, activation, weights, batched, is_grads_batched=batched, allow_unused=True
        )
    if found[0] is None:
        raise ValueError(
            f"expected a score that depends on layer {layer!r}, got one that does not; the layer"
            " may come after what is scored, or the path may pass a no_grad block, a detach or a"
            " reentrant checkpoint (use_reentrant=False works)"
        )
    return found[0]


def _keeper(name: str, kept: list[tuple[Tensor, int]]) -> Callable[..., Tensor | None]:
    thread = threading.get_ident()

    def keep(_layer: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if threading.get_ident() != thread:
            return None  # someone else's forward pass of the same module
        if not isinstance(output, Tensor) or not output.is_floating_point():
            got = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(
                f"expected layer {name!r} to return one floating-point tensor, got {got};"
                " choose a layer inside it or next to it"
            )
        leaf = output if output.requires_grad else output.detach().requires_grad_()
        torch.set_grad_enabled(True)  # from here on; `borrowed` switches back
        kept.append((leaf, leaf._version))
        return leaf.clone()  # so that a later in-place operation changes the copy

    return keep


def _pick(name: str, kept: list[tuple[Tensor, int]], call: int | None, batch: int) -> Tensor:
    if not kept:
        raise ValueError(
            f"layer {name!r} was not reached: the forward pass did not run it in this thread;"
            " choose a layer that runs (containers such as ModuleList do not)"
        )
    if (call is None and len(kept) > 1) or not 0 <= (call or 0) < len(kept):
        raise ValueError(
            f"layer {name!r} ran {len(kept)} times in one forward pass, got call={call};"
            f" give call=0 ... {len(kept) - 1}"
        )
    leaf, version = kept[call or 0]
    if leaf._version != version:
        raise ValueError(
            f"what layer {name!r} returned was overwritten in place through another name for the"
            " same memory; choose the layer before or after it"
        )
    if leaf.shape[:1] != (batch,):
        raise ValueError(
            f"expected layer {name!r} to return one entry per sample, ({batch}, ...), got"
            f" {tuple(leaf.shape)}; choose a layer that keeps the batch"
        )
    return leaf


def _check_parameters(module: nn.Module) -> None:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if made := [name for name, tensor in tensors if tensor.is_inference()]:
        raise ValueError(
            f"expected parameters that autograd may record, got {made[0]!r} created inside"
            " torch.inference_mode(); build or load the module outside of it, or use"
            " copy.deepcopy(module) outside of it"
        )


def _eager() -> AbstractContextManager[None]:
    # Nothing can be compiled before dynamo is loaded, and loading it takes seconds.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _cuda(module: nn.Module | None) -> list[torch.device]:
    tensors = [] if module is None else module.parameters()
    return list({tensor.device for tensor in tensors if tensor.device.type == "cuda"})


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
