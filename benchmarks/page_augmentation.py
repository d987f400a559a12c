"""The page's section on augmentation: a classifier that has few real images."""

import statistics
from typing import Any

from scipy import stats

COPIES = {
    "emoji": " Two thirds of the test emoji are skin-tone variants of training emoji, which "
    "flatters every number."
}
"""What to know of a data set's split; see checkpoints/README.md."""


def markdown(content: dict[str, Any]) -> list[str]:
    """The section of the page."""
    settings = content["settings"]
    bent = " Geodesics come from a pool of {} a class, the others from {}."
    bent *= "bent_per_class" in settings
    parts = [
        "## Augmentation",
        f"A small network trained on few real images of each class: {settings['updates']} updates "
        f"on batches of {settings['batch']} for every method, half of each batch made images; mean "
        f"and 95 % t-interval of {len(settings['seeds'])} seeds, each with its own real images. "
        "**Bold**: better than image augmentation, †: worse than none, where the 95 % interval of "
        "the paired difference leaves out zero (no correction for the number of comparisons). "
        "**Semi-supervised setting**: the VAE was trained on the whole training split without "
        "labels, far more images than the classifier gets; `none` and `image` have no such help. "
        "Per cent of test images, and their cross-entropy in nats (lower is better). Below them "
        "the mean training loss of the last 20 updates, on the method's own batches: a harder mix "
        "of images keeps it higher, and so does a training that ends too early."
        + bent.format(settings.get("bent_per_class"), settings["pool_per_class"]),
        "`python benchmarks/augmentation.py`",
    ]
    for data in content["rows"]:
        classes, images = content["sets"][data]["classes"], content["sets"][data]["test_images"]
        parts += [f"{data}: {classes} classes, {images:,} test images.{COPIES.get(data, '')}"]
        parts += [table(content, data), table(content, data, "cross_entropy")]
        parts.append(training_losses(content["rows"][data]))
    return parts


def table(content: dict[str, Any], data: str, measure: str = "accuracy") -> str:
    """One data set's rows as Markdown.

    Bold: better than image augmentation; †: worse than none, both where the 95 % interval of the
    difference within a seed leaves out zero.
    """
    found = content["rows"][data]
    sizes = list(next(iter(found.values())))
    sign, factor, digits = (1, 100, 1) if measure == "accuracy" else (-1, 1, 2)
    lines = [f"| {measure} | {' | '.join(f'{n} a class' for n in sizes)} |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    for method, row in found.items():
        cells = []
        for n in sizes:
            values = row[n][measure]
            mean, half = interval(values)
            cell = f"{factor * mean:.{digits}f} ± {factor * half:.{digits}f}"
            if method != "image" and sure(values, found["image"][n][measure], sign):
                cell = f"**{cell}**"
            if method != "none" and sure(found["none"][n][measure], values, sign):
                cell += " †"
            cells.append(cell)
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def training_losses(found: dict[str, Any]) -> str:
    """A line on the last training losses, by number of images."""
    each = []
    for method, row in found.items():
        means = [statistics.mean(cell["training_loss"]) for cell in row.values()]
        each.append(f"{method} {', '.join(f'{mean:.2f}' for mean in means)}")
    sizes = ", ".join(next(iter(found.values())))
    return f"Training loss at the end, nats ({sizes} a class): {'; '.join(each)}."


def sure(better: list[float], worse: list[float], sign: int) -> bool:
    mean, half = interval([sign * (a - b) for a, b in zip(better, worse, strict=True)])
    return mean > half


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % interval by Student's t."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), float(stats.t.ppf(0.975, len(values) - 1)) * error
