"""The data that the user names, or that a model's file says it was trained on."""

import copy
import importlib
from argparse import ArgumentError
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jsonargparse import ArgumentParser

from latentkit.cli.yamls import check_calls, read_yaml

if TYPE_CHECKING:  # Lightning: a second that verbs without data do not need
    from latentkit.data.base import ImageData


def open_data(
    spec: str | None, about: Mapping[str, Any], shape: tuple[int, ...] | None = None
) -> "ImageData":
    """Builds a data set.

    Args:
        spec: a YAML with a data module, a folder of images, an `.npz` or `.npy`; None for the data
            the model was trained on.
        about: what the model's file says of its origin.
        shape: (C, *S) that a folder's images are brought to.
    """
    if spec is None:
        own = about.get("data")
        if not isinstance(own, Mapping) or "class_path" not in own:
            raise ValueError("the model does not say what data it was trained on: give --data")
        return _build_data(own, own=True)
    path = Path(spec)
    if not path.exists():
        raise ValueError(f"no data at {spec}: expected a YAML, a folder of images or an .npz")
    fit = {} if shape is None else {"size": shape[-1], "channels": shape[0]}
    if path.is_dir():
        kind = "latentkit.data.folder.Images"
        return _build_data({"class_path": kind, "init_args": {"root": spec, **fit}}, own=True)
    if path.suffix in {".npz", ".npy"}:
        arguments = {"path": spec, **fit, **_labels_key(path)}
        kind = "latentkit.data.arrays.Arrays"
        return _build_data({"class_path": kind, "init_args": arguments}, own=True)
    return _build_data(_read_data_config(path), own=False)


def _labels_key(path: Path) -> dict[str, str]:
    """Uses the labels that `latentkit encode` and `augment` write, where they are."""
    if path.suffix != ".npz":
        return {}
    try:
        with np.load(path) as file:
            return {"labels": "y"} if "y" in file.files else {}
    except Exception as error:  # each kind of damage raises a different type
        raise ValueError(
            f"expected an .npz of plain arrays, got {path}, which cannot be read: write it with "
            "numpy.savez"
        ) from error


def _read_data_config(path: Path) -> Mapping[str, Any]:
    content = read_yaml(path)
    found = content.get("data", content) if isinstance(content, dict) else None
    if not isinstance(found, dict) or "class_path" not in found:
        raise ValueError(f"expected a data module (class_path, init_args) in {path}")
    return found


def _build_data(config: Mapping[str, Any], *, own: bool) -> "ImageData":
    """Builds a data module; `own` refuses classes that are not latentkit's."""
    from latentkit.data.base import ImageData

    path = str(config["class_path"])
    module, _, name = path.rpartition(".")
    if not module:
        raise ValueError(f"expected class_path to be module.Class, got {path}")
    if own and not module.startswith("latentkit.data."):
        raise ValueError(f"the model's file names foreign data, {path}: give --data")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"cannot build the data module {path}: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, ImageData)):
        raise ValueError(f"expected {path} to be an ImageData, got {kind!r:.60}")
    try:
        data: ImageData = kind(**_checked_arguments(kind, config.get("init_args") or {}))
    except (ArgumentError, TypeError, ImportError, AttributeError) as error:
        raise ValueError(f"cannot build the data module {path}: {error}") from error
    try:
        data.setup()
    except RuntimeError as error:  # a value that only the reading of the images finds wrong
        raise ValueError(f"cannot read the data of {path}: {error}") from error
    return data


def _checked_arguments(kind: "type[ImageData]", given: Any) -> dict[str, Any]:  # noqa: ANN401
    """The arguments of a data module; for one of ours of the types that it wants.

    Somebody else's takes what it is given: its signature may say less than it accepts.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"expected init_args to be a mapping, got {given!r:.60}")
    check_calls(dict(given), "init_args")
    if not kind.__module__.startswith("latentkit.data."):
        return copy.deepcopy(dict(given))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    return dict(vars(parser.parse_object(copy.deepcopy(dict(given)))))
