"""Verbs on finished runs: report, compare, export."""

from latentkit.cli.parser import Common


def report(run: str, common: Common, *, data: str | None = None, images: int = 1000) -> None:
    """Write one self-contained HTML page about a run or a folder of results.

    Of a run, first samples, reconstructs, clusters, explains and evaluates its model on test
    images, into its folder `report`, unless that was done for the same model and images before. The
    page holds config, curves, metrics with intervals, samples, an interactive map of the latents,
    clusters, directions with how far their heatmaps can be trusted, health, provenance, and every
    result.json below the folder with its pictures.

    Args:
        run: a run folder, or a folder with results in it.
        common: options of every verb.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        images: test images to look at, drawn at random.
    """
    from contextlib import nullcontext
    from pathlib import Path

    folder = Path(run)
    if not folder.is_dir():
        raise ValueError(f"expected a run folder or a folder of results, got {run}")
    from latentkit.cli.named.sources import at_least
    from latentkit.cli.reporting.looking import explore, one_at_a_time
    from latentkit.store import CHECKPOINT_FILE, MODEL_FILE, atomic
    from latentkit.views.report import page

    at_least(20, images=images)
    out = Path(common.out) if common.out else folder / "report.html"
    if out.suffix not in {"", ".html"} and not out.is_dir():
        raise ValueError(f"expected --out to be a folder or end in .html, got {out}")
    out = out if out.suffix == ".html" else out / "report.html"
    trained = any((folder / name).is_file() for name in (MODEL_FILE, CHECKPOINT_FILE))
    with one_at_a_time(folder / "report") if trained else nullcontext():
        found, failed = explore(run, common, data, images) if trained else (None, [])
        text = page(folder, found, failed)
        with atomic(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(out)


def compare(
    runs: list[str],
    common: Common,
    *,
    data: str | None = None,
    images: int = 1000,
    features: str | None = None,
) -> None:
    """Compare runs side by side: numbers, samples, reconstructions and latent spaces.

    Every model is evaluated on the same test images. Generated images are compared in one feature
    space; without labels to train a classifier on, and without --features, not at all. Samples come
    from the same seed, and reconstructions are of the same images. How alike two latent spaces are
    is said by debiased CKA and by the fit of the best rotation. What one model fails at is said in
    its column. Writes one page (.html) and one
    JSON.

    Args:
        runs: two models or more: run folders, model files, .ckpt or package.module:factory.
        common: options of every verb.
        data: instead of the models' own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        images: test images to look at, drawn at random.
        features: what generated images are compared in: classifier (of the data's labels; the
            default where there are any), inception or package.module:callable.
    """
    from latentkit.cli.named.sources import at_least
    from latentkit.cli.reporting.comparing import compared, sources_of
    from latentkit.cli.results import Results
    from latentkit.views.comparison import comparison

    at_least(20, images=images)
    if len(runs) < 2:
        raise ValueError(f"expected two runs or more to compare, got {len(runs)}")
    if features == "encoder":
        raise ValueError(
            "--features encoder is another space for each model, so its numbers do not compare: "
            "use classifier, inception or package.module:callable"
        )
    results = Results("compare", common, (".html",))
    sources = sources_of(runs, common, data)
    sides, alike, settings = compared(sources, common, images, features)
    results.text(comparison(sides, alike, settings))
    numbers = {
        s.name: {"fingerprint": s.fingerprint, **s.numbers}
        | ({"failed": s.failed} if s.failed else {})
        for s in sides
    }
    each = {s.name: dict(s.settings) for s in sides}
    results.finish({"runs": numbers, "latent_spaces": alike}, **settings, settings_of_runs=each)


def export(run: str, common: Common) -> None:
    """Write a portable model file from a run folder or a checkpoint.

    Args:
        run: a run folder or a .ckpt.
        common: options of every verb.
    """
    from pathlib import Path

    from torch import nn

    from latentkit.store import load, read_about, save

    model, about = load(run), read_about(run)
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a run folder or a .ckpt to export, got {run}")
    out = Path(common.out or "outputs/export")
    out = out / "model.safetensors" if out.is_dir() or not out.suffix else out
    about.pop("versions", None)
    save(model, out, about)
    print(out)
