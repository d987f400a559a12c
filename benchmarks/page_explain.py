"""The sections of benchmarks/README.md on explanations: DirBench, and the cost of heatmaps."""

import statistics
from typing import Any

from tables import every, made_on, spread, table, verdict

MEASURES = ("retrieval", "spearman", "iou", "pointing", "energy", "owner", "insertion")
KINDS = {"autoencoder": "autoencoder", "vae": "VAE", "dcgan": "DCGAN", "clustergan": "ClusterGAN"}
COUNTS = {"random": 8, "principal": 5, "sefa": 5, "factors": 9}  # directions of each kind
FREE = ("mean change over directions", "intensity", "sobel", "centre", "uniform")
Tables = dict[str, dict[str, Any]]


def directions(content: dict) -> list[str]:
    """DirBench: oracle and trained models."""
    parts = [
        "## DirBench: do heatmaps of directions show what the directions change?",
        "Direction retrieval: is the map of a direction more like the generator's change along "
        "that direction than like its changes along the others, in the same image? A guess wins "
        "1 / K. The other measures are won or nearly won by maps that know nothing of the "
        "direction, which stand beside them. Intervals are 95 % bootstrap intervals over images.",
        "`python benchmarks/directions.py`",
    ]
    if "oracle" in content:
        parts += oracle(content["oracle"])
    trained = {kind: content[kind] for kind in KINDS if kind in content}
    return parts + (models(trained) if trained else [])


def oracle(content: dict) -> list[str]:
    """All readings and all measures where the truth is known."""
    found = content["found"]
    (rows,) = found["tables"].values()
    cascade = [
        [name, *(f"{s['retrieval']:.2f}, {s['similarity']:.2f}" for s in stages.values())]
        for name, stages in found["cascade"].items()
    ]
    (sums,) = found["completeness"].values()
    return [
        f"**The oracle** draws scenes from known factors; its encoder is trained (mean squared "
        f"error {found['encoder_error']:.3f}, the latents' variance is 0.33). "
        f"{content['images']} images, {len(found['directions'])} directions, chance "
        f"{1 / len(found['directions']):.2f}. Owner: share of the map on the object that the "
        "factor is of. Insertion: pixels of the changed image pasted into the first one, strongest "
        "places first, as an encoder of another seed sees it. The pattern is to reach 0.9: "
        f"{verdict(rows['pattern']['retrieval']['mean'], 0.9, least=True)}. "
        f"{made_on(content['machine'])}",
        table(["map", *MEASURES], [[_plain(name), *_cells(row)] for name, row in rows.items()]),
        "Layers of the encoder set back to random weights, from the last one on: retrieval, which "
        "must fall to a guess, and the rank correlation of |map| with the trained encoder's "
        "(Adebayo et al., 2018). Guided backpropagation is the known control that fails the "
        "second: its maps stay alike until the first convolutions go, for they show the image. By "
        "that measure the pattern fails as well: it is a change that the generator can make, which "
        "lies on the objects whatever the direction, so ranks over all pixels hardly move. That it "
        "no longer shows the right direction is seen in its retrieval alone.",
        table(["map", *next(iter(found["cascade"].values()))], cascade),
        f"Maps of use add up to the change of the score: they miss {100 * sums['use']:.1f} % of it "
        f"to first order, {100 * sums['use_along']:.2f} % integrated along the way (medians).",
    ]


def models(trained: dict[str, dict]) -> list[str]:
    """The default reading on every network and kind of directions, and all readings on factors."""
    cells = [line for kind, part in trained.items() for line in _defaults(kind, part)]
    lowest = min(_lowest(part) for part in trained.values())
    trainings = ", ".join(
        f"{KINDS[kind]} {part['epochs']} epochs, seeds {_seeds(part)}"
        for kind, part in trained.items()
    )
    about = next(iter(trained.values()))
    head = ["network", "directions", "chance", "pattern, each seed (mean ± sd)"]
    head += ["random weights", "guess", "lowest end of the intervals / chance"]
    return [
        f"**Trained models** of scenes ({trainings}; the configs say 25 or more). "
        f"{about['images']} images. A DCGAN has no encoder: one is trained on its samples (see "
        "below). A discriminator is read through a linear readout of its features, which shows "
        "what they keep of a direction, learned or not: random weights keep much of it too. The "
        f"default reading is to reach 3 times chance on every one: "
        f"{verdict(lowest, 3, least=True)}. {made_on(about['machine'])}",
        table(head, cells),
        "Retrieval of the other readings on the directions of known factors, mean ± sd of the "
        "seeds.",
        table(["map", *_columns(trained)], _readings(trained)),
        "Insertion of the pattern, as another seed's encoder sees it, beside that of the best map "
        "that knows no direction; mean of the seeds.",
        table(["network", "pattern", "best without direction", "ahead by"], _insertions(trained)),
    ]


def _seeds(part: dict) -> str:
    return ", ".join(name.split()[-1] for name in part["found"])


def _lowest(part: dict) -> float:
    """The lowest end of all intervals of the default reading, in parts of chance."""
    found = [
        (title.rsplit(", ", 1)[1], table["pattern"]["retrieval"]["low"])
        for run in part["found"].values()
        for title, table in run["tables"].items()
    ]
    return min(COUNTS[kind] * low for kind, low in found)


def _defaults(kind: str, part: dict) -> list[list[str]]:
    """A line for each network and kind of directions."""
    runs = list(part["found"].values())
    lines = []
    for title in runs[0]["tables"]:
        network, directions = title.rsplit(", ", 1)
        tables: list[Tables] = [run["tables"][title] for run in runs]
        chance = 1 / COUNTS[directions]
        found = [t["pattern"]["retrieval"] for t in tables]
        rivals = [
            spread([t[name]["retrieval"]["mean"] for t in tables], 2)
            for name in ("pattern, random weights", "pattern, labels drawn by lot")
        ]
        means = every([f["mean"] for f in found], 2)
        lowest = min(f["low"] for f in found) / chance
        named = f"{KINDS[kind]}, {network}"
        lines.append([named, directions, f"{chance:.2f}", means, *rivals, f"{lowest:.1f}"])
    return lines


def _columns(trained: dict[str, dict]) -> list[str]:
    return [f"{KINDS[kind]}, {network}" for kind, network, _ in _of_factors(trained)]


def _of_factors(trained: dict[str, dict]) -> list[tuple[str, str, list[Tables]]]:
    found = []
    for kind, part in trained.items():
        runs = list(part["found"].values())
        for title in (t for t in runs[0]["tables"] if t.endswith(", factors")):
            tables = [run["tables"][title] for run in runs]
            found.append((kind, title.removesuffix(", factors"), tables))
    return found


def _readings(trained: dict[str, dict]) -> list[list[str]]:
    columns = [tables for _, _, tables in _of_factors(trained)]
    names = dict.fromkeys(name for tables in columns for name in tables[0])
    return [[_plain(name), *(_mean(tables, name) for tables in columns)] for name in names]


def _insertions(trained: dict[str, dict]) -> list[list[str]]:
    lines = []
    for kind, network, tables in _of_factors(trained):
        found = {
            name: [t[name]["insertion"]["mean"] for t in tables if "insertion" in t[name]]
            for name in ("pattern", *FREE)
        }
        if not found["pattern"]:
            continue
        means = {name: statistics.mean(values) for name, values in found.items()}
        best = max(FREE, key=lambda name: means[name])
        ahead = means["pattern"] - means[best]
        cells = [f"{means['pattern']:.2f}", f"{means[best]:.2f} ({best})", f"{ahead:+.2f}"]
        lines.append([f"{KINDS[kind]}, {network}", *cells])
    return lines


def _plain(name: str) -> str:
    """A name that a cell of Markdown can hold."""
    return name.replace("|", "\\|")


def _mean(tables: list[Tables], name: str) -> str:
    values = [t[name]["retrieval"]["mean"] for t in tables if name in t]
    return spread(values, 2) if values else ""


def _cells(row: dict[str, dict[str, float]]) -> list[str]:
    first = row["retrieval"]
    shown = [f"**{first['mean']:.2f}** ({first['low']:.2f} to {first['high']:.2f})"]
    return shown + [f"{row[name]['mean']:.2f}" for name in MEASURES[1:]]


def cams(content: dict) -> list[str]:
    """What class activation maps cost beside the bound and the peers."""
    peers = ", ".join(f"{k} {v}" for k, v in content["time"]["peers"].items())
    times = [_ratio(name, row) for name, row in content["time"]["rows"].items()]
    latents = [_ratio(name, row, least=True) for name, row in content["latents"]["rows"].items()]
    memory = [
        [name, f"{row['mib']:.0f}", f"{row['ratio']:.2f}", _goal(row)]
        for name, row in content["memory"]["rows"].items()
    ]
    flat = {name: row["mib"] for name, row in content["flat"]["rows"].items()}
    rounds = content["time"]["rounds"]
    return [
        "## The cost of heatmaps",
        "`python benchmarks/cam.py`",
        "Processor time over that of the least a map can cost: the layer's activation as a leaf, "
        "the rest of the network on it, the gradient to it alone. resnet18 with random weights, 16 "
        f"images of 224x224, {rounds} rounds in turn. Peers: {peers}. "
        f"{made_on(content['time']['machine'])}",
        table(["one map an image", "ms", "the least, ms", "ratio (range)", "goal"], times),
        "The maps of all K latents of N images of 64x64: time of others over ours, "
        f"{content['latents']['rounds']} rounds. torchcam stops at the layer as we do, so on one "
        "thread no method can be much further ahead of it than the bound is.",
        table(["all latents", "ms", "ours, ms", "ratio (range)", "goal"], latents),
        "Peak memory of a call above what its process held, in MiB, and over that of a plain "
        "forward pass.",
        table(["call", "MiB", "ratio", "goal"], memory),
        f"Growth over 100 calls: at most {max(flat.values()):.1f} MiB ({', '.join(flat)}).",
    ]


def _ratio(name: str, row: dict, least: bool = False) -> list[str]:
    low, high = row["ratio_min"], row["ratio_max"]
    shown = f"**{row['ratio']:.2f}** ({low:.2f} to {high:.2f})"
    return [name, f"{row['ms']:.1f}", f"{row['beside_ms']:.1f}", shown, _goal(row, least)]


def _goal(row: dict, least: bool = False) -> str:
    return verdict(row["ratio"], row["bar"], least) if "bar" in row else ""
