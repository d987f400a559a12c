"""Times the latent operations that wrap a network against the bare network.

python benchmarks/operations.py --root data

`decode_path` of 16 paths of 16 points against one call of the decoder on the same 256 latents, for
each shipped model (bar: 0.95 or more of its throughput); what `latentkit encode` does with MNIST's
10,000 test images, reading them from the data module and encoding them, against bare forwards over
batches that lie ready (bar: at most 1.15 of its time). Both sides run in turn within one process
(see `paired`), after one call of each that is not counted. Writes benchmarks/operations.json.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import machine
from options import parser
from paired import paired, seconds
from tables import table, verdict

import latentkit
from latentkit.cli.named.sources import BATCH, Source
from latentkit.latent.render import decode_path
from latentkit.store import write_json

HERE = Path(__file__).parent
DECODERS = ("vae_mnist", "dcgan_mnist", "clustergan_mnist", "vae_emoji")
ENCODERS = ("autoencoder_mnist", "vae_mnist", "clustergan_mnist")
PATHS, POINTS = 16, 16


def beside(ours: Callable[[], object], bare: Callable[[], object], rounds: int) -> dict:
    """Both sides' times, once both are warm."""
    ours()
    bare()
    return paired(partial(seconds, ours), partial(seconds, bare), rounds)


def load(name: str) -> torch.nn.Module:
    """A shipped model."""
    return latentkit.load(HERE.parent / "checkpoints" / f"{name}.safetensors")


def decoding(rounds: int) -> dict:
    """`decode_path` against `decode`."""
    rows = {}
    for name in DECODERS:
        model = load(name)
        path = torch.randn(PATHS, POINTS, model.prior.dim)
        z = path.flatten(0, 1)
        row = beside(
            lambda model=model, path=path: decode_path(model.decode, path),
            lambda model=model, z=z: model.decode(z),
            rounds,
        )
        rows[name] = row | {"throughput": 1 / row["ratio"], "bar": 0.95}
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
        row = beside(
            lambda source=source: source.encode(source.images("test")[0]),
            lambda model=model, batches=batches: torch.cat([model.encode(x) for x in batches]),
            rounds,
        )
        rows[name] = row | {"images": len(images), "bar": 1.15}
        print("encode", name, json.dumps(rows[name]), flush=True)
    return rows


def markdown(content: dict) -> list[str]:
    """The section of the page."""
    how = ["milliseconds", "bare", "median (range)", "goal"]
    decoded = [_row(name, row, throughput=True) for name, row in content["decode_path"].items()]
    encoded = [_row(name, row, throughput=False) for name, row in content["encode"].items()]
    return [
        "## Latent operations",
        "What is wrapped around a network, beside the bare network, in turn within one process: "
        "`decode_path` of 16 paths of 16 points, as a share of the decoder's throughput, and "
        "`latentkit encode` of MNIST's test images, with reading them, in parts of the encoder's "
        "time. A share and a part are medians over rounds, not quotients of the medians shown.",
        "`python benchmarks/operations.py --root data`",
        table(["decode_path", *how[:2], f"throughput, {how[2]}", how[3]], decoded),
        table(["latentkit encode", *how[:2], f"time, {how[2]}", how[3]], encoded),
    ]


def _row(name: str, row: dict, throughput: bool) -> list[str]:
    ratio = row["ratio"] if "ratio" in row else row["time_ratio"]
    values = [ratio, row["ratio_min"], row["ratio_max"]]
    if throughput:
        values = [1 / ratio, 1 / row["ratio_max"], 1 / row["ratio_min"]]
    shown = f"**{values[0]:.3f}** ({values[1]:.2f} to {values[2]:.2f})"
    bare = row["theirs_ms"] if "theirs_ms" in row else row["bare_ms"]
    goal = verdict(values[0], row["bar"], least=throughput)
    return [name, f"{row['ours_ms']:.0f}", f"{bare:.0f}", shown, goal]


@torch.no_grad()
def main() -> None:
    """Measures everything and writes the JSON."""
    command = parser(__doc__, "root")
    command.add_argument("--rounds", type=int, default=11, help="of decode_path")
    chosen = command.parse_args()
    torch.manual_seed(0)
    rows = {"decode_path": decoding(chosen.rounds), "encode": encoding(str(chosen.root), 5)}
    write_json(HERE / "operations.json", {"machine": machine(), **rows})


if __name__ == "__main__":
    main()
