"""Times the latent operations that wrap a network against the bare network.

python benchmarks/latent.py --root data

`decode_path` of 16 paths of 16 points against one call of the decoder on the same 256 latents, for
each shipped model (bar: 0.95 or more of its throughput); `encode_set` of MNIST's 10,000 test
images, from the data module's loader as the command does it, against bare forwards over batches
that lie ready (bar: at most 1.15 of its time). Both sides run in turn within one process; the ratio
is the median over the rounds, with the smallest and the largest beside it. Writes
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
from latentkit.data.vision import Vision
from latentkit.latent.render import decode_path, encode_set
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
    """`encode_set` of the test split against bare forwards over batches that lie ready."""
    data = Vision(root=root, batch_size=256)
    images, _ = data.split("test")[:]
    batches = torch.split(images, 256)
    rows = {}
    for name in ENCODERS:
        model = load(name)
        row = paired(
            lambda model=model: encode_set(model.encode, data.test_dataloader()),
            lambda model=model: torch.cat([model.encode(x) for x in batches]),
            rounds,
        )
        rows[name] = row | {"images": len(images), "bar": 1.15}
        print("encode_set", name, json.dumps(rows[name]), flush=True)
    return rows


@torch.no_grad()
def main() -> None:
    """Measures everything and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder of MNIST in torchvision's form")
    parser.add_argument("--rounds", type=int, default=21)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    rows = {"decode_path": decoding(chosen.rounds), "encode_set": encoding(chosen.root, 5)}
    write_json(HERE / "latent.json", {"machine": machine(), **rows})


if __name__ == "__main__":
    main()
