"""The health of a training in plain words: what was measured, what rang, and what nobody judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any, Literal

from latentkit.views.report.numbers import text


@dataclass(frozen=True)
class Health:
    """What a page says of a run's health.

    Attributes:
        state: "bad" where an alarm rang; "good" where none did and enough was judged; else
            "unknown".
        lines: sentences.
    """

    state: Literal["good", "bad", "unknown"]
    lines: list[str]


def health(content: Mapping[str, Any]) -> Health:
    """Reads the content of `health.json`."""
    rang = [_rang(alarm) for alarm in content.get("alarms") or []]
    measured = list(_measured(content.get("values") or {}))
    at = f" at iteration {content['iteration']}" if "iteration" in content else ""
    told = [f"Last measured{at}: {'; '.join(measured)}."] if measured else []
    if rang:
        return Health("bad", [*rang, *told])
    early = _too_early(content) or _no_number(content.get("values") or {})
    if not measured or early:
        return Health("unknown", [early or "Nothing was measured, so nothing is judged.", *told])
    return Health(
        "good", ["No alarm rang for what was measured, and every loss was finite.", *told]
    )


def _rang(alarm: Mapping[str, Any]) -> str:
    """What rang, in the words of the alarm; and whether it cleared again."""
    when = f"At iteration {alarm.get('iteration')}: {alarm.get('text')}"
    gone = alarm.get("cleared")
    return when if gone is None else f"{when} It cleared at iteration {gone}."


def _no_number(values: Mapping[str, Any]) -> str:
    """Whether a measure is no number, which rings no alarm; empty where all are."""
    broken = [k for k, v in values.items() if v is None or (isinstance(v, float) and isnan(v))]
    return f"Not to be judged: {', '.join(broken)} could not be measured." if broken else ""


def _too_early(content: Mapping[str, Any]) -> str:
    """Why silence means nothing yet; empty where it does."""
    if "judged" not in content:  # of a version that did not write it
        return "No alarm rang; whether the run was long enough to be judged was not written down."
    judged, needed = content["judged"], content["needed"]
    if judged >= needed:
        return ""
    return (
        f"Too early to judge: alarms ring from {needed} measurements in a row after the grace "
        f"period on, and there were {judged}."
    )


def _measured(values: Mapping[str, Any]) -> Iterator[str]:
    """Each measure that the alarms go by; the same names stand in TensorBoard."""
    if "active_units" in values:
        units = len(values.get("kl_per_unit") or [])
        yield f"{text(values['active_units'])} of {units} latent units carry information"
    if "diversity" in values:
        what = "generated images" if "gap" in values else "reconstructions"
        yield f"{what} differ {text(values['diversity'])} times as much as real ones"
    if "gap" in values:
        yield (
            f"the discriminator's answers are right in {text(values['accuracy'])} of cases, with a "
            f"gap of {text(values['gap'])} between mean logits"
        )
    if "cluster_usage" in values:
        yield f"the encoder uses {text(values['cluster_usage'])} clusters (effective number)"
