"""Mutated configs: of trainings, and of the data that a verb is given."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from latentkit.shipped import find_config
from tests.hardening.attempt import SENTINEL, Case
from tests.hardening.trees import TEXTS, mutated
from tests.hardening.world import DRY, IMAGES_YAML, MNIST_YAML, QUIET, RUN

_NAMES = ("vae_digits", "autoencoder_digits", "dcgan_digits", "clustergan_digits", "vae_shapes")
_NAMES += ("clustergan_mnist", "vae_mnist", "dcgan_mnist", "vae_emoji", "autoencoder_shapes")
_SMALL = {"width": 2, "hidden": 4, "count": 32, "val_count": 16, "test_count": 16}
_SMALL |= {"batch_size": 16, "path": "emoji64.npz", "root": "mnist", "download": False}
_MORE = {
    "trainer": {"max_epochs": 2, "log_every_n_steps": 5, "gradient_clip_val": None, "logger": None},
    "pictures": {"every": 0},
    "health": {"every": 100},
    "quality": {"every": 0, "features": "classifier"},
    "checkpoints": {"minutes": 5},
    "speed": {"compile": False, "channels_last": False},
}
# How many processes to start is no more than what the config says: they are not started here.
_PROCESSES = ("num_workers", "devices", "num_nodes")


def bases() -> list[dict[str, Any]]:
    """Shipped configs with small networks, on data that is there."""
    found = [yaml.safe_load(find_config(f"{name}.yaml").read_text()) for name in _NAMES]
    for config in found:
        for part in (config["model"]["init_args"]["model"], config["data"]):
            arguments = part["init_args"]
            arguments |= {k: v for k, v in _SMALL.items() if k in arguments}
        config["data"]["init_args"] |= _fitting(config["data"]["class_path"])
    richer = [{**config, **copy.deepcopy(_MORE)} for config in found[:4]]
    return [yaml.safe_load(RUN), *found, *richer]


def _fitting(kind: str) -> dict[str, Any]:
    if kind.endswith("Vision"):
        return {"root": "mnist", "download": False, "val_size": 6}
    return {k: _SMALL[k] for k in ("count", "val_count", "test_count") if kind.endswith("Shapes")}


@st.composite
def _files(draw: Any, tree: Any) -> tuple[str, bytes]:
    """The bytes of a YAML of a mutated tree, or of a spoilt text, and what was done to it."""
    if draw(st.integers(0, 4)) == 0:
        kind, text = draw(_spoilt(yaml.safe_dump(tree)))
        return kind, text.encode("utf-8", "surrogateescape")
    kind, mutant = draw(mutated(tree))
    return kind, yaml.safe_dump(mutant, allow_unicode=True).encode("utf-8", "replace")


@st.composite
def training_cases(draw: Any) -> Case:
    """`fit` with a mutated config."""
    kind, content = draw(_files(draw(st.sampled_from(_bases()))))
    argv = ("fit", "--config", "mutated.yaml", *QUIET, *DRY)
    return Case(f"config: {kind}", argv, {"mutated.yaml": content})


@st.composite
def data_cases(draw: Any) -> Case:
    """`encode --data` with a mutated YAML."""
    texts = (IMAGES_YAML, MNIST_YAML, _DIGITS, _SHAPES, _ARRAYS)
    kind, content = draw(_files(yaml.safe_load(draw(st.sampled_from(texts)))))
    argv = ("encode", "vae.safetensors", "--limit", "4", "--data", "mutated.yaml")
    return Case(f"data config: {kind}", argv, {"mutated.yaml": content})


_DIGITS = "{class_path: latentkit.data.digits.Digits, init_args: {size: 16, batch_size: 8}}"
_SHAPES = """
class_path: latentkit.data.shapes.Shapes
init_args: {count: 8, val_count: 4, test_count: 4, size: 16}
"""
_ARRAYS = """
data: {class_path: latentkit.data.arrays.Arrays, init_args: {path: small.npz, labels: y, size: 16}}
"""


def _bases(cache: list[dict[str, Any]] = []) -> list[dict[str, Any]]:  # noqa: B006
    cache[:] = cache or bases()
    return cache


_TAGS = [
    f"!!python/object/apply:os.system ['touch {SENTINEL}']",
    f"!!python/object/apply:subprocess.Popen [['touch', '{SENTINEL}']]",
    f"!!python/object/new:pathlib.Path ['{SENTINEL}']",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    "!!python/tuple [1, 2]",
    "!!binary R0lGODlhDAAMAIQ",
    "!!set {a, b}",
    "!!timestamp 2001-99-99",
    "!unknown 3",
    "!!int x",
    "!!float {}",
    "2001-12-14t21:59:43.10-05:00",
    "190:20:30",
    "0b1010",
    "${HOME}",
    "${model}",
    "<<: *a",
]


def bomb(levels: int = 12, name: str = "a") -> str:
    """Nine to the power of `levels` leaves, in a few lines of YAML."""
    lines = [f"{name}0: &{name}0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, levels):
        lines.append(f"{name}{i}: &{name}{i} [{', '.join([f'*{name}{i - 1}'] * 9)}]")
    return "\n".join(lines) + "\n"


@st.composite
def _spoilt(draw: Any, text: str) -> tuple[str, str]:
    """A YAML text that is spoilt as a text."""
    lines = text.splitlines()
    row = draw(st.integers(0, len(lines) - 1))
    key = lines[row].split(":")[0]
    spoils = {
        "tag": lambda: f"{key}: {draw(st.sampled_from(_TAGS))}",
        "text": lambda: f"{key}: {draw(st.sampled_from(TEXTS))}",
        "twice": lambda: f"{lines[row]}\n{lines[row]}",
        "indented": lambda: " " * draw(st.integers(1, 5)) + lines[row],
        "tab": lambda: "\t" + lines[row],
        "deep": lambda: f"{key}: " + draw(st.sampled_from("[{")) * 3000,
        "itself": lambda: f"{key}: &a [*a]",
        "anchor": lambda: f"{key}: *nowhere",
        "not utf-8": lambda: f"{key}: \udcff\udcfe",
        "cut": lambda: lines[row][: len(lines[row]) // 2],
        "garbage": lambda: draw(st.text(max_size=30)).encode("utf-8", "replace").decode(),
        "long": lambda: f"{key}: {'9' * 5000}",
    }
    kind = draw(st.sampled_from([*spoils, "bomb", "documents", "empty", "number"]))
    if kind == "bomb":
        last = "" if draw(st.booleans()) else f"{key.strip()}: *a11\n"
        return kind, bomb() + (last or text)
    if kind in {"documents", "empty", "number"}:
        return kind, {"documents": f"{text}---\n{text}", "empty": "", "number": "3"}[kind]
    if kind == "cut":
        return kind, "\n".join([*lines[:row], spoils[kind]()])
    return kind, "\n".join([*lines[:row], spoils[kind](), *lines[row + 1 :]]) + "\n"


def write_example(folder: Path) -> None:
    """For a look at one by hand."""
    (folder / "bomb.yaml").write_text(bomb())
