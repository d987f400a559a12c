"""Does augmentation in latent space help a classifier that has few real images?

nice -n 10 python benchmarks/augmentation.py     writes benchmarks/augmentation.json, prints tables

For MNIST and the emoji's groups, with 5, 10, 20 and 50 real images of each class: a small network
is trained on them alone (none), with small shifts, turns and scalings of them (image), or with
images decoded from new latents, by each method of latentkit.latent. Every side takes the same
number of updates on batches of the same size, half of them made images where there are any. Five
seeds, each with its own real images, shared by all methods; 95 % intervals by Student's t, of the
means and of the differences within a seed. Measured on test images that nothing has seen.

The setting is semi-supervised: the VAE that encodes and decodes was trained on the WHOLE training
split, without labels. That is far more images than the classifier gets, so a gain over `none` says
what the unlabelled images are worth, too; image augmentation has no such help.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine
from options import parser
from page_augmentation import markdown
from torch import Tensor, nn
from torch.nn import functional

import latentkit
from latentkit.data.arrays import Arrays
from latentkit.data.base import ImageData
from latentkit.data.vision import Vision
from latentkit.latent.augment import between, mixup, smote
from latentkit.latent.directions import pca
from latentkit.latent.geodesic import geodesic
from latentkit.latent.perturb import along, gaussian, jitter
from latentkit.latent.training_set import Augmented, TrainLatents

SIZES, SEEDS = (5, 10, 20, 50), (0, 1, 2, 3, 4)
UPDATES, BATCH, POOL, TEST = 1_000, 64, 100, 2_000  # 200 updates leave every method half trained
BENT, ITERATIONS = 20, 50  # geodesics of each class: a point of one takes as long as 100 of others
Make = Callable[[TrainLatents, int, Any, torch.Generator], Augmented]


def along_pc(
    train: TrainLatents, classes: int, model: Any, generator: torch.Generator
) -> Augmented:
    """Up to one standard deviation along the first principal direction within the classes."""
    means = torch.stack([train.flat[places].mean(0) for _, places in train.members()])
    residual = train.flat - means[train.labels]
    direction = pca(residual, 1)[0]
    far = (residual @ direction).std().item()
    return along(train, POOL, direction, (-far, far), generator)


def geodesics(
    train: TrainLatents, _classes: int, model: Any, generator: torch.Generator
) -> Augmented:
    """On the paths between two of a class whose images change least; a smaller pool."""

    def path(a: Tensor, b: Tensor, steps: int) -> Tensor:
        return geodesic(a, b, steps, model.decode, iterations=ITERATIONS)

    return between(train, BENT, path, 5, generator)


METHODS: dict[str, Make] = {
    "smote": lambda train, _classes, _model, g: smote(train, POOL, generator=g),
    "slerp within class": lambda train, _classes, _model, g: between(train, POOL, generator=g),
    "geodesic within class": geodesics,
    "mixup": lambda train, classes, _model, g: mixup(train, POOL * classes, classes, generator=g),
    "gaussian": lambda train, _classes, _model, g: gaussian(train, POOL, g),
    "jitter": lambda train, _classes, model, g: jitter(train, POOL, model.prior, 0.3, g),
    "direction": along_pc,
}


def network(channels: int, classes: int) -> nn.Module:
    """Two convolutions and a pooled linear layer, for images of 28 or 32 pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def small(x: Tensor) -> Tensor:
    """Images of 64 pixels to 32, which is enough to tell groups; smaller ones as they are."""
    return functional.avg_pool2d(x, 2) if x.shape[-1] == 64 else x


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turns to 12 degrees, scalings to 10 %, shifts to 8 %: (N, C, H, W) -> the same shape."""
    angle, scale, right, down = (2 * torch.rand(4, len(x), generator=generator) - 1).unbind()
    angle, scale = angle * torch.pi / 15, 1 + 0.1 * scale
    rows = [
        torch.stack([angle.cos() * scale, -angle.sin() * scale, 0.16 * right], 1),
        torch.stack([angle.sin() * scale, angle.cos() * scale, 0.16 * down], 1),
    ]
    where = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, where, padding_mode="border", align_corners=False)


class Task:
    """A data set, a VAE of it, and the classes with enough training images."""

    def __init__(self, data: ImageData, model: Any) -> None:
        self.data, self.model = data, model
        self.labels = data.split("train")[:][1]
        counts = self.labels.bincount()
        kept = (counts >= max(SIZES)).nonzero()[:, 0]
        self.names = torch.full((len(counts),), -1)
        self.names[kept] = torch.arange(len(kept))
        self.classes = len(kept)
        x, y = data.split("test")[:TEST]
        y = self.names[y]
        self.test = small(x[y >= 0]), y[y >= 0]
        with torch.no_grad():
            self.test_latents = torch.cat([model.encode(part) for part in torch.split(x, 256)])

    def real(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, TrainLatents]:
        """`n` images of each class, their labels, and their latents."""
        labels = self.names[self.labels]
        chosen = []
        for k in range(self.classes):
            places = (labels == k).nonzero()[:, 0]
            chosen.append(places[torch.randperm(len(places), generator=generator)[:n]])
        rows = torch.cat(chosen)
        x, y = self.data.split("train")[rows][0], labels[rows]
        first = len(self.labels)
        held_out = torch.arange(first, first + len(self.data.split("test")))
        with torch.no_grad():
            return (
                small(x),
                y,
                TrainLatents(self.model.encode(x), y, rows, held_out, self.test_latents),
            )

    def made(self, method: str, train: TrainLatents, seed: int) -> tuple[Tensor, Tensor]:
        """Decoded images of new latents and the shares of their classes."""
        generator = torch.Generator().manual_seed(seed)
        new = METHODS[method](train, self.classes, self.model, generator)
        with torch.no_grad():
            x = torch.cat([small(self.model.decode(z)) for z in torch.split(new.z, 256)])
        soft = new.labels if new.labels.ndim == 2 else one_hot(new.labels, self.classes)
        return x, soft


def one_hot(y: Tensor, classes: int) -> Tensor:
    return functional.one_hot(y, classes).float()


def train_and_test(
    task: Task, method: str, n: int, seed: int, updates: int
) -> tuple[float, float, float]:
    """Accuracy and cross-entropy (nats) on the test images, and the last training losses."""
    generator = torch.Generator().manual_seed(1000 * n + seed)
    x, y, latents = task.real(n, generator)
    shares = one_hot(y, task.classes)
    made = task.made(method, latents, seed) if method in METHODS else None
    torch.manual_seed(seed)
    classifier = network(x.shape[1], task.classes)
    optimizer = torch.optim.Adam(classifier.parameters(), 2e-3)
    losses = []
    for _ in range(updates):
        inputs, wanted = batch_of(method, (x, shares), made, generator)
        loss = functional.cross_entropy(classifier(inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in torch.split(task.test[0], 500)])
    accuracy = (logits.argmax(1) == task.test[1]).float().mean().item()
    entropy = functional.cross_entropy(logits, task.test[1]).item()
    return accuracy, entropy, statistics.mean(losses[-20:])


def batch_of(
    method: str,
    real: tuple[Tensor, Tensor],
    made: tuple[Tensor, Tensor] | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """BATCH images and shares, half of them made where there are any."""
    count = BATCH if made is None else BATCH // 2
    rows = torch.randint(len(real[0]), (count,), generator=generator)
    x, shares = real[0][rows], real[1][rows]
    if made is None:
        return (moved(x, generator) if method == "image" else x), shares
    rows = torch.randint(len(made[0]), (count,), generator=generator)
    return torch.cat([x, made[0][rows]]), torch.cat([shares, made[1][rows]])


def measure(task: Task, sizes: list[int], seeds: list[int], updates: int) -> dict[str, Any]:
    """Every method with every number of images and seed."""
    rows: dict[str, Any] = {}
    for method in ("none", "image", *METHODS):
        start = time.perf_counter()
        rows[method] = {}
        for n in sizes:
            runs = [train_and_test(task, method, n, seed, updates) for seed in seeds]
            names = ("accuracy", "cross_entropy", "training_loss")
            columns = zip(*runs, strict=True)
            rows[method][str(n)] = {k: [*v] for k, v in zip(names, columns, strict=True)}
        shown = [f"{statistics.mean(row['accuracy']):.3f}" for row in rows[method].values()]
        print(f"{method:20} {' '.join(shown)}  {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def main() -> None:
    """Writes the JSON and prints the tables."""
    command = parser(__doc__, "root", "checkpoints")
    command.add_argument("--out", default="benchmarks/augmentation.json")
    command.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    command.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    command.add_argument("--updates", type=int, default=UPDATES)
    chosen = command.parse_args()
    torch.set_num_threads(1)
    emoji = Arrays(path=f"{chosen.root}/emoji64.npz", images="x", labels="group")
    tasks = {}
    for name, data in (("MNIST", Vision(root=chosen.root)), ("emoji", emoji)):
        model = latentkit.load(f"{chosen.checkpoints}/vae_{name.lower()}.safetensors")
        tasks[name] = Task(data, model)
    settings = {"updates": chosen.updates, "batch": BATCH, "pool_per_class": POOL}
    settings |= {"bent_per_class": BENT}
    settings |= {"seeds": [*chosen.seeds], "models": ["vae_mnist", "vae_emoji"]}
    content: dict[str, Any] = {"settings": settings, "machine": machine(), "sets": {}, "rows": {}}
    for name, task in tasks.items():
        content["sets"][name] = {"classes": task.classes, "test_images": len(task.test[1])}
        content["rows"][name] = measure(task, chosen.sizes, chosen.seeds, chosen.updates)
        Path(chosen.out).write_text(json.dumps(content, indent=2) + "\n")
    print("\n\n".join(markdown(content)))


if __name__ == "__main__":
    main()
