"""Small networks and their Grad-CAM by hand, for the checks of `peers.py`.

Their layers keep the size of the images, so that a peer that resizes maps changes nothing.
"""

import torch
from torch import Tensor, nn


def pick(row: Tensor) -> Tensor:
    """The third output."""
    return row[2]


def network(rank: int = 2, inplace: bool = False, norm: bool = False) -> nn.Sequential:
    """Images 3x8x8 (or of another rank) -> 5; layer "0" is followed by a LeakyReLU."""
    torch.manual_seed(0)
    conv, batch_norm = getattr(nn, f"Conv{rank}d"), getattr(nn, f"BatchNorm{rank}d")
    return nn.Sequential(
        conv(3, 4, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=inplace),
        conv(4, 4, 3, padding=1),
        batch_norm(4) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 8**rank, 5),
    ).eval()


def images(rank: int = 2) -> Tensor:
    """Four of them."""
    return torch.randn(4, 3, *[8] * rank, generator=torch.Generator().manual_seed(1))


def by_hand(net: nn.Sequential, x: Tensor, layer: int = 0) -> Tensor:
    """Grad-CAM of the third output, by plain autograd on the two parts of the network."""
    leaf = net[: layer + 1](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net[layer + 1 :](leaf.clone())[:, 2].sum(), leaf)
    return (g.flatten(2).mean(2).view(*g.shape[:2], *[1] * (g.ndim - 2)) * leaf).sum(1).detach()
