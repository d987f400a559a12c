"""The cases of DirBench that a model on the command line gives."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar
from latentkit.data.shapes import Shapes
from latentkit.explain import hooks
from latentkit.explain.case import Case, Judge, Scenes, judge_of, known_scenes
from latentkit.explain.control import networks
from latentkit.explain.learned_encoder import encoder_for, train_encoder
from latentkit.explain.paired import paired_directions
from latentkit.explain.pattern import READOUT
from latentkit.latent.directions import pca, sefa
from latentkit.latent.first_layer import first_weight
from latentkit.protocols import Encode, Part
from latentkit.store.identity import modules_in

_RANDOM, _MAIN = 8, 5  # directions of chance; of principal components and of SeFa
_SHOWN = 0.5  # of the variance of scenes: images that show less of them have no known owners
LEARNED = "learned encoder"


@dataclass(frozen=True)
class Subject:
    """A model to be measured.

    Attributes:
        source: the model, with flat latents.
        images: how many.
        steps: of the training of an encoder, for a generator of scenes that has none.
        seed: of latents and random directions.
        encoder_seed: of that training.
    """

    source: Source
    images: int
    steps: int
    seed: int
    encoder_seed: int

    def cases(self, judge: Judge | None = None) -> Iterator[tuple[str, str, Case]]:
        """Name of the network, kind of directions, and the case, one by one."""
        for kind, directions in self._directions():
            for name, part in self.networks.items():
                learn = self._learn if name == "discriminator" else None
                case = Case(self.source.model.decode, part, self._z, directions.to(self._z), learn)
                if kind == "factors":
                    case = replace(case, scenes=self._scenes, judge=judge)
                yield name, kind, case

    @property
    def draws_scenes(self) -> bool:
        """Whether its data are scenes with known factors."""
        if self.source.data_name is not None:
            return isinstance(self.source.data, Shapes)
        data = self.source.about.get("data") or {}  # it may not be there to be read
        return data.get("class_path") == f"{Shapes.__module__}.{Shapes.__name__}"

    @cached_property
    def networks(self) -> dict[str, Part]:
        """What can be looked into; with an encoder for a generator of scenes that has none."""
        found = networks(self.source.model)
        if not hasattr(self.source.model, "encode") and self.draws_scenes:
            found[LEARNED] = self._learned()
        return found

    def judge(self) -> Judge | None:
        """It as a judge of others; None if it has no encoder of scenes."""
        if self._encode is None or not self.draws_scenes:
            return None
        return judge_of(self._encode, self._size)

    @property
    def _size(self) -> int:
        return int(self.source.data.image_shape[-1])

    @property
    def _encode(self) -> Encode | None:
        if hasattr(self.source.model, "encode"):
            encode: Encode = self.source.model.encode
            return encode
        return self.networks[LEARNED].module if LEARNED in self.networks else None

    @cached_property
    def _z(self) -> Tensor:
        return self.source.latents(self.images, self.seed).to(self.source.device)

    @cached_property
    def _learn(self) -> Tensor:
        return self.source.latents(READOUT, self.seed + 1, "train").to(self.source.device)

    def _learned(self) -> Part:
        model, shape = self.source.model, self.source.data.image_shape
        seed, watch = self.encoder_seed, bar("training an encoder")
        part = encoder_for(shape, model.prior.dim, seed=seed)
        part.module.to(self.source.device)
        train_encoder(part.module, model, self.steps, rebuild=5.0, seed=seed, watch=watch)
        return part

    def _directions(self) -> Iterator[tuple[str, Tensor]]:
        """Sets of directions (K, D), by kind."""
        model, dim = self.source.model, self._z.shape[1]
        generator = torch.Generator().manual_seed(self.seed)
        yield "random", torch.randn(_RANDOM, dim, generator=generator)
        if hasattr(model, "encode"):
            yield "principal", pca(self._learn, min(_MAIN, dim))
        weight = self._first_weight()
        if weight is not None:
            yield "sefa", sefa(weight, min(_MAIN, dim))
        if self._encode is not None and self.draws_scenes:
            yield "factors", paired_directions(self._encode, self._size)

    def _first_weight(self) -> Tensor | None:
        networks = nn.ModuleList(modules_in(self.source.model))
        try:
            with hooks.borrowed(networks):
                return first_weight(self.source.model.decode, networks, self._z[:1])
        except ValueError:  # it has no such layer, so no such directions
            return None

    @cached_property
    def _scenes(self) -> Scenes | None:
        """What is known of the scenes that its images show, where they show them."""
        if not hasattr(self.source.model, "encode"):
            return None
        rows, test = self.source.drawn(self.images, self.seed), self.source.data.split("test")
        x, shown = test[rows][0], self.source.decode(self._z)
        missed = (x - shown).square().mean() / (x - x.mean(0)).square().mean()
        if float(missed) > 1 - _SHOWN:
            return None
        return known_scenes(test.attribute_values[rows].to(self._z), self._size)
