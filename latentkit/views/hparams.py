"""TensorBoard's HParams tab: what was typed, beside what came out."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pytorch_lightning as pl
from torch.utils.tensorboard import summary as summaries

from latentkit.store import describe
from latentkit.training.base import Training, arguments
from latentkit.training.watch import boards, data_of

Plain: TypeAlias = bool | int | float | str
"""What TensorBoard shows as a setting."""


_hparams: Any = summaries.hparams  # torch gives it no types


class FinalNumbers(pl.Callback):
    """At the end of the training, logs its settings with the numbers it ended with.

    Args:
        enabled: false for none.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes one session of the HParams tab, which shows the last values of the scalars."""
        if not self.enabled or not trainer.is_global_zero or not isinstance(pl_module, Training):
            return
        settings = dict(flat(arguments(pl_module.hparams)))
        settings |= {f"model/{k}": v for k, v in _of_model(pl_module)}
        settings |= {
            f"data/{k}": v for k, v in flat(arguments(getattr(data_of(trainer), "hparams", {})))
        }
        numbers = {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}
        step = int(pl_module.iteration)
        for board in boards(trainer):
            writer: Any = board
            for summary in _hparams(settings, numbers):
                writer._get_file_writer().add_summary(summary, step)  # no public way in one run


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """Nested settings as names and plain values, those of lists as text."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value if isinstance(value, Plain) else str(value)


def _of_model(module: Training) -> Iterator[tuple[str, Plain]]:
    yield from flat(describe(module.model)["init_args"])
