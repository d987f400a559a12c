"""a is to b as c is to whom? Ranks points by how well they complete an analogy."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from latentkit.latent.points import check_points

AnalogyMethod: TypeAlias = Literal["3cosadd", "3cosmul"]
"""How the three similarities are weighed: see `analogies`."""

_EPSILON = 1e-3  # of the paper: keeps the quotient of 3CosMul finite


@dataclass(frozen=True)
class Answers:
    """The best completions of each of Q analogies.

    Attributes:
        ranked: (Q, k) rows of the points, best first.
        scores: (Q, k) descending.
        margin: (Q,) how far the best is ahead of the second, in the score's unit; infinite where
            there is only one candidate.
    """

    ranked: Tensor
    scores: Tensor
    margin: Tensor


def analogies(
    points: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    k: int = 1,
    *,
    method: AnalogyMethod = "3cosadd",
) -> Answers:
    """Finds the points d with "a is to b as c is to d"; a, b and c themselves never answer.

    "3cosadd" ranks by cos(d, b) - cos(d, a) + cos(d, c): Mikolov et al., "Linguistic Regularities
    in Continuous Space Word Representations", NAACL 2013. "3cosmul" by the product of the first
    and the last over the second, with cosines shifted to [0, 1], so that no large term drowns the
    others: Levy and Goldberg, "Linguistic Regularities in Sparse and Explicit Word
    Representations", CoNLL 2014.

    Args:
        points: (N, D); cosines depend on the origin, so centre them where it means nothing.
        a: (Q,) rows of the points.
        b: (Q,) rows of the points.
        c: (Q,) rows of the points.
        k: number of answers, at most N - 3.
        method: the score.

    Raises:
        ValueError: if the points are not finite or one is zero, the rows do not fit, k is out of
            range, or the method is unknown.
    """
    check_points(points, "points")
    if method not in get_args(AnalogyMethod):
        raise ValueError(f"expected one of {get_args(AnalogyMethod)}, got {method!r}")
    if not points.any(1).all():
        raise ValueError("expected points other than zero, one is: it has no cosine")
    if not 1 <= k <= len(points) - 3:
        raise ValueError(
            f"expected 1 <= k <= {len(points) - 3}, the points but a, b and c, got k={k}"
        )
    given = torch.stack([_rows(rows, len(points)) for rows in (a, b, c)]).to(points.device)
    unit = normalize(points.to(torch.promote_types(points.dtype, torch.float32)), dim=1)
    to_a, to_b, to_c = (unit[rows] @ unit.T for rows in given)
    if method == "3cosadd":
        scores = to_b - to_a + to_c
    else:
        to_a, to_b, to_c = ((1 + cosine.clamp(-1, 1)) / 2 for cosine in (to_a, to_b, to_c))
        scores = to_b * to_c / (to_a + _EPSILON)
    scores = scores.scatter(1, given.T, -torch.inf)
    best = scores.topk(max(k, 2), dim=1)
    margin = best.values[:, 0] - best.values[:, 1]
    return Answers(best.indices[:, :k], best.values[:, :k], margin)


def _rows(rows: Tensor, n: int) -> Tensor:
    if rows.ndim != 1 or rows.is_floating_point() or len(rows) == 0:
        raise ValueError(f"expected rows (Q,) of integers, got {rows.dtype} {tuple(rows.shape)}")
    if int(rows.min()) < 0 or int(rows.max()) >= n:
        raise ValueError(f"expected rows of {n} points, got {int(rows.min())}..{int(rows.max())}")
    return rows
