"""Mutations of nested plain values: configs, descriptions in model files, JSON, checkpoints."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.hardening.attempt import SENTINEL

Path_ = tuple[Any, ...]

NUMBERS = [
    *(-1, 0, 1, 2, 3, -(10**12), 10**9, 10**12, 2**31, 2**63, 10**30),
    *(0.5, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")),
]
TEXTS = [
    *("", " ", "x", "None", "null", "true", "1e3", "0x10", "nan", "∞", "ＣＡＦÉ", "\u202etxt"),
    *("\0", "\n", "../..", "/etc/passwd", "~", "a" * 5000, "{}", "[[[", "*", "&a", "%s", "$HOME"),
]
STRUCTURES = [None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": []}}}]
STRUCTURES += [[1, 2, 3], [1, [2, [3]]], ["x"], {"class_path": None}, {"init_args": {}}]
# Named where a class is expected: each would leave the sentinel, or end the process.
CALLS = [
    {"class_path": "os.system", "init_args": {"command": f"touch {SENTINEL}"}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", SENTINEL]}},
    {"class_path": "subprocess.call", "init_args": {"popenargs": ["touch", SENTINEL]}},
    {"class_path": "builtins.open", "init_args": {"file": SENTINEL, "mode": "w"}},
    {"class_path": "builtins.eval", "init_args": {"source": f"open({SENTINEL!r}, 'w')"}},
    {"class_path": "builtins.exec", "init_args": {"source": f"open({SENTINEL!r}, 'w')"}},
    {"class_path": "pathlib.Path.touch", "init_args": {"self": SENTINEL}},
    {"class_path": "os.mkdir", "init_args": {"path": SENTINEL}},
    {"class_path": "numpy.save", "init_args": {"file": SENTINEL, "arr": [1]}},
    {"class_path": "torch.save", "init_args": {"obj": 1, "f": SENTINEL}},
    {"class_path": "logging.FileHandler", "init_args": {"filename": SENTINEL}},
    {"class_path": "sys.exit"},
]
CLASSES = [
    *(call["class_path"] for call in CALLS),
    *("builtins.dict", "torch.nn.Linear", "torch.nn.Module", "collections.OrderedDict"),
    *("latentkit", "latentkit.models", "latentkit.models.vae.FirstHalf", "latentkit.models.vae.V"),
    *("latentkit.training.base.Training", "latentkit.data.base.ImageData", "no.such.Thing"),
    *("latentkit.models.dcgan.DCGAN", "latentkit.data.digits.Digits", ".", "..", "a..b", "VAE"),
    *("latentkit.training.gan.GANTraining", "latentkit.data.shapes.Shapes", "latentkit.store.os"),
    *("latentkit.models.clustergan.ClusterGAN", "latentkit.cli.main", "latentkit.store.atomic"),
]
VALUES = [*NUMBERS, *TEXTS, *STRUCTURES, *CALLS]


def paths(tree: Any, at: Path_ = ()) -> Iterator[Path_]:
    """The places of all values in a tree, the whole tree first."""
    yield at
    if isinstance(tree, dict):
        for key in tree:
            yield from paths(tree[key], (*at, key))
    elif isinstance(tree, list | tuple):
        for i, value in enumerate(tree):
            yield from paths(value, (*at, i))


def put(tree: Any, at: Path_, value: Any) -> Any:
    """The tree with another value in one place."""
    if not at:
        return value
    tree = copy.copy(tree if not isinstance(tree, tuple) else list(tree))
    tree[at[0]] = put(tree[at[0]], at[1:], value)
    return tree


def get(tree: Any, at: Path_) -> Any:
    """The value in one place."""
    for key in at:
        tree = tree[key]
    return tree


@st.composite
def mutated(draw: Any, tree: Any, most: int = 3) -> tuple[str, Any]:
    """One to `most` changes of a tree: what was done first, and the tree."""
    kinds = []
    for _ in range(draw(st.integers(1, most))):
        kind, tree = draw(_changed(tree))
        kinds.append(kind)
    return kinds[0], tree


@st.composite
def _changed(draw: Any, tree: Any) -> tuple[str, Any]:
    places = [at for at in paths(tree) if at]
    if not places:
        return "value", draw(st.sampled_from(VALUES))
    at = draw(st.sampled_from(places))
    *above, key = at
    around, kind = get(tree, tuple(above)), draw(st.sampled_from(_KINDS))
    if kind == "value" or not isinstance(around, dict):
        if key == "class_path":
            return "class_path", put(tree, at, draw(st.sampled_from(CLASSES)))
        return "value", put(tree, at, draw(st.sampled_from(VALUES)))
    if kind == "number":
        return kind, put(tree, at, draw(st.sampled_from(NUMBERS)))
    if kind == "call":
        return kind, put(tree, at, draw(st.sampled_from(CALLS)))
    return kind, put(tree, tuple(above), draw(_keys_changed(around, key, kind)))


_KINDS = ["value", "value", "value", "number", "call", "dropped", "renamed", "added", "swapped"]


@st.composite
def _keys_changed(draw: Any, around: dict[Any, Any], key: Any, kind: str) -> dict[Any, Any]:
    names = st.sampled_from([f"{key}s", str(key).upper(), f" {key}", "", "é", 0, None, True])
    if kind == "dropped":
        return {k: v for k, v in around.items() if k != key}
    if kind == "renamed":
        name = draw(names)
        return {name if k == key else k: v for k, v in around.items()}
    if kind == "added":
        return {**around, draw(names): draw(st.sampled_from(VALUES))}
    other = draw(st.sampled_from(list(around)))
    return {**around, key: around[other], other: around[key]}
