"""The training commands: fit, validate, test, predict. A config decides what is done.

Nothing here imports torch or Lightning before a command runs.
"""

import warnings
from pathlib import Path

from latentkit.cli.yamls import check_calls, check_words, read_yaml

TRAINING = {
    "fit": "Train a model from a config.",
    "validate": "Measure a trained model on the validation split.",
    "test": "Measure a trained model on the test split.",
    "predict": "Write a trained model's predictions for the test split.",
}
"""What each does, in a sentence."""


def train(args: list[str]) -> None:
    """Runs a training command.

    Args:
        args: the command and its options.

    Raises:
        ValueError: it has no config, or one that cannot be.
    """
    if {"-h", "--help"} & set(args):
        print(_help(args[0]))
        return
    from latentkit.cli.training.lightning import run

    with warnings.catch_warnings():
        run(_with_shipped_config(args))


def _with_shipped_config(args: list[str]) -> list[str]:
    """Replaces the name of a config that is no file here by the shipped one of that name."""
    from latentkit.shipped import config_names, find_config

    if not any(arg.startswith(("--", "-c")) for arg in args):
        raise ValueError(
            f"{args[0]} needs --config FILE, your own or one of {', '.join(config_names())}"
        )
    args = [piece for arg in args for piece in _split_option(arg)]
    for i, arg in enumerate(args[:-1]):
        if arg in {"--config", "-c"}:
            if not Path(args[i + 1]).exists() or Path(args[i + 1]).is_dir():
                args[i + 1] = str(find_config(args[i + 1]))
            _check_config(Path(args[i + 1]))
    check_words(args)
    return args


def _check_config(path: Path) -> None:
    """Refuses, in our words, what the parser would refuse in its own, or choke on."""
    content = read_yaml(path) if path.is_file() else {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(
            f"expected a config with keys such as model and data in {path}, got {kind}"
        )
    check_calls(content, str(path))


def _split_option(arg: str) -> list[str]:
    return arg.split("=", 1) if arg.startswith("--config=") else [arg]


def _help(command: str) -> str:
    resumes = " (resumes it)" if command == "fit" else ""
    return f"""usage: latentkit {command} --config FILE [--ckpt_path last|FILE] [--KEY VALUE ...]

{TRAINING[command]} Any key of the config can be set on the command line.

  --config FILE              a YAML file; several are merged in order
  --ckpt_path last           the newest run of this config{resumes}; repeat the options of
                             the first call, or take --config RUN/config.yaml, which has them
  --ckpt_path FILE           a .ckpt file or a run folder
  --KEY VALUE                e.g. --trainer.max_epochs 5 --model.init_args.lr 1e-4
  --print_config             print the whole config with every default, and stop
  --model.help CLASS         options of an objective, e.g. latentkit.training.vae.VAETraining
  --data.help CLASS          options of a data module, e.g. latentkit.data.folder.Images
  --trainer.logger.help CLASS, --trainer.callbacks.help CLASS

Runs land in checkpoints/<config name>/version_N: config.yaml, TensorBoard events, last.ckpt,
model.safetensors, metrics.json. Look at them with: tensorboard --logdir checkpoints"""
