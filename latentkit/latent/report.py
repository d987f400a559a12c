"""Everything that is known of an attribute direction's error, in numbers and in words."""

from dataclasses import dataclass

from torch import Tensor

from latentkit.latent.alignment import Alignment, alignment
from latentkit.latent.attributes import Method, Strata
from latentkit.latent.contrast import FITTED, repeated
from latentkit.latent.held_out import HeldOut, held_out
from latentkit.latent.uncertainty import Cone, bootstrap_cone, permutation_p

FEW = 10
"""A group with fewer latents gets a warning."""


@dataclass(frozen=True)
class DirectionReport:
    """What is known of the error of a direction between two groups.

    Attributes:
        method: the estimator.
        sizes: latents of the start and of the end.
        cone: how far it would move with other latents.
        p: of the groups being alike.
        held_out: what it is worth on other latents.
        alignment: how alike single differences are.
        repeats: latents (or pairs) that are copies of another of their group. They count as
            independent, which they are not: cone and p are then too small.
        warnings: why not to trust these numbers themselves; empty where there is no reason.
    """

    method: Method
    sizes: tuple[int, int]
    cone: Cone
    p: float
    held_out: HeldOut
    alignment: Alignment
    repeats: int
    warnings: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The report in plain words, a sentence each, the warnings last."""
        cone, held, same = self.cone, self.held_out, self.alignment
        low, high = held.effect_interval
        judged = "pairs in which the end is further" if self.method == "paired" else "AUC"
        true = cone.corrected
        turned = (
            f"other latents of these groups would turn it by up to {cone.half_angle:.0f} degrees"
        )
        off = "its error is larger" if true is None else "its error is larger for few latents"
        near = [] if true is None else [f"within {true:.0f} degrees of the true direction (95 %)"]
        chance = "hardly chance" if self.p < 0.05 else "could be chance"
        return [
            f"{self.sizes[0]} and {self.sizes[1]} latents, estimator {self.method}",
            *near,
            f"{turned} (95 % bootstrap cone); {off}",
            f"the groups differ with p = {self.p:.2g} ({chance})",
            f"on held-out latents: {judged} {held.auc:.2f} (chance 0.5), "
            f"{held.effect:.2f} standard deviations apart (95 % {low:.2f} to {high:.2f})",
            f"single differences have a mean cosine of {same.cosine:.2f} (0 where groups are "
            f"alike, p = {same.p:.2g})",
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def direction_report(
    start: Tensor,
    end: Tensor,
    method: Method = "centroid",
    *,
    strata: Strata | None = None,
    resamples: int | None = None,
    permutations: int | None = None,
    seed: int = 0,
) -> DirectionReport:
    """Measures the error of `attribute(start, end, method)` in every way there is here.

    Args:
        start: (N, D), N >= 2.
        end: (M, D), M >= 2.
        method: of `attribute`.
        strata: of `attribute`.
        resamples: of the bootstrap; None for 1000, or 200 of an estimator that has to be fitted.
        permutations: of the tests; None for 999, or 99 of an estimator that has to be fitted.
        seed: of everything random.

    Raises:
        ValueError: as `attribute` does, if a group has less than two latents, or if a latent equals
            one of the other group (but for pairs).
    """
    slow = method in FITTED
    draws = resamples or (200 if slow else 1000)
    swaps = permutations or (99 if slow else 999)
    cone = bootstrap_cone(start, end, method, strata=strata, resamples=draws, seed=seed)
    p = permutation_p(start, end, method, strata=strata, permutations=swaps, seed=seed)
    held = held_out(start, end, method, strata=strata, seed=seed)
    paired = method == "paired"
    same = alignment(start, end, paired=paired, strata=strata, seed=seed)
    sizes, repeats = (len(start), len(end)), repeated(start, end, paired)
    warnings = _warnings(sizes, p, repeats, "pairs" if paired else "latents")
    return DirectionReport(method, sizes, cone, p, held, same, repeats, warnings)


def _warnings(sizes: tuple[int, int], p: float, repeats: int, what: str) -> tuple[str, ...]:
    found = []
    if repeats:
        found.append(
            f"{repeats} {what} are copies of others in their group and count as independent: "
            "cone and p are too small; leave the copies out"
        )
    if min(sizes) < FEW:
        found.append(
            f"a group has {min(sizes)} latents, fewer than {FEW}: the bootstrap cone is too narrow"
        )
    if p >= 0.05:
        found.append("the groups may be alike: the direction may be noise")
    return tuple(found)
