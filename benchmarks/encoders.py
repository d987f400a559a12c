"""What should an encoder for a generator that has none be taught? Latents, or what images show?

python benchmarks/encoders.py

Trains configs/dcgan_shapes.yaml (the run of `directions.py` where it is there), then an encoder
for each weight of the error of rebuilt images, and measures how well `pattern` retrieves directions
from it. Writes benchmarks/encoders.json.
"""

import time
from pathlib import Path
from typing import Any

import torch
from directions import EPOCHS
from machine import machine
from options import parser
from runs import fit, place
from tables import made_on, table
from torch import nn

from latentkit.explain import hooks
from latentkit.explain.case import Case
from latentkit.explain.dirbench import score_maps
from latentkit.explain.learned_encoder import encoder_for, train_encoder
from latentkit.explain.paired import paired_directions
from latentkit.explain.readings import read_pattern
from latentkit.latent.directions import sefa
from latentkit.latent.first_layer import first_weight
from latentkit.store import load, write_json

HERE = Path(__file__).parent
NAME = "dcgan_shapes"
KINDS = ("random", "sefa", "factors")


def measured(model: Any, rebuild: float, steps: int, images: int) -> dict[str, Any]:
    """Trains one encoder: its errors, seconds of processor, and retrieval by kind of directions."""
    part = encoder_for(model.shape, model.prior.dim)
    start = time.process_time()
    error = train_encoder(part.module, model, steps, rebuild=rebuild)
    row: dict[str, Any] = {"rebuild": rebuild, "seconds": time.process_time() - start}
    generator = torch.Generator().manual_seed(1)
    z = model.prior.sample(images, generator=generator)
    directions = {
        "random": torch.randn(8, z.shape[1], generator=generator),
        "sefa": sefa(first_weight(model.decode, nn.ModuleList([model.generator]), z[:1]), 5),
        "factors": paired_directions(part.module, model.shape[-1]),
    }
    cases = {kind: Case(model.decode, part, z, d) for kind, d in directions.items()}
    found = {k: score_maps(read_pattern(c), c.effects())["retrieval"] for k, c in cases.items()}
    row |= {kind: [measure.mean, measure.low, measure.high] for kind, measure in found.items()}
    fresh = model.prior.sample(500, generator=generator)
    with hooks.borrowed(model):
        x = model.decode(fresh)
        again = model.decode(part.module(x))
    return row | {"latents": error, "images": float((again - x).square().mean() / x.var(0).mean())}


def markdown(content: dict) -> list[str]:
    """The section of the page."""
    cells = [
        [
            f"{row['rebuild']:g}",
            f"{row['latents']:.2f}",
            f"{row['images']:.3f}",
            *(f"{row[k][0]:.2f} ({row[k][1]:.2f} to {row[k][2]:.2f})" for k in KINDS),
            f"{row['seconds']:.0f}",
        ]
        for row in content["rows"]
    ]
    return [
        "## An encoder for a generator that has none",
        "DirBench reads a DCGAN's directions by an encoder trained on its samples. Taught the "
        "latents alone, it spends itself on what no image shows: a generator of scenes with ten "
        "factors leaves some of its 16 latents unused, and their error stays. With the error of "
        "the images decoded again beside that of the latents (over their variance, times a "
        "weight), it reads what can be seen. Both errors are over the variance, on new samples; "
        "retrieval of the pattern with 95 % intervals over images. DirBench takes the weight 5. "
        f"{content['epochs']} epochs of `configs/{NAME}.yaml`, seed 0, {content['steps']:,} steps "
        f"of 64 images. {made_on(content['machine'])}",
        "`python benchmarks/encoders.py`",
        table(["weight", "latents", "images", *KINDS, "processor seconds"], cells),
    ]


def main() -> None:
    """Trains, measures and writes the JSON."""
    command = parser(__doc__, "runs", "epochs")
    command.add_argument("--weights", type=float, nargs="+", default=[0, 1, 5, 20])
    command.add_argument("--steps", type=int, default=5000)
    command.add_argument("--images", type=int, default=40)
    chosen = command.parse_args()
    epochs = chosen.epochs or EPOCHS["dcgan"]
    model = load(fit(NAME, place(chosen.runs, NAME, 0, chosen.epochs), 0, epochs)).eval()
    rows = [measured(model, w, chosen.steps, chosen.images) for w in chosen.weights]
    content = {"machine": machine(), "epochs": epochs, "steps": chosen.steps, "rows": rows}
    write_json(HERE / "encoders.json", content)


if __name__ == "__main__":
    main()
