"""The tables of docs/comparison.md, from peers.json and the measurements beside it.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; the text around it is written by
hand.
"""

import json
import re
import statistics
from pathlib import Path
from typing import Any

from scipy import stats
from tables import table

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "comparison.md"
MAPS = ("latentkit", "captum", "torchcam", "grad-cam")
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
ERROR = re.compile(r"^(\w+(?:Error|Exception)): .*")


def read(name: str) -> Any:
    """The content of a JSON file."""
    return json.loads((HERE / f"{name}.json").read_text())


def command(name: str) -> str:
    """What checks a claim."""
    return f"`python benchmarks/peers.py {name}`"


def cell(side: dict | None) -> str:
    """What a side did: bold where the claim does not hold, a hyphen where it was not asked."""
    if side is None:
        return "-"
    said = ERROR.sub(r"\1", side["said"])
    return f"**{said}**" if side["ok"] is False else said


def beside(group: str, sides: tuple[str, ...]) -> str:
    """Claims of a group, a column a side."""
    rows = [
        [row["claim"], *(cell(row["sides"].get(side)) for side in sides), command(name)]
        for name, row in read("peers")[group].items()
    ]
    return table(["", *sides, "checked by"], rows)


def ahead() -> str:
    """What peers have and latentkit has not."""
    rows = []
    for name, row in read("peers")["ahead"].items():
        ((peer, side),) = row["sides"].items()
        rows.append([row["claim"], f"{peer} {side['version']}", side["said"], command(name)])
    return table(["", "who has it", "found in it", "checked by"], rows)


def versions() -> str:
    """What was run, in one line."""
    content, found = read("peers"), {}
    for group in ("maps", "training", "tools", "ahead"):
        for row in content[group].values():
            found |= {side: about["version"] for side, about in row["sides"].items()}
    listed = ", ".join(f"{side} {version}" for side, version in found.items())
    return f"{listed}; torch {content['torch']}."


def numbers() -> str:
    """Measurements, each beside the peers'."""
    rows = [*_heatmaps(read("cam")), *_training(read("training"), read("likelihood")), *_others()]
    return table(["", "latentkit", "beside it", "measured by"], rows)


def _heatmaps(content: dict) -> list[list[str]]:
    names = {"captum": "captum", "torchcam": "torchcam", "pytorch-grad-cam": "grad-cam"}
    by = "`python benchmarks/cam.py --parts"
    time, memory = content["time"]["rows"], content["memory"]["rows"]
    rows = [
        [
            "Grad-CAM of a resnet18: processor time over the least it can take",
            f"{time['layer4: latentkit, grad-cam']['ratio']:.2f}",
            _listed(names, lambda p: f"{time[f'layer4: {p}, grad-cam']['ratio']:.2f}"),
            f"{by} time`",
        ],
        [
            "its memory beyond what the process held, MiB",
            f"{memory['latentkit, grad-cam']['mib']:.0f}",
            _listed(names, lambda p: f"{memory[f'{p}, grad-cam']['mib']:.0f}"),
            f"{by} memory`",
        ],
    ]
    found = content["latents"]["rows"]
    for case in ("N=4, K=16", "N=1, K=64"):
        rows.append(
            [
                f"maps of all K latents of N images ({case}), time over ours",
                "1",
                _listed(names, lambda p, case=case: f"{found[f'{case}: {p}']['ratio']:.1f}"),
                f"{by} latents`",
            ]
        )
    return rows


def _listed(names: dict[str, str], value: Any) -> str:
    return ", ".join(f"{shown} {value(name)}" for name, shown in names.items())


def _training(training: dict, likelihood: dict) -> list[list[str]]:
    step, feed = training["pythae_vae"]["rows"]["32-true"], training["data_feeding"]["rows"]
    sides: dict[str, list[float]] = {}
    for row in likelihood["rows"]:
        sides.setdefault(row["side"], []).append(row["iwae_100"])
    means = {side: f"{statistics.mean(values):.1f}" for side, values in sides.items()}
    equal = sides["pythae, our lr 1e-3"]
    sure = stats.ttest_ind(sides["latentkit"], equal, equal_var=False).pvalue < 0.05
    return [
        [
            "a training step of the same VAE, ms (ratio 0.75 was the goal: missed)"
            if step["ratio"] > 0.75
            else "a training step of the same VAE, ms",
            f"{step['ours_ms']:.1f}",
            f"pythae {step['theirs_ms']:.1f}; ratio {step['ratio']:.2f} "
            f"({step['ratio_min']:.2f} to {step['ratio_max']:.2f})",
            "`python benchmarks/training.py --parts pythae_vae --rounds 21 --steps 110`",
        ],
        [
            f"held-out log-likelihood of that VAE in {likelihood['seconds']:.0f} s, nats",
            means["latentkit"],
            f"pythae {means['pythae, its default lr 1e-4']}; with our learning rate "
            f"{means['pythae, our lr 1e-3']}{'' if sure else ', no sure difference'}",
            "`python benchmarks/likelihood.py`",
        ],
        [
            "a batch of 128 MNIST images, ms",
            f"{feed['ours_ms']:.2f}",
            f"torchvision's data set in a DataLoader {feed['theirs_ms']:.1f}",
            "`python benchmarks/training.py --parts data_feeding --rounds 9`",
        ],
    ]


def _others() -> list[list[str]]:
    (rows,) = read("directions")["oracle"]["found"]["tables"].values()
    best = {name: f"{row['retrieval']['mean']:.2f}" for name, row in rows.items()}
    runs = [r["test"]["encoder_acc"] for r in _rows("clustergan_mnist")]
    kmeans = [r["test"]["kmeans_acc"] for r in _rows("clustergan_mnist")]
    return [
        [
            "heatmap of a direction told from eight others on the oracle (a guess: 0.11)",
            f"pattern {best['pattern']}",
            f"what CAM libraries offer, by our code: HiRes-CAM {best['HiRes-CAM, last layer']}, "
            f"Grad-CAM++ {best['Grad-CAM++, last layer']}, Grad-CAM {best['Grad-CAM, last layer']}",
            "`python benchmarks/directions.py oracle`",
        ],
        [
            "ClusterGAN on MNIST, accuracy of its clusters",
            f"{statistics.mean(runs):.3f} (our variant, {len(runs)} seeds, the encoder's clusters; "
            f"K-means on all its latents, as the paper counts: {statistics.mean(kmeans):.2f})",
            "the paper 0.95, best of five; the best known port in PyTorch 0.568 "
            "([its issue](https://github.com/zhampel/clusterGAN/issues/1))",
            "`python benchmarks/quality.py clustergan_mnist`",
        ],
    ]


def _rows(config: str) -> list[dict]:
    return [row for row in read("quality")["rows"] if row["config"] == config]


def filled(text: str) -> str:
    """The page with its tables written anew."""
    made = {
        "versions": versions,
        "maps": lambda: beside("maps", MAPS),
        "training": lambda: beside("training", ("latentkit", "pythae")),
        "tools": lambda: beside("tools", (*MAPS, "pythae")),
        "ahead": ahead,
        "numbers": numbers,
    }
    return BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]()}\n\n{found[3]}", text)
