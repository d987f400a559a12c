"""Options of a walk, without torch, so that help and mistakes come at once."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Way:
    """How a walk goes through its anchors.

    Args:
        method: straight line, great circle, matched to the model's prior, or the path whose images
            change least; one or several (default matched where the prior allows, else lerp).
        steps: points of each leg, both ends included.
        curve: corners at the anchors, or smooth through them: a cubic spline (lerp or matched), a
            Catmull-Rom curve (lerp).
        loop: true returns from the last anchor to the first.
        even: true walks at constant speed in image space; anchors are then not among the points.
        class_part: how a ClusterGAN's classes meet in a matched walk: by shares, or switching
            half way (default simplex).
    """

    method: list[Literal["lerp", "slerp", "matched", "geodesic"]] | None = None
    steps: int = 9
    curve: Literal["piecewise", "spline", "catmull-rom"] = "piecewise"
    loop: bool = False
    even: bool = False
    class_part: Literal["simplex", "switch"] | None = None
