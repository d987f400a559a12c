"""`latentkit bench directions`: DirBench on the oracle and on trained models."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from latentkit.cli.readings import parts_of
from latentkit.cli.results import Results
from latentkit.cli.sources import Source
from latentkit.data.shapes import Shapes
from latentkit.data.shapes_render import FACTORS
from latentkit.explain.dirbench import Row, bench, score_maps
from latentkit.explain.oracle import Oracle, train_encoder
from latentkit.explain.paired import paired_directions
from latentkit.explain.readings import DISCRIMINATOR, ENCODER, Case, Reading, controls, randomised
from latentkit.latent.directions import pca
from latentkit.views.bench import retrieval_chart

_RANDOM, _PRINCIPAL = 8, 5  # directions of each kind
_LATENTS = 1000  # that principal directions and a discriminator's readout are found from
_CASCADED = ("pattern", "natural change", "guided backpropagation")
Rows = dict[str, Row]


def bench_oracle(results: Results, images: int, steps: int) -> None:
    """Trains the oracle's encoder and scores all readings, and three under random weights."""
    seed = results.common.seed
    oracle = Oracle(seed=seed)
    error = train_encoder(
        oracle,
        steps,
        seed=seed,
        watch=lambda n: tqdm(n, desc="training", leave=False, disable=None),
    )
    z = oracle.prior.sample(images, generator=torch.Generator().manual_seed(seed + 1))
    directions = torch.stack(list(oracle.directions.values()))
    case = Case(oracle.decode, oracle.explainable()["encoder"], z, directions)
    rows = _rows(case, {**ENCODER, **controls(ENCODER)})
    cascade = _cascade(case)
    _finish(
        results,
        {"oracle": {"encoder": {"factors": rows}}},
        {},
        cascade=cascade,
        encoder_error=error,
        directions=list(oracle.directions),
    )


def bench_models(results: Results, sources: list[Source], images: int) -> None:
    """Scores the readings of every network of every model."""
    for source in sources:  # all of them, before the work on the first
        source.require("decode")
        if not parts_of(source):
            raise ValueError(f"{source.name} has no network that can be looked into (explainable)")
        if (one := source.latents(1, 0)).ndim != 2:
            raise ValueError(
                f"expected flat latents (N, D) of {source.name}, got {tuple(one.shape)}"
            )
    tables = {
        source.name: {name: _network(source, name, images, results) for name in parts_of(source)}
        for source in sources
    }
    fingerprints = {source.name: source.fingerprint for source in sources}
    _finish(results, tables, fingerprints)


def _network(source: Source, name: str, images: int, results: Results) -> dict[str, Rows]:
    seed, part = results.common.seed, parts_of(source)[name]
    z = source.latents(images, seed).to(source.device)
    learn = source.latents(_LATENTS, seed + 1).to(source.device)
    readings: Mapping[str, Reading] = ENCODER if name == "encoder" else DISCRIMINATOR
    chosen = {**readings, **controls(readings)}
    tables = {}
    for kind, directions in _directions(source, learn, seed):
        learned = None if name == "encoder" else learn
        case = Case(source.model.decode, part, z, directions.to(z), learned)
        tables[kind] = _rows(case, chosen)
    return tables


def _directions(source: Source, latents: Tensor, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Sets of directions (K, D), by kind."""
    generator = torch.Generator().manual_seed(seed)
    yield "random", torch.randn(_RANDOM, latents.shape[1], generator=generator)
    if hasattr(source.model, "encode"):
        yield "principal", pca(latents, min(_PRINCIPAL, latents.shape[1]))
        if isinstance(source.data, Shapes):
            found = paired_directions(source.encode, source.data.size, names=FACTORS[1:])
            yield "factors", found


def _rows(case: Case, readings: Mapping[str, Reading]) -> Rows:
    return bench(case, readings, lambda n: tqdm(n, desc="readings", leave=False, disable=None))


def _cascade(case: Case) -> dict[str, dict[str, float]]:
    """Retrieval with more and more layers of the network that have learned nothing."""
    truths = case.effects()
    stages = randomised(case).items()
    return {
        name: {
            layer: score_maps(ENCODER[name](fresh), truths)["retrieval"].mean
            for layer, fresh in stages
        }
        for name in tqdm(_CASCADED, desc="random weights", leave=False, disable=None)
    }


def _finish(
    results: Results,
    tables: dict[str, dict[str, dict[str, Rows]]],
    fingerprints: dict[str, str],
    **more: Any,
) -> None:
    charted = {
        f"{model} {network}, {kind}": rows
        for model, networks in tables.items()
        for network, kinds in networks.items()
        for kind, rows in kinds.items()
    }
    for title, rows in charted.items():
        print(title)
        for name, row in rows.items():
            found = row["retrieval"]
            print(f"  {name:<40} {found.mean:.2f} ({found.low:.2f} to {found.high:.2f})")
    results.figure(retrieval_chart(charted))
    plain = {
        title: {name: {k: asdict(m) for k, m in row.items()} for name, row in rows.items()}
        for title, rows in charted.items()
    }
    results.finish({"tables": plain, **more}, fingerprints=fingerprints)
