"""What a model is: how to build it anew, and the fingerprint that ties directions to it."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from latentkit.store.files import plain

Array: TypeAlias = np.ndarray[Any, Any]

Part: TypeAlias = nn.Module | Tensor | Array | CodeType | bool | int | float | str

_DEPTH = 6  # of objects within objects: a model lies near the surface


def describe(model: nn.Module) -> dict[str, Any]:
    """Gives the `class_path` and `init_args` that would build `model` anew.

    Raises:
        ValueError: the class does not keep one of its arguments under its own name.
    """
    kind = type(model)
    names = [n for n in inspect.signature(kind).parameters if n != "self"]
    missing = [n for n in names if not hasattr(model, n)]
    if missing:
        raise ValueError(
            f"expected {kind.__name__} to keep its argument(s) {', '.join(missing)} as attributes "
            "of the same name, so that a file can say how to build it; set them in __init__"
        )
    arguments = {n: plain(getattr(model, n)) for n in names}
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(
                f"expected {kind.__name__} to take numbers, texts and lists of them, which a file "
                f"can hold; its argument {name} is a {type(value).__name__}"
            ) from error
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def fingerprint(model: object) -> str:
    """Hash of a model's weights, class and arguments: 16 hexadecimal digits.

    Of an object that is no `nn.Module`, the modules, tensors and arrays that it holds and that its
    functions use are hashed: those in closures, default values, partial applications, and global
    variables of the functions' own package; and so are the functions' code and plain settings, so
    that it may change with the version of Python for such an object.
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


def modules_in(model: object) -> list[nn.Module]:
    """The networks that an object is, holds, or uses in its functions."""
    seen: dict[int, object] = {}
    roots = [model, getattr(model, "encode", None), getattr(model, "decode", None)]
    parts = (part for root in roots for part in _parts(root, seen, _DEPTH))
    return [part for part in parts if isinstance(part, nn.Module)]


def _bytes(part: Part) -> Iterator[bytes]:
    if isinstance(part, CodeType):
        constants = [c for c in part.co_consts if isinstance(c, bool | int | float | str)]
        yield part.co_code + repr((part.co_names, constants)).encode()
        return
    if isinstance(part, bool | int | float | str):
        yield repr(part).encode()
        return
    if isinstance(part, np.ndarray):
        yield f"{part.dtype} {part.shape}".encode()
        yield part.tobytes()
        return
    if isinstance(part, nn.Module):
        kind = type(part)
        with_arguments = kind.__module__.startswith("latentkit.models")
        arguments = describe(part) if with_arguments else [_settings(m) for m in part.modules()]
        yield f"{kind.__module__}.{kind.__qualname__}{json.dumps(arguments)}".encode()
    values = part.state_dict() if isinstance(part, nn.Module) else {"": part}
    for name, value in sorted(values.items()):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _settings(module: nn.Module) -> dict[str, Any]:
    """Plain attributes of a module, such as a scale or a slope."""
    kept = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    return {k: v for k, v in sorted(kept.items()) if isinstance(v, bool | int | float | str)}


def _parts(value: object, seen: dict[int, object], depth: int) -> Iterator[Part]:
    if isinstance(value, bool | int | float | str):  # equal numbers may be one object
        yield value
        return
    if id(value) in seen or depth == 0:
        return
    seen[id(value)] = value
    if isinstance(value, FunctionType):
        yield value.__code__
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
