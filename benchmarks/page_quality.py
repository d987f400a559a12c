"""The page's section on models that were trained to the end."""

import statistics
from typing import Any

from tables import different, every, made_on, table, verdict

_AGREEMENT = {
    "ACC, encoder's clusters": "encoder_acc",
    "purity, encoder's clusters": "encoder_purity",
    "NMI, encoder's clusters": "encoder_nmi",
    "ARI, encoder's clusters": "encoder_ari",
    "ACC, K-means on [z_n, z_c]": "kmeans_acc",
    "purity, K-means on [z_n, z_c]": "kmeans_purity",
}


def quality(content: dict) -> list[str]:
    """The section."""
    rows = content["rows"]
    runs = {
        name: [r for r in rows if r["config"] == name] for name in different(map(_config, rows))
    }
    parts = [
        "## Quality on MNIST",
        "10,000 test images; labels choose nothing (best validation error or bound for autoencoder "
        "and VAE, the last model of a GAN). One thread a run while others ran beside it; minutes "
        "are of processor time, a hyphen where it was not taken. The Frechet distance is in 64 "
        "features of a classifier trained by `generators.py`: not the usual FID, and not that of "
        "`latentkit evaluate`, whose classifier is trained less. "
        f"{' '.join(made_on(m) for m in different(r['machine'] for r in rows))}",
        "Each run is one `latentkit fit --config configs/NAME.yaml --seed_everything SEED`, with "
        "`--trainer.max_epochs` where epochs are named below.",
    ]
    for name, section in (("autoencoder", autoencoder), ("vae", vae), ("dcgan", dcgan)):
        if found := runs.get(f"{name}_mnist"):
            parts += [_command(found), section(found)]
    if runs.get("clustergan_mnist") and runs.get("clustergan_paper"):
        parts += clustergan(runs["clustergan_mnist"], runs["clustergan_paper"])
    return parts


def autoencoder(rows: list[dict]) -> str:
    """Reconstruction beside PCA."""
    pca = rows[0]["test"]["mse_of_pca_of_equal_size"]
    error = statistics.mean(_of(rows, "test", "mse"))
    half = f"PCA, 16 numbers: {pca:.4f}; goal, half of it: {_half(error, pca)}"
    cells = [
        ["squared error", every(_of(rows, "test", "mse"), 4), half],
        ["structural similarity", every(_of(rows, "test", "ssim")), ""],
        ["iterations", _iterations(rows), "the config's 20 epochs are 8,580"],
        ["minutes", _minutes(rows), ""],
    ]
    return table(["autoencoder_mnist", _seeds(rows), "beside it"], cells)


def vae(rows: list[dict]) -> str:
    """The bound and what it is made of."""
    pca = rows[0]["test"]["mse_of_pca_of_equal_size"]
    grey = "grey pixels, not binarised: compares with itself alone"
    cells = [
        ["-ELBO, nats", every(_of(rows, "test", "negative_elbo_nats"), 2), grey],
        ["importance-weighted bound", every(_of(rows, "test", "iwae_log_likelihood_nats"), 2), ""],
        ["KL, nats", every(_of(rows, "test", "kl_nats"), 2), "part of -ELBO"],
        ["active units", " ".join(f"{n}" for n in _of(rows, "test", "active_units")), "of 16"],
        ["squared error", every(_of(rows, "test", "mse"), 4), f"PCA, 16 numbers: {pca:.4f}"],
        ["iterations", _iterations(rows), "the config's 20 epochs are 8,580"],
        ["minutes", _minutes(rows), ""],
    ]
    return table(["vae_mnist", _seeds(rows), "beside it"], cells)


def dcgan(rows: list[dict]) -> str:
    """Class shares and Frechet distance."""
    low = _of(rows, "generated", "smallest_class_share")
    high = _of(rows, "generated", "largest_class_share")
    shares = " ".join(f"{100 * a:.1f}-{100 * b:.1f}" for a, b in zip(low, high, strict=True))
    met = "met" if min(low) >= 0.05 and max(high) <= 0.2 else "**missed**"
    cells = [
        ["rarest and commonest class, %", shares, f"uniform: 10; factor two, 5 to 20: {met}"],
        ["Frechet distance", every(_frechet(rows), 2), f"real images: {_floor(rows)}"],
        ["iterations", _iterations(rows), "the config's 20 epochs are 17,180"],
        ["minutes", _minutes(rows), ""],
    ]
    return table(["dcgan_mnist", _seeds(rows), "beside it"], cells)


def clustergan(rows: list[dict], paper: list[dict]) -> list[str]:
    """Our variant beside the paper's objective."""
    both = (rows, paper)
    cells = [
        [label, *(every(_of(side, "test", key)) for side in both)]
        for label, key in _AGREEMENT.items()
    ]
    for label, key in (
        ("samples of one class within a code", "purity_within_code"),
        ("their spread, real images 1", "spread_within_code"),
    ):
        cells.append([label, *(every(_of(side, "generated", key)) for side in both)])
    floor = _floor([*rows, *paper])
    cells.append([f"Frechet distance, real {floor}", *(every(_frechet(side)) for side in both)])
    label = "seconds to a validation ACC of 0.70, by the wall clock of a busy machine"
    cells.append([label, *map(_seconds, both)])
    cells.append(["iterations", *map(_iterations, both)])
    cells.append(["minutes", *map(_minutes, both)])
    head = [
        "",
        f"clustergan_mnist (our variant), {_seeds(rows)}",
        f"clustergan_paper (the paper's objective), {_seeds(paper)}",
    ]
    return [_command(rows), _command(paper), table(head, cells), _about_clusters(rows, paper)]


def _about_clusters(rows: list[dict], paper: list[dict]) -> str:
    accuracy = statistics.mean(_of(rows, "test", "encoder_acc"))
    minutes = [row["cpu_seconds"] / 60 for row in rows if row["cpu_seconds"] is not None]
    return (
        f"Mean ACC of our variant over {len(rows)} seed{'s' * (len(rows) > 1)}, "
        f"{verdict(accuracy, 0.9, least=True)}. Minutes of one thread of a processor for the "
        f"longest of {len(minutes)} timed seeds, {verdict(max(minutes), 30)}. "
        "The paper (500,000 generator iterations, wider networks) says ACC 0.95, best of five "
        "chosen by labels; its author's own ten runs have a mean purity of 0.910; the best known "
        "open port in PyTorch gets 0.568. Our row of its objective is what "
        f"{paper[0]['iteration'] // 5:,} generator iterations with narrower networks give. What "
        "our variant does differently and assumes: [checkpoints](../checkpoints/README.md)."
    )


def _config(row: dict) -> str:
    return str(row["config"])


def _of(rows: list[dict], part: str, key: str) -> list[Any]:
    return [row[part][key] for row in rows]


def _frechet(rows: list[dict]) -> list[float]:
    return [row["generated"]["frechet_generators64"] for row in rows]


def _floor(rows: list[dict]) -> str:
    return ", ".join(different(f"{row['floor']['frechet_generators64']:.2f}" for row in rows))


def _half(error: float, whole: float) -> str:
    return "met" if error <= whole / 2 else "**missed**"


def _minutes(rows: list[dict]) -> str:
    each = (row["cpu_seconds"] for row in rows)
    return " ".join("-" if seconds is None else f"{seconds / 60:.0f}" for seconds in each)


def _seeds(rows: list[dict]) -> str:
    one = len(rows) == 1
    named = ", ".join(str(row["seed"]) for row in rows)
    return f"seed {named} alone" if one else f"seeds {named} (mean ± sd)"


def _iterations(rows: list[dict]) -> str:
    return " ".join(f"{row['iteration']:,}" for row in rows)


def _seconds(rows: list[dict]) -> str:
    found = [row["seconds_to_acc_0.7"] for row in rows]
    return " ".join("never" if s is None else f"{s:.0f}" for s in found)


def _command(rows: list[dict]) -> str:
    epochs = f" --epochs {rows[0]['epochs']}" if rows[0]["epochs"] else ""
    return f"`python benchmarks/quality.py {rows[0]['config']}{epochs}`"
