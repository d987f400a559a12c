"""`latentkit explain --score`: heatmaps of test images for named scores."""

from latentkit.cli.endpoints import parse_number
from latentkit.cli.readings import parts_of
from latentkit.cli.results import Results
from latentkit.cli.sources import Source
from latentkit.explain import scores
from latentkit.explain.cam import Method, cam
from latentkit.explain.heatmap import Heatmap
from latentkit.protocols import Part, Score
from latentkit.views.atlas import heatmaps


def explain_scores(
    results: Results,
    source: Source,
    names: list[str],
    method: Method,
    layer: str | None,
    count: int,
) -> None:
    """Draws heatmaps of test images for the named scores."""
    chosen = {name: _score(name, source) for name in names}  # refuses wrong names before the work
    images = source.images("test", count)[0]
    maps: dict[str, Heatmap] = {}
    for name, (part, score) in chosen.items():
        x = images.to(source.device)
        maps[name] = cam(part.module, layer or part.layers[0], x, score, method)
    titles = {name: f"{name}\n({_owner(name)} {v.layer})" for name, v in maps.items()}
    results.figure(heatmaps(images, {titles[k]: v.raw.cpu() for k, v in maps.items()}, method))
    layers = {name: heat.layer for name, heat in maps.items()}
    empty = {name: int(heat.degenerate.sum()) for name, heat in maps.items()}
    numbers = {"images": len(images), "degenerate": empty}
    results.finish(numbers, source, method=method, layers=layers, question="reading")


def _owner(score: str) -> str:
    """The network that computes a score."""
    return "discriminator" if score in {"real", "fake"} else "encoder"


def _score(name: str, source: Source) -> tuple[Part, Score]:
    kind, _, value = name.partition(":")
    if name in {"real", "fake"}:
        return _part(source, "discriminator"), scores.real() if name == "real" else scores.fake()
    if kind not in {"unit", "cluster"} or not value:
        raise ValueError(f"unknown score {name}: expected real, fake, unit:N or cluster:N")
    number = parse_number(name, value)
    if kind == "unit":
        size = source.latent_size
        if size is not None and number >= size:
            raise ValueError(f"{name} is outside the {size} latent units")
        return _part(source, "encoder"), scores.unit(number)
    classes = getattr(source.model, "classes", None)
    if classes is None:
        raise ValueError(
            f"{name} needs a model with clusters of its own, which {source.name} is not"
        )
    if number >= classes:
        raise ValueError(f"{name} is outside the {classes} clusters")
    return _part(source, "encoder"), scores.unit(source.model.continuous + number)


def _part(source: Source, name: str) -> Part:
    parts = parts_of(source)
    if name not in parts:
        have = ", ".join(parts) or "no network that can be looked into"
        raise ValueError(f"{source.name} has no {name} to explain: it has {have}")
    return parts[name]
