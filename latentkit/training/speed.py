"""Options that make training steps faster and change results by rounding alone."""

import os
import shlex
import subprocess
import sys

import pytorch_lightning as pl
import torch
from torch import nn

from latentkit.training.base import Training

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Speed(pl.Callback):
    """How the networks are laid out and run.

    What pays on which machine is measured in `benchmarks/README.md`; the third such option is
    Lightning's own `trainer.precision`.

    Args:
        channels_last: keep the weights of convolutions with the channels innermost.
        compile: compile the networks with `torch.compile`, which needs a C++ compiler and takes up
            to a minute. A discriminator under a gradient penalty and an encoder whose attention is
            trained are left out, since compiled code has no second derivative, and so are
            ClusterGAN's features during its warm-up.
    """

    def __init__(self, channels_last: bool = False, compile: bool = False) -> None:  # noqa: A002
        self.channels_last, self.compile = channels_last, compile

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Prepares the networks, before there are optimizers."""
        if stage != "fit" or not isinstance(pl_module, Training):
            return
        if self.channels_last:
            for parameter in pl_module.parameters():
                if parameter.dim() in _FORMATS:
                    parameter.data = parameter.data.to(memory_format=_FORMATS[parameter.dim()])
        if self.compile:
            _check_compiler()
            for network in _compilable(pl_module):
                network.compile()


def _check_compiler() -> None:
    """Asks the compiler that torch would take for its version, as torch itself does."""
    chosen = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    try:
        command = [*shlex.split(chosen), "--version"]  # it may have words: "ccache g++"
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ValueError(
            f"--speed.compile needs a C++ compiler, and {chosen} does not run: install one, name "
            "yours in the environment variable CXX, or leave the option out"
        ) from error


def _compilable(training: Training) -> list[nn.Module]:
    twice = {
        "discriminator": getattr(getattr(training, "loss", None), "penalty", 0),
        "encoder": getattr(training, "attention_disentanglement", 0),
    }
    return [network for name, network in training.model.named_children() if not twice.get(name)]
