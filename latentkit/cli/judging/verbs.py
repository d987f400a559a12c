"""Verbs that measure: evaluate, bench."""

from typing import Literal

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
    from latentkit.cli.judging.scores import measure
    from latentkit.cli.named.features import open_space
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results

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


def bench(
    what: Literal["directions"],
    common: Common,
    *,
    model: list[str] | None = None,
    images: int = 100,
    steps: int = 10_000,
    data: str | None = None,
) -> None:
    """DirBench: how faithful are the explanations of directions?

    Every reading and every baseline is scored on the same images: can the map of a direction be
    told from those of other directions by what the generator changes? Without --model on an oracle,
    a generator of scenes whose truth is known; its encoder is trained first, in minutes. With
    --model on random, principal and SeFa directions of your models, and on those of known factors
    where the data are Shapes; a GAN without an encoder is given one there, trained in minutes, and
    of several models the next one judges by its encoder what the maps mark.

    Args:
        what: directions.
        common: options of every verb.
        model: models to measure, each a model file, run folder, .ckpt or package.module:factory.
        images: number of images.
        steps: of the training of an encoder, the oracle's or a GAN's.
        data: instead of the models' own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    from latentkit.cli.judging.dirbench import bench_models, bench_oracle
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results

    at_least(2, images=images)
    at_least(1, steps=steps)
    results = Results(f"bench-{what}", common, FIGURE)
    if model is None:
        bench_oracle(results, images, steps)
    else:
        bench_models(results, [open_source(name, common, data) for name in model], images, steps)
