"""Verbs on given images: find their latents, and move them: invert, edit."""

from latentkit.cli.parser import Common, Split


def invert(  # noqa: PLR0913  (one parameter an option)
    model: str,
    common: Common,
    *,
    images: list[str] | None = None,
    split: Split = "test",
    count: int = 8,
    steps: int = 300,
    starts: int = 512,
    features: str | None = None,
    prior_weight: float = 0.01,
    reference: int = 64,
    data: str | None = None,
) -> None:
    """Find latents that decode to given images, for a model without encoder or to refine one.

    Writes a sheet (.png: original, start, inversion, error) and the latents (.npz), with the error
    of each image, how typical its latent is under the prior, and whether it is out of domain: worse
    than held-out images of the model's data, inverted the same way (5 % of such images are flagged
    too), or, without such images, of an atypical latent.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        images: image files or item:N (of the test images) instead of the first of a split.
        split: which images.
        count: how many of them.
        steps: of the optimiser.
        starts: samples of the prior to start from, where there is no encoder.
        features: also compare in a feature space (encoder, classifier, inception or
            package.module:callable).
        prior_weight: of leaving the prior.
        reference: held-out images to judge by (40 or more); 0 for none.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    import numpy as np

    from latentkit.cli.inverting.inversions import Search, choose_images, judge, numbers_of, picture
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results

    at_least(0, steps=steps, reference=reference)
    at_least(1, count=count, starts=starts)
    results, source = Results("invert", common, FIGURE), open_source(model, common, data)
    source.require("decode")
    originals, names = choose_images(source, images, split, count)
    search = Search(steps, starts, common.seed, features, prior_weight)
    found = search.run(source, originals)
    other: Split = "test" if split == "val" and not images else "val"
    outside, how = judge(found, source, search, other, reference)
    started = source.decode(found.start)
    results.figure(picture(originals, started, found, names, outside))
    results.arrays(
        results.main.with_suffix(".npz"),
        z=found.z.numpy(),
        start=found.start.numpy(),
        psnr_db=found.psnr.numpy(),
        outside=np.array([] if outside is None else outside),
    )
    results.finish(numbers_of(originals, started, found, outside), source, images=names, judged=how)


def edit(  # noqa: PLR0913  (one parameter an option)
    model: str,
    common: Common,
    *,
    directions: str,
    name: str | None = None,
    images: list[str] | None = None,
    split: Split = "test",
    count: int = 4,
    strengths: list[float] | None = None,
    steps: int | None = None,
    starts: int = 512,
    data: str | None = None,
) -> None:
    """Move images along a latent direction, with a sweep of strengths.

    Images are encoded, or inverted in a model without an encoder. Writes a sheet (.png, or
    .svg or .pdf if --out ends in it), an animation (.gif, and .mp4 if --out does) and the edited
    latents (.npz), and says what is known of the direction's error.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        directions: a file that `latentkit directions` wrote for this model.
        name: of the direction (default: the file's first).
        images: image files or item:N (of the test images) instead of the first of a split.
        split: which images.
        count: how many of them.
        strengths: how far to go, in standard deviations of the model's latents along the direction
            (default: -3 -2 -1 0 1 2 3).
        steps: of the inversion (default: 300 without an encoder; with one 0, its latents alone).
        starts: samples of the prior that the inversion starts from, where there is no encoder.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    from latentkit.cli.inverting.edits import edit_images, open_direction, write_edit
    from latentkit.cli.inverting.inversions import Search, choose_images
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results

    at_least(0, steps=steps)
    at_least(1, count=count, starts=starts)
    results = Results("edit", common, (*FIGURE, ".gif", ".mp4"))
    source = open_source(model, common, data)
    source.require("decode")
    direction = open_direction(directions, name, source)
    originals, names = choose_images(source, images, split, count)
    steps = (0 if hasattr(source.model, "encode") else 300) if steps is None else steps
    found = Search(steps, starts, common.seed).run(source, originals)
    chosen = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0] if strengths is None else strengths
    edited = edit_images(source, found.z, direction, chosen)
    write_edit(results, source, direction, (originals, names, found), edited)
