"""An oracle whose encoder has learned something: what takes minutes at full size, in seconds."""

import dataclasses
import functools

import torch

from latentkit.explain.case import Case
from latentkit.explain.learned_encoder import train_encoder
from latentkit.explain.oracle import Oracle

SIZE, WIDTH, STEPS = 32, 8, 400


@functools.cache
def oracle():
    """The oracle and the error of its encoder."""
    found = Oracle(SIZE, WIDTH)
    return found, train_encoder(found.encoder, found, STEPS, images=3000, batch=32)


@functools.cache
def case():
    """The directions of all factors at 24 latents."""
    found, _ = oracle()
    z = found.prior.sample(24, generator=torch.Generator().manual_seed(3))
    directions = torch.stack(list(found.directions.values()))
    return Case(found.decode, found.explainable()["encoder"], z, directions)


def replaced(**known):
    """The case, with more known of it."""
    return dataclasses.replace(case(), **known)
