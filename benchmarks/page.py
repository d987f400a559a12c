"""Writes benchmarks/README.md from the JSON files that the other scripts left beside it.

python benchmarks/page.py
"""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def read(name: str) -> Any:
    """The content of a JSON file; None if its script has not run."""
    file = HERE / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float], digits: int = 3) -> str:
    """Mean and standard deviation, of one value the value."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def made_on(about: dict) -> str:
    """One line on the machine."""
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    cores, threads = about["cores"], about["threads"]
    return f"{about['processor']}, {cores} cores, {threads} threads of torch; {versions}."


def part(training: dict, name: str) -> tuple[dict, str]:
    """The rows of one part of training.json, and how they were measured."""
    found = training[name]
    how = (
        f"{found['rounds']} rounds of {found['steps']} steps, in turn. {made_on(found['machine'])}"
    )
    return found["rows"], how


def ratios(rows: dict[str, dict]) -> list[list[str]]:
    """Cells of paired measurements."""
    return [
        [
            name,
            f"{row['ours_ms']:.1f}",
            f"{row['theirs_ms']:.1f}",
            f"**{row['ratio']:.2f}** ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})",
        ]
        for name, row in rows.items()
    ]


def of_config(rows: list[dict], name: str) -> list[dict]:
    """The runs of one config."""
    return [row for row in rows if row["config"] == name]


def _minutes(rows: list[dict]) -> str:
    each = (row["cpu_seconds"] for row in rows)
    return " ".join("-" if seconds is None else f"{seconds / 60:.0f}" for seconds in each)


def _seeds(rows: list[dict]) -> str:
    return f"seeds {', '.join(str(row['seed']) for row in rows)} (mean ± sd)"


def _iterations(rows: list[dict]) -> str:
    return " ".join(f"{row['iteration']:,}" for row in rows)


def _every(rows: list[dict], *keys: str, digits: int = 3) -> str:
    values = []
    for row in rows:
        value: Any = row
        for key in keys:
            value = value[key]
        values.append(value)
    each = " ".join(f"{v:.{digits}f}" for v in values)
    return f"{each} (**{spread(values, digits)}**)"


def autoencoder(rows: list[dict]) -> str:
    """Reconstruction beside PCA."""
    pca = rows[0]["test"]["mse_of_pca_of_equal_size"]
    cells = [
        ["squared error", _every(rows, "test", "mse", digits=4), f"PCA, 16 numbers: {pca:.4f}"],
        ["structural similarity", _every(rows, "test", "ssim"), ""],
        ["iterations", _iterations(rows), "the config's 20 epochs are 8,580"],
        ["minutes", _minutes(rows), ""],
    ]
    return table(["autoencoder_mnist", _seeds(rows), "beside it"], cells)


def dcgan(rows: list[dict], floor: dict) -> str:
    """Class shares and Frechet distance."""
    shares = " ".join(
        f"{100 * r['generated']['smallest_class_share']:.1f}-"
        f"{100 * r['generated']['largest_class_share']:.1f}"
        for r in rows
    )
    frechet = _every(rows, "generated", "frechet_classifier64", digits=2)
    cells = [
        ["rarest and commonest class, %", shares, "uniform: 10; factor two: 5 to 20"],
        ["Frechet distance", frechet, f"real images: {floor['frechet_classifier64']:.2f}"],
        ["iterations", _iterations(rows), "the config's 20 epochs are 17,180"],
        ["minutes", _minutes(rows), ""],
    ]
    return table(["dcgan_mnist", _seeds(rows), "beside it"], cells)


def clustergan(rows: list[dict], paper: list[dict], floor: dict) -> str:
    """Our variant beside the paper's objective."""
    cells = []
    for label, key in (
        ("ACC, encoder's clusters", "encoder_acc"),
        ("purity, encoder's clusters", "encoder_purity"),
        ("NMI, encoder's clusters", "encoder_nmi"),
        ("ARI, encoder's clusters", "encoder_ari"),
        ("ACC, K-means on [z_n, z_c]", "kmeans_acc"),
        ("purity, K-means on [z_n, z_c]", "kmeans_purity"),
    ):
        cells.append([label, *(_every(side, "test", key) for side in (rows, paper))])
    for label, key in (
        ("samples of one class within a code", "purity_within_code"),
        ("their spread, real images 1", "spread_within_code"),
        (f"Frechet distance, real {floor['frechet_classifier64']:.2f}", "frechet_classifier64"),
    ):
        cells.append([label, *(_every(side, "generated", key) for side in (rows, paper))])
    label = "seconds to a validation ACC of 0.70, by the wall clock of a busy machine"
    cells.append([label, _seconds(rows), _seconds(paper)])
    cells.append(["iterations", _iterations(rows), _iterations(paper)])
    cells.append(["minutes", _minutes(rows), _minutes(paper)])
    head = [
        "",
        f"clustergan_mnist (our variant), {_seeds(rows)}",
        f"clustergan_paper (the paper's objective), {_seeds(paper)}",
    ]
    return table(head, cells)


def _seconds(rows: list[dict]) -> str:
    found = [row["seconds_to_acc_0.7"] for row in rows]
    return " ".join("never" if s is None else f"{s:.0f}" for s in found)


def quality(content: dict) -> list[str]:
    """The section on trained models."""
    rows, floor = content["rows"], content["floor"]
    runs = {name: of_config(rows, name) for name in sorted({row["config"] for row in rows})}
    parts = [
        "## Quality on MNIST",
        "10,000 test images; three seeds; labels choose nothing (best validation error for the "
        "autoencoder, the last model of a GAN). One thread a run while others ran beside it; "
        "minutes are of processor time, a hyphen where it was not taken. The Frechet distance is "
        "in 64 features of a classifier trained by `generators.py`: not the usual FID. "
        + made_on(content["machine"]),
        "Each run is one `latentkit fit --config configs/NAME.yaml --seed_everything SEED`, with "
        "`--trainer.max_epochs` where epochs are named below.",
    ]
    if runs.get("autoencoder_mnist"):
        parts += [_command(runs["autoencoder_mnist"]), autoencoder(runs["autoencoder_mnist"])]
    if runs.get("dcgan_mnist"):
        parts += [_command(runs["dcgan_mnist"]), dcgan(runs["dcgan_mnist"], floor)]
    if runs.get("clustergan_mnist") and runs.get("clustergan_paper"):
        parts += [_command(runs["clustergan_mnist"]), _command(runs["clustergan_paper"])]
        parts.append(clustergan(runs["clustergan_mnist"], runs["clustergan_paper"], floor))
        parts.append(
            "The paper (500,000 generator iterations, wider networks) says ACC 0.95, best of five "
            "chosen by labels; its author's own ten runs have a mean purity of 0.910; the best "
            "known open port in PyTorch gets 0.568. Our row of its objective is what "
            f"{paper_iterations(runs['clustergan_paper'])} generator iterations with narrower "
            "networks give. What our variant does differently and assumes: "
            "[checkpoints](../checkpoints/README.md)."
        )
    return parts


def _command(rows: list[dict]) -> str:
    epochs = f" --epochs {rows[0]['epochs']}" if rows[0]["epochs"] else ""
    return f"`python benchmarks/quality.py {rows[0]['config']}{epochs}`"


def paper_iterations(rows: list[dict]) -> str:
    """Generator steps of the paper's config, which trains it every fifth iteration."""
    return f"{rows[0]['iteration'] // 5:,}"


def likelihood(content: dict) -> list[str]:
    """The section on the VAE beside pythae's."""
    sides: dict[str, list[dict]] = {}
    for row in content["rows"]:
        sides.setdefault(row["side"], []).append(row)
    cells = [
        [
            name,
            _every(rows, "iwae_100", digits=2),
            _every(rows, "elbo", digits=2),
            " ".join(str(row["epochs"]) for row in rows),
        ]
        for name, rows in sides.items()
    ]
    return [
        "## Held-out likelihood in equal time",
        f"A VAE with pythae's default networks, Bernoulli pixels, batch 128; each side trains for "
        f"{content['seconds']:.0f} s of processor time on one thread and keeps its best model by "
        "validation. Nats on 10,000 test images, higher is better; grey pixels, so the numbers "
        "compare with each other alone. Most of the distance to pythae as it comes is its learning "
        "rate. " + made_on(content["machine"]),
        "`python benchmarks/likelihood.py --root data`",
        table(["side", "bound of 100 samples", "plain bound", "epochs"], cells),
    ]


def speed(training: dict) -> list[str]:
    """The sections on time."""
    parts = ["## Training steps", "`python benchmarks/training.py --root data`"]
    rows, how = part(training, "bare_loop")
    head = ["milliseconds a step", "latentkit", "bare loop", "ratio, median (range)"]
    parts += [
        "Ours is what `fit` does in the steps of an epoch: Lightning, data, TensorBoard, the "
        "callbacks' hooks. Not in it: the progress bar, and what comes once an epoch (validation, "
        "health measures, pictures, checkpoints). The bare loop is the same arithmetic without "
        "any of it; ClusterGAN's is that of the warm-up, a quarter of its training. The "
        f"goal is 1.10. {how}",
        table(head, ratios(rows)),
    ]
    if training.get("pythae_vae", {}).get("rows"):
        rows, how = part(training, "pythae_vae")
        head = ["precision of ours", "latentkit", "pythae", "ratio, median (range)"]
        parts += [
            "A VAE with pythae's default networks, batch 128, beside pythae's own trainer, which "
            f"has no bfloat16. The goal, in equal precision, is 0.75. {how}",
            table(head, ratios(rows)),
        ]
    if "options" in training:
        parts += options(training)
    rows, how = part(training, "data_feeding")
    parts += [
        "Batches of 128 MNIST images, beside torchvision's data set in a DataLoader: "
        f"{rows['ours_ms']:.2f} ms against {rows['theirs_ms']:.2f} ms, **{rows['ratio']:.3f}**. "
        f"{how}",
    ]
    return parts


def options(training: dict) -> list[str]:
    """When memory format, precision and compilation pay."""
    rows, how = part(training, "options")
    cells = [
        [f"{config}, {option}", *line[1:]]
        for config, found in rows.items()
        for option, line in zip(found, ratios(found), strict=True)
    ]
    head = ["milliseconds a step", "with the option", "without", "ratio, median (range)"]
    return [
        "`--speed.channels_last true`, `--trainer.precision bf16-mixed`, `--speed.compile true` "
        "and one thread in place of all: what each does to a step of a shipped config, the time of "
        f"compiling (most of a minute) left out. {how}",
        table(head, cells),
    ]


def samplers(content: dict) -> list[str]:
    """What samplers do to the Frechet distance."""
    settings = content["settings"]
    cells = [
        [model, sampler, f"{row['frechet_mean']:.1f} ± {row['frechet_sd']:.1f}", _nearest(row)]
        for model, rows in content["rows"].items()
        for sampler, row in rows.items()
    ]
    return [
        "## Samplers",
        f"Frechet distance as above, of {settings['samples']:,} samples, mean and standard "
        f"deviation of {len(settings['sampling_seeds'])} sampling seeds, and the median distance "
        f"of {settings['nearest_of']:,} samples to their nearest training image: well below that "
        "of decoded test images means copies. More on both: "
        "[checkpoints](../checkpoints/README.md#samplers).",
        "`python benchmarks/samplers.py`",
        table(["model", "sampler", "Frechet distance", "nearest training image"], cells),
    ]


def augmentation(content: dict) -> list[str]:
    """What new latents do for a classifier with few real images."""
    from augmentation import markdown

    first, *rest = markdown(content)
    return [first, *rest, made_on(content["machine"])]


def latent(content: dict) -> list[str]:
    """What wrapping a network costs."""
    from latent import markdown

    return [*markdown(content), made_on(content["machine"])]


def _nearest(row: dict) -> str:
    return f"{row['nearest']:.2f}"


def main() -> None:
    """Writes the page."""
    sections = {
        "quality": quality,
        "likelihood": likelihood,
        "training": speed,
        "samplers": samplers,
        "augmentation": augmentation,
        "latent": latent,
    }
    parts = [
        "# Benchmarks",
        "Written by `python benchmarks/page.py` from the JSON beside it; the command above each "
        "table measures it again. MNIST lies in `data/MNIST/raw`; pythae's rows need "
        "`pip install pythae==0.1.2`.",
    ]
    for name, section in sections.items():
        content = read(name)
        if content is not None:
            parts += section(content)
    (HERE / "README.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
