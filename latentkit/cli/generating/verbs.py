"""Verbs that run a model forwards: sample, reconstruct, encode."""

from typing import Literal

from latentkit.cli.parser import Common, Split


def sample(  # noqa: PLR0913  (one parameter an option)
    model: str,
    common: Common,
    *,
    count: int = 64,
    columns: int = 8,
    sampler: Literal["prior", "gmm", "two-stage", "empirical"] = "prior",
    components: int | None = None,
    bandwidth: float | None = None,
    truncation: float | None = None,
    cutoff: int | None = None,
    data: str | None = None,
) -> None:
    """Draw images from the model's prior, or from a sampler fitted to its training latents.

    A model without a prior, such as an autoencoder, needs one of the other samplers; a VAE may gain
    by one. They take any model with encode and decode, and its data.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        count: how many.
        columns: images in a row of the sheet.
        sampler: the model's prior; a Gaussian mixture; a second VAE on the latents; or latents of
            training images with noise, which with little noise are near copies.
        components: of the Gaussian mixture (default: 10; more come closer where images are many).
        bandwidth: standard deviation of the empirical sampler's noise, in units of the latents' own
            (default: Scott's rule).
        truncation: less variety, safer images: in a style decoder 1 changes nothing and 0 gives the
            mean style; with a Gaussian prior, the standard deviations that no coordinate exceeds.
        cutoff: truncate only so many style layers, the coarsest first (default: all).
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    from latentkit.cli.generating.sampling import check_sampler, draw, draw_truncated
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.views.pixels import grid

    at_least(1, count=count, columns=columns)
    results, source = Results("sample", common), open_source(model, common, data)
    source.require("decode")
    if cutoff is not None and truncation is None:
        raise ValueError("--cutoff is for --truncation: give both")
    if truncation is not None:
        check_sampler(sampler, components, bandwidth, truncated=True)
        images, settings = draw_truncated(source, count, common.seed, truncation, cutoff)
    else:
        latents, settings = draw(source, count, common.seed, sampler, components, bandwidth)
        images = source.decode(latents)
    results.image(grid(images, columns))
    results.finish({"images": count}, source, **settings)


def reconstruct(
    model: str,
    common: Common,
    *,
    data: str | None = None,
    split: Split = "test",
    count: int = 32,
    random: bool = False,
) -> None:
    """Encode and decode images: each row of originals stands above its reconstructions.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        split: which images.
        count: how many.
        random: true draws them by the seed; false takes the first ones.
    """
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.metrics.reconstruction import mse, psnr
    from latentkit.views.pixels import alternate, grid

    at_least(1, count=count)
    results, source = Results("reconstruct", common), open_source(model, common, data)
    source.require("encode", "decode")
    chosen = source.sample(split, count, common.seed) if random else source.images(split, count)
    images = chosen[0]
    decoded = source.decode(source.encode(images))
    results.image(grid(alternate(images, decoded), 8))
    numbers = {"mse": mse(decoded, images).mean().item(), "images": len(images)}
    numbers["psnr_db"] = psnr(decoded, images).mean().item()
    results.finish(numbers, source, split=split, random=random)


def encode(
    model: str,
    common: Common,
    *,
    data: str | None = None,
    split: Split = "test",
    limit: int | None = None,
    projector: str | None = None,
) -> None:
    """Write the latents `z` and labels `y` of a data set to an .npz.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        split: which images.
        limit: only the first so many.
        projector: also write them for TensorBoard's projector, into this folder.
    """
    from pathlib import Path

    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.views.projector import write_projector

    at_least(1, limit=limit)
    if projector is not None and Path(projector).is_file():
        raise ValueError(f"expected --projector to be a folder, got the file {projector}")
    results = Results("encode", common, (".npz",))
    source = open_source(model, common, data)
    source.require("encode")
    images, labels = source.images(split, limit)
    latents = source.encode(images)
    results.arrays(z=latents.numpy(), y=labels.numpy())
    if projector is not None:
        count = write_projector(projector, latents, images, labels, source.data.class_names)
        if count < len(latents):
            print(f"the projector shows a random {count:,} of {len(latents):,} latents")
        print(f"tensorboard --logdir {projector}")
    results.finish({"latents": len(latents), "shape": list(latents.shape[1:])}, source, split=split)
