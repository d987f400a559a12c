"""`--help` everywhere: complete, quick, and without torch."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import latentkit
from latentkit import cli
from latentkit.cli.parser import parser_of

ROOT = Path(latentkit.__file__).parent.parent
TRAINING = ["fit", "validate", "test", "predict"]
PROBE = """
import json, sys
from latentkit.cli import main
codes = [main(words) for words in json.loads(sys.argv[1])]
heavy = {"torch", "torchvision", "pytorch_lightning", "matplotlib", "sklearn", "numpy", "PIL"}
print(json.dumps([codes, sorted(heavy & set(sys.modules))]))
"""


def run_python(*words):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_help_imports_torch_or_anything_heavy():
    commands = [*cli._VERBS, *TRAINING]
    words = [[], ["-h"], ["--help"], ["--version"], *([name, "--help"] for name in commands)]
    last = run_python("-c", PROBE, json.dumps(words)).splitlines()[-1]
    codes, heavy = json.loads(last)
    assert codes == [0] * len(words)
    assert heavy == []


def test_help_takes_less_than_half_a_second_of_processor_time():
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-m", "latentkit", "interpolate", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_the_overview_names_every_command_with_a_summary(typed):
    done = typed("--help")
    assert done.code == 0
    assert done.out.startswith("usage: latentkit COMMAND")
    assert done.out == typed().out
    lines = [line.split(maxsplit=1) for line in done.out.splitlines() if line.startswith("  ")]
    said = dict(pair for pair in lines if len(pair) == 2)
    assert set(said) == {*TRAINING, *cli._VERBS}
    assert all(text.endswith((".", ",", ":")) or len(text) > 20 for text in said.values())


def test_every_command_of_the_design_is_there():
    design = {"demo", "sample", "reconstruct", "encode", "interpolate", "cluster", "mix"}
    design |= {"augment", "directions", "explain", "evaluate", "report", "export"}
    design |= {"invert", "edit", "bench"}
    assert set(cli._VERBS) >= design


@pytest.mark.parametrize("name", [*cli._VERBS])
def test_help_of_a_verb_has_usage_and_a_text_for_every_option(typed, name):
    done = typed(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: latentkit {name} ")
    actions = parser_of(cli._VERBS[name], name)._actions
    assert {"--out", "--seed", "--device"} <= {o for a in actions for o in a.option_strings}
    assert [a.dest for a in actions if len(a.help or "") < 5] == []


@pytest.mark.parametrize("name", TRAINING)
def test_help_of_a_training_command(typed, name):
    done = typed(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: latentkit {name} --config FILE")
    for option in ("--config", "--ckpt_path", "--print_config", "--model.help"):
        assert option in done.out


def test_options_of_an_objective_can_be_listed(typed, capsys):
    with pytest.raises(SystemExit) as stop:
        typed("fit", "--model.help", "latentkit.training.vae.VAETraining")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in ("beta", "free_bits", "warmup", "lr"):
        assert f"--model.init_args.{name}" in text or f"--model.{name}" in text


def test_the_version(typed):
    assert typed("--version").out == f"{latentkit.__version__}\n"


def test_a_command_that_is_nearly_one_is_told_which(capsys):
    assert cli.main(["sampel"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("; did you mean sample?")
    assert cli.main(["xyz"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sample nope", "compare vae_mnist nope", "report nope"])
def test_a_name_of_nothing_is_told_before_torch_is_imported(command):
    code = f"import sys; from latentkit.cli import main; assert main({command.split()}) == 2;"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "nope" in done.stderr


def test_missing_options_are_named_as_they_are_typed(capsys):
    assert cli.main(["interpolate", "--from", "seed:1"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("arguments are required: MODEL, --to")
