"""Verbs on groups of images: cluster, augment."""

from typing import Literal

from latentkit.cli.parser import Common, Split


def cluster(
    model: str,
    common: Common,
    *,
    method: Literal["kmeans", "gmm", "spectral", "hdbscan", "dec", "encoder"] = "kmeans",
    clusters: int | Literal["auto"] | None = None,
    data: str | None = None,
    split: Split = "test",
    limit: int | None = None,
) -> None:
    """Cluster a data set in latent space, and score it against labels where there are any.

    Writes a map (.png; .svg or .pdf if --out ends in it) and the assignments (.npz: cluster, label,
    z; cluster -1 is noise).

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        method: K-means, a Gaussian mixture, spectral clustering, HDBSCAN (which finds their number
            and noise), deep embedded clustering, or the encoder's own classes (ClusterGAN).
        clusters: how many (default: the number of classes, or 10); auto tries 2 to 20 and takes
            the best by BIC (gmm) or silhouette.
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        split: which images.
        limit: only the first so many.
    """
    from latentkit.cli.grouping.clusters import agreement, drawn, find, flat_map, number, quality
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import FIGURE, Results

    at_least(1, clusters=clusters if isinstance(clusters, int) else None, limit=limit)
    results, source = Results("cluster", common, FIGURE), open_source(model, common, data)
    source.require("encode")
    images, labels = source.images(split, limit)
    latents = source.encode(images).flatten(1)
    count, chosen = number(source, latents, method, clusters, common.seed)
    found = find(source, images, latents, method, count, common.seed)
    used = int(found[found >= 0].bincount().count_nonzero())
    numbers = {"clusters": used, "images": len(found), **agreement(labels, found)}
    numbers |= quality(latents, found, method, count, common.seed) | chosen
    points, what = drawn(source, images, latents, method)
    results.figure(flat_map(points, found, f"{model}: {method}", what))
    arrays = {"cluster": found.numpy(), "label": labels.numpy(), "z": latents.numpy()}
    results.arrays(results.main.with_suffix(".npz"), **arrays)
    sought = {"hdbscan": {"min_size": count}, "encoder": {}}.get(method, {"clusters": count})
    results.finish(numbers, source, method=method, split=split, **sought)


def augment(
    model: str,
    common: Common,
    *,
    method: Literal[
        "smote", "mixup", "gaussian", "jitter", "direction", "slerp", "geodesic"
    ] = "smote",
    per_class: int | None = None,
    directions: str | None = None,
    strength: float | None = None,
    data: str | None = None,
    limit: int | None = None,
) -> None:
    """Make new labelled images in latent space, from the training split alone.

    smote: between near images of a class. mixup: between any two. gaussian: of a normal
    distribution fitted to each class. jitter: an image with noise of the prior. direction: an image
    moved along the first direction of a file. slerp: on arcs between two images of a class.
    geodesic: on the paths between them whose images change least, which takes long. A ClusterGAN's
    classes stay shares that sum to 1. An image of the training split that equals one of another
    split in its latents is refused.

    Writes an .npz with the images `x` (uint8, N, H, W, C), their labels `y` (for mixup: the larger
    share; `soft` holds all shares), latents `z` and, but for gaussian, `parents`: the numbers of
    the training images that each was made from. And a sheet of some of them.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        method: how to make them.
        per_class: new images for each class (default: 100; geodesic: 10).
        directions: a file that `latentkit directions` wrote, for --method direction.
        strength: of the noise beside the latent (jitter; default 0.3), or how far to move at most
            either way, in standard deviations along the direction (direction; default 1).
        data: instead of the model's own: a YAML like `data:` of a config, a folder of images or
            an .npz.
        limit: only the first so many training images.
    """
    import torch

    from latentkit.cli.grouping.augmenting import arrays_of, make, training_latents
    from latentkit.cli.named.sources import at_least, open_source
    from latentkit.cli.results import Results
    from latentkit.views.pixels import grid

    at_least(1, per_class=per_class, limit=limit)
    results, source = Results("augment", common, (".npz",)), open_source(model, common, data)
    source.require("encode", "decode")
    train = training_latents(source, limit)
    per_class = per_class or (10 if method == "geodesic" else 100)
    new, used = make(source, train, method, per_class, (directions, strength), common.seed)
    decoded = source.decode(new.z)
    results.arrays(None, **arrays_of(new, decoded, int(train.labels.max()) + 1))
    shown = torch.linspace(0, len(decoded) - 1, min(len(decoded), 80)).long()
    results.image(grid(decoded[shown], 8), results.main.with_suffix(".png"))
    numbers = {"images": len(new.z), "from": len(train)}
    results.finish(numbers, source, method=method, per_class=per_class, **used)
