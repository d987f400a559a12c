"""Model files: save and load.

A model file is one `.safetensors` whose metadata names the class, its arguments and where it came
from. Reading one never unpickles, and builds only classes of this package unless told otherwise.
A class is describable when it keeps each constructor argument under the argument's own name.
"""

import importlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import latentkit
from latentkit.shipped import check_named, find_model
from latentkit.store.files import atomic, plain
from latentkit.store.identity import describe, modules_in
from latentkit.store.imports import imported

_KEY = "latentkit"  # the metadata entry, and the checkpoint entry, that holds the description
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full}
MODEL_FILE, CHECKPOINT_FILE = "model.safetensors", "last.ckpt"


def checkpoint_entry(
    model: nn.Module, about: Mapping[str, Any], weights: Mapping[str, str]
) -> dict[str, Any]:
    """Gives what a training checkpoint must hold under "latentkit" for `load` to read it.

    Args:
        model: the module to be rebuilt.
        about: as for `save`.
        weights: from a prefix of the module's state to the prefix it has in the checkpoint's
            `state_dict`; later entries win, so that averaged weights can replace raw ones.
    """
    return {**describe(model), "about": plain(about), "weights": list(weights.items())}


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"latentkit": latentkit.__version__, "torch": str(torch.__version__)}


def save(model: nn.Module, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Writes a model file.

    Args:
        model: keeps its constructor arguments as attributes of the same name.
        path: where to; must end in `.safetensors`.
        about: plain values: data config, input shape, config name, seed, scores.

    Raises:
        ValueError: the path does not end in .safetensors, or the model cannot say how it is built.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"expected a path ending in .safetensors, got {path}")
    content = {**describe(model), "about": {**plain(about or {}), "versions": versions()}}
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    with atomic(path) as temporary:
        temporary.write_bytes(to_bytes(weights, metadata={_KEY: json.dumps(content)}))


def load(
    source: str | Path,
    device: str | torch.device = "cpu",
    *,
    model: nn.Module | None = None,
    trust: str | None = None,
) -> Any:  # noqa: ANN401  (a factory may return any object that fits the protocols)
    """Loads a model, in evaluation mode.

    Args:
        source: a model file; a run folder (its model file, else its last checkpoint); a Lightning
            `.ckpt`; `package.module:factory`, a callable without arguments that returns an
            object with `encode` and/or `decode`; or the name of a shipped model ("vae_mnist"),
            where no file or folder has that name.
        device: where to put it.
        model: a module to fill with the file's weights, instead of building the class it names.
        trust: name of one more package whose classes the file may build. Building a class runs
            its code: name only a package you trust.

    Raises:
        ValueError: there is no such source, the file is damaged, or it names a foreign class.
    """
    if _is_factory(source):
        return _from_factory(str(source), device)
    content, weights = _read(source)
    if model is None:
        most = sum(weight.numel() for weight in weights.values())
        with nullcontext() if trust else _NoLarger(most):
            model = _build(content, trust)
    _fill(model, weights, source)
    return model.to(device).eval()


class _NoLarger(TorchFunctionMode):
    """Refuses tensors of more values than a file has: its arguments may claim any size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = max(most, 1_000_000)  # networks make small ones that files do not hold

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if func in _MAKERS:
            size = (kwargs or {}).get("size", args[:1] if func is torch.full else args)
            size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
            if prod(size) > self.most:
                raise ValueError(f"it holds no tensor of the size {tuple(size)}, which they want")
        return func(*args, **kwargs or {})


def _fill(built: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    try:
        built.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(
            f"the weights in {source} do not fit {type(built).__name__}: {first}"
        ) from error


def read_about(source: str | Path) -> dict[str, Any]:
    """Gives what a model's file says of its origin; empty for `package.module:factory`."""
    return {} if _is_factory(source) else dict(_read(source, weights=False)[0].get("about", {}))


def _is_factory(source: str | Path) -> bool:
    return isinstance(source, str) and ":" in source and not Path(source).exists()


def _from_factory(source: str, device: str | torch.device) -> Any:  # noqa: ANN401
    factory = imported(source, "factory")
    if not callable(factory):
        raise ValueError(
            f"expected {source} to be a function without arguments, got {type(factory).__name__}"
        )
    built = factory()
    if not (hasattr(built, "encode") or hasattr(built, "decode")):
        raise ValueError(
            f"expected {source} to return an object with `encode` and/or `decode`, "
            f"got {type(built).__name__}; make one of a plain generator with "
            "latentkit.latent.generator.Generator(network, shape=..., latent_dim=...)"
        )
    for module in modules_in(built):  # also those behind its functions: nobody else would
        module.to(device).eval()
    return built


def _read(source: str | Path, *, weights: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = _locate(Path(source))
    try:
        return _read_checkpoint(path) if path.suffix == ".ckpt" else _read_model(path, weights)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from error


def _locate(path: Path) -> Path:
    if not path.exists():
        path = find_model(str(path)) or path
    if path.is_dir():
        for name in (MODEL_FILE, CHECKPOINT_FILE):
            if (path / name).is_file():
                return path / name
        raise ValueError(
            f"expected {MODEL_FILE} or {CHECKPOINT_FILE} in the run folder {path}, found neither"
        )
    check_named(str(path))
    if path.suffix not in {".safetensors", ".ckpt"}:
        raise ValueError(f"expected a model file ending in .safetensors or .ckpt, got {path}")
    return path


def _read_model(path: Path, weights: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_KEY)
            tensors = {k: file.get_tensor(k) for k in file.keys()} if weights else {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if metadata is None:
        raise ValueError(f"{path} was not written by latentkit: its metadata has no '{_KEY}' entry")
    try:
        return _content(json.loads(metadata)), tensors
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has damaged metadata: {error}") from error


def _content(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("class_path"), str):
        raise ValueError(f"expected the description of a model, got {value!r:.60}")
    if not all(isinstance(value.get(key, {}), dict) for key in ("about", "init_args")):
        raise ValueError("expected about and init_args to be mappings")
    return value


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on how the file was pickled
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different type for each kind of damage
        # Its text is left out: it tells the reader to load the file unsafely.
        raise ValueError(
            f"{path} is damaged or no safe checkpoint: expected plain tensors and numbers, which "
            "load without running code"
        ) from error
    if not isinstance(checkpoint, dict) or _KEY not in checkpoint:
        raise ValueError(f"{path} was not written by latentkit's training")
    chosen: dict[str, Tensor] = {}
    try:
        content, state = _content(checkpoint[_KEY]), checkpoint["state_dict"]
        for target, origin in content["weights"]:  # later win: averaged weights over raw ones
            names = [k for k in state if k.startswith(origin)]
            chosen |= {target + k[len(origin) :]: state[k] for k in names}
        if not (isinstance(state, dict) and all(isinstance(v, Tensor) for v in chosen.values())):
            raise TypeError("expected tensors for weights")  # noqa: TRY301
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    return content, chosen


def _build(content: Mapping[str, Any], trust: str | None) -> nn.Module:
    path: str = content["class_path"]
    trusted = {"latentkit", *([trust] if trust else [])}
    module_name, _, name = path.rpartition(".")
    if module_name.split(".")[0] not in trusted:
        raise ValueError(
            f"the file wants to build {path}, which is outside latentkit; pass the model yourself, "
            f"or trust={path.split('.')[0]!r} if you know where the file comes from"
        )
    try:
        kind = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the file names a class that does not exist here: {path}") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"expected the file to name an nn.Module, got {path}")
    if kind.__module__.split(".")[0] not in trusted:
        raise ValueError(f"the file names {path}, which is not latentkit's own class")
    try:
        return kind(**content.get("init_args", {}))
    except Exception as error:  # a file may hold any arguments
        raise ValueError(f"the file's arguments do not fit {path}: {error!r}") from error
