"""Verbs on directions: find them, and explain what each affects."""

from typing import Literal

from latentkit.cli.parser import Common


def directions(  # noqa: PLR0913  (one parameter an option)
    model: str,
    common: Common,
    *,
    method: Literal["pca", "sefa", "attribute", "jacobian", "region", "axes"] = "pca",
    count: int = 4,
    start: str | None = None,
    end: str | None = None,
    estimator: Literal["centroid", "balanced", "paired", "svm", "lda"] = "centroid",
    confound: str | None = None,
    region: str | None = None,
    normalize: bool = False,
    conditions: list[str] | None = None,
    data: str | None = None,
    limit: int = 5000,
) -> None:
    """Find latent directions and write them to a file (.safetensors) for `explain`.

    pca: where encoded training images vary most, each with its bootstrap cone. sefa: what moves the
    decoder's first layer most. attribute: from one group of images to another, with what is known
    of its error (--start, --end: label:CLASS; name:TEXT or without:TEXT, a regular expression in
    the image's name; attribute:NAME=NUMBER; or a folder of images; two images or more each).
    jacobian: what changes the image most around one latent. region: what changes one region of that
    image and hardly the rest. axes: the coordinates that vary most.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        method: how to find them.
        count: how many (attribute gives one).
        start: the group without the attribute.
        end: the group with it.
        estimator: of an attribute; paired joins images whose names are alike but for TEXT.
        confound: what balanced balances, label or attribute:NAME (default: label).
        region: left, right, top, bottom, center, or an image file that is white inside.
        normalize: true brings the rows of SeFa's weight to unit length first, as the code released
            with it does and the paper does not say.
        conditions: directions to leave alone, FILE or FILE:NAME.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        limit: training images to look at, at most.
    """
    from functools import partial

    from latentkit.cli.explaining.search import find_directions
    from latentkit.cli.explaining.unsupervised import Wanted
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.store import save_directions

    at_least(1, count=count, limit=limit)
    if method != "attribute" and (start or end or estimator != "centroid"):
        raise ValueError(
            f"--start and --end are for --method attribute, like --estimator, got {method}"
        )
    if confound is not None and estimator != "balanced":
        raise ValueError(f"--confound is for --estimator balanced, got {estimator}")
    if (method == "region") != (region is not None):
        raise ValueError(f"--region is for --method region, and it needs one, got {method}")
    if normalize and method != "sefa":
        raise ValueError(f"--normalize is for --method sefa, got {method}")
    results = Results("directions", common, (".safetensors",))
    source = open_source(model, common, data)
    wanted = Wanted(
        method, count, limit, start, end, estimator, confound or "label", region, normalize
    )
    found = find_directions(source, wanted, common.seed, conditions)
    results.add(results.main, partial(save_directions, found))
    numbers = {"directions": len(found.names), **found.provenance["numbers"]}
    numbers |= {"uncertainty": found.uncertainty} if found.uncertainty else {}
    results.finish(numbers, source, method=method, names=found.names)
    for sentence in found.uncertainty.get("in_words", []):
        print(f"  {sentence}")


def explain(  # noqa: PLR0913  (one parameter an option)
    model: str,
    common: Common,
    *,
    directions: str | None = None,
    score: list[str] | None = None,
    method: Literal[
        "pattern", "natural", "hires-cam", "grad-cam", "grad-cam++", "xgrad-cam", "layer-cam"
    ]
    | None = None,
    layer: str | None = None,
    images: int = 4,
    step: float = 2.0,
    data: str | None = None,
) -> None:
    """Show what each direction affects and where the networks read it, and measure the maps.

    Without --score: an atlas of directions (from --directions, else the four principal ones): the
    walk along each, the effect on the generated image, where the encoder reads it, what the
    discriminator's features keep of it, the part of the change that the encoder uses, what the
    direction affects in numbers, and how often a reading can be told from those of other
    directions, beside the same with random weights. With --score: heatmaps of test
    images for real, fake, unit:3 or cluster:2; of an autoencoder for decoder (where the encoder
    reads what the decoder uses: our own decoder-weighted latent CAM), decoder:left (uses for that
    region of the image) or reconstruction (where it reads what brings the image back).

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        directions: a file that `latentkit directions` wrote.
        score: what to explain instead: real, fake, unit:N, cluster:N, decoder, reconstruction,
            decoder:REGION (left, right, top, bottom, center, or an image file, white inside).
        method: of the readings. pattern (the default): the change of the generator that the
            network takes for the direction; natural: the same for the encoder alone, without the
            generator; or a class activation map (of scores: hires-cam is the default).
        layer: of a class activation map, a dotted name (default, and in a network without it: the
            earliest stage).
        images: rows of the pictures (.png; .svg or .pdf if --out ends in it).
        step: how far to walk, in standard deviations along the direction.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
    """
    from latentkit.cli.explaining.atlas import MEASURED, explain_directions
    from latentkit.cli.explaining.readings import Reader
    from latentkit.cli.explaining.scored import explain_scores
    from latentkit.cli.explaining.search import find_directions
    from latentkit.cli.explaining.unsupervised import Wanted
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results

    at_least(1, images=images)
    if directions is not None and score is not None:
        raise ValueError("expected --directions or --score, got both: they are two pictures")
    if not step > 0:
        raise ValueError(f"expected --step above 0, got {step}")
    if score is not None and (method == "pattern" or method == "natural"):
        raise ValueError(f"--method {method} is for directions: take hires-cam for --score")
    results, source = Results("explain", common, FIGURE), open_source(model, common, data)
    if score is not None and method != "pattern" and method != "natural":
        explain_scores(results, source, score, method or "hires-cam", layer, images)
        return
    if directions is not None:
        found = source.directions(directions)
    else:
        way = "pca" if hasattr(source.model, "encode") else "jacobian"
        count = min(4, source.latents(1, common.seed)[0].numel())
        found = find_directions(source, Wanted(way, count), common.seed)
    source.require("decode")
    z = source.latents(max(images, MEASURED), common.seed).to(source.device)
    reader = Reader(source, z, method or "pattern", layer, common.seed)
    explain_directions(results, found, reader, images, step)
