"""Portable model files and directions: save, load, fingerprint, atomic writing."""

from latentkit.store.directions import Directions, load_directions, save_directions
from latentkit.store.files import (
    atomic,
    explained,
    json_text,
    read_json,
    reason,
    refused,
    remove_unfinished,
    write_all,
    write_json,
)
from latentkit.store.identity import describe, fingerprint
from latentkit.store.models import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    checkpoint_entry,
    load,
    read_about,
    save,
    versions,
)
from latentkit.store.turns import alone, undisturbed

__all__ = [
    "CHECKPOINT_FILE",
    "MODEL_FILE",
    "Directions",
    "alone",
    "atomic",
    "checkpoint_entry",
    "describe",
    "explained",
    "fingerprint",
    "json_text",
    "load",
    "load_directions",
    "read_about",
    "read_json",
    "reason",
    "refused",
    "remove_unfinished",
    "save",
    "save_directions",
    "undisturbed",
    "versions",
    "write_all",
    "write_json",
]
