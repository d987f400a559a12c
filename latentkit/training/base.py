"""What every training objective shares: noise that can be repeated, portable models, resuming."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, distributed, nn

from latentkit.data.batches import process
from latentkit.protocols import Explainable, Part
from latentkit.store import checkpoint_entry, describe
from latentkit.training.reading import awaited, reported


class NonFiniteLossError(ValueError):
    """The loss is NaN or infinite: the run stops before the step that would spoil the weights.

    Attributes:
        value: the loss.
    """

    def __init__(self, value: float, iteration: int) -> None:
        super().__init__(
            f"the loss is {value} at iteration {iteration}: try a smaller learning rate (lr), or "
            "look for values that are no numbers in the data; the last checkpoint is from before"
        )
        self.value = value


class Training(pl.LightningModule, ABC):
    """Abstract objective: receives its network, logs, counts its own iterations.

    Lightning's `global_step` counts the steps of every optimizer, which doubles under a GAN; the
    `iteration` buffer counts training batches, is saved with the weights, and keys all noise.

    Args:
        model: the network to train.
        seed: of the noise drawn in the steps.

    Attributes:
        monitor: name of the logged value whose minimum marks the best model; None keeps the last.
        about: where the data came from, for the model file.
        seldom: latest of the values that only some iterations compute, kept in checkpoints for the
            next report.
    """

    monitor: str | None = None
    iteration: Tensor

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        describe(model)  # now, not after an epoch: a checkpoint must say how to build the model
        # A loaded model comes in evaluation mode, in which batch norm would never learn.
        self.model, self.seed = model.train(), seed
        self.about: dict[str, Any] = {}
        self.seldom: dict[str, Tensor] = {}
        self._noted: dict[bool, dict[str, Tensor | float]] = {}
        self.register_buffer("iteration", torch.zeros((), dtype=torch.long))

    def noise(self, batch: int | None = None) -> torch.Generator:
        """A generator keyed by (seed, iteration), or by `batch` during evaluation.

        No draw depends on what was drawn before, so a resumed run repeats an uninterrupted one.
        All processes get the same one: see `share`.
        """
        stream = (0, int(self.iteration)) if batch is None else (1, batch)
        words = np.random.SeedSequence([self.seed, *stream]).generate_state(2)
        key = int(words[0]) << 31 | int(words[1]) >> 1
        return torch.Generator(self.device).manual_seed(key)

    def share(self, n: int, draw: Callable[[int], Tensor]) -> Tensor:
        """This process's `n` rows (n, ...) of what `draw` gives for the batch of all processes.

        They lie as `latentkit.data` deals out the images, so several processes together draw what
        one process with the whole batch would.
        """
        rank, world = process()
        return draw(n * world)[rank::world]

    def private(self, noise: torch.Generator) -> torch.Generator:
        """A generator for draws that go with this process's own images: penalties, image changes.

        Alone a process goes on with `noise`; several would draw the same amounts from it.
        """
        rank, world = process()
        if world == 1:
            return noise
        key = torch.randint(2**62, (world,), generator=noise, device=noise.device)[rank]
        return torch.Generator(self.device).manual_seed(int(key))

    def gathered(self, parts: list[Tensor], stage: str) -> Tensor:
        """Puts together what all processes collected over an evaluation: (N, ...) in order.

        Args:
            parts: this process's rows, batch by batch; emptied.
            stage: "val" or "test", whose data set's size tells which images of the last round were
                only there to make the shares equal.
        """
        own = torch.cat(parts)
        parts.clear()
        if process()[1] == 1:
            return own
        loader: Any = getattr(self.trainer, f"{stage}_dataloaders")
        return everyones(own)[: len(loader.dataset)]

    def note(self, values: Mapping[str, Tensor | float], prog_bar: bool = False) -> None:
        """Notes scalars of this iteration for the report at the end of the step."""
        detached = {k: v.detach() if isinstance(v, Tensor) else v for k, v in values.items()}
        self._noted[prog_bar] = {**self._noted.get(prog_bar, {}), **detached}

    def report(self, values: Mapping[str, Tensor | float], prog_bar: bool = False) -> None:
        """Ends a step: logs its values and those noted, if somebody reads them.

        In most iterations nobody does, and Lightning would take longer over the values than some
        steps last. A progress bar shows those of the latest iteration that somebody read.
        """
        self.note(values, prog_bar)
        if awaited(self.trainer):
            self._log_noted()

    def on_train_batch_end(self, *_: Any) -> None:
        """Logs what was not, where a callback has just ended the run, or noted more values."""
        if reported(self.trainer):
            self._log_noted()
        self._noted.clear()

    def _log_noted(self) -> None:
        for prog_bar, values in self._noted.items():
            self.log_dict(values, prog_bar=prog_bar)
        self._noted.clear()

    def finite(self, loss: Tensor) -> Tensor:
        """Gives the loss, a scalar, back, or stops the run where it is no number.

        Raises:
            NonFiniteLossError: it is NaN or infinite.
        """
        if not loss.isfinite():
            raise NonFiniteLossError(loss.item(), int(self.iteration))
        return loss

    def explainable(self) -> Mapping[str, Part]:
        """The model's networks, for explanation."""
        return cast("Explainable", self.portable()).explainable()

    @abstractmethod
    def portable(self) -> nn.Module:
        """The model as it should be used: with averaged weights where there are any."""

    @abstractmethod
    def weight_prefixes(self) -> dict[str, str]:
        """Where `portable`'s weights lie in the state dict (see `store.checkpoint_entry`)."""

    def on_train_start(self) -> None:
        """Gives the optimizers the settings of this run, which a checkpoint has overwritten.

        Their moments get the weights' memory format: fused Adam takes both as they lie in memory.
        """
        for optimizer in self.trainer.optimizers:
            for parameter, state in optimizer.state.items():
                for name, value in state.items():
                    if value.shape == parameter.shape:
                        state[name] = torch.empty_like(parameter).copy_(value)
            for group in optimizer.param_groups:
                group.update({k: v for k, v in optimizer.defaults.items() if k in group})

    def on_validation_start(self) -> None:
        """Lets all processes judge one model."""
        self._share_buffers()

    def on_train_epoch_end(self) -> None:
        """Lets all processes end with one model."""
        self._share_buffers()

    def _share_buffers(self) -> None:
        """Gives all processes the first one's: batch norm has seen other images in each.

        Torch does so before every training batch, but not after the last one.
        """
        if process()[1] > 1:
            for buffer in self.buffers():
                distributed.broadcast(buffer, 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what `latentkit.load` needs to rebuild the model."""
        about = {**self.about, "iteration": int(self.iteration)}
        checkpoint["latentkit"] = checkpoint_entry(self.model, about, self.weight_prefixes())
        checkpoint["seldom"] = {k: float(v) for k, v in self.seldom.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Says which settings of this run differ from the checkpoint's; this run's are used."""
        self.seldom = {k: torch.tensor(v) for k, v in checkpoint.get("seldom", {}).items()}
        before, now = checkpoint.get("hyper_parameters", {}), arguments(self.hparams)
        for key in sorted(k for k in now if k in before and before[k] != now[k]):
            rank_zero_info(
                f"{key} is {now[key]} in this run (it was {before[key]} in the checkpoint)"
            )


def everyones(own: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, in the order the images were dealt out: (N, ...)."""
    _, world = process()
    if world == 1:
        return own
    shares = [torch.empty_like(own) for _ in range(world)]
    distributed.all_gather(shares, own.contiguous())
    return torch.stack(shares, 1).flatten(0, 1)


def arguments(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Saved hyper-parameters without the private entries that LightningCLI adds."""
    return {k: v for k, v in hparams.items() if not k.startswith("_")}


def adam(module: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """Adam over a module's parameters, in its fused form."""
    return torch.optim.Adam(module.parameters(), lr=lr, betas=betas, fused=True)
