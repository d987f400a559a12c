"""What was measured of a reading, in words and numbers: the same in pictures, pages and files."""

from typing import Any

from latentkit.explain.faithfulness import Retrieval

NOT_MEASURABLE = "not measurable: one latent dimension"


def summary(told: Retrieval) -> str:
    """Of all directions together, with the interval.

    Args:
        told: what `faithfulness.direction_retrieval` found.
    """
    low, high = told.interval
    control = "without a control" if told.control is None else f"random weights {told.control:.2f}"
    return (
        f"direction retrieval {told.accuracy:.2f} "
        f"(95 % {low:.2f} to {high:.2f}, chance {told.chance:.2f}, {control}){_warning(told)}"
    )


def verdict(told: Retrieval) -> str:
    """Of one direction.

    Args:
        told: of this direction, from `Retrieval.only`.
    """
    control = "without a control" if told.control is None else f"random weights {told.control:.0%}"
    return (
        f"told from the other directions in {told.accuracy:.0%} of images "
        f"(chance {told.chance:.0%}, {control}){_warning(told)}"
    )


def in_numbers(told: Retrieval) -> dict[str, Any]:
    """All of it, for a file; `faithful` and `verdicts` are of each direction.

    Args:
        told: what `faithfulness.direction_retrieval` found.

    Returns:
        Numbers, lists and texts alone, as JSON takes them.
    """
    each = [told.only(k) for k in range(len(told.per_direction))]
    return {
        "accuracy": told.accuracy,
        "interval": list(told.interval),
        "chance": told.chance,
        "random_weights": told.control,
        "gain_over_random_weights": told.gain and list(told.gain),
        "shortcomings": list(told.shortcomings),
        "per_direction": told.per_direction.tolist(),
        "faithful": [one.faithful for one in each],
        "verdicts": [verdict(one) for one in each],
        "trials": told.trials,
        "images": told.won.shape[1],
    }


def _warning(told: Retrieval) -> str:
    return f" - UNFAITHFUL here: {'; '.join(told.shortcomings)}" if told.shortcomings else ""
