"""The `latentkit` command: four training commands and the verbs, each one typed function.

Nothing here imports torch; the verbs do, when they are called. A user's mistake ends with exit
code 2 and one sentence; set LATENTKIT_TRACEBACK=1 to see where it was found.
"""

import os
import signal
import sys
from contextlib import suppress
from difflib import get_close_matches

from latentkit import __version__
from latentkit.cli import demo
from latentkit.cli.explaining.verbs import directions, explain
from latentkit.cli.generating.verbs import encode, reconstruct, sample
from latentkit.cli.grouping.verbs import augment, cluster
from latentkit.cli.inverting.verbs import edit, invert
from latentkit.cli.judging.verbs import bench, evaluate
from latentkit.cli.parser import Verb, call, parser_of
from latentkit.cli.reporting.verbs import compare, export, report
from latentkit.cli.stopping import drop_unwritten, go_on, stoppable, stopped
from latentkit.cli.training.verbs import TRAINING, train
from latentkit.cli.walking.verbs import interpolate, mix
from latentkit.cli.words import is_mistake, plain
from latentkit.cli.yamls import check_words

_VERBS: dict[str, Verb] = {
    "demo": demo.demo,
    "sample": sample,
    "reconstruct": reconstruct,
    "encode": encode,
    "interpolate": interpolate,
    "mix": mix,
    "cluster": cluster,
    "augment": augment,
    "directions": directions,
    "explain": explain,
    "invert": invert,
    "edit": edit,
    "evaluate": evaluate,
    "bench": bench,
    "report": report,
    "compare": compare,
    "export": export,
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the command and its options; None for those of the process.

    Returns:
        The exit code: 0, or 2 after a user's mistake, 130 after Ctrl-C, 143 after SIGTERM, 141
        where the reader of the output left, as `head` does; a training goes on without one.
    """
    try:
        return _ended(sys.argv[1:] if argv is None else list(argv))
    finally:
        drop_unwritten()


def _ended(args: list[str]) -> int:
    """The exit code of a command, once it has ended and said how."""
    try:
        with stoppable(signal.SIGINT):
            run_command(args)
            trains = args[:1] == ["fit"] and not {"-h", "--help"} & set(args)
            if sys.stdout is not None and not trains:  # a training goes on without a reader
                sys.stdout.flush()
    except KeyboardInterrupt as stop:
        code, text = stopped(stop, args)
        _say(text)
        return code
    except BrokenPipeError:
        return 141
    except Exception as error:
        if os.environ.get("LATENTKIT_TRACEBACK") or not is_mistake(error):
            raise
        then = go_on(error, args)
        text = plain(error) + (f"; then {then}" if then else "")
        _say(f"error: {text}")
        return 2
    return 0


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it
        print(f"latentkit: {text}", file=sys.stderr)


def run_command(args: list[str]) -> None:
    """Runs one command, letting its errors through.

    Raises:
        ValueError: there is no such command, or a training command has no config.
    """
    if not args or args[0] in {"-h", "--help"}:
        print(_help())
    elif args[0] == "--version":
        print(__version__)
    elif args[0] in TRAINING:
        train(args)
    elif args[0] not in _VERBS:
        raise ValueError(_unknown(args[0]))
    elif {"-h", "--help"} & set(args):
        parser_of(_VERBS[args[0]], args[0]).print_help()
    else:
        check_words(args)
        with stoppable(signal.SIGTERM):  # Lightning has its own way with it
            call(_VERBS[args[0]], args[0], args[1:])


def _unknown(command: str) -> str:
    names = [*TRAINING, *_VERBS]
    near = get_close_matches(command, names, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"unknown command {command!r:.80}: expected one of {', '.join(names)}{meant}"


def _help() -> str:
    from latentkit.shipped import model_names

    lines = ["usage: latentkit COMMAND [options]   (latentkit COMMAND --help says more)", ""]
    lines += ["train (from a config, by LightningCLI):"]
    lines += [f"  {name:<12} {text}" for name, text in TRAINING.items()]
    lines += [
        "",
        "use a trained model (a file, a run folder, a .ckpt, package.module:factory, or shipped:",
        f"{', '.join(model_names())}):",
    ]
    for name, verb in _VERBS.items():
        summary = (verb.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<12} {summary}")
    return "\n".join(lines)
