"""Verb that measures how faithful explanations are."""

from typing import Literal

from latentkit.cli.parser import Common


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
    from latentkit.cli.dirbench import bench_models, bench_oracle
    from latentkit.cli.results import FIGURE, Results
    from latentkit.cli.sources import at_least, open_source

    at_least(2, images=images)
    at_least(1, steps=steps)
    results = Results(f"bench-{what}", common, FIGURE)
    if model is None:
        bench_oracle(results, images, steps)
    else:
        bench_models(results, [open_source(name, common, data) for name in model], images, steps)
