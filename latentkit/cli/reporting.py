"""Verbs that look back on finished runs: report, compare."""

from latentkit.cli.parser import Common


def report(run: str, common: Common, *, data: str | None = None, images: int = 1000) -> None:
    """Write one self-contained HTML page about a run or a folder of results.

    Of a run, first samples, reconstructs, clusters, explains and evaluates its model on test
    images, into its folder `report`, unless that was done for the same model before. The page holds
    config, curves, metrics with intervals, samples, an interactive map of the latents, clusters,
    directions with how far their heatmaps can be trusted, health, provenance, and every result.json
    below the folder with its pictures.

    Args:
        run: a run folder, or a folder with results in it.
        common: options of every verb.
        data: a data YAML, a folder of images or an .npz, instead of the model's own data.
        images: test images to look at, drawn at random.
    """
    from pathlib import Path

    from latentkit.cli.exploring import explore
    from latentkit.cli.sources import at_least
    from latentkit.store import MODEL_FILE, atomic
    from latentkit.views.report import page

    at_least(20, images=images)
    folder = Path(run)
    if not folder.is_dir():
        raise ValueError(f"expected a run folder or a folder of results, got {run}")
    out = Path(common.out) if common.out else folder / "report.html"
    if out.suffix not in {"", ".html"} and not out.is_dir():
        raise ValueError(f"expected --out to be a folder or end in .html, got {out}")
    out = out if out.suffix == ".html" else out / "report.html"
    found = explore(run, common, data, images) if (folder / MODEL_FILE).is_file() else None
    text = page(folder, found)
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(out)
