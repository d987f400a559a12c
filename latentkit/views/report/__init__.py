"""One self-contained HTML page about a run or a folder of results: no request leaves it."""

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
from latentkit.views.report.health import Health, health
from latentkit.views.report.latent_map import LatentMap
from latentkit.views.report.numbers import Row, about_intervals, rows, text
from latentkit.views.report.pictures import KINDS, Budget, Picture, address, fitted, too_large
from latentkit.views.report.reading import ours, told, understood

_FILES = ("metrics.json", "config.yaml", "health.json")  # of a run


@dataclass(frozen=True)
class Run:
    """What a training left.

    Attributes:
        name: of its folder.
        metrics: of the best model.
        curves: logged during training.
        health: in plain words; None where nothing was watched.
        config: the text of config.yaml.
        about: settings and where they came from, line by line.
        place: its folder.
    """

    name: str
    metrics: list[Row]
    curves: list[Curve]
    health: Health | None
    config: str
    about: list[Row]
    place: Path

    @property
    def fingerprint(self) -> str:
        """Of its model; empty without one that can be read."""
        return next((row.value for row in self.about if row.name == "fingerprint"), "")


@dataclass(frozen=True)
class Result:
    """What one call of a verb left.

    Attributes:
        verb: its name.
        place: of its folder.
        numbers: that it found.
        settings: that they depend on, in one line.
        pictures: that it drew.
        other: says so where it is of another model than that of the run it lies in.
        raw: the numbers as they are.
    """

    verb: str
    place: str
    numbers: list[Row]
    settings: str
    pictures: list[Picture]
    other: str = ""
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
    found = list(_runs(folder))
    results = list(_results(folder, found, budget))
    if not found and not results:
        raise ValueError(
            f"nothing to report in {folder}: no config.yaml, metrics.json or result.json"
        )
    title = folder.resolve().name if not found else _title(folder)
    notes = [*failed, *budget.left_out]
    pictures = [result.pictures for result in results]
    content = fitted(lambda: _drawn(title, found, results, explored, notes), pictures, notes)
    if too_large(content) and explored:
        notes.append("The latent map is left out: with it the page would have more than 10 MB.")
        content = _drawn(title, found, results, None, notes)
    return content


def _drawn(
    title: str,
    found: list[Run],
    results: list[Result],
    explored: LatentMap | None,
    failed: list[str],
) -> str:
    environment = Environment(
        loader=PackageLoader("latentkit.views.report", "."), autoescape=True, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {}  # the first of each menu is shown first
    drawn = {
        "short": lambda value: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}",
        "title": title,
        "runs": found,
        "explored": explored and _for_page(explored),
        "clusters": explored.clusters if explored else [],
        "notes": explored.notes if explored else [],
        "failed": failed,
        "sprite": explored and address(explored.sprite, "webp"),
        "shown": explored and {"columns": explored.columns},
        "directions": [r for r in results if r.verb == "explain" and "names" in r.raw],
        "results": [r for r in results if not (r.verb == "explain" and "names" in r.raw)],
        "versions": versions(),
        "verdict": _verdict,
        "about_intervals": about_intervals,
    }
    with understood(Path(title)):
        return environment.get_template("page.html").render(drawn)


def _title(folder: Path) -> str:
    run = folder.resolve()
    return f"{run.parent.name}, {run.name}" if run.name.startswith("version_") else run.name


def _runs(folder: Path) -> Iterator[Run]:
    """`folder` and every run below it."""
    places = sorted({folder, *(p.parent for p in folder.rglob("config.yaml"))})
    for place in places:
        metrics, config, watched = (place / name for name in _FILES)
        if not metrics.is_file() and not config.is_file():
            continue
        yield Run(
            name=str(place.relative_to(folder)) if place != folder else place.resolve().name,
            metrics=told(metrics, rows) if metrics.is_file() else [],
            curves=curves(place),
            health=told(watched, health) if watched.is_file() else None,
            config=config.read_text("utf-8", errors="replace") if config.is_file() else "",
            about=list(_about(place)),
            place=place,
        )


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


def _results(folder: Path, runs: list[Run], budget: Budget) -> Iterator[Result]:
    for path in sorted(folder.rglob("*.json")):
        content = ours(path)
        if "verb" not in content or not isinstance(content.get("numbers") or {}, dict):
            continue
        with understood(path):
            result = _result(path, folder, runs, budget, content)
        yield result


def _result(
    path: Path, folder: Path, runs: list[Run], budget: Budget, content: Mapping[str, Any]
) -> Result:
    numbers = content.get("numbers") or {}
    settings = {"model": content.get("model"), "fingerprint": content.get("fingerprint")}
    settings |= content.get("settings") or {}
    said = "; ".join(f"{k} {text(v)}" for k, v in settings.items() if v not in (None, "", [], {}))
    return Result(
        verb=str(content["verb"]),
        place=str(path.parent.relative_to(folder)),
        numbers=rows(numbers),
        settings=said,
        pictures=list(_pictures(path.parent, content, budget)),
        other=_other(path, content.get("fingerprint"), runs),
        raw=numbers,
    )


def _other(path: Path, of_result: object, runs: list[Run]) -> str:
    """A sentence where a result is not of the model of the innermost run it lies in."""
    around = [run for run in runs if path.is_relative_to(run.place)]
    run = max(around, key=lambda run: len(run.place.parts), default=None)
    if run is None or not run.fingerprint or of_result in (None, "", run.fingerprint):
        return ""
    return f"Of another model: its fingerprint is {of_result}, the run's is {run.fingerprint}."


def _pictures(folder: Path, content: Mapping[str, Any], budget: Budget) -> Iterator[Picture]:
    names = (content.get("numbers") or {}).get("names") or []
    for file in content.get("files") or []:
        path = folder / Path(str(file)).name  # nothing from outside the folder
        if path.suffix in KINDS and path.is_file():
            number = path.stem.rpartition("direction_")[2]
            known = "direction_" in path.stem and number.isdigit() and int(number) <= len(names)
            k = int(number) - 1 if known and content["verb"] == "explain" else None
            shown = names if k is None else [names[k]]
            alt = _alt(str(content["verb"]), path.stem, list(map(str, shown)), k)
            picture = budget.picture(path, alt, k)
            if picture is not None:
                yield picture


def _alt(verb: str, stem: str, names: list[str], direction: int | None) -> str:
    """A text in the place of the picture, for those who cannot see it.

    Args:
        verb: that drew it.
        stem: of its file.
        names: of the directions that it shows.
        direction: the number of the only one, if it is of one.
    """
    known = {
        "sample": "A grid of images generated from samples of the prior",
        "reconstruct": "Rows of test images, each above its reconstructions",
        "cluster": "Scatter of latents, coloured by cluster",
        "interpolate": "Strips of images from one image to another",
        "mix": "A grid of images that mix the styles of others",
        "explain": f"Directions {', '.join(names)}: walk, effect, readings and use, on one scale"
        if names
        else "Heatmaps of test images, one row for each score",
    }
    if direction is not None:
        return f"{names[0]}: walk, effect, readings and use, image by image"
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
