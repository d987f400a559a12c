"""Verbs that judge and hand on: evaluate, export."""

from latentkit.cli.parser import Common, Split


def evaluate(
    model: str,
    common: Common,
    *,
    data: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    features: str | None = None,
    samples: int | None = None,
    importance_samples: int = 64,
) -> None:
    """Measure everything that applies to the model, on held-out data.

    Reconstruction beside that of PCA with as many numbers; likelihood bounds of a VAE; agreement
    of clusters with labels; generated images against real ones and the length of paths in a named
    feature space; disentanglement on Shapes, whose factors are known.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        split: which images.
        limit: only so many, chosen at random.
        features: what images are compared in: encoder, classifier (trained on the data's labels),
            inception (where its weights are) or package.module:callable (default: the model's own
            encoder; without one, classifier).
        samples: generated images to compare (default: as many as real ones, at most 5,000).
        importance_samples: posterior samples of the importance-weighted bound of a VAE.
    """
    from latentkit.cli.features import open_space
    from latentkit.cli.results import Results
    from latentkit.cli.scores import measure
    from latentkit.cli.sources import at_least, open_source

    at_least(1, limit=limit, importance_samples=importance_samples)
    at_least(2, samples=samples)
    results, source = Results("evaluate", common, (".json",)), open_source(model, common, data)
    images, labels = source.sample(split, limit, common.seed)
    space = open_space(source, features, common.seed)
    if space is not None:
        space.read(images[:1], source.device)  # finds a mistake before the work, not after it
    counts = samples, importance_samples
    numbers, settings = measure(source, images, labels, space, counts, common.seed)
    settings |= {"split": split, "images": len(images), "data": data or "the model's own"}
    settings["images_in_split"] = len(source.data.split(split))
    settings["fewer_than_all"] = "random rows, by the seed"  # wherever a count says so
    results.finish(numbers, source, **settings)


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
