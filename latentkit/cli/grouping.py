"""Verbs on groups of images: cluster, augment."""

from typing import Literal

from latentkit.cli.parser import Common

Part = Literal["train", "val", "test"]


def cluster(
    model: str,
    common: Common,
    *,
    method: Literal["kmeans", "gmm", "encoder"] = "kmeans",
    clusters: int | None = None,
    data: str | None = None,
    split: Part = "test",
    limit: int | None = None,
) -> None:
    """Cluster a data set in latent space, and score it against labels where there are any.

    Writes a map (.png) and the assignments (.npz: cluster, label, z).

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        method: K-means, a Gaussian mixture, or the encoder's own classes (ClusterGAN).
        clusters: how many (default: the number of classes, or 10).
        data: a data YAML, a folder of images or an .npz, instead of the model's own data.
        split: which images.
        limit: only the first so many.
    """
    from latentkit.cli.clusters import agreement, drawn, find, flat_map
    from latentkit.cli.results import Results
    from latentkit.cli.sources import at_least, open_source

    at_least(1, clusters=clusters, limit=limit)
    results, source = Results("cluster", common), open_source(model, common, data)
    source.require("encode")
    images, labels = source.images(split, limit)
    latents = source.encode(images).flatten(1)
    count = clusters or len(source.data.class_names) or 10
    found, steady = find(source, images, latents, method, count, common.seed)
    used = int(found.bincount().count_nonzero())
    scores = agreement(labels, found) | steady
    numbers = {"clusters": used, "images": len(found), **scores}
    points, what = drawn(source, images, latents, method)
    results.figure(flat_map(points, found, f"{model}: {method}", what))
    arrays = {"cluster": found.numpy(), "label": labels.numpy(), "z": latents.numpy()}
    results.arrays(results.main.with_suffix(".npz"), **arrays)
    results.finish(numbers, source, method=method, clusters=count, split=split)


def augment(
    model: str,
    common: Common,
    *,
    method: Literal["smote", "mixup"] = "smote",
    per_class: int = 100,
    data: str | None = None,
    limit: int | None = None,
) -> None:
    """Make new labelled images in latent space, from the training split alone.

    Writes an .npz with the images `x` (uint8, N, H, W, C), their labels `y` (for mixup: the larger
    share; `soft` holds all shares) and latents `z`, and a sheet of some of them.

    Args:
        model: a model file, run folder, .ckpt or package.module:factory.
        common: options of every verb.
        method: between neighbours of one class, or between any two images.
        per_class: new images for each class.
        data: a data YAML, a folder of images or an .npz, instead of the model's own data.
        limit: only the first so many training images.
    """
    import torch

    from latentkit.cli.results import Results
    from latentkit.cli.sources import at_least, open_source
    from latentkit.latent.augment import mixup, smote
    from latentkit.views.figures import grid

    at_least(1, per_class=per_class, limit=limit)
    results, source = Results("augment", common, (".npz",)), open_source(model, common, data)
    source.require("encode", "decode")
    images, labels = source.images("train", limit)
    if (labels < 0).any():
        raise ValueError("augment needs labels: the data has none (give --data with classes)")
    latents, generator = source.encode(images), torch.Generator().manual_seed(common.seed)
    classes = int(labels.max()) + 1
    if method == "smote":
        new, classes_of = smote(latents, labels, per_class, generator=generator)
        soft = torch.nn.functional.one_hot(classes_of, classes).float()
    else:
        new, soft = mixup(latents, labels, classes, per_class * classes, generator=generator)
    decoded = source.decode(new)
    pixels = (decoded.clamp(0, 1) * 255).round().byte().movedim(1, -1)
    hard = soft.argmax(1)
    results.arrays(x=pixels.numpy(), y=hard.numpy(), soft=soft.numpy(), z=new.numpy())
    shown = torch.linspace(0, len(decoded) - 1, min(len(decoded), 80)).long()
    results.image(grid(decoded[shown], 8), results.main.with_suffix(".png"))
    results.finish({"images": len(new), "from": len(images)}, source, method=method)
