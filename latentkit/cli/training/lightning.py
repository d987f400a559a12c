"""`latentkit fit|validate|test|predict`: LightningCLI with its traps closed.

What differs from plain LightningCLI: the settings typed now win over those in a checkpoint;
`--ckpt_path last` finds the newest run of this config or fails; option names cannot be abbreviated;
runs land in `checkpoints/<config name>/version_N`; checkpoints are never unpickled.
"""

import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar, WeightAveraging
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger

from latentkit.cli.training.checkpoints import find_checkpoint
from latentkit.cli.training.checks import (
    check_checkpoint,
    check_manual,
    check_precision,
    check_seed,
    check_shapes,
    plain_ddp,
)
from latentkit.cli.training.lines import Lines, say
from latentkit.cli.training.runs import own_folder, told
from latentkit.store import atomic
from latentkit.training.base import Training
from latentkit.training.health import Health
from latentkit.training.predictions import write_predictions
from latentkit.training.quality import Quality
from latentkit.training.resume import Checkpoints
from latentkit.training.run import RunFolder, folder_of
from latentkit.training.speed import Speed
from latentkit.views.atlases import Atlases
from latentkit.views.hparams import FinalNumbers
from latentkit.views.latents import Latents
from latentkit.views.projector import Projector
from latentkit.views.tensorboard import Pictures, Walks

RUNS = Path("checkpoints")
# Lightning's remarks on settings that are chosen here on purpose: data sets in memory need no
# workers, a run is resumed into its own folder, short runs log seldom, and a generator's average
# stays in evaluation mode.
_QUIET = (
    ".*does not have many workers.*",
    ".*exists and is not empty.*",
    ".*The dirpath has changed.*",
    ".*number of training batches.*is smaller than the logging interval.*",
    ".*LightningCLI's args parameter.*",
    ".*module.s. in eval mode at the start of training.*",
    ".*isinstance.treespec, LeafSpec.*",
)


_TALKERS = (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.trainer.connectors.signal_connector",
    "lightning_fabric.utilities.seed",
)


class SaveConfig(SaveConfigCallback):
    """Writes the run's `config.yaml` whole or not at all."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Writes the file into the run folder, when there is one."""
        folder = folder_of(trainer)
        if folder and stage == "fit":
            config = self.config.clone()
            if config.ckpt_path and Path(config.ckpt_path).resolve().parent == folder.resolve():
                config.ckpt_path = None  # resumed: the file describes the whole run
            text = self.parser.dump(config, skip_unset=False, format="yaml")
            with atomic(folder / "config.yaml") as temporary:
                temporary.write_text(text)


class TrainingCLI(LightningCLI):
    """Builds objective, data and trainer from a config, and runs one of the four commands."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds what every run has, each with its own options."""
        parser.add_lightning_class_args(Checkpoints, "checkpoints")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.add_lightning_class_args(Walks, "walks")
        parser.add_lightning_class_args(Latents, "latents")
        parser.add_lightning_class_args(Atlases, "atlases")
        parser.add_lightning_class_args(Projector, "projector")
        parser.add_lightning_class_args(FinalNumbers, "hparams")
        parser.add_lightning_class_args(Health, "health")
        parser.add_lightning_class_args(Quality, "quality")
        parser.add_lightning_class_args(Speed, "speed")

    def _parse_ckpt_path(self) -> None:
        """Finds the checkpoint; unlike the parent, takes no settings from it."""
        config = self.config[self.config.subcommand]
        config.weights_only = True
        check_seed(config.seed_everything)
        wanted = config.get("ckpt_path")
        if wanted is None and self.config.subcommand != "fit":
            raise ValueError(
                f"{self.config.subcommand} needs weights: add --ckpt_path last (the newest run of "
                "this config) or --ckpt_path FILE"
            )
        if wanted is not None:
            config.ckpt_path = str(find_checkpoint(str(wanted), RUNS / self.run_name))

    @property
    def run_name(self) -> str:
        """The name of the config file, which names the run's folder; a run's own has its name."""
        files = self.config[self.config.subcommand].get("config") or []
        path = Path(str(files[-1])).absolute() if files else Path("unnamed")
        of_a_run = path.name == "config.yaml" and path.parent.name.startswith("version_")
        return path.parent.parent.name if of_a_run else path.stem

    def before_instantiate_classes(self) -> None:
        """Hands the seed on to model and data; refuses a part of the config that is no mapping."""
        config = self.config[self.subcommand]
        for name in ("trainer", *self._parser(self.subcommand).callback_keys):
            if not isinstance(config[name], Namespace):
                raise ValueError(
                    f"expected a mapping of options at {name}, got {config[name]!r:.60}: leave "
                    f"{name} out for the defaults"
                )
        for part in (config.model, config.get("data")):
            if part and "seed" in (part.get("init_args") or {}) and not part.init_args.seed:
                part.init_args.seed = int(config.seed_everything)

    def _logger(self, config: Any) -> TensorBoardLogger | bool:  # noqa: ANN401  (a Namespace)
        """Into the folder of this config's runs: a new one, or the one that is resumed."""
        if self.subcommand != "fit":
            return False
        folder = Path(config.ckpt_path).parent if config.ckpt_path else None
        runs = RUNS / self.run_name
        resumed = folder is not None and folder.resolve().parent == runs.resolve()
        named = re.fullmatch(r"version_(\d+)", folder.name) if folder and resumed else None
        version = int(named[1]) if named else None  # a number: the bar cuts texts to four letters
        return TensorBoardLogger(str(RUNS), self.run_name, version, default_hp_metric=False)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Makes the trainer, once it is sure that settings and checkpoint suit the objective."""
        config = self.config[self.subcommand]
        if not self.model.automatic_optimization:
            check_manual(config.trainer)
        check_precision(config.trainer)
        if config.get("ckpt_path"):
            check_checkpoint(config.ckpt_path, self.model)
        if config.trainer.logger is None:
            kwargs["logger"] = self._logger(config)
        if not self.model.automatic_optimization and plain_ddp(config.trainer):
            kwargs["strategy"] = "ddp_find_unused_parameters_true"  # each step trains one network
        trainer = super().instantiate_trainer(**kwargs)
        self._replace_bar(trainer.callbacks)  # type: ignore[attr-defined]
        return trainer

    def _replace_bar(self, callbacks: list[pl.Callback]) -> None:
        """Puts lines in the place of Lightning's bar where it would fill a log file, or nothing."""
        asked = self.config_init[self.subcommand].trainer.callbacks
        own = asked if isinstance(asked, list) else [asked]
        terminal = sys.stdout is not None and sys.stdout.isatty()
        bars = [c for c in callbacks if isinstance(c, ProgressBar) and c not in own]
        if not terminal and bars:
            place = callbacks.index(bars[0])  # Lightning has one at most
            callbacks[place : place + 1] = [Lines()] if self.subcommand == "fit" else []

    def after_instantiate_classes(self) -> None:
        """Refuses what the model cannot take, before the run has a folder."""
        if any(isinstance(c, WeightAveraging) for c in self.trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError(
                "weight averaging callbacks would change what checkpoints hold: leave them out; "
                "GANs average their generator by themselves (ema_decay)"
            )
        self.model.configure_optimizers()  # a ValueError for a learning rate below 0
        if self.trainer.is_global_zero:  # one process reads, or downloads, before the others
            check_shapes(self.model, self.datamodule)
            if self.subcommand == "fit":
                self._get(self.config_init, "quality").check(self.datamodule)

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs it; a training has its run folder to itself.

        A checkpoint that cannot be gone on from is the user's to replace.
        """
        try:
            with own_folder(self.trainer) if subcommand == "fit" else told():
                super()._run_subcommand(subcommand)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            restoring = self.trainer._checkpoint_connector._loaded_checkpoint  # empty once done
            if not restoring:
                raise
            path = self.config[subcommand].ckpt_path
            raise ValueError(
                f"{path} is damaged: it holds no state that a run goes on from ({error!r})"
            ) from error

    def before_fit(self) -> None:
        """Points the checkpoints at the run folder."""
        if self.trainer.is_global_zero:  # Lightning's table of it counts no operation of ours
            network = self.model.portable()
            count = sum(value.numel() for value in network.parameters())
            say(f"model: {type(network).__name__} with {count:,} weights")
        folder = folder_of(self.trainer)
        for callback in list(self.trainer.checkpoint_callbacks):
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                if folder is None:  # without a logger there is no run to resume
                    self.trainer.callbacks.remove(callback)  # type: ignore[attr-defined]
                else:
                    callback.dirpath = str(folder)

    def after_fit(self) -> None:
        """Says where the run lies."""
        folder = folder_of(self.trainer)
        if folder and self.trainer.is_global_zero:
            say(f"run: {folder}")

    def after_predict(self) -> None:
        """Writes the predictions beside the checkpoint they were made with."""
        path = Path(self.config.predict.ckpt_path).parent / "predictions.npy"
        write_predictions(self.trainer, path)
        if self.trainer.is_global_zero:
            print(f"predictions: {path}")


def run(args: list[str] | None) -> None:
    """Runs `fit`, `validate`, `test` or `predict` with these arguments (None: the process's)."""
    for message in _QUIET:
        warnings.filterwarnings("ignore", message)
    for logger in _TALKERS:
        logging.getLogger(logger).addFilter(_wanted)
    strict = {"allow_abbrev": False, "exit_on_error": False}
    TrainingCLI(
        Training,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=SaveConfig,
        save_config_kwargs={"save_to_log_dir": False},
        seed_everything_default=0,
        trainer_defaults={"callbacks": [RunFolder()], "enable_model_summary": False},
        parser_kwargs={
            **strict,  # jsonargparse 4.53 gives the parent's to the subcommands
            **{name: dict(strict) for name in ("fit", "validate", "test", "predict")},
        },
        args=args,
    )


def _wanted(record: logging.LogRecord) -> bool:
    """Leaves out Lightning's tips, the seed (config.yaml has it), devices that are not there.

    Also that the run was stopped: that is said in the end, with how to go on.
    """
    heard = r"Tip|Seed set to|available: False|Detected KeyboardInterrupt|Received SIGTERM"
    return not re.search(heard, record.getMessage())
