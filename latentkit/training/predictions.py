"""Writes what `predict` gives, whatever the number of processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from latentkit.data.batches import process
from latentkit.store import atomic


def write_predictions(trainer: pl.Trainer, path: Path) -> None:
    """Writes the predictions of all processes into one `.npy`, in the order of the data.

    Each process writes a shard of its own; the first one joins them, leaves out the images that
    only evened out the shares, and removes the shards.

    Args:
        trainer: after `predict`.
        path: the file to write.
    """
    loop: Any = trainer.predict_loop
    rank, world = process()
    shards = [path.with_name(f"{path.stem}.shard{r}.npy") for r in range(world)]
    _write(shards[rank], torch.cat(loop.predictions).float().numpy())
    trainer.strategy.barrier()
    if rank == 0:
        loader: Any = trainer.predict_dataloaders
        parts = np.stack([np.load(shard, mmap_mode="r") for shard in shards], 1)
        _write(path, parts.reshape(-1, *parts.shape[2:])[: len(loader.dataset)])
        for shard in shards:
            shard.unlink()


def _write(path: Path, values: np.ndarray) -> None:
    with atomic(path) as temporary:
        np.save(temporary, values)
