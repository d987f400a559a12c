"""One latent direction explained: effect, readings and use in one call, with what to trust.

The three questions of `directions`, asked of any model, and of each reading whether it can be told
from those of other directions (`faithfulness`). `latentkit explain` draws the same maps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentkit.data.batches import keyed_generator
from latentkit.explain import hooks, scores
from latentkit.explain.control import CONTROLS, networks, untrained
from latentkit.explain.directions import completeness_error, effect, use_along
from latentkit.explain.faithfulness import (
    Retrieval,
    direction_retrieval,
    measurable,
    with_rivals,
)
from latentkit.explain.pattern import READOUT, discriminator_readout, pattern
from latentkit.explain.references import Chain
from latentkit.protocols import Decode, Decoder, Encode

_USED = 0.5  # standard deviations of z walked to each side, of which the use is shown
_HALVED = 4  # latents at least, to learn from some and judge on others


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a direction changes, and where networks read and use it.

    Attributes:
        effect: what the generator changes (N, *S), the norm over channels.
        readings: by network. "encoder": the change that it would take for the direction, (N, *S),
            the norm of `pattern` over channels; "discriminator": the same of a readout of its
            features, so what they keep of the direction, learned or not.
        use: which part of the change from z - a d to z + a d the encoder responds to, signed
            (N, *S), with a half a standard deviation of z; None without an encoder that a
            derivative passes through.
        use_error: (N,), by how much of that response the sum of the map of use misses it.
        retrieval: by network, how often its reading was told from those of the rivals: `accuracy`
            with its `interval`, `chance`, and `control`, the same with random weights; whether it
            is `faithful`, and if not, which `shortcomings` it has. Empty where there is one latent
            dimension, in which nothing can be told apart.
    """

    effect: Tensor
    readings: Mapping[str, Tensor]
    use: Tensor | None
    use_error: Tensor | None
    retrieval: Mapping[str, Retrieval]


def explain_direction(
    model: Decoder, z: Tensor, d: Tensor, rivals: Tensor | None = None, seed: int = 0
) -> Explanation:
    """Explains a direction, and measures how far to trust where networks read it.

    Args:
        model: anything with `decode`; readings and use need `encode` or `explainable` too. An
            encoder among the `explainable` is used as it is: of a ClusterGAN, its logits.
        z: where, (N, *Z), N >= 2. The more, the narrower the intervals: take 64. With a
            discriminator and no `prior` every second one is learned from and N >= 4.
        d: which way, (*Z); only its direction counts.
        rivals: other directions (K, *Z) that the readings are told from; random ones are added to
            fewer than four.
        seed: of what is drawn: rivals, and a thousand latents of the model's `prior`, from which a
            readout of the discriminator is learned. Without a prior it is learned from every second
            latent of z, and judged on the others.

    Raises:
        ValueError: if d or the rivals do not fit z, the latents are too few or do not differ, or
            two of d and the rivals lie along one line.
    """
    vectors = _told_apart(z, d, rivals, seed)
    truths = torch.stack([effect(model.decode, z, v) for v in vectors])
    learn, held_out = _split(model, z, seed)
    maps = _patterns(model, learn, z, vectors)
    told = {}
    if measurable(vectors):
        blank = [_patterns(untrained(model, k), learn, z, vectors) for k in range(CONTROLS)]
        for name, some in maps.items():
            rows = held_out if name == "discriminator" else slice(None)
            controls = [c[name][:, rows] for c in blank if name in c]
            told[name] = direction_retrieval(some[:, rows], truths[:, rows], controls).only(0)
    own = {name: some[0] for name, some in maps.items()}
    use, error = _used(model, z, vectors[0])
    return Explanation(truths[0], own, use, error, told)


def readers(model: Decoder, latents: Callable[[], Tensor]) -> dict[str, Encode]:
    """What gives latents for images, by network: the encoder, a readout of the discriminator.

    Args:
        model: what has them.
        latents: gives latents (N, *Z) to learn the readout from, where it is needed.

    Returns:
        By name, "encoder" and "discriminator", what the model has of them: images (N, C, *S) ->
        latents (N, *Z).
    """
    parts, found = networks(model), dict[str, Encode]()
    if hasattr(model, "encode"):
        found["encoder"] = model.encode
    elif "encoder" in parts:
        found["encoder"] = parts["encoder"].module
    if "discriminator" in parts:
        read = discriminator_readout(parts["discriminator"], model.decode, latents())
        found["discriminator"] = read
    return found


def user(model: Decoder, z: Tensor) -> nn.Module | None:
    """The network whose use of a change can be shown: an encoder that a derivative passes through.

    Args:
        model: what may have one.
        z: latents (N, *Z), the first of which is tried.

    Returns:
        Images (N, C, *S) -> latents (N, *Z); None if there is no such network.
    """
    parts, encode = networks(model), getattr(model, "encode", None)
    if "encoder" in parts:
        return parts["encoder"].module
    if encode is None or not _differentiable(encode, model.decode, z):
        return None
    return Chain(encode)


def used(
    module: nn.Module, decode: Decode, z: Tensor, d: Tensor, length: float
) -> tuple[Tensor, Tensor]:
    """Which part of the change from z - length d/|d| to z + length d/|d| moves <output, d>?

    Args:
        module: images (N, C, *S) -> latents (N, *Z).
        decode: latents (N, *Z) -> images (N, C, *S).
        z: the middle, (N, *Z).
        d: (*Z).
        length: latent length walked to each side.

    Returns:
        Signed maps (N, *S) that add up to the change of <output, d/|d|>, and the share of it by
        which they miss it, (N,). See `use_along` and `completeness_error`.
    """
    along, score = length * scores.unit_vector(d).to(z), scores.direction(d)
    with hooks.borrowed(hooks.owner(decode)):
        ends = decode(z - along), decode(z + along)
    found = use_along(module, *ends, score)
    return found, completeness_error(found, module, *ends, score)


def _told_apart(z: Tensor, d: Tensor, rivals: Tensor | None, seed: int) -> Tensor:
    """The direction, its rivals and random ones: (K, *Z)."""
    others = d.new_empty(0, *d.shape) if rivals is None else rivals
    if d.shape != z.shape[1:] or others.shape[1:] != z.shape[1:]:
        raise ValueError(
            f"expected directions of the shape of a latent {tuple(z.shape[1:])}, got d of"
            f" {tuple(d.shape)} and rivals of {tuple(others.shape[1:])}"
        )
    if len(z) < 2 or not z.flatten(1).std(0).any():
        raise ValueError(f"expected two latents or more that differ, got {tuple(z.shape)}")
    names = ["d", *(f"rival {k}" for k in range(len(others)))]
    return with_rivals(torch.cat([d[None].to(z), others.to(z)]), seed, names)


def _split(model: object, z: Tensor, seed: int) -> tuple[Tensor, slice]:
    """Latents that a readout is learned from, and the rows of z that it may be judged on."""
    if hasattr(model, "prior"):
        # A key of our own, since z may come from a generator of any plain seed.
        drawn: Tensor = model.prior.sample(READOUT, generator=keyed_generator(seed, READOUT))
        return drawn.to(z), slice(None)
    if "discriminator" in networks(model) and len(z) < _HALVED:
        raise ValueError(
            f"expected {_HALVED} latents or more, since a discriminator's readout is learned from"
            f" half of them where the model has no prior, got {len(z)}"
        )
    return z[::2], slice(1, None, 2)


def _patterns(model: Decoder, learn: Tensor, z: Tensor, vectors: Tensor) -> dict[str, Tensor]:
    """The reading of each network, (K, N, *S)."""
    read = readers(model, lambda: learn)
    return {
        name: pattern(encode, model.decode, z, vectors).norm(dim=2) for name, encode in read.items()
    }


def _used(model: Decoder, z: Tensor, d: Tensor) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The use and its error, where there is an encoder."""
    module = user(model, z)
    if module is None:
        return None, None
    return used(module, model.decode, z, d, _USED * float(z.flatten(1).std(0).mean()))


def _differentiable(encode: Encode, decode: Decode, z: Tensor) -> bool:
    with hooks.borrowed(hooks.owner(decode)), hooks.borrowed(hooks.owner(encode)):
        x = decode(z[:1].clone())
        try:
            with torch.enable_grad():
                return encode(x.detach().clone().requires_grad_()).requires_grad
        except RuntimeError:  # it leaves torch, which refuses tensors that need a gradient
            return False
