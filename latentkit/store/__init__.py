"""Portable model files and directions: save, load, fingerprint, atomic writing."""

from latentkit.store.directions import Directions, load_directions, save_directions
from latentkit.store.files import atomic, write_json
from latentkit.store.identity import fingerprint
from latentkit.store.models import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    checkpoint_entry,
    describe,
    load,
    read_about,
    save,
    versions,
)

__all__ = [
    "CHECKPOINT_FILE",
    "MODEL_FILE",
    "Directions",
    "atomic",
    "checkpoint_entry",
    "describe",
    "fingerprint",
    "load",
    "load_directions",
    "read_about",
    "save",
    "save_directions",
    "versions",
    "write_json",
]
