"""Deep embedded clustering: a network and its clusters, learned together.

Xie, Girshick and Farhadi, "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016
(arXiv 1511.06335).
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentkit.latent.cluster import Clustering, kmeans
from latentkit.latent.points import check_points

_STEPS = 140  # with one target, as in the released code of the paper


@dataclass(frozen=True)
class Embedded:
    """What deep embedded clustering made.

    Attributes:
        clusters: of the embedded inputs; the confidence is the membership q of the own cluster.
        z: (N, D) the inputs as the trained network embeds them; the centres lie among them.
        network: trained, in evaluation mode; the one that was given is as it was.
        kl: for each round, the divergence of its fixed target before and after it, in nats.
    """

    clusters: Clustering
    z: Tensor
    network: nn.Module
    kl: tuple[tuple[float, float], ...]


class Residual(nn.Module):
    """A small network that begins as the identity: z + f(z), with f zero at first.

    So embedding starts from the latents as they are, and moves them only where that pays.

    Args:
        dim: D.
        hidden: width of the layer between.
    """

    def __init__(self, dim: int, hidden: int = 64) -> None:
        super().__init__()
        first, last = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.body = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        moved: Tensor = z + self.body(z)
        return moved


def memberships(z: Tensor, centres: Tensor) -> Tensor:
    """How much each point belongs to each centre: q of eq. 1, Student's t with one degree.

    Args:
        z: (N, D).
        centres: (K, D).

    Returns:
        (N, K), whose rows sum to 1.
    """
    closeness = 1 / (1 + (z[:, None] - centres).square().sum(-1))
    return closeness / closeness.sum(1, keepdim=True)


def target(q: Tensor) -> Tensor:
    """What memberships should become: p of eq. 3, surer ones and clusters of equal weight.

    p is q squared over the clusters' sizes, each row scaled to sum to 1.

    Args:
        q: (N, K) memberships of all points.

    Returns:
        (N, K), whose rows sum to 1.
    """
    weight = q.square() / q.sum(0)
    return weight / weight.sum(1, keepdim=True)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of p from q in nats, the mean over rows: () of (N, K); >= 0."""
    rows: Tensor = (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(1)
    return rows.mean()


def dec(
    x: Tensor,
    k: int,
    network: nn.Module | None = None,
    rounds: int = 10,
    seed: int = 0,
    lr: float = 1e-3,
    batch: int = 256,
) -> Embedded:
    """Clusters that a network makes clearer as it learns to embed their members.

    K-means on the embedded inputs gives the centres. Then, in rounds: the target p is computed for
    all inputs and held, and network and centres take 140 steps down the divergence KL(p || q).
    Stops early once fewer than 1 in 1,000 inputs change their cluster in a round. What K-means got
    wrong but is sure of becomes surer: the low divergence at the end is no proof of good clusters.

    Args:
        x: (N, *S) inputs: latents, or images for a trained encoder.
        k: number of clusters, at most N.
        network: a trainable encoder, (N, *S) -> (N, D), copied before it is trained, and run in
            evaluation mode throughout; None is `Residual` on latents (N, D).
        rounds: at most, >= 1.
        seed: of the network, the starts of K-means and the batches.
        lr: learning rate of Adam.
        batch: inputs of a step.

    Returns:
        Clusters, embedded inputs and the trained copy of the network.

    Raises:
        ValueError: if the inputs are not finite, or not (N, D) where no network is given, the
            network gives something else than (N, D), k is not in [1, N], or a number is too small.
    """
    if rounds < 1 or batch < 1 or not lr > 0:
        raise ValueError(
            f"expected rounds >= 1, batch >= 1 and lr > 0, got {rounds}, {batch} and {lr}"
        )
    check_points(x.flatten(1) if network is not None and x.ndim > 2 else x, "x")
    embed = _prepared(x, network, seed)
    first = kmeans(_embedded(embed, x, batch), k, seed)
    centres = nn.Parameter(first.centres.clone())
    kl = _train(embed, centres, x, (rounds, batch, lr), torch.Generator().manual_seed(seed))
    z = _embedded(embed, x, batch)
    confidence, labels = memberships(z, centres.detach()).max(1)
    return Embedded(Clustering("dec", labels, centres.detach(), confidence), z, embed, kl)


def _prepared(x: Tensor, network: nn.Module | None, seed: int) -> nn.Module:
    """A copy to train; in evaluation mode, for batch norm must not mix the embedded inputs."""
    if network is not None:
        return copy.deepcopy(network).eval().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Residual(x.shape[1]).to(x).eval()


@torch.no_grad()
def _embedded(network: nn.Module, x: Tensor, batch: int) -> Tensor:
    z = torch.cat([network(part) for part in torch.split(x, batch)])
    check_points(z, "what the network gives")
    return z


def _train(
    network: nn.Module,
    centres: nn.Parameter,
    x: Tensor,
    numbers: tuple[int, int, float],
    generator: torch.Generator,
) -> tuple[tuple[float, float], ...]:
    """Trains network and centres in place; the divergences around each round."""
    rounds, batch, lr = numbers
    optimizer = torch.optim.Adam([*network.parameters(), centres], lr)
    q = memberships(_embedded(network, x, batch), centres.detach())
    found: list[tuple[float, float]] = []
    for _ in range(rounds):
        before, p = q, target(q)
        for _ in range(_STEPS):
            rows = torch.randperm(len(x), generator=generator)[:batch].to(x.device)
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = divergence(p[rows], memberships(network(x[rows]), centres))
                torch.autograd.backward(loss)
            optimizer.step()
        q = memberships(_embedded(network, x, batch), centres.detach())
        found.append((divergence(p, before).item(), divergence(p, q).item()))
        if (q.argmax(1) != before.argmax(1)).float().mean() < 1e-3:
            break
    return tuple(found)
