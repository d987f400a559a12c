"""Times the latent operations that wrap a network against the bare network.

python benchmarks/latent.py --root data

`decode_path` of 16 paths of 16 points against one call of the decoder on the same 256 latents, for
each shipped model (bar: 0.95 or more of its throughput); what `latentkit encode` does with MNIST's
10,000 test images, reading them from the data module and encoding them, against bare forwards over
batches that lie ready (bar: at most 1.15 of its time). Both sides run in turn within one process;
the ratio is the median over the rounds, with the smallest and the largest beside it. Writes
benchmarks/latent.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine

import latentkit
from latentkit.cli.sources import BATCH, Source
from latentkit.latent.render import decode_path
from latentkit.store import write_json

HERE = Path(__file__).parent
DECODERS = ("vae_mnist", "dcgan_mnist", "clustergan_mnist", "vae_emoji")
ENCODERS = ("autoencoder_mnist", "vae_mnist", "clustergan_mnist")
PATHS, POINTS = 16, 16


def seconds(run: Callable[[], object]) -> float:
    """One call's time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def paired(ours: Callable[[], object], bare: Callable[[], object], rounds: int) -> dict:
    """Milliseconds of both and ours over bare, after one call of each that is not counted."""
    ours()
    bare()
    pairs = []
    for i in range(rounds):  # who goes first alternates: the second finds warmer caches
        sides = [ours, bare] if i % 2 else [bare, ours]
        taken = [seconds(side) for side in sides]
        pairs.append(taken if i % 2 else taken[::-1])
    ratios = sorted(a / b for a, b in pairs)
    a, b = (1000 * statistics.median(side) for side in zip(*pairs, strict=True))
    row = {"ours_ms": a, "bare_ms": b, "time_ratio": statistics.median(ratios)}
    return row | {"ratio_min": ratios[0], "ratio_max": ratios[-1], "rounds": rounds}


def load(name: str) -> torch.nn.Module:
    """A shipped model."""
    return latentkit.load(HERE.parent / "checkpoints" / f"{name}.safetensors")


def decoding(rounds: int) -> dict:
    """`decode_path` against `decode`; throughput is the inverse of the ratio of times."""
    rows = {}
    for name in DECODERS:
        model = load(name)
        path = torch.randn(PATHS, POINTS, model.prior.dim)
        z = path.flatten(0, 1)
        row = paired(
            lambda model=model, path=path: decode_path(model.decode, path),
            lambda model=model, z=z: model.decode(z),
            rounds,
        )
        rows[name] = row | {"throughput": 1 / row["time_ratio"], "bar": 0.95}
        print("decode_path", name, json.dumps(rows[name]), flush=True)
    return rows


def encoding(root: str, rounds: int) -> dict:
    """The verb's own path for the test split against bare forwards over batches that lie ready."""
    about = {"data": {"class_path": "latentkit.data.vision.Vision", "init_args": {"root": root}}}
    rows = {}
    for name in ENCODERS:
        model = load(name)
        source = Source(name, model, about, torch.device("cpu"))
        images, _ = source.images("test")
        batches = torch.split(images, BATCH)
        row = paired(
            lambda source=source: source.encode(source.images("test")[0]),
            lambda model=model, batches=batches: torch.cat([model.encode(x) for x in batches]),
            rounds,
        )
        rows[name] = row | {"images": len(images), "bar": 1.15}
        print("encode", name, json.dumps(rows[name]), flush=True)
    return rows


def markdown(content: dict) -> list[str]:
    """The section of the page."""
    parts = [
        "## Latent operations",
        "What is wrapped around a network, beside the bare network, in turn within one process: "
        "`decode_path` of 16 paths of 16 points (the goal is a throughput of 0.95), and "
        "`latentkit encode` of MNIST's test images, with reading them (the goal is 1.15 of the "
        "time).",
        "`python benchmarks/latent.py --root data`",
    ]
    for what, head in (("decode_path", "decode_path"), ("encode", "latentkit encode")):
        lines = [f"| milliseconds | {head} | bare | time, median (range) |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {row['ours_ms']:.0f} | {row['bare_ms']:.0f} | **{row['time_ratio']:.3f}** "
            f"({row['ratio_min']:.2f} to {row['ratio_max']:.2f}) |"
            for name, row in content[what].items()
        ]
        parts.append("\n".join(lines))
    return parts


@torch.no_grad()
def main() -> None:
    """Measures everything and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder of MNIST in torchvision's form")
    parser.add_argument("--rounds", type=int, default=21)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    rows = {"decode_path": decoding(chosen.rounds), "encode": encoding(chosen.root, 5)}
    write_json(HERE / "latent.json", {"machine": machine(), **rows})


if __name__ == "__main__":
    main()
