"""What the training commands refuse before anything is made or written."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info

from latentkit.store import describe, read_about
from latentkit.training.base import Training


def check_seed(seed: int) -> None:
    """Refuses a seed that NumPy would refuse later."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"expected --seed_everything from 0 to {2**32 - 1}, got {seed}")


def check_manual(trainer: Any) -> None:  # noqa: ANN401  (a jsonargparse Namespace)
    """Refuses what Lightning cannot do for an objective that steps its own optimizers."""
    if trainer.gradient_clip_val or trainer.accumulate_grad_batches != 1:
        raise ValueError(
            "a GAN steps its own optimizers: trainer.gradient_clip_val and "
            "trainer.accumulate_grad_batches do not work with it; leave them out"
        )
    if trainer.max_steps != -1:
        raise ValueError(
            "trainer.max_steps counts the steps of both a GAN's optimizers: use "
            "trainer.max_epochs or trainer.limit_train_batches"
        )


def check_precision(trainer: Any) -> None:  # noqa: ANN401  (a jsonargparse Namespace)
    """Refuses what Lightning would silently replace."""
    on_cpu = trainer.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and str(trainer.precision) in {"16", "16-mixed"}:
        raise ValueError("expected trainer.precision 32-true or bf16-mixed on a CPU, got 16-mixed")


def plain_ddp(trainer: Any) -> bool:  # noqa: ANN401  (a jsonargparse Namespace)
    """Whether Lightning would take `ddp` without further options: named, or for several devices."""
    if trainer.strategy == "auto":
        return trainer.num_nodes > 1 or _count(str(trainer.devices), trainer.accelerator) > 1
    return bool(trainer.strategy == "ddp")


def _count(devices: str, accelerator: str) -> int:
    """How many devices "auto", "-1", "2", "0,", "0,1" or "[0, 1]" mean."""
    ids = [word.strip() for word in devices.strip("[]").split(",") if word.strip()]
    if ids in (["auto"], ["-1"]):
        return 1 if accelerator == "cpu" else torch.cuda.device_count()
    listed = "," in devices or devices.startswith("[")
    return len(ids) if listed else int(ids[0])


def check_checkpoint(path: str, training: Training) -> None:
    """Refuses a checkpoint of another model, and says what differs."""
    read_about(path)  # a ValueError for a file that is damaged or no checkpoint of ours
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not all(isinstance(value, torch.Tensor) for value in found["state_dict"].values()):
        raise ValueError(f"{path} is damaged: expected tensors for weights")
    before, now = _named(found["latentkit"]), _named({**describe(training.model)})
    before["objective"] = found["latentkit"]["about"].get("objective")
    now["objective"] = f"{type(training).__module__}.{type(training).__qualname__}"
    differ = [
        f"{key} is {now.get(key)} in this run and {before.get(key)} in the checkpoint"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    shapes = {k: v.shape for k, v in found["state_dict"].items()}
    if shapes != {k: v.shape for k, v in training.state_dict().items()}:
        raise ValueError(f"{path} does not fit this config: {'; '.join(differ) or 'other weights'}")
    for line in differ:
        rank_zero_info(line)


def check_shapes(training: Training, data: pl.LightningDataModule) -> None:
    """Refuses images of another shape than the model's, where both say theirs."""
    wanted, found = getattr(training.model, "shape", None), getattr(data, "image_shape", None)
    if wanted and found and tuple(wanted) != tuple(found):
        raise ValueError(
            f"expected images of shape {tuple(wanted)}, the model's, got {tuple(found)}: "
            "make the model's shape and the data's size agree"
        )


def _named(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": entry["class_path"], **entry["init_args"]}
