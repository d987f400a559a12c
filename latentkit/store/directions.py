"""Direction files: latent directions with their space, method, provenance and model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from latentkit.store.files import atomic, plain

_KEY = "latentkit.directions"


@dataclass(frozen=True)
class Directions:
    """Latent directions of one model.

    Attributes:
        vectors: (K, *Z), unit length.
        names: K names, for pictures and tables.
        method: how they were found, e.g. "pca".
        fingerprint: of the model they belong to.
        space: the latent space they live in; "z" is what `decode` takes.
        provenance: the data, settings and counts they were found with.
        uncertainty: what is known of their error; empty where it was not measured.
    """

    vectors: Tensor
    names: tuple[str, ...]
    method: str
    fingerprint: str
    space: str = "z"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.vectors):
            raise ValueError(
                f"expected {len(self.vectors)} names, one for each direction, got {len(self.names)}"
            )

    def check(self, fingerprint: str, space: str = "z") -> None:
        """Raises a ValueError unless these directions are of this model and this latent space.

        Args:
            fingerprint: of the model.
            space: that they must live in; "z" is what `decode` takes.
        """
        if fingerprint != self.fingerprint:
            raise ValueError(
                f"these directions belong to the model with fingerprint {self.fingerprint}, "
                f"this model's is {fingerprint}: directions mean nothing in another latent space"
            )
        if space != self.space:
            what = "the latents (space z) that decode takes" if space == "z" else f"space {space}"
            raise ValueError(
                f"expected directions of {what}, the file holds directions of {self.space}: find "
                "some with `latentkit directions`"
            )


def save_directions(directions: Directions, path: str | Path) -> None:
    """Writes a `.safetensors` file with the vectors and, in its metadata, all the rest.

    Raises:
        ValueError: the path does not end in .safetensors.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"expected a path ending in .safetensors, got {path}")
    rest = {k: plain(v) for k, v in vars(directions).items() if k != "vectors"}
    vectors = directions.vectors.detach().cpu().contiguous()
    with atomic(path) as temporary:
        temporary.write_bytes(to_bytes({"vectors": vectors}, metadata={_KEY: json.dumps(rest)}))


def load_directions(path: str | Path) -> Directions:
    """Reads what `save_directions` wrote.

    Raises:
        ValueError: no such file, a damaged one, or one that holds no directions.
    """
    if not Path(path).is_file():
        raise ValueError(f"no directions file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            rest = json.loads((file.metadata() or {}).get(_KEY, "null"))
            vectors = file.get_tensor("vectors") if rest is not None else torch.empty(0)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if rest is None:
        raise ValueError(f"{path} holds no directions: write one with `latentkit directions`")
    try:
        return _checked(Directions(**{**rest, "vectors": vectors, "names": tuple(rest["names"])}))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} has a damaged description: {error!r}") from error


def _checked(found: Directions) -> Directions:
    """Refuses what no latent space has: a file may hold anything."""
    vectors, texts = found.vectors, (*found.names, found.method, found.fingerprint, found.space)
    real = vectors.is_floating_point() and bool(vectors.isfinite().all())
    if not real or vectors.ndim < 2 or not len(vectors):
        raise ValueError(f"expected finite vectors (K, *Z), got {vectors.dtype} {vectors.shape}")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("expected names, method, fingerprint and space to be texts")
    if not all(isinstance(v, Mapping) for v in (found.provenance, found.uncertainty)):
        raise TypeError("expected provenance and uncertainty to be mappings")
    scales = found.provenance.get("scale") or [1.0] * len(vectors)
    if not isinstance(scales, Sequence) or len(scales) != len(vectors):
        raise ValueError(f"expected a scale for each direction, got {scales!r:.60}")
    return found
