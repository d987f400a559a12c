"""Judges samplers for an autoencoder and a VAE on MNIST: what each does to the Frechet distance.

python benchmarks/samplers.py        writes benchmarks/samplers.json and prints its table

Each sampler is fitted once (seed 0) to the latents of MNIST's 55,000 training images, and drawn
from with three seeds. The Frechet distance is that of benchmarks/generators.py: in the 64 features
of a classifier trained here, against the 10,000 test images, of 10,000 samples. It is NOT the FID.

A sampler that copies the training set scores best, so beside it stands the distance of 1,000
samples to their nearest training images (median over the samples of the Euclidean distance over
pixels). Decoded images are smoother than real ones: compare with decoded test images, not with real
ones. A value clearly below theirs says copying.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from generators import SAMPLES, look, train_classifier
from machine import machine
from options import parser
from torch import Tensor

import latentkit
from latentkit.data.vision import Vision
from latentkit.latent.samplers import NoisyEmpirical, gmm
from latentkit.latent.two_stage import two_stage
from latentkit.metrics.frechet import frechet_distance
from latentkit.models.vae import VAE
from latentkit.protocols import Prior
from latentkit.store import write_json

SEEDS, NEAREST = (0, 1, 2), 1_000
DEFAULTS = ("gmm, 10 components", "two-stage", "empirical, Scott's bandwidth")
FITS: dict[str, Callable[[Tensor, torch.Generator], Prior]] = {
    "normal (gmm, 1 component)": lambda z, g: gmm(z, 1, generator=g),
    "gmm, 10 components": lambda z, g: gmm(z, 10, generator=g),
    "gmm, 50 components": lambda z, g: gmm(z, 50, generator=g),
    "two-stage": lambda z, g: two_stage(z, generator=g),
    "empirical, Scott's bandwidth": lambda z, _: NoisyEmpirical(z),
    "empirical, bandwidth 0.2": lambda z, _: NoisyEmpirical(z, 0.2),
    "empirical, no noise (copies)": lambda z, _: NoisyEmpirical(z, 0.0),
}


class Judge:
    """Measures images of digits against MNIST's test images."""

    def __init__(self, root: str) -> None:
        data = Vision(root=root)
        self.train, self.test = data.split("train")[:][0], data.split("test")[:SAMPLES][0]
        self.network = train_classifier(data)
        self.features = look(self.network, self.test)[0]

    def row(self, draws: list[Tensor]) -> dict[str, float]:
        """The numbers of one row, from one set of images for each seed."""
        found = [frechet_distance(look(self.network, x)[0], self.features) for x in draws]
        distances = torch.tensor(found)
        sd = distances.std().item() if len(draws) > 1 else 0.0
        nearest = self.nearest(draws[0][:NEAREST]).median().item()
        return {"frechet_mean": distances.mean().item(), "frechet_sd": sd, "nearest": nearest}

    def nearest(self, images: Tensor) -> Tensor:
        """Euclidean distance over pixels to the nearest training image: (N, 1, 28, 28) -> (N,)."""
        parts = torch.split(self.train.flatten(1), 5000)
        each = [torch.cdist(images.flatten(1), part).amin(1) for part in parts]
        return torch.stack(each).amin(0)


@torch.no_grad()
def in_parts(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([run(part) for part in torch.split(x, 500)])


def posterior_sample(model: VAE, x: Tensor, generator: torch.Generator) -> Tensor:
    mean, log_var = model.posterior(x)
    return mean + (log_var / 2).exp() * torch.randn(mean.shape, generator=generator)


def drawn(judge: Judge, model: VAE, prior: Prior) -> dict[str, float]:
    """Judges what the model decodes of a prior's samples."""
    latents = [prior.sample(SAMPLES, generator=torch.Generator().manual_seed(s)) for s in SEEDS]
    return judge.row([in_parts(model.decode, z) for z in latents])


def fitted(
    judge: Judge, model: VAE, latents: Tensor, names: Iterable[str] = tuple(FITS)
) -> dict[str, dict[str, float]]:
    """One row for each sampler of these names, fitted to the latents (N, D)."""
    rows = {}
    for name in names:
        start = time.process_time()
        prior = FITS[name](latents, torch.Generator().manual_seed(0))
        seconds = time.process_time() - start
        rows[name] = {**drawn(judge, model, prior), "fit_seconds": seconds}
        print(f"{name:30} {rows[name]}", flush=True)
    return rows


def main() -> None:
    """Writes the JSON and prints the table."""
    command = parser(__doc__, "root", "checkpoints")
    command.add_argument("--out", default="benchmarks/samplers.json")
    chosen = command.parse_args()
    judge = Judge(chosen.root)
    plain, vae = (
        latentkit.load(f"{chosen.checkpoints}/{name}_mnist.safetensors")
        for name in ("autoencoder", "vae")
    )
    generator = torch.Generator().manual_seed(0)
    draws = in_parts(lambda x: posterior_sample(vae, x, generator), judge.train)
    groups = {
        "real": {
            "training images (floor)": judge.row([judge.train[:SAMPLES]]),
            "test images": judge.row([judge.test]),
        }
    }
    for name, model in (("autoencoder", plain), ("VAE", vae)):
        means = in_parts(model.encode, judge.train)
        decoded = in_parts(model.forward, judge.test)
        groups[name] = {"test images, decoded": judge.row([decoded])}
        if name == "VAE":
            groups[name]["its prior"] = drawn(judge, model, model.prior)
        groups[name] |= fitted(judge, model, means)
    groups["VAE, fitted to posterior samples"] = fitted(judge, vae, draws, DEFAULTS)
    settings = {"samples": SAMPLES, "sampling_seeds": SEEDS, "nearest_of": NEAREST}
    write_json(Path(chosen.out), {"machine": machine(), "settings": settings, "rows": groups})
    print(table(groups))


def table(groups: dict[str, dict[str, dict[str, float]]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| latents of | sampler | Frechet distance | nearest training image |",
        "|---|---|---|---|",
    ]
    for group, rows in groups.items():
        for name, row in rows.items():
            score = f"{row['frechet_mean']:.1f}" + (
                f" ± {row['frechet_sd']:.1f}" if row["frechet_sd"] else ""
            )
            lines.append(f"| {group} | {name} | {score} | {row['nearest']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
