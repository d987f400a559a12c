"""What DirBench asks about: directions of a generator, a network, and what is known of both."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from latentkit.data.shapes_render import FACTORS, factor_mask, render
from latentkit.explain import hooks, scores
from latentkit.explain.directions import effect
from latentkit.explain.paired import paired_directions
from latentkit.explain.pattern import discriminator_readout
from latentkit.metrics.perturbation import insertion_along
from latentkit.protocols import Decode, Encode, Part

_STEP = 1.0  # standard deviations of the latents that a direction is walked for the judge
_PORTIONS = 12  # that the pixels of a walk are pasted in
_STILL = 0.5  # of the median change of the judge's score: less tells nothing


@dataclass(frozen=True, eq=False)
class Scenes:
    """What the renderer knows of N scenes and K factors.

    Attributes:
        changes: (K, N, *S), how much each place changes with the factor, up to a factor.
        owners: (K, N, *S), share of each pixel that belongs to what the factor is of.
    """

    changes: Tensor
    owners: Tensor


def known_scenes(factors: Tensor, size: int, names: tuple[str, ...] = FACTORS[1:]) -> Scenes:
    """Factors (N, 10), height and width, names of K factors -> what is known of their scenes."""
    units = dict(zip(FACTORS, torch.eye(len(FACTORS)).to(factors), strict=True))
    changes = [effect(lambda f: render(f, size).image, factors, units[name]) for name in names]
    owners = [factor_mask(factors, name, size) for name in names]
    return Scenes(torch.stack(changes), torch.stack(owners))


@dataclass(frozen=True, eq=False)
class Judge:
    """Another encoder, such as one of another seed, with latents of its own.

    Attributes:
        encode: images (N, C, *S) -> latents (N, *Z').
        directions: (K, *Z'), of the same K factors.
    """

    encode: Encode
    directions: Tensor


def judge_of(encode: Encode, size: int) -> Judge:
    """An encoder of scenes of this height and width, with its directions of all factors.

    Args:
        encode: images (N, 3, size, size) -> latents (N, *Z).
        size: height and width.
    """
    return Judge(encode, paired_directions(encode, size))


@dataclass(frozen=True, eq=False)
class Case:
    """K directions of a generator at N latents, and a network that may read them.

    Attributes:
        decode: latents (N, *Z) -> images (N, C, *S).
        part: the network.
        z: (N, *Z).
        directions: (K, *Z).
        learn: latents (M, *Z) that a discriminator's readout is learned from; None for an encoder.
        scenes: what is known of the scenes that the images show, if anything.
        judge: an encoder that made no map, if there is one.
    """

    decode: Decode
    part: Part
    z: Tensor
    directions: Tensor
    learn: Tensor | None = None
    scenes: Scenes | None = None
    judge: Judge | None = None

    def decoded(self, z: Tensor) -> Tensor:
        """Latents (N, *Z) -> images (N, C, *S), the model in eval mode."""
        with hooks.borrowed(hooks.owner(self.decode)):
            return self.decode(hooks.own(z))

    @cached_property
    def x(self) -> Tensor:
        """The images (N, C, *S) of the latents."""
        return self.decoded(self.z)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, *S) -> latents (N, *Z): the encoder's, or a discriminator's readout."""
        return self._encode(x)

    @cached_property
    def _encode(self) -> Encode:
        if self.learn is not None:
            return discriminator_readout(self.part, self.decode, self.learn)
        module, latents = self.part.module, self.part.latents

        def encode(x: Tensor) -> Tensor:
            with hooks.borrowed(module):
                output: Tensor = module(hooks.own(x))
                return output if latents is None else latents(output)

        return encode

    def each(self, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What `make` gives for every direction: (K, ...)."""
        return torch.stack([make(d).detach() for d in self.directions])

    def effects(self) -> Tensor:
        """The truth: what the generator changes along each direction, (K, N, *S)."""
        return self.each(lambda d: effect(self.decode, self.z, d))

    def insertion(self, maps: Tensor) -> Tensor:
        """Do the places that maps mark carry the change, as the judge sees it?

        Args:
            maps: (K, N, *S_layer).

        Returns:
            (K, N), see `metrics.perturbation.insertion_along`; NaN where the judge hardly sees the
            whole change.
        """
        return torch.stack(
            [
                insertion_along(walk.score, self.x, walk.end, one.abs(), _PORTIONS).masked_fill(
                    walk.unseen, torch.nan
                )
                for one, walk in zip(maps, self._walks, strict=True)
            ]
        )

    @cached_property
    def _walks(self) -> list["_Walk"]:
        """For each direction where it leads, and how the judge sees it."""
        if self.judge is None:
            raise ValueError("expected a case with a judge, got none")
        length = _STEP * self.z.flatten(1).std(0).mean()
        found = []
        for d, judged in zip(self.directions, self.judge.directions, strict=True):
            end = self.decoded(self.z + length * scores.unit_vector(d).to(self.z))
            score = partial(_along, self.judge.encode, scores.unit_vector(judged))
            change = (score(end) - score(self.x)).abs()
            found.append(_Walk(end, score, change < _STILL * change.median()))
        return found


@dataclass(frozen=True, eq=False)
class _Walk:
    end: Tensor
    score: Callable[[Tensor], Tensor]
    unseen: Tensor


def _along(encode: Encode, d: Tensor, x: Tensor) -> Tensor:
    """What a judge reads along d: images (N, C, *S) -> (N,)."""
    with hooks.borrowed(hooks.owner(encode)):
        return encode(hooks.own(x)).flatten(1) @ d.flatten().to(x)
