"""`latentkit bench directions`: DirBench on the oracle and on trained models."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from latentkit.cli.judging.cases import Subject
from latentkit.cli.named.sources import Source
from latentkit.cli.progress import bar, watched
from latentkit.cli.results import Results
from latentkit.explain.agreement import spearman
from latentkit.explain.case import Case, Judge, known_scenes
from latentkit.explain.control import networks
from latentkit.explain.dirbench import Row, bench, completeness, score_maps
from latentkit.explain.learned_encoder import encoder_for, train_encoder
from latentkit.explain.oracle import Oracle
from latentkit.explain.readings import (
    CEILING,
    DISCRIMINATOR,
    ENCODER,
    Reading,
    controls,
    stages,
)
from latentkit.views.bench import retrieval_chart

_CASCADED = ("pattern", "natural change", "HiRes-CAM, first layer", "guided backpropagation")
Rows = dict[str, Row]


def bench_oracle(results: Results, images: int, steps: int) -> None:
    """Trains the oracle's encoder and scores all readings, and three under random weights.

    A second encoder, of another seed, judges.
    """
    seed = results.common.seed
    oracle = Oracle(seed=seed)
    part = oracle.explainable()["encoder"]
    error = _train(oracle, part.module, steps, seed, "training")
    other = encoder_for(oracle.shape, oracle.latent_dim, oracle.width, seed + 1).module
    _train(oracle, other, steps, seed + 1, "training the judge")
    z = oracle.prior.sample(images, generator=torch.Generator().manual_seed(seed + 1))
    directions = torch.stack(list(oracle.directions.values()))
    scenes = known_scenes(oracle.factors(z), oracle.size)
    case = Case(oracle.decode, part, z, directions, None, scenes, Judge(other, directions))
    rows = _rows(case, ENCODER)
    _finish(
        results,
        {"oracle encoder, factors": rows},
        {},
        cascade=_cascade(case),
        completeness={"oracle encoder, factors": completeness(case)},
        encoder_error=error,
        directions=list(oracle.directions),
    )


def _train(oracle: Oracle, module: torch.nn.Module, steps: int, seed: int, words: str) -> float:
    return train_encoder(module, oracle, steps, seed=seed, watch=bar(words))


def bench_models(results: Results, sources: list[Source], images: int, steps: int) -> None:
    """Scores the readings of every network of every model; the next model with factors judges.

    Raises:
        ValueError: two models are one, or a model cannot be looked into.
    """
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"expected different models, got {', '.join(names)}")
    seed = results.common.seed
    subjects = [Subject(s, images, steps, seed, seed + i) for i, s in enumerate(sources)]
    for subject in subjects:  # all of them, before the work on the first
        _check(subject)
    tables, sums = {}, {}
    for subject in subjects:
        for name, kind, case in subject.cases(_judge(subject, subjects)):
            title = f"{subject.source.name} {name}, {kind}"
            tables[title] = _rows(case, ENCODER if name != "discriminator" else DISCRIMINATOR)
            if name != "discriminator":
                sums[title] = completeness(case)
    fingerprints = {source.name: source.fingerprint for source in sources}
    _finish(results, tables, fingerprints, completeness=sums)


def _check(subject: Subject) -> None:
    source = subject.source
    source.require("decode")
    if not networks(source.model) and not subject.draws_scenes:
        raise ValueError(f"{source.name} has no network that can be looked into (explainable)")
    if (one := source.latents(1, 0)).ndim != 2:
        raise ValueError(f"expected flat latents (N, D) of {source.name}, got {tuple(one.shape)}")


def _judge(subject: Subject, subjects: list[Subject]) -> Judge | None:
    """The next model in turn that encodes scenes of the same size; never the model itself."""
    if not subject.draws_scenes:
        return None
    place = next(i for i, other in enumerate(subjects) if other is subject)
    for other in subjects[place + 1 :] + subjects[:place]:
        alike = other.draws_scenes and other.source.image_shape == subject.source.image_shape
        if alike and other.source.fingerprint != subject.source.fingerprint:
            judge = other.judge()
            if judge is not None:
                return judge
    return None


def _rows(case: Case, readings: Mapping[str, Reading]) -> Rows:
    known = CEILING if case.scenes is not None else {}
    chosen = {**readings, **controls(readings), **known}
    return bench(case, chosen, bar("readings"))


def _cascade(case: Case) -> dict[str, dict[str, dict[str, float]]]:
    """Maps with more and more layers of the network that have learned nothing.

    By reading and by the layer that was the last to go: retrieval, which must fall to a guess, and
    similarity, Spearman's correlation of |map| with the trained network's, which must fall too.
    Guided backpropagation is known to fail the second (Adebayo et al., NeurIPS 2018): it shows the
    image.
    """
    truths, layers = case.effects(), stages(case)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in watched(_CASCADED, "random weights"):
        trained, found[name] = ENCODER[name](case).abs().flatten(0, 1), {}
        for layer, fresh in layers.items():
            maps = ENCODER[name](fresh)
            alike = spearman(trained, maps.abs().flatten(0, 1)).mean()
            won = score_maps(maps, truths)["retrieval"].mean
            found[name][layer] = {"retrieval": won, "similarity": float(alike)}
    return found


def _finish(
    results: Results, tables: dict[str, Rows], fingerprints: dict[str, str], **more: Any
) -> None:
    for title, rows in tables.items():
        print(title)
        for name, row in rows.items():
            found = row["retrieval"]
            print(f"  {name:<40} {found.mean:.2f} ({found.low:.2f} to {found.high:.2f})")
    results.figure(retrieval_chart(tables))
    plain = {
        title: {name: {k: asdict(m) for k, m in row.items()} for name, row in rows.items()}
        for title, rows in tables.items()
    }
    results.finish({"tables": plain, **more}, fingerprints=fingerprints)
