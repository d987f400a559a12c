"""Commands that read a damaged file."""

import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.hardening import damage
from tests.hardening.attempt import Case
from tests.hardening.trees import mutated
from tests.hardening.world import DRY, QUIET

_TRAIN = ("--config", "run.yaml", *QUIET, *DRY)
_VAE = ("vae.safetensors", "--limit", "4")
_RUN = "trained/run/version_0"
_RAW = "mnist/MNIST/raw"
HEALTH = {
    "iteration": 90,
    "judged": 3,
    "needed": 3,
    "values": {
        "active_units": 4,
        "kl_per_unit": [0.5, 0.1],
        "diversity": 0.7,
        "gap": 1.5,
        "accuracy": 0.9,
    },
    "alarms": [{"iteration": 9, "text": "too little differs", "kind": "mode", "cleared": None}],
}

# The file -> commands that read it. `{}` is the name of the damaged file.
READERS = {
    "vae.safetensors": [
        *(("sample", "{}", "--count", "2"), ("encode", "{}", "--limit", "2")),
        *(("interpolate", "{}", "--from", "seed:1", "--to", "item:2"), ("export", "bad")),
    ],
    "clustergan.safetensors": [("sample", "{}", "--count", "2"), ("encode", "{}", "--limit", "2")],
    "found.safetensors": [
        ("edit", "vae.safetensors", "--directions", "{}", "--count", "1", "--strengths", "1"),
        ("directions", "vae.safetensors", "--method", "region", "--region", "left", "--count", "1",
         "--conditions", "{}"),
        ("augment", "vae.safetensors", "--method", "direction", "--directions", "{}", "--data",
         "small.npz", "--per-class", "1"),
    ],
    f"{_RUN}/last.ckpt": [
        *(("sample", "{}", "--count", "2"), ("export", "{}")),
        ("fit", *_TRAIN, "--ckpt_path", "{}"),
        ("validate", *_TRAIN, "--ckpt_path", "{}"),
    ],
    "small.npz": [("encode", *_VAE, "--data", "{}"), ("cluster", *_VAE, "--data", "{}")],
    "emoji64.npz": [("encode", *_VAE, "--data", "{}")],
    "small.npy": [("encode", *_VAE, "--data", "{}")],
    "latent.npy": [("interpolate", "vae.safetensors", "--from", "{}", "--to", "seed:1")],
    "picture.png": [
        ("interpolate", "vae.safetensors", "--from", "{}", "--to", "seed:1"),
        ("invert", "vae.safetensors", "--images", "{}", "--steps", "1", "--reference", "0"),
        ("directions", "vae.safetensors", "--method", "region", "--region", "{}", "--count", "1"),
    ],
    "pictures/03.png": [("encode", *_VAE, "--data", "pictures")],
    "table.csv": [("encode", *_VAE, "--data", "images.yaml")],
    f"{_RAW}/train-images-idx3-ubyte": [("encode", *_VAE, "--data", "mnist.yaml")],
    f"{_RAW}/t10k-labels-idx1-ubyte": [("encode", *_VAE, "--data", "mnist.yaml")],
    f"{_RUN}/config.yaml": [("fit", "--config", "{}", *QUIET, *DRY), ("report", "kept")],
    f"{_RUN}/metrics.json": [("report", "kept")],
    f"{_RUN}/health.json": [("report", "kept")],
    "events": [("report", "kept")],
    "results/result.json": [("report", "results")],
    "results/sample.png": [("report", "results")],
}  # fmt: skip


@st.composite
def file_cases(draw: Any, world: Path) -> Case:
    """One damaged file and a command that reads it."""
    name = draw(st.sampled_from(sorted(READERS)))
    argv = draw(st.sampled_from(READERS[name]))
    kind, content = draw(_damaged(name, _content(world, name)))
    suffix = Path(name).suffix
    damaged = f"damaged{suffix}" if "{}" in argv else name
    files = {damaged: content}
    if argv == ("export", "bad"):  # a run folder with a damaged model in it
        files = {"bad/model.safetensors": content}
    if argv == ("report", "kept"):  # a run without its model, which would be evaluated
        files = _run(world, Path(name).name, content)
    argv = tuple(word.format(damaged) if word == "{}" else word for word in argv)
    return Case(f"{suffix or Path(name).name}: {kind}", argv, files)


def _content(world: Path, name: str) -> bytes:
    if name.endswith("health.json"):
        return json.dumps(HEALTH).encode()
    path = next((world / _RUN).glob("events*")) if name == "events" else world / name
    return path.read_bytes()


def _run(world: Path, damaged: str, content: bytes | None) -> dict[str, bytes | None]:
    kept = {name: _content(world, f"{_RUN}/{name}") for name in ("config.yaml", "metrics.json")}
    kept["health.json"] = json.dumps(HEALTH).encode()
    kept["events.out.tfevents.1.vm.1.0"] = _content(world, "events")
    changed = "events.out.tfevents.1.vm.1.0" if damaged == "events" else damaged
    return {f"kept/{name}": value for name, value in {**kept, changed: content}.items()}


@st.composite
def _damaged(draw: Any, name: str, content: bytes) -> damage.Damaged:
    """In the bytes, as something else, or in what the format says, each as often."""
    inside = {
        ".safetensors": [damage.safetensors, damage.retyped],
        ".ckpt": [damage.checkpoint, damage.checkpoint],
        ".npz": [damage.archive, damage.archive],
        ".npy": [damage.array, damage.array],
        ".json": [_json, _json],
        ".csv": [_csv],
        "": [_idx],
    }.get(Path(name).suffix, [])
    return draw(
        st.sampled_from([damage.in_bytes, _disguised, *inside]).flatmap(lambda f: f(content))
    )


def _disguised(content: bytes) -> Any:
    return damage.disguised()


@st.composite
def _json(draw: Any, content: bytes) -> damage.Damaged:
    kind, tree = draw(mutated(json.loads(content), most=2))
    return f"entry {kind}", json.dumps(tree).encode()


@st.composite
def _csv(draw: Any, content: bytes) -> damage.Damaged:
    lines = content.decode().splitlines()
    row = draw(st.integers(0, len(lines) - 1))
    cells = lines[row].split(",")
    at = draw(st.integers(0, len(cells) - 1))
    values = ["", '"', "nan", "inf", "1e400", "text", "é", "\0", "x" * 200_000, "../03.png", "1;2"]
    cells[at] = draw(st.sampled_from([*values, lines[-1].split(",")[at], "1,2", "\r\n"]))
    lines[row] = ",".join(cells)
    lines = draw(st.sampled_from([lines, lines[::-1], lines[:row], [*lines, lines[row]]]))
    return "cell", "\n".join(lines).encode()


@st.composite
def _idx(draw: Any, content: bytes) -> damage.Damaged:
    """Another head of an idx file: magic number, counts, sizes."""
    numbers = [0, 1, -1, 59, 61, 2**31 - 1, -(2**31), 0x803, 0x801, 0x80D, 0x8FF, 0x1F8B0800]
    at = 4 * draw(st.integers(0, 3))
    return "head", content[:at] + struct.pack(">i", draw(st.sampled_from(numbers))) + content[
        at + 4 :
    ]
