"""An attribute's direction between two groups of images, with all that is known of its error."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from latentkit.cli.named.groups import (
    FORMS,
    check_apart,
    confounds,
    in_pairs,
    read_group,
    without_copies,
)
from latentkit.cli.named.sources import Source
from latentkit.cli.progress import stage
from latentkit.latent.angles import orthogonal, without
from latentkit.latent.attributes import Method, Strata, attribute
from latentkit.latent.report import direction_report


@dataclass(frozen=True)
class Groups:
    """The latents of two groups.

    Attributes:
        start: (N, D).
        end: (M, D).
        strata: what to balance; None without.
        copies: images left out, since their picture is in both groups.
    """

    start: Tensor
    end: Tensor
    strata: Strata | None
    copies: int


def read_groups(
    source: Source,
    names: tuple[str | None, str | None],
    estimator: Method,
    confound: str,
    limit: int,
) -> Groups:
    """Encodes the groups of these names, paired or with their confound where the estimator asks.

    Raises:
        ValueError: if the names choose no images or some of them twice, or the pairs or the
            confound are not to be had.
    """
    if names[0] is None or names[1] is None:
        raise ValueError(f"--method attribute needs --start and --end: {FORMS}")
    source.require("encode")
    start, end = (read_group(source, name, limit) for name in (names[0], names[1]))
    before = len(start.images) + len(end.images)
    if estimator != "paired":  # a pair of equal images is one whose difference is zero
        check_apart(start, end)
        start, end = without_copies(start, end)
    copies = before - len(start.images) - len(end.images)
    if not (len(start.images) and len(end.images)):
        raise ValueError(f"every picture of {names[0]} or of {names[1]} is in the other group too")
    strata = confounds(source, start, end, confound) if estimator == "balanced" else None
    latents = [source.encode(group.images).flatten(1) for group in (start, end)]
    if estimator == "paired":
        rows = in_pairs(start, end)
        latents = [z[chosen] for z, chosen in zip(latents, rows, strict=True)]
    return Groups(latents[0], latents[1], strata, copies)


def find_attribute(
    groups: Groups, estimator: Method, conditions: Tensor | None, seed: int
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    """Finds the direction from start to end.

    Args:
        groups: the latents.
        estimator: of `attribute`.
        conditions: (L, D) directions that must not be moved along; None without.
        seed: of the statistics.

    Returns:
        The vector (1, D), the most telling numbers, and the whole uncertainty.

    Raises:
        ValueError: a group has fewer than 2 images, or the groups do not differ beyond the
            conditions.
    """
    start, end, strata = groups.start, groups.end, groups.strata
    if min(len(start), len(end)) < 2:
        raise ValueError(
            "expected groups of 2 images or more, since one says nothing of the direction's error, "
            f"got {len(start)} in --start and {len(end)} in --end"
        )
    if conditions is not None:
        orthogonal(attribute(start, end, estimator, strata=strata), conditions)  # or a plain error
        # In what the conditions leave, so that the statistics are those of the conditioned one.
        start, end = (without(z, conditions) for z in (start, end))
    vector = attribute(start, end, estimator, strata=strata)
    if conditions is not None:
        vector = orthogonal(vector, conditions)
    sizes = {"start_images": len(start), "end_images": len(end)}
    with stage("the direction's error, by resampling"):
        found = direction_report(start, end, estimator, strata=strata, seed=seed)
    numbers = sizes | {
        "held_out_auc": found.held_out.auc,
        "p": found.p,
        "cone_degrees": found.cone.half_angle,
        "alignment": found.alignment.cosine,
    }
    if found.cone.corrected is not None:
        numbers["corrected_cone_degrees"] = found.cone.corrected
    words = found.sentences()
    if groups.copies:
        numbers["copies_left_out"] = groups.copies
        words.append(f"{groups.copies} images were left out: their picture is in both groups")
    return vector[None], numbers, asdict(found) | {"in_words": words}
