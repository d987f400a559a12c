"""Writes benchmarks/README.md from the JSON files that the other scripts left beside it.

The tables of docs/comparison.md come from them, too.

python benchmarks/page.py
"""

import json
import statistics
from pathlib import Path
from typing import Any

import page_augmentation
import page_peers
from page_explain import cams, directions
from page_quality import quality
from scipy import stats
from tables import every, made_on, table, verdict

HERE = Path(__file__).parent


def read(name: str) -> Any:
    """The content of a JSON file; None if its script has not run."""
    file = HERE / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def part(training: dict, name: str) -> tuple[dict, str]:
    """The rows of one part of training.json, and how they were measured."""
    found = training[name]
    how = (
        f"{found['rounds']} rounds of {found['steps']} steps, in turn. {made_on(found['machine'])}"
    )
    return found["rows"], how


def ratios(rows: dict[str, dict], goals: dict[str, float] | None = None) -> list[list[str]]:
    """Cells of paired measurements; with goals, whether they were met."""
    cells = []
    for name, row in rows.items():
        shown = f"**{row['ratio']:.2f}** ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
        line = [name, f"{row['ours_ms']:.1f}", f"{row['theirs_ms']:.1f}", shown]
        if goals is not None:
            line.append(verdict(row["ratio"], goals[name]) if name in goals else "no goal")
        cells.append(line)
    return cells


def likelihood(content: dict) -> list[str]:
    """The section on the VAE beside pythae's."""
    sides: dict[str, list[dict]] = {}
    for row in content["rows"]:
        sides.setdefault(row["side"], []).append(row)
    cells = [
        [
            name,
            every([row["iwae_100"] for row in rows], 2),
            every([row["elbo"] for row in rows], 2),
            " ".join(str(row["epochs"]) for row in rows),
        ]
        for name, rows in sides.items()
    ]
    return [
        "## Held-out likelihood in equal time",
        f"A VAE with pythae's default networks, Bernoulli pixels, batch 128; each side trains for "
        f"{content['seconds']:.0f} s of processor time on one thread and keeps its best model by "
        "validation. Nats on 10,000 test images, higher is better; grey pixels, so the numbers "
        "compare with each other alone. " + made_on(content["machine"]),
        "`python benchmarks/likelihood.py --root data`",
        table(["side", "bound of 100 samples", "plain bound", "epochs"], cells),
        _equal_rate(sides),
    ]


def _equal_rate(sides: dict[str, list[dict]]) -> str:
    """What is left of the distance where pythae has our learning rate."""
    ours, equal, default = (
        [row["iwae_100"] for row in sides[name]]
        for name in ("latentkit", "pythae, our lr 1e-3", "pythae, its default lr 1e-4")
    )
    gap = statistics.mean(ours) - statistics.mean(equal)
    whole = statistics.mean(ours) - statistics.mean(default)
    sure = stats.ttest_ind(ours, equal, equal_var=False).pvalue < 0.05
    told = "ours is better" if gap > 0 else "pythae is better"
    told += "" if sure else f", but not surely with {len(ours)} seeds"
    return (
        f"The goal, better than pythae's VAE in equal time: {'met' if whole > 0 else '**missed**'} "
        f"beside pythae as it comes, by {whole:.2f} nats. That distance is the learning rate's: at "
        f"equal learning rate (and precision) {told} ({gap:+.2f} nats)."
    )


def speed(training: dict) -> list[str]:
    """The sections on time."""
    parts = ["## Training steps", "`python benchmarks/training.py --root data`"]
    rows, how = part(training, "bare_loop")
    head = ["milliseconds a step", "latentkit", "bare loop", "ratio, median (range)", "goal"]
    parts += [
        "Ratios here are medians of the rounds' own ratios, which a machine that changes between "
        "rounds does not move; so they are not quite the quotients of the medians shown.",
        "Ours is what `fit` does in the steps of an epoch: Lightning, data, TensorBoard, the "
        "callbacks' hooks. Not in it: the progress bar, and what comes once an epoch (validation, "
        "health measures, pictures, checkpoints). The bare loop is the same arithmetic without "
        f"any of it. {how}",
        table(head, ratios(rows, dict.fromkeys(rows, 1.1))),
    ]
    if training["pythae_vae"]["rows"]:  # none where pythae is not installed
        rows, how = part(training, "pythae_vae")
        head = ["precision of ours", "latentkit", "pythae", "ratio, median (range)", "goal"]
        parts += [
            "Milliseconds a step of a VAE with pythae's default networks, batch 128, beside "
            "pythae's own trainer, which has no bfloat16. The goal of 0.75 is one in equal "
            f"precision. {how}",
            table(head, ratios(rows, {"32-true": 0.75})),
        ]
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


def callbacks(content: dict) -> list[str]:
    """What drawing and measuring cost."""
    rows = content["rows"]
    names = list(next(iter(rows.values()))["callbacks"])
    cells = [
        [name, *(f"{row['callbacks'][name]['share']:.2%}" for row in rows.values())]
        for name in names
    ]
    cells[-1] = [f"**{cell}**" for cell in cells[-1]]
    most = max(row["callbacks"]["together"]["share"] for row in rows.values())
    cells.append(["a step, ms", *(f"{row['step_ms']:.0f}" for row in rows.values())])
    return [
        "## The cost of callbacks",
        "What is drawn and measured during a training, as shares of the time of its steps, with "
        "each callback's default cadence in images and with the config's own length: the median of "
        f"{content['rounds']} drawings over the median of {content['steps']} steps, in one "
        "process. Health alarms cost 0.2 % more. The goal, all together below 5 %: "
        f"{verdict(most, 0.05)}. {made_on(content['machine'])}",
        "`python benchmarks/callbacks.py --root data`",
        table(["callback", *rows], cells),
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
        made_on(content["machine"]),
    ]


def augmentation(content: dict) -> list[str]:
    """What new latents do for a classifier with few real images."""
    return [*page_augmentation.markdown(content), made_on(content["machine"])]


def operations(content: dict) -> list[str]:
    """What wrapping a network costs."""
    from operations import markdown

    return [*markdown(content), made_on(content["machine"])]


def disentanglement(content: dict) -> list[str]:
    """How well VAEs keep known factors apart."""
    from disentanglement import markdown

    return markdown(content)


def encoders(content: dict) -> list[str]:
    """What an encoder for a generator without one is best taught."""
    from encoders import markdown

    return markdown(content)


def _nearest(row: dict) -> str:
    return f"{row['nearest']:.2f}"


def page() -> str:
    """The whole page."""
    sections = {
        "quality": quality,
        "likelihood": likelihood,
        "training": speed,
        "callbacks": callbacks,
        "samplers": samplers,
        "disentanglement": disentanglement,
        "augmentation": augmentation,
        "operations": operations,
        "directions": directions,
        "encoders": encoders,
        "cam": cams,
    }
    parts = [
        "# Benchmarks",
        "Written by `python benchmarks/page.py` from the JSON beside it; the command above each "
        "table measures it again, and `python benchmarks` all of them. MNIST lies in "
        "`data/MNIST/raw`; pythae's rows need `pip install pythae==0.1.2`.",
    ]
    for name, section in sections.items():
        content = read(name)
        if content is not None:
            parts += section(content)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "README.md").write_text(page())
    page_peers.PAGE.write_text(page_peers.filled(page_peers.PAGE.read_text()))
