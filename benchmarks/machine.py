"""What a measurement was made on, for the JSON beside it."""

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from latentkit.store import versions


def _others() -> dict[str, str]:
    found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    return {name: found[name] for name in ("pytorch-lightning", "pythae") if name in found}


def machine() -> dict:
    """Processor, cores, threads of torch, and versions."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions() | _others(),
    }
