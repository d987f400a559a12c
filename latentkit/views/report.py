"""One self-contained HTML page about a run or a folder of results: no scripts, no requests."""

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd }
img { max-width: 100%; display: block; margin: .7rem 0; image-rendering: auto }
table { border-collapse: collapse; margin: .7rem 0 }
td { padding: .15rem 1.2rem .15rem 0; vertical-align: top }
td + td { font-variant-numeric: tabular-nums }
pre { background: #f5f5f5; padding: .8rem; overflow: auto; font-size: 13px }
.quiet { color: #666; font-size: 13px }
"""


def page(folder: Path) -> str:
    """Builds the page.

    Args:
        folder: a run folder, or any folder with results in it.

    Returns:
        The HTML text, with all pictures inside.

    Raises:
        ValueError: the folder holds nothing to report.
    """
    sections = [*_run_sections(folder), *_result_sections(folder)]
    if not sections:
        raise ValueError(
            f"nothing to report in {folder}: no config.yaml, metrics.json or result.json"
        )
    title = html.escape(f"latentkit report: {folder.resolve().name}")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{title}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _run_sections(folder: Path) -> Iterator[str]:
    """The sections about training, for `folder` and every run below it."""
    for config in sorted({folder, *(p.parent for p in folder.rglob("config.yaml"))}):
        metrics = config / "metrics.json"
        if metrics.is_file():
            yield _section(f"Training: {_place(config, folder)}", _table(_read(metrics)))
            yield from _curves(config)
        if (config / "config.yaml").is_file():
            text = html.escape((config / "config.yaml").read_text())
            yield f"<details><summary>config.yaml</summary><pre>{text}</pre></details>"


def _place(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path != folder else path.resolve().name


def _result_sections(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.json")):
        content = _read(path)
        if "verb" not in content:
            continue
        body = [_table(content.get("numbers", {}))]
        for name in content.get("files", []):
            picture = path.parent / Path(str(name)).name  # nothing from outside the folder
            if picture.suffix in {".png", ".gif"} and picture.is_file():
                body.append(_image(picture.read_bytes(), picture.suffix[1:], picture.name))
        settings = html.escape(json.dumps(content.get("settings", {})))
        body.append(f"<p class='quiet'>model {html.escape(str(content.get('model', '')))}, ")
        fingerprint = html.escape(str(content.get("fingerprint", "-")))
        body.append(f"fingerprint {fingerprint}; settings {settings}</p>")
        yield _section(f"{content['verb']}: {_place(path.parent, folder)}", "\n".join(body))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n{body}</section>"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return content if isinstance(content, dict) else {}


def _table(numbers: Mapping[str, Any]) -> str:
    cells = (
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(_text(value))}</td></tr>"
        for name, value in _flat(numbers)
    )
    return "<table>" + "".join(cells) + "</table>"


def _flat(numbers: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in numbers.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield prefix + name, value


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value)


def _image(content: bytes, kind: str, name: str) -> str:
    encoded = base64.b64encode(content).decode()
    return f"<img alt='{html.escape(name)}' src='data:image/{kind};base64,{encoded}'>"


def _curves(run: Path) -> Iterator[str]:
    """The logged scalars of a run as one figure; nothing where there are no events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 2000})
    events.Reload()
    tags = [t for t in events.Tags()["scalars"] if t not in {"epoch", "hp_metric"}]
    if not tags:
        return
    rows = -(-len(tags) // 3)
    figure = Figure(figsize=(11, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes in grid[len(tags) :]:
        axes.set_visible(False)
    for axes, tag in zip(grid, tags, strict=False):
        points = events.Scalars(tag)
        axes.plot([p.step for p in points], [p.value for p in points], linewidth=1)
        axes.set_title(tag, fontsize=9)
        axes.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    yield _image(buffer.getvalue(), "png", "training curves")
