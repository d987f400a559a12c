"""Directions that no group of images names: how the verbs find them, and what is known of them."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from latentkit.cli.named.regions import read_region
from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar
from latentkit.latent import directions as search
from latentkit.latent.angles import without
from latentkit.latent.attributes import Method
from latentkit.latent.component_cones import bootstrap_pca, half_angles
from latentkit.latent.first_layer import first_weight
from latentkit.latent.local import local
from latentkit.latent.region import leakage, region
from latentkit.store.identity import modules_in

Found = tuple[Tensor, list[str], dict[str, Any]]
"""Vectors (K, D), their names, and numbers about them."""


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Attributes:
        method: how.
        count: how many.
        limit: training images to look at, at most.
        start: the group without an attribute.
        end: the group with it.
        estimator: of the attribute.
        confound: what to balance.
        region: the part of the image to change.
        normalize: SeFa's weight, as the code released with it does.
    """

    method: str = "pca"
    count: int = 4
    limit: int = 5000
    start: str | None = None
    end: str | None = None
    estimator: Method = "centroid"
    confound: str = "label"
    region: str | None = None
    normalize: bool = False


EXACT = {
    "sefa": "none of sampling: computed from the weights alone",
    "jacobian": "none of sampling: computed from the weights, for the first latent alone",
    "region": "none of sampling: computed from the weights, for the first latent alone",
    "axes": "none: these are the coordinates",
}
"""Why there is no cone."""


def unsupervised(source: Source, wanted: Wanted, latents: Tensor, seed: int) -> Found:
    """Directions (K, D) of latents (N, *Z), flattened.

    Raises:
        ValueError: the model lacks what the method needs, or has fewer directions than are asked
            for.
    """
    count, flat = wanted.count, latents.flatten(1)
    if wanted.method == "pca":
        if not hasattr(source.model, "encode"):
            raise ValueError(
                f"{source.name} has no encoder, and its prior varies equally in all directions: "
                "use --method sefa, jacobian or axes"
            )
        return search.pca(flat, count), [f"pc {i + 1}" for i in range(count)], {}
    if wanted.method == "axes":
        dim = flat.shape[1]
        if count > dim:
            raise ValueError(f"expected --count up to {dim} axes, got {count}")
        order = flat.std(0).argsort(descending=True)[:count].tolist()
        return search.axes(dim, order), [f"unit {k}" for k in order], {}
    source.require("decode")
    return _of_weights(source, wanted, latents[:1].to(source.device), seed)


def _of_weights(source: Source, wanted: Wanted, latent: Tensor, seed: int) -> Found:
    """What the networks do around one latent (1, *Z)."""
    count, point = wanted.count, latent.flatten(1)

    def decode(z: Tensor) -> Tensor:
        images: Tensor = source.model.decode(z.reshape(-1, *latent.shape[1:]))
        return images

    names = [f"{wanted.method} {i + 1}" for i in range(count)]
    if wanted.method == "region":
        mask = read_region(str(wanted.region), tuple(decode(point).shape[1:])).to(point)
        # A network has no exact null space: a quarter of its directions disturb the rest least.
        null = min(point.shape[1], max(count, point.shape[1] // 4))
        found = region(decode, point, mask, count, null=null)
        ratios = leakage(decode, point, mask, found)
        return found.cpu(), names, {"outside_over_inside": ratios.tolist()}
    if wanted.method == "sefa":
        networks = nn.ModuleList(modules_in(source.model))
        weight = first_weight(decode, networks, point)
        return search.sefa(weight, count, normalize=wanted.normalize).cpu(), names, {}
    return local(decode, point, count, seed=seed).cpu(), names, {}


def cones(flat: Tensor, vectors: Tensor, given: Tensor | None, seed: int) -> dict[str, Any]:
    """How far other latents than (N, D) would turn principal components, without the conditions."""
    resampled = bootstrap_pca(flat, len(vectors), seed=seed, watch=bar("bootstrap"))
    if given is not None:
        resampled = without(resampled.flatten(0, 1), given).reshape(resampled.shape)
    found = half_angles(vectors, resampled).tolist()
    words = [
        f"pc {i + 1}: other images would turn it by up to {angle:.0f} degrees (95 % bootstrap cone)"
        for i, angle in enumerate(found)
    ]
    return {"cone_degrees": found, "resamples": len(resampled), "in_words": words}
