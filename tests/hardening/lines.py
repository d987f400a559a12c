"""Mutated command lines of every verb."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from latentkit.cli import _VERBS, parser_of
from tests.hardening.attempt import Case
from tests.hardening.world import DRY, QUIET

# Valid lines, each quick: what a mutation leaves valid really runs.
LINES = """
sample vae.safetensors --count 4
sample vae.safetensors --count 4 --columns 2 --truncation 0.7 --seed 3 --device cpu
sample ae.safetensors --sampler gmm --components 2 --count 4 --data small.npz
sample clustergan.safetensors --count 3 --out sheets/sheet.png
reconstruct vae.safetensors --count 4 --split val --random true
encode ae.safetensors --data small.npz --limit 5 --split train
encode trained/run/version_0 --limit 4 --projector shown
encode vae.safetensors --data small.npy --limit 4 --out latents.npz
encode vae.safetensors --data pictures --limit 4
interpolate vae.safetensors --from seed:1 --to seed:2 --steps 3
interpolate vae.safetensors --from item:1 --to latent.npy --through picture.png --method lerp slerp
interpolate clustergan.safetensors --from cluster:1 --to seed:4 --method matched --class-part switch
interpolate ae.safetensors --from item:1 --to item:2 --curve spline --loop true --even true
interpolate mine:load --from latent.npy --to latent.npy --steps 2
mix vae.safetensors --layers decoder.stages.0 --region left --rows 2 --columns 2
mix dcgan.safetensors --rows 1 --columns 2 --seed 1
cluster vae.safetensors --method kmeans --clusters 2 --data small.npz --limit 20 --split train
augment vae.safetensors --method smote --per-class 1 --data small.npz --limit 40
augment ae.safetensors --method jitter --strength 0.1 --per-class 1 --data small.npz
directions vae.safetensors --method pca --count 2 --limit 30 --data small.npz
directions vae.safetensors --method sefa --count 1 --normalize true
directions ae.safetensors --method region --region left --count 1 --data small.npz
directions vae.safetensors --method attribute --start label:0 --end label:1 --data small.npz
directions dcgan.safetensors --method axes --count 2
explain vae.safetensors --score unit:0 --images 1 --data small.npz --method grad-cam
explain clustergan.safetensors --score real cluster:2 --images 1 --layer stages.0
invert vae.safetensors --images item:1 picture.png --steps 1 --reference 0 --data small.npz
invert dcgan.safetensors --count 1 --steps 1 --starts 2 --reference 0 --data small.npz
edit vae.safetensors --directions found.safetensors --count 1 --strengths -1 1 --data small.npz
edit vae.safetensors --directions found.safetensors --images item:2 --steps 1
evaluate ae.safetensors --limit 10 --data small.npz --split train
evaluate dcgan.safetensors --features nowhere:f --samples 10 --data small.npz
bench directions --images 2 --steps 1 --out a_file/x
report results --out page.html
report nowhere --images 20
compare vae.safetensors nowhere.safetensors --images 20 --data small.npz
export trained/run/version_0 --out small.safetensors
export trained/run/version_0/last.ckpt
demo --seed 1 --out a_file/x
fit --config run.yaml --model.init_args.lr 0.01
validate --config run.yaml --ckpt_path trained/run/version_0
--version
--help
sample --help
""".strip()
_TRAINING = ("fit", "validate", "test", "predict")
_FILES = [
    "vae.safetensors",
    "ae.safetensors",
    "dcgan.safetensors",
    "clustergan.safetensors",
    "found.safetensors",
    "small.npz",
    "small.npy",
    "latent.npy",
    "emoji64.npz",
    "pictures",
    "picture.png",
    "table.csv",
    "images.yaml",
    "run.yaml",
    "a_file",
    "trained",
    "trained/run/version_0",
    "trained/run/version_0/last.ckpt",
    "results",
    "results/result.json",
    "mnist",
    "mine:load",
    "mine:breaks",
    "mine:nothing",
    "mine:",
    ":load",
    "os:getcwd",
    "a_file/x",
    "nowhere",
    "nowhere.npz",
    ".",
    "..",
    "nowhere.yaml",
    "nowhere.ckpt",
    "/dev/null",
    "/dev/zero",
    "/proc/self/mem",
    "/nowhere",
    "~",
    "*.png",
]
_NUMBERS = [
    "-1",
    "0",
    "1",
    "2",
    "-5",
    "1000000000000",
    "9223372036854775808",
    "-9223372036854775809",
    "1.5",
    "-0.0",
    "nan",
    "inf",
]
_NUMBERS += ["1e300", "1e-300", "1" + "0" * 30, "0x10", "1_000", "٣", "1,2", "+3", "-", "1e3"]
_WORDS = [
    "",
    " ",
    "x",
    "None",
    "null",
    "true",
    "no",
    "[1, 2]",
    "{}",
    "{a: 1}",
    "[[[",
    "&a [*a]",
    "*a",
]
_WORDS += [
    "[" * 3000,
    "x" * 300,
    "é∞",
    "\udcff.png",
    "\udcff",
    "a\nb",
    "\u202e",
    "'",
    '"',
    "%s",
    "$HOME",
]
_WORDS += [
    "!!python/object/apply:os.system ['touch sentinel']",
    "--",
    "---",
    "-h=",
    "=",
    "--=3",
    "@run.yaml",
]
_SPECS = (
    "seed:1 seed:-1 seed:x item:0 item:999999 item: cluster:1 cluster:99 label:1 unit:0 unit:99"
)
_SPECS += (
    " real fake decoder:left name:a auto cpu cuda meta left center encoder classifier inception"
)
_SPECS += " pca kmeans gmm lerp train all mean.png:x found.safetensors:pc decoder.stages.0 stages.0"
VALUES = [*_FILES, *_NUMBERS, *_WORDS, *_SPECS.split()]
_KEYS = [
    "trainer.max_epochs",
    "trainer.precision",
    "trainer.accelerator",
    "trainer.callbacks",
    "trainer.logger",
    "trainer.profiler",
    "trainer.strategy",
    "trainer.plugins",
    "trainer.gradient_clip_val",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.val_check_interval",
    "trainer.check_val_every_n_epoch",
    "trainer.num_sanity_val_steps",
    "trainer.log_every_n_steps",
    "trainer",
    "trainer.accumulate_grad_batches",
    "trainer.deterministic",
    "trainer.benchmark",
    "trainer.inference_mode",
    "trainer.use_distributed_sampler",
    "trainer.detect_anomaly",
    "trainer.sync_batchnorm",
    "trainer.model_registry",
    "trainer.reload_dataloaders_every_n_epochs",
    "trainer.default_root_dir",
    "trainer.barebones",
    "model",
    "data",
    "model.class_path",
    "model.init_args",
    "model.init_args.lr",
    "model.init_args.model",
    "model.init_args.seed",
    "model.init_args.model.class_path",
    "model.init_args.model.init_args.latent_dim",
    "model.init_args.model.init_args.shape",
    "model.init_args.model.init_args.width",
    "model.init_args.model.init_args.norm",
    "model.init_args.model.init_args.likelihood",
    "data.class_path",
    "data.init_args.path",
    "data.init_args.size",
    "data.init_args.batch_size",
    "data.init_args.labels",
    "data.init_args.channels",
    "data.init_args.memory_limit_mb",
    "seed_everything",
    "pictures.every",
    "walks.every",
    "latents.every",
    "atlases.every",
    "projector.every",
    "health.every",
    "health.count",
    "health.diversity",
    "health.grace",
    "quality.every",
    "quality.features",
    "quality.images",
    "speed.compile",
    "speed.channels_last",
    "checkpoints.minutes",
    "hparams.enabled",
    "ckpt_path",
    "config",
    "optimizer",
    "lr_scheduler",
    "weights_only",
    "return_predictions",
    "print_config",
]
_KEYS.remove("print_config")


@cache
def options_of(verb: str) -> list[str]:
    """Every option that a verb has."""
    if verb in _TRAINING:
        return [f"--{key}" for key in _KEYS]
    actions = parser_of(_VERBS[verb], verb)._actions
    return [name for action in actions for name in action.option_strings]


@st.composite
def command_cases(draw: Any) -> Case:
    """A line with one to three changes."""
    words = draw(st.sampled_from(LINES.splitlines())).split()
    verb, kinds = words[0], []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        kind = draw(st.sampled_from(list(_CHANGES)))
        kinds.append(kind)
        words = draw(_CHANGES[kind](words))
    if verb in {"demo", "bench"}:
        words += ["--out", "a_file/x"]  # they would run for minutes
    if verb in _TRAINING:
        words += [*QUIET, *DRY]
    words = [word.replace("\0", "") for word in words]  # no command line holds one
    return Case(f"command: {kinds[0]}", tuple(words), {})


@st.composite
def _value(draw: Any, words: list[str]) -> list[str]:
    places = list(range(1, len(words))) or [0]
    at = draw(st.sampled_from(places))
    like = _NUMBERS if words[at : at + 1] and words[at][-1:].isdigit() else VALUES
    return [*words[:at], draw(st.sampled_from(like)), *words[at + 1 :]]


@st.composite
def _dropped(draw: Any, words: list[str]) -> list[str]:
    at = draw(st.integers(0, len(words) - 1)) if words else 0
    return words[:at] + words[at + 1 :]


@st.composite
def _twice(draw: Any, words: list[str]) -> list[str]:
    at = draw(st.integers(0, len(words) - 1)) if words else 0
    return [*words[: at + 1], *words[at : at + 2]]


@st.composite
def _added(draw: Any, words: list[str]) -> list[str]:
    """An option that the verb has, with any value."""
    known = words and (words[0] in _VERBS or words[0] in _TRAINING)
    options = options_of(words[0]) if known else ["--count"]
    value = draw(st.sampled_from(VALUES))
    option = draw(st.sampled_from(options))
    return [*words, f"{option}={value}"] if draw(st.booleans()) else [*words, option, value]


@st.composite
def _number(draw: Any, words: list[str]) -> list[str]:
    """An option that takes a number, with one out of its range or at the end of it."""
    if not words or words[0] not in _VERBS:
        return draw(_added(words))
    return [*words, draw(st.sampled_from(_numeric(words[0]))), draw(st.sampled_from(_NUMBERS))]


@cache
def _numeric(verb: str) -> list[str]:
    """The options of a verb that take a number."""
    actions = parser_of(_VERBS[verb], verb)._actions
    return [a.option_strings[0] for a in actions if a.option_strings and _is_number(a)]


def _is_number(action: Any) -> bool:
    return "int" in str(getattr(action, "_typehint", "")) or "float" in str(action.type)


@st.composite
def _renamed(draw: Any, words: list[str]) -> list[str]:
    flags = [i for i, word in enumerate(words) if word.startswith("--")] or [0] * bool(words)
    if not flags:
        return words
    at = draw(st.sampled_from(flags))
    word = words[at]
    spoils = [word[:-1], word[1:], word.upper(), word.replace("-", "_"), f"{word}s", f"-{word}"]
    return [*words[:at], draw(st.sampled_from([*spoils, "--" + word[2:4]])), *words[at + 1 :]]


@st.composite
def _swapped(draw: Any, words: list[str]) -> list[str]:
    return draw(st.permutations(words)) if draw(st.integers(0, 3)) == 0 else _two(draw, words)


def _two(draw: Any, words: list[str]) -> list[str]:
    words = list(words)
    if len(words) > 1:
        i, j = (draw(st.integers(0, len(words) - 1)) for _ in range(2))
        words[i], words[j] = words[j], words[i]
    return words


@st.composite
def _stray(draw: Any, words: list[str]) -> list[str]:
    at = draw(st.integers(0, len(words)))
    return [*words[:at], draw(st.sampled_from(VALUES) | st.text(max_size=10)), *words[at:]]


_CHANGES = {
    "value": _value,
    "another value": _value,
    "dropped": _dropped,
    "twice": _twice,
    "added": _added,
    "number": _number,
    "another number": _number,
    "renamed": _renamed,
    "swapped": _swapped,
    "stray": _stray,
}
