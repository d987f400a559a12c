"""One self-contained HTML page about a run or a folder of results: no request leaves it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from latentkit.store import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    fingerprint,
    load,
    read_about,
    versions,
)
from latentkit.views.report.curves import Curve, curves
from latentkit.views.report.latent_map import LatentMap
from latentkit.views.report.numbers import Row, rows, text
from latentkit.views.report.pictures import KINDS, Budget, Picture, address


@dataclass(frozen=True)
class Run:
    """What a training left.

    Attributes:
        name: of its folder.
        metrics: of the best model.
        curves: logged during training.
        health: findings in plain words; None where nothing was watched.
        config: the text of config.yaml.
        about: settings and where they came from, line by line.
    """

    name: str
    metrics: list[Row]
    curves: list[Curve]
    health: list[str] | None
    config: str
    about: list[Row]


@dataclass(frozen=True)
class Result:
    """What one call of a verb left.

    Attributes:
        verb: its name.
        place: of its folder.
        numbers: that it found.
        settings: that they depend on, in one line.
        pictures: that it drew.
        raw: the numbers as they are.
    """

    verb: str
    place: str
    numbers: list[Row]
    settings: str
    pictures: list[Picture]
    raw: Mapping[str, Any] = field(default_factory=dict)


def page(folder: Path, explored: LatentMap | None = None, failed: Sequence[str] = ()) -> str:
    """Builds the page.

    Args:
        folder: a run folder, or any folder with runs and results in it.
        explored: the map of the run's latents; None for a page without.
        failed: a sentence for everything that was to be looked at and could not be.

    Returns:
        The HTML text, with all pictures inside.

    Raises:
        ValueError: the folder holds nothing to report, or a file in it is damaged.
    """
    budget = Budget(len(explored.sprite) if explored else 0)
    found, results = list(_runs(folder)), list(_results(folder, budget))
    if not found and not results:
        raise ValueError(
            f"nothing to report in {folder}: no config.yaml, metrics.json or result.json"
        )
    environment = Environment(
        loader=PackageLoader("latentkit.views.report", "."), autoescape=True, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {}  # the first of each menu is shown first
    drawn = {
        "title": folder.resolve().name if not found else _title(folder),
        "runs": found,
        "explored": explored and _for_page(explored),
        "clusters": explored.clusters if explored else [],
        "notes": explored.notes if explored else [],
        "failed": [*failed, *budget.left_out],
        "sprite": explored and address(explored.sprite, "webp"),
        "shown": explored and {"columns": explored.columns},
        "directions": [r for r in results if r.verb == "explain" and "names" in r.raw],
        "results": [r for r in results if not (r.verb == "explain" and "names" in r.raw)],
        "versions": versions(),
        "verdict": _verdict,
    }
    return environment.get_template("page.html").render(drawn)


def _title(folder: Path) -> str:
    run = folder.resolve()
    return f"{run.parent.name}, {run.name}" if run.name.startswith("version_") else run.name


def _runs(folder: Path) -> Iterator[Run]:
    """`folder` and every run below it."""
    places = sorted({folder, *(p.parent for p in folder.rglob("config.yaml"))})
    for place in places:
        metrics, config = place / "metrics.json", place / "config.yaml"
        if not metrics.is_file() and not config.is_file():
            continue
        yield Run(
            name=str(place.relative_to(folder)) if place != folder else place.resolve().name,
            metrics=rows(_read(metrics)) if metrics.is_file() else [],
            curves=curves(place),
            health=_health(place / "health.json"),
            config=config.read_text("utf-8", errors="replace") if config.is_file() else "",
            about=list(_about(place)),
        )


def _health(path: Path) -> list[str] | None:
    """What rang, in the words of the alarm; and what cleared again."""
    if not path.is_file():
        return None
    said = []
    for alarm in _read(path).get("alarms") or []:
        when = f"At iteration {alarm.get('iteration')}: {alarm.get('text')}"
        gone = alarm.get("cleared")
        said.append(when if gone is None else f"{when} It cleared at iteration {gone}.")
    return said


def _about(run: Path) -> Iterator[Row]:
    """Where the run's model comes from."""
    if not any((run / name).is_file() for name in (MODEL_FILE, CHECKPOINT_FILE)):
        yield Row("model", "none was saved", "")
        return
    try:
        about, model = read_about(run), load(run)
    except ValueError as error:
        yield Row("model", f"it cannot be read: {error}", "")
        return
    yield Row("model", f"{type(model).__module__}.{type(model).__qualname__}", "")
    if hasattr(model, "parameters"):
        yield Row("parameters", f"{sum(p.numel() for p in model.parameters()):,}", "")
    yield Row("fingerprint", fingerprint(model), "")
    if (run / "config.yaml").is_file():
        yield Row("command", f"latentkit fit --config {run / 'config.yaml'}", "")
    wanted = ("objective", "seed", "iteration", "input_shape", "data", "training", "versions")
    yield from rows({key: about[key] for key in wanted if key in about})


def _results(folder: Path, budget: Budget) -> Iterator[Result]:
    for path in sorted(folder.rglob("*.json")):
        content = _ours(path)
        numbers = content.get("numbers") or {}
        if "verb" not in content or not isinstance(numbers, dict):
            continue
        settings = {"model": content.get("model"), "fingerprint": content.get("fingerprint")}
        settings |= content.get("settings") or {}
        said = "; ".join(f"{k} {text(v)}" for k, v in settings.items() if v not in (None, ""))
        yield Result(
            verb=str(content["verb"]),
            place=str(path.parent.relative_to(folder)),
            numbers=rows(numbers),
            settings=said,
            pictures=list(_pictures(path.parent, content, budget)),
            raw=numbers,
        )


def _pictures(folder: Path, content: Mapping[str, Any], budget: Budget) -> Iterator[Picture]:
    names = (content.get("numbers") or {}).get("names") or []
    for file in content.get("files") or []:
        path = folder / Path(str(file)).name  # nothing from outside the folder
        if path.suffix in KINDS and path.is_file():
            number = path.stem.rpartition("direction_")[2]
            known = "direction_" in path.stem and number.isdigit() and int(number) <= len(names)
            k = int(number) - 1 if known and content["verb"] == "explain" else None
            alt = _alt(str(content["verb"]), path.stem, None if k is None else str(names[k]))
            picture = budget.picture(path, alt, k)
            if picture is not None:
                yield picture


def _alt(verb: str, stem: str, direction: str | None) -> str:
    """A text in the place of the picture, for those who cannot see it."""
    known = {
        "sample": "A grid of images generated from samples of the prior",
        "reconstruct": "Rows of test images, each above its reconstructions",
        "cluster": "Scatter of latents, coloured by cluster",
        "interpolate": "Strips of images from one image to another",
        "mix": "A grid of images that mix the styles of others",
        "explain": "Directions: walk, effect, readings and use, on one scale",
    }
    if direction is not None:
        return f"{direction}: walk, effect, readings and use, image by image"
    return known.get(verb, f"picture of {verb}: {stem}")


def _for_page(explored: LatentMap) -> dict[str, Any]:
    """What the page's script reads."""
    content = asdict(explored)
    return {key: content[key] for key in ("places", "groups", "columns")}


def _verdict(result: Result, k: int) -> list[tuple[str, bool]]:
    """How far each reading of direction k can be trusted, and whether at all."""
    return [
        (f"{question} {told['verdicts'][k]}", told["faithful"][k])
        for question, told in result.raw.get("retrieval", {}).items()
        if "verdicts" in told  # not in results of older versions, which had no control
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return content if isinstance(content, dict) else {}


def _ours(path: Path) -> dict[str, Any]:
    """The content of a result; nothing of a file that is no JSON, or somebody else's."""
    if path.name == "result.json":  # ours for sure, so its loss is told
        return _read(path)
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
