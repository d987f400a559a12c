"""Lets an encoder find the clusters of real images without labels, before a generator is there.

First the encoder learns features whose clusters survive small affine changes, by invariant
information clustering (Ji et al., ICCV 2019, arXiv 1807.06653) with many heads. Each head alone
often merges two classes and splits a third (0.69 to 0.97 of MNIST right, by seed and head), but the
features that all of them share are good: K-means on them gives the clusters to start from.
"""

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from latentkit.latent.cluster import kmeans
from latentkit.layers import ConvEncoder
from latentkit.losses.clustering import mutual_information

HEADS, FINE_HEADS, FINE = 20, 3, 50  # heads of K clusters, and of FINE smaller ones (section 3.2)
_SURE = 8.0  # squared distance to the centre, in units of its mean, by which probability falls by e


class Heads(nn.Module):
    """Linear layers on an encoder's features that all cluster the same images.

    Args:
        encoder: whose features they read.
        classes: K, the clusters of most of them.
    """

    def __init__(self, encoder: ConvEncoder, classes: int) -> None:
        super().__init__()
        self.classes, self.coarse = classes, HEADS * classes
        features: int = encoder.head.in_features  # type: ignore[assignment]
        self.linear = nn.Linear(features, self.coarse + FINE_HEADS * FINE)

    def shared_information(self, a: Tensor, b: Tensor) -> Tensor:
        """Features (N, F) of two views of the same images -> what the clusters share, in nats.

        Returns:
            The mean over the heads of K clusters plus that over the heads of `FINE`.
        """
        one, other = self._probabilities(a), self._probabilities(b)
        return sum(  # type: ignore[return-value]
            mutual_information(p, q).mean() for p, q in zip(one, other, strict=True)
        )

    def _probabilities(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.linear(features)
        coarse = logits[:, : self.coarse].unflatten(1, (HEADS, -1)).transpose(0, 1)
        fine = logits[:, self.coarse :].unflatten(1, (FINE_HEADS, -1)).transpose(0, 1)
        return coarse.softmax(-1), fine.softmax(-1)


@torch.no_grad()
def adopt_clusters(encoder: ConvEncoder, features: Tensor, classes: int, seed: int) -> None:
    """Makes K-means clusters of features (N, F) what the encoder's last K outputs tell apart.

    The logits are those of equally large spherical normal clusters around the K centres, which
    are linear in the features.

    Args:
        encoder: its last layer is changed.
        features: of real images.
        classes: K.
        seed: of K-means.
    """
    with threadpool_limits(1):  # several threads add up in any order, and no two runs were alike
        found = kmeans(features, classes, seed)
    spread = (features - found.centres[found.labels]).square().sum(1).mean()
    centres = found.centres * _SURE / spread
    head: nn.Linear = encoder.head  # type: ignore[assignment]
    head.weight[-classes:] = centres
    head.bias[-classes:] = -0.5 * (centres * found.centres).sum(1)
