"""Judges generators of digits by a classifier of our own: classes covered, Frechet distance.

python benchmarks/generators.py checkpoints/{dcgan,clustergan,vae}_mnist.safetensors

The classifier is trained here on MNIST's train split (two epochs). The Frechet distance is taken in
its 64 hidden features, so it compares with nothing but other rows of this table: it is NOT the FID,
nor the `frechet_classifier64` of `latentkit evaluate`, whose classifier is trained more shortly.
The last row, real test images against real training images, is the floor.
"""

import json
from pathlib import Path

import torch
from options import parser
from torch import Tensor
from torch.nn.functional import cross_entropy

import latentkit
from latentkit.data.vision import Vision
from latentkit.layers import ConvEncoder
from latentkit.metrics.frechet import frechet_distance
from latentkit.priors import GaussianOneHot

SAMPLES = 10_000


def train_classifier(data: Vision, epochs: int = 2) -> ConvEncoder:
    """A small convolutional classifier of the ten digits."""
    torch.manual_seed(0)
    network = ConvEncoder(data.image_shape, 10, width=32, hidden=64)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = data.train_dataloader()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for x, y in loader:
            loss = cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def look(network: ConvEncoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 64) and class probabilities (N, 10) of images."""
    features, probabilities = [], []
    for x in torch.split(images, 500):
        hidden = network.hidden(network.stages(2 * x - 1))
        features.append(hidden)
        probabilities.append(network.head(hidden).softmax(1))
    return torch.cat(features), torch.cat(probabilities)


@torch.no_grad()
def samples(model: object, seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Images of the prior, and the code class each was drawn with where there are such."""
    generator = torch.Generator().manual_seed(seed)
    z = model.prior.sample(SAMPLES, generator=generator)
    images = torch.cat([model.decode(part) for part in torch.split(z, 500)])
    coded = isinstance(model.prior, GaussianOneHot)
    return images, model.prior.split(z)[1].argmax(1) if coded else None


def judge(
    network: ConvEncoder,
    images: Tensor,
    real: Tensor,
    code: Tensor | None = None,
    labels: Tensor | None = None,
) -> dict:
    """The numbers of one row.

    Args:
        network: the classifier.
        images: (N, C, H, W) generated ones.
        real: (M, C, H, W) held-out ones.
        code: (N,) the class each was drawn with; None where there is no such.
        labels: (M,) of the real ones; with `code`, to compare how much both vary.
    """
    features, probability = look(network, images)
    found = probability.argmax(1)
    share = found.bincount(minlength=10) / len(found)
    row = {
        "smallest_class_share": share.min().item(),
        "largest_class_share": share.max().item(),
        "mean_confidence": probability.amax(1).mean().item(),
        "frechet_generators64": frechet_distance(features, look(network, real)[0]),
    }
    if code is not None:
        pure = [found[code == k].bincount(minlength=10).max() for k in range(int(code.max()) + 1)]
        row["purity_within_code"] = (sum(pure) / len(found)).item()
    if code is not None and labels is not None:
        row["spread_within_code"] = _spread(features, found, code, look(network, real)[0], labels)
    return row


def _spread(features: Tensor, found: Tensor, code: Tensor, real: Tensor, labels: Tensor) -> float:
    """Variance of the features within a code, in parts of that within its class; mean over codes.

    1 is as diverse as real images, 0 is one image a code.
    """
    shares = []
    for k in range(int(code.max()) + 1):
        rows = code == k
        same = real[labels == found[rows].mode().values]
        shares.append(features[rows].var(0).sum() / same.var(0).sum())
    return float(torch.stack(shares).mean())


def main() -> None:
    """Prints a JSON of all rows."""
    command = parser(__doc__, "root")
    command.add_argument("models", nargs="+")
    chosen = command.parse_args()
    data = Vision(root=chosen.root)
    network = train_classifier(data)
    test, labels = data.split("test")[:]
    accuracy = (look(network, test)[1].argmax(1) == labels).float().mean().item()
    rows: dict[str, object] = {"classifier_accuracy": accuracy, "samples": SAMPLES}
    for name in chosen.models:
        images, code = samples(latentkit.load(name))
        rows[Path(name).stem] = judge(network, images, test, code, labels)
    rows["real_train_images"] = judge(network, data.split("train")[:SAMPLES][0], test)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
