"""The fingerprint of a model: what says that a direction belongs to it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from latentkit.store.models import describe

Array: TypeAlias = np.ndarray[Any, Any]

_DEPTH = 6  # of objects within objects: a model lies near the surface


def fingerprint(model: object) -> str:
    """Hash of a model's weights, class and arguments: 16 hexadecimal digits.

    Of an object that is no `nn.Module`, the modules, tensors and arrays that it holds and that its
    functions use are hashed: those in closures, default values, partial applications, and global
    variables of the functions' own package.
    """
    digest = hashlib.sha256()
    roots = [model]
    if not isinstance(model, nn.Module):  # methods of a class are not among its attributes
        roots += [getattr(model, "encode", None), getattr(model, "decode", None)]
    seen: dict[int, object] = {}  # keeps what it has seen alive, so that no id is used twice
    for part in (part for root in roots for part in _parts(root, seen, _DEPTH)):
        for piece in _bytes(part):
            digest.update(piece)
    return digest.hexdigest()[:16]


def _bytes(part: nn.Module | Tensor | Array) -> Iterator[bytes]:
    if isinstance(part, np.ndarray):
        yield f"{part.dtype} {part.shape}".encode()
        yield part.tobytes()
        return
    if isinstance(part, nn.Module):
        kind = type(part)
        with_arguments = kind.__module__.startswith("latentkit.models")
        arguments = json.dumps(describe(part) if with_arguments else {})
        yield f"{kind.__module__}.{kind.__qualname__}{arguments}".encode()
    values = part.state_dict() if isinstance(part, nn.Module) else {"": part}
    for name, value in sorted(values.items()):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _parts(
    value: object, seen: dict[int, object], depth: int
) -> Iterator[nn.Module | Tensor | Array]:
    if id(value) in seen or depth == 0:
        return
    seen[id(value)] = value
    if isinstance(value, nn.Module | Tensor) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    ):
        yield value
        return
    for inner in _inside(value):
        yield from _parts(inner, seen, depth - 1)


def _inside(value: object) -> list[object]:
    """What an object holds or a function uses, in an order that does not change."""
    if isinstance(value, FunctionType):
        return _used(value)
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, partial):
        return [value.func, *value.args, *(v for _, v in sorted(value.keywords.items()))]
    if isinstance(value, list | tuple | Mapping):
        return list(value.values() if isinstance(value, Mapping) else value)
    holds_more = not isinstance(value, type | ModuleType) and hasattr(value, "__dict__")
    return [v for _, v in sorted(vars(value).items())] if holds_more else []


def _used(function: FunctionType) -> list[object]:
    # An empty cell (a variable that is assigned later) equals CellType() and has no contents.
    closed = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    found = (function.__globals__.get(name) for name in _names(function.__code__))
    package = function.__module__.split(".")[0]
    ours = [
        v for v in found if not isinstance(v, FunctionType) or v.__module__.split(".")[0] == package
    ]
    return [*closed, *defaults, *ours]


def _names(code: CodeType) -> list[str]:
    """The global names that a function, and what is defined inside it, may use."""
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _names(c)]
    return [*code.co_names, *inner]
