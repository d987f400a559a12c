"""The `latentkit` command: four training commands and the verbs, each one typed function.

Nothing here imports torch; the verbs do, when they are called. A user's mistake ends with exit
code 2 and one sentence; set LATENTKIT_TRACEBACK=1 to see where it was found.
"""

import os
import signal
import sys
import warnings
from difflib import get_close_matches
from pathlib import Path

from latentkit import __version__
from latentkit.cli import demo
from latentkit.cli.explaining.verbs import directions, explain
from latentkit.cli.generating.verbs import encode, reconstruct, sample
from latentkit.cli.grouping.verbs import augment, cluster
from latentkit.cli.inverting.verbs import edit, invert
from latentkit.cli.judging.verbs import bench, evaluate
from latentkit.cli.parser import Verb, call, parser_of
from latentkit.cli.reporting.verbs import compare, export, report
from latentkit.cli.stopping import go_on, stoppable, stopped
from latentkit.cli.walking.verbs import interpolate, mix
from latentkit.cli.words import is_mistake, plain
from latentkit.cli.yamls import check_calls, check_words, read_yaml

_TRAINING = {
    "fit": "Train a model from a config.",
    "validate": "Measure a trained model on the validation split.",
    "test": "Measure a trained model on the test split.",
    "predict": "Write a trained model's predictions for the test split.",
}
_VERBS: dict[str, Verb] = {
    verb.__name__: verb
    for verb in (
        *(demo.demo, sample, reconstruct, encode, interpolate, mix, cluster, augment),
        *(directions, explain, invert, edit, evaluate, bench, report, compare, export),
    )
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the command and its options; None for those of the process.

    Returns:
        The exit code: 0, or 2 after a user's mistake, 130 after Ctrl-C, 143 after SIGTERM.
    """
    args = sys.argv[1:] if argv is None else list(argv)
    try:
        with stoppable(signal.SIGINT):
            run_command(args)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        code, text = stopped(stop, args)
        print(f"latentkit: {text}", file=sys.stderr)
        return code
    except Exception as error:
        if os.environ.get("LATENTKIT_TRACEBACK") or not is_mistake(error):
            raise
        then = go_on(error, args)
        text = plain(error) + (f"; then {then}" if then else "")
        print(f"latentkit: error: {text}", file=sys.stderr)
        return 2
    return 0


def run_command(args: list[str]) -> None:
    """Runs one command, letting its errors through.

    Raises:
        ValueError: there is no such command, or a training command has no config.
    """
    if not args or args[0] in {"-h", "--help"}:
        print(_help())
    elif args[0] == "--version":
        print(__version__)
    elif args[0] in _TRAINING:
        _train(args)
    elif args[0] not in _VERBS:
        raise ValueError(_unknown(args[0]))
    elif {"-h", "--help"} & set(args):
        parser_of(_VERBS[args[0]], args[0]).print_help()
    else:
        check_words(args)
        with stoppable(signal.SIGTERM):  # Lightning has its own way with it
            call(_VERBS[args[0]], args[0], args[1:])


def _unknown(command: str) -> str:
    names = [*_TRAINING, *_VERBS]
    near = get_close_matches(command, names, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"unknown command {command!r:.80}: expected one of {', '.join(names)}{meant}"


def _train(args: list[str]) -> None:
    if {"-h", "--help"} & set(args):
        print(_training_help(args[0]))
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


def _help() -> str:
    from latentkit.shipped import model_names

    lines = ["usage: latentkit COMMAND [options]   (latentkit COMMAND --help says more)", ""]
    lines += ["train (from a config, by LightningCLI):"]
    lines += [f"  {name:<12} {text}" for name, text in _TRAINING.items()]
    lines += [
        "",
        "use a trained model (a file, a run folder, a .ckpt, package.module:factory, or shipped:",
        f"{', '.join(model_names())}):",
    ]
    for name, verb in _VERBS.items():
        summary = (verb.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<12} {summary}")
    return "\n".join(lines)


def _training_help(command: str) -> str:
    resumes = " (resumes it)" if command == "fit" else ""
    return f"""usage: latentkit {command} --config FILE [--ckpt_path last|FILE] [--KEY VALUE ...]

{_TRAINING[command]} Any key of the config can be set on the command line.

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
