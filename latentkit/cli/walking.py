"""Verbs that move between latents: interpolate, mix."""

from typing import Literal

from latentkit.cli.parser import Common


def interpolate(
    model: str,
    common: Common,
    *,
    from_: str,
    to: str,
    through: list[str] | None = None,
    method: Literal["lerp", "slerp", "matched"] = "slerp",
    steps: int = 9,
    data: str | None = None,
) -> None:
    """Walk from one latent to another, decoding on the way.

    An endpoint is an image file, seed:N (a prior sample), item:N (of the test images), cluster:N
    or a .npy latent. Writes a strip (.png) and an animation (.gif), and the latents (.npy).

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        from_: where the walk starts.
        to: where it ends.
        through: endpoints to pass on the way.
        method: straight line, great circle, or matched to the model's prior.
        steps: points of each leg, both ends included.
        data: a data YAML, a folder of images or an .npz, instead of the model's own data.
    """
    import numpy as np
    import torch

    from latentkit.cli.endpoints import endpoint
    from latentkit.cli.results import Results
    from latentkit.cli.sources import at_least, open_source
    from latentkit.latent.interpolate import through as chain
    from latentkit.latent.render import decode_path
    from latentkit.metrics.geometry import path_length
    from latentkit.store import atomic
    from latentkit.views.figures import enlarged, grid

    at_least(2, steps=steps)
    results, source = (
        Results("interpolate", common, (".png", ".gif")),
        open_source(model, common, data),
    )
    source.require("decode")
    names = [from_, *(through or []), to]
    ends = [endpoint(name, source, common.seed) for name in names]
    if len({end.shape for end in ends}) > 1:
        shapes = ", ".join(f"{n} {tuple(e.shape[1:])}" for n, e in zip(names, ends, strict=True))
        raise ValueError(f"expected endpoints of one latent size, got {shapes}")
    anchors = torch.cat(ends)
    path = chain(anchors, steps, _kind(method, source))
    images = decode_path(source.decode, path[None])[0]
    strip, frames = grid(images, len(images)), [enlarged(image, 256) for image in images]
    results.image(strip, results.main.with_suffix(".png"))
    results.animation([*frames, *frames[-2:0:-1]], results.main.with_suffix(".gif"))
    with atomic(results.path("latents.npy")) as temporary:
        np.save(temporary, path.numpy())
    results.files.append(results.path("latents.npy").name)
    numbers = {"path_length": path_length(images[None]).item(), "points": len(path)}
    results.finish(numbers, source, method=method, anchors=names, steps=steps)


def _kind(method: str, source):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    from functools import partial

    from latentkit.latent.interpolate import lerp, matched, slerp

    if method == "matched":
        source.require("prior")
        return partial(matched, prior=source.model.prior)
    return {"lerp": lerp, "slerp": slerp}[method]


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
        data: a data YAML, a folder of images or an .npz, instead of the model's own data; used
            where the model has no prior.
    """
    from latentkit.cli.mixing import mixed_images
    from latentkit.cli.results import Results
    from latentkit.cli.sources import at_least, open_source
    from latentkit.views.figures import grid, with_parents

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
