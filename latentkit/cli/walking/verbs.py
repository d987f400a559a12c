"""Verbs that move between latents: interpolate, mix."""

from typing import Literal

from latentkit.cli.parser import Common
from latentkit.cli.walking.way import Way


def interpolate(
    model: str,
    common: Common,
    way: Way,
    *,
    from_: str,
    to: str,
    through: list[str] | None = None,
    data: str | None = None,
) -> None:
    """Walk from one latent to another, decoding on the way.

    An endpoint is an image file, seed:N (a prior sample), item:N (of the test images), cluster:N
    or a .npy latent. Writes a strip (.png, or .svg or .pdf if --out ends in it), an animation
    (.gif, and .mp4 if --out does), and the latents (.npy). Several methods give a labelled row
    each. Of more than 40 points the strip shows 40, evenly spaced; all else has all of them.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        way: how it goes through the anchors.
        from_: where the walk starts.
        to: where it ends.
        through: endpoints to pass on the way.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    from functools import partial

    import numpy as np

    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results
    from latentkit.cli.walking import paths

    at_least(2, steps=way.steps)
    results = Results("interpolate", common, (*FIGURE, ".gif", ".mp4"))
    source = open_source(model, common, data)
    source.require("decode")
    names = [from_, *(through or []), to]
    methods = paths.chosen_methods(way, source)
    anchors = paths.anchors_of(names, source, common.seed)
    walks = {m: paths.Walk(m, anchors, way, source) for m in methods}
    paths.draw(results, {m: walk.images for m, walk in walks.items()}, way.loop)
    latents = np.stack([walk.path.numpy() for walk in walks.values()])
    kept = latents if len(latents) > 1 else latents[0]
    results.add(results.path("latents.npy"), partial(np.save, arr=kept))
    numbers = paths.numbers(walks)
    said = {"in_the_strip": min(numbers["points"], paths.IN_A_STRIP)}
    results.finish(numbers, source, method=methods, anchors=names, **said)


def mix(
    model: str,
    common: Common,
    *,
    layers: list[str] | None = None,
    region: Literal["left", "right", "top", "bottom"] | None = None,
    rows: int = 4,
    columns: int = 6,
    data: str | None = None,
) -> None:
    """Mix two latents layer by layer: each row keeps its image, each column gives its style.

    A style decoder mixes by its style layers (coarse, middle, fine, 0-3). Any other model mixes
    hidden activations at one named layer, which is labelled as such: half of the channels come from
    the column, or one region of the picture.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        layers: coarse, middle, fine, 0-3 or 2 for a style decoder; the name of one layer otherwise.
        region: take this half of the feature map instead of half of the channels.
        rows: latents that are kept.
        columns: latents that give their style.
        data: instead of the model's own, like `data:` of a config, a folder or an .npz; used
            where the model has no prior.
    """
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.cli.walking.mixing import mixed_images
    from latentkit.views.pixels import grid, with_parents

    at_least(1, rows=rows, columns=columns)
    results, source = Results("mix", common), open_source(model, common, data)
    source.require("decode")
    latents = source.latents(rows + columns, common.seed)
    if len(latents) < rows + columns:
        raise ValueError(
            f"expected {rows + columns} test images, one a row and one a column, got {len(latents)}"
        )
    kept, given = latents[:rows], latents[rows:]
    images, how = mixed_images(source, kept, given, layers, region)
    sheet = with_parents(images, source.decode(kept), source.decode(given))
    results.image(grid(sheet, columns + 1))
    results.finish({"mixed": how}, source, layers=layers, region=region)
