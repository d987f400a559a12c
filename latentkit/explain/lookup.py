"""Which layer is meant, and which of the tensors that it returns.

A layer may return tuples, lists, mappings and dataclasses, nested at will: "rnn[0]" is the first
entry of what layer "rnn" returns, "block[1][0]" the first of the second of what "block" returns,
"block[hidden]" a key or a field.
"""

import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


def find(module: nn.Module, layer: str | nn.Module) -> tuple[str, str, nn.Module]:
    """A name or a sub-module -> dotted name, which of its tensors ("" or "[0]" ...), sub-module.

    The wrapper that `torch.compile` puts around a module leaves no trace in names.

    Args:
        module: the network.
        layer: dotted name, which may end in "[0]" or the like, or a sub-module.

    Raises:
        ValueError: no such layer; the nearest names are offered.
        TypeError: a layer of TorchScript.
    """
    named = module.named_modules(remove_duplicate=False)  # a shared layer has several names
    parts = [(_plain(name), part) for name, part in named]
    if isinstance(layer, nn.Module):
        name, path, found = _name(module, parts, layer), "", layer
    else:
        name, path, found = _parse(module, dict(parts), layer)
    if isinstance(found, torch.jit.ScriptModule):
        raise TypeError(
            f"expected layer {name!r} to be a Python module, got TorchScript, which hooks cannot"
            " look into; explain the module that it was made from"
        )
    return name, path, found


def check_parts(module: nn.Module) -> None:
    """Whether hooks and autograd can look into all of a module.

    Args:
        module: the network.

    Raises:
        TypeError: it is spread over devices by `DataParallel` or `DistributedDataParallel`.
        ValueError: a parameter or buffer was made in inference mode.
    """
    for name, part in module.named_modules():
        if isinstance(part, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            raise TypeError(
                f"expected a network in one piece, got {type(part).__name__}, which spreads it over"
                " devices; give its .module"
            )
        for key, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None and tensor.is_inference():
                raise ValueError(
                    "expected parameters that autograd may record, got"
                    f" {f'{name}.{key}'.lstrip('.')!r} created inside torch.inference_mode(); build"
                    " or load the module outside of it, or use copy.deepcopy(module) outside of it"
                )


_TRANSFORMERS = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


def check_batch(layer: nn.Module, name: str, path: str) -> None:
    """Whether a layer of sequences puts the batch first in its tensor at `path`.

    As many time steps as samples look like a batch.

    Args:
        layer: the layer.
        name: its dotted name, for the error.
        path: which of its tensors, as `floating` gives it.

    Raises:
        ValueError: one of torch's own that puts time there, or the parts of a recurrent state.
    """
    if isinstance(layer, nn.RNNBase):
        first = layer.batch_first and path == "[0]"  # the state never has the batch first
    elif isinstance(layer, nn.MultiheadAttention):
        first = layer.batch_first or path == "[1]"  # the weights always have
    else:
        parts = layer.modules() if isinstance(layer, _TRANSFORMERS) else ()
        first = all(getattr(part, "batch_first", True) for part in parts)
    if not first:
        raise ValueError(
            f"expected layer {name + path!r} to return the batch first, got a"
            f" {type(layer).__name__} with batch_first=False, or its state; build it with"
            " batch_first=True and choose its outputs, or choose a layer before or after it"
        )


def floating(output: object) -> dict[str, Tensor]:
    """The floating-point tensors by where they are: "" for a bare one, else "[1][0]", "[hidden]".

    A container inside itself is not entered again.

    >>> import torch
    >>> list(floating((torch.ones(1), {"hidden": torch.ones(2), "length": torch.tensor(2)})))
    ['[0]', '[1][hidden]']
    """
    return dict(_walk(output, "", ()))


def choose(output: object, path: str, layer: str) -> Tensor:
    """The floating-point tensor at `path`; for the empty path the only one that there is.

    Args:
        output: what a layer returned.
        path: as `floating` gives it, or "".
        layer: the layer's name, for the errors.

    Returns:
        A tensor of any shape, the layer's own.

    Raises:
        TypeError: no floating-point tensor in the output.
        ValueError: several and no path, or none at the path.
    """
    found = floating(output)
    if not found:
        got = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(
            f"expected layer {layer!r} to return a floating-point tensor, got {got};"
            " choose a layer inside it or next to it"
        )
    if path in found:
        return found[path]
    if not path and len({id(tensor) for tensor in found.values()}) == 1:
        return next(iter(found.values()))
    names = (f"{layer + where!r} {tuple(tensor.shape)}" for where, tensor in found.items())
    raise ValueError(f"expected one of the tensors {', '.join(names)}, got {layer + path!r}")


def substitute(output: object, old: Tensor, new: Tensor) -> object:
    """The output with `new` wherever `old` was; containers are copied, not changed.

    Args:
        output: what a layer returned.
        old: a tensor in it.
        new: what takes its place.

    Raises:
        ValueError: a container holds itself, so that no copy of it could be finished.
    """
    return _put(output, old, new, ())


def _put(output: object, old: Tensor, new: Tensor, above: tuple[int, ...]) -> object:
    if output is old:
        return new
    if id(output) in above:
        raise ValueError(
            "expected a layer to return containers that do not hold themselves, got a"
            f" {type(output).__name__} that does; choose a layer inside it or next to it"
        )
    inside = (*above, id(output))
    items = [(key, item, _put(item, old, new, inside)) for key, item in _items(output)]
    changed = {key: now for key, item, now in items if now is not item}
    if not changed:
        return output
    if isinstance(output, tuple):
        made: object = getattr(output, "_make", type(output))([now for _, _, now in items])
        return made
    copied: Any = copy.copy(output)
    for key, now in changed.items():
        if isinstance(output, (Mapping, list)):
            copied[key] = now
        else:  # a dataclass, frozen ones included
            object.__setattr__(copied, key, now)
    return copied


def _walk(output: object, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield path, output
    elif id(output) not in above:
        for key, item in _items(output):
            yield from _walk(item, f"{path}[{key}]", (*above, id(output)))


def _items(output: object) -> list[tuple[Any, object]]:
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if is_dataclass(output) and not isinstance(output, type):
        return [(field.name, getattr(output, field.name)) for field in fields(output)]
    return []


def _name(module: nn.Module, parts: list[tuple[str, nn.Module]], layer: nn.Module) -> str:
    for name, part in parts:
        if part is layer:
            return name
    raise ValueError(
        f"expected a layer inside {type(module).__name__}, got a {type(layer).__name__} that is"
        " not part of it; give one of its sub-modules or a dotted name"
    )


def _parse(
    module: nn.Module, parts: dict[str, nn.Module], layer: str
) -> tuple[str, str, nn.Module]:
    asked = _plain(layer)
    if asked in parts:
        return asked, "", parts[asked]
    name, bracket, path = asked.partition("[")
    if name in parts and bracket:
        return name, bracket + path, parts[name]
    near = difflib.get_close_matches(name, list(filter(None, parts)), n=3, cutoff=0.0)
    raise ValueError(
        f"expected the name of a layer inside {type(module).__name__}, got {layer!r};"
        f" nearest: {', '.join(map(repr, near))}"
    )


def _plain(name: str) -> str:
    if "_orig_mod" not in name:
        return name
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
