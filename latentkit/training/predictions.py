"""Writes what `predict` gives, whatever the number of processes."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from latentkit.data.batches import process
from latentkit.store import atomic


def write_predictions(trainer: pl.Trainer, path: Path) -> None:
    """Writes the predictions of all processes into one `.npy`, in the order of the data.

    Each process writes a shard of its own, which it removes in the end; the first one joins them
    and leaves out the images that only evened out the shares.

    Args:
        trainer: after `predict`.
        path: the file to write.
    """
    loop: Any = trainer.predict_loop
    rank, world = process()
    own = trainer.strategy.broadcast(os.getpid())  # of the first process: two runs may do this
    shards = [path.with_name(f".{path.stem}-{own}.shard{r}.npy") for r in range(world)]
    try:
        _write(shards[rank], torch.cat(loop.predictions).float().numpy())
        trainer.strategy.barrier()
        if rank == 0:
            loader: Any = trainer.predict_dataloaders
            parts = np.stack([np.load(shard, mmap_mode="r") for shard in shards], 1)
            _write(path, parts.reshape(-1, *parts.shape[2:])[: len(loader.dataset)])
        trainer.strategy.barrier()
    finally:
        with suppress(OSError):  # on a closed disk there is none, and that error comes first
            shards[rank].unlink()


def _write(path: Path, values: np.ndarray) -> None:
    with atomic(path) as temporary:
        np.save(temporary, values)
