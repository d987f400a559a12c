"""A small network that has learned something: only such a one can be told from its random self."""

import functools

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def draw(n, seed):
    """Lines, upright lines and squares, somewhere in 1x16x16 images with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.15 * torch.rand(n, 1, 16, 16, generator=generator)
    y = torch.randint(3, (n,), generator=generator)
    for image, shape in zip(x[:, 0], y.tolist(), strict=True):
        r, c = torch.randint(1, 10, (2,), generator=generator).tolist()
        rows, columns = slice(r, r + 5), slice(c, c + 5)
        if shape in (0, 2):
            image[r, columns] = 1
        if shape in (1, 2):
            image[rows, c] = 1
        if shape == 2:
            image[r + 4, columns] = image[rows, c + 4] = 1
    return x, y


@functools.cache
def learn():
    """A classifier in eval mode, and 64 images and labels it has not seen; about a second."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 64),
        nn.ReLU(),
        nn.Linear(64, 3),
    )
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    x, y = draw(512, 0)
    for batch in torch.randint(512, (80, 64)):
        optimiser.zero_grad()
        cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()
    x, y = draw(64, 1)
    assert (net(x).argmax(1) == y).float().mean() > 0.95
    return net.eval(), x, y
