"""One latent direction, three questions that must not be mixed up.

EFFECT: what does the generator change along d? READING: where does the encoder or discriminator
look to read d? USE: which part of a change does a network's score respond to? The effect is the
reference that readings are measured against (see `faithfulness`).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from latentkit.explain import hooks, scores
from latentkit.explain.attribution import integrated_gradients, saliency
from latentkit.explain.cam import Method, cam, heatmap
from latentkit.explain.gradients import differentiate, values
from latentkit.explain.heatmap import Heatmap
from latentkit.latent.derivative import pushforward
from latentkit.protocols import Decode, Part, Score


def signed_effect(
    decode: Decode,
    z: Tensor,
    d: Tensor,
    method: Literal["jvp", "difference"] = "jvp",
    step: float = 0.01,
) -> Tensor:
    """Question EFFECT: what does the generator change along d, and which way?

    Args:
        decode: latents (N, *Z) -> images (N, C, *S); a module or a module's bound method is put
            into eval mode meanwhile, anything else must be deterministic by itself.
        z: where, (N, *Z).
        d: which way, (*Z); only its direction counts.
        method: "jvp", the exact derivative by forward mode, or "difference", the central difference
            (G(z + step d/|d|) - G(z - step d/|d|)) / (2 step): two decodings, cheaper on a CPU.
        step: length in latent space, for "difference" only.

    Returns:
        (N, C, *S), change of each value per unit of latent length.

    Raises:
        ValueError: a direction that does not fit or is zero, a step not above 0, an unknown method,
            or a decoder that no derivative passes through.
    """
    along = _along(z, d, step)
    with hooks.borrowed(hooks.owner(decode)):
        z = hooks.normal(z)
        if method == "jvp":
            return pushforward(decode, z, along.expand_as(z).contiguous())
        if method == "difference":
            return (decode(z + step * along) - decode(z - step * along)) / (2 * step)
    raise ValueError(f"expected method 'jvp' or 'difference', got {method!r}")


def effect(
    decode: Decode,
    z: Tensor,
    d: Tensor,
    method: Literal["jvp", "difference"] = "jvp",
    step: float = 0.01,
) -> Tensor:
    """Question EFFECT: how much does the generator change each place along d?

    Arguments as in `signed_effect`.

    Returns:
        (N, *S), norm over channels of the change per unit of latent length.

    Raises:
        ValueError: as `signed_effect` does.
    """
    change = signed_effect(decode, z, d, method, step)
    norm: Tensor = torch.linalg.vector_norm(change, dim=1)
    return norm


def reading(
    part: Part, x: Tensor, d: Tensor, layer: str | None = None, method: Method = "hires-cam"
) -> Heatmap:
    """Question READING: where does the encoder look to read d?

    The class activation map of <encode(x), d / |d|>.

    Args:
        part: the encoder.
        x: images (N, C, *S).
        d: (*Z).
        layer: dotted name; the part's earliest default layer if not given, since early layers keep
            apart which direction a map belongs to.
        method: see `cam`.

    Returns:
        Signed maps (N, *S_layer).

    Raises:
        ValueError, TypeError: a part without layers; or as `cam` does.
    """
    return cam(part.module, layer or _layers(part)[0], x, scores.direction(d), method)


def discriminator_direction(
    part: Part, decode: Decode, z: Tensor, d: Tensor, step: float = 0.5
) -> Tensor:
    """How d shows in a discriminator's features, for it has no latent coordinates of its own.

    Features phi are what the part's deepest default layer returns, flattened to (N, F).

    Args:
        part: the discriminator.
        decode: latents (N, *Z) -> images (N, C, *S).
        z: where to average, (N, *Z).
        d: (*Z).
        step: latent length walked to each side.

    Returns:
        u (F,), the mean over z of phi(G(z + step d/|d|)) - phi(G(z - step d/|d|)), of length 1.

    Raises:
        ValueError: a direction that does not fit, a step not above 0, a part without layers, or
            features that do not change along d.
    """
    along = step * _along(z, d, step)
    with hooks.borrowed(hooks.owner(decode)):
        z = hooks.normal(z)
        ends = [decode(z + along), decode(z - along)]
    plus, minus = (features_of(part, end) for end in ends)
    change = (plus - minus).mean(0)
    if not change.any():
        raise ValueError(
            f"expected features of {part.layers[-1]!r} that change along d, got the same on both"
            " sides; take a longer step or another direction"
        )
    return scores.unit_vector(change)


def discriminator_reading(
    part: Part, x: Tensor, u: Tensor, layer: str | None = None, method: Method = "hires-cam"
) -> Heatmap:
    """Question READING: where does the discriminator look to read a direction?

    The class activation map of <phi(x), u>.

    Args:
        part: the discriminator.
        x: images (N, C, *S).
        u: (F,), from `discriminator_direction`.
        layer: dotted name; the part's earliest default layer if not given.
        method: see `cam`.

    Returns:
        Signed maps (N, *S_layer).

    Raises:
        ValueError, TypeError: a part without layers; or as `cam` does.
    """
    names = _layers(part)
    with hooks.watched(part.module, [layer or names[0], names[-1]], x) as run:
        seen, features = run.activations
        value = values(scores.direction(u), features, run.batch)
        slope = differentiate(value, seen, run.layers[0])
    return heatmap(seen, slope, run.layers[0], method)


def use(module: nn.Module, x: Tensor, change: Tensor, score: Score) -> Tensor:
    """Question USE: which part of a change does the score respond to, to first order?

    Args:
        module: the network that is scored.
        x: input (N, C, *S) at the middle of the change.
        change: (N, C, *S), such as G(z + a d) - G(z - a d).
        score: the module's output -> (N,).

    Returns:
        Signed maps (N, *S): gradient times change, summed over channels. Their sum over space is
        about the change of the score; `completeness_error` says how nearly.

    Raises:
        ValueError, TypeError: a change of another shape than x; or as `attribution.saliency` does.
    """
    if change.shape != x.shape:
        raise ValueError(
            f"expected a change of the shape of x {tuple(x.shape)}, got {tuple(change.shape)}"
        )
    return (saliency(module, x, score) * hooks.normal(change)).sum(1)


def use_along(
    module: nn.Module, x_minus: Tensor, x_plus: Tensor, score: Score, steps: int = 16
) -> Tensor:
    """Question USE: which part of the way from x_minus to x_plus moves the score?

    Integrated gradients (Sundararajan et al., ICML 2017, arXiv 1703.01365) along the straight line,
    by Gauss-Legendre quadrature.

    Args:
        module: the network that is scored.
        x_minus: start (N, C, *S).
        x_plus: end (N, C, *S).
        score: the module's output -> (N,).
        steps: points on the line, one gradient each.

    Returns:
        Signed maps (N, *S). Their sum over space is the change of the score, up to the error of the
        quadrature.

    Raises:
        ValueError, TypeError: as `attribution.integrated_gradients` does.
    """
    return integrated_gradients(module, x_plus, score, x_minus, steps).sum(1)


def completeness_error(
    used: Tensor, module: nn.Module, x_minus: Tensor, x_plus: Tensor, score: Score
) -> Tensor:
    """How far a map of `use` or `use_along` is from adding up to the change of the score.

    Args:
        used: signed maps (N, *S).
        module: the network that was scored.
        x_minus: start (N, C, *S).
        x_plus: end (N, C, *S).
        score: the module's output -> (N,).

    Returns:
        (N,), |sum of the map - change of the score| / |change of the score|.

    Raises:
        ValueError: a score that is not (N,).
    """
    with hooks.borrowed(module):
        ends = [hooks.own(x) for x in (x_plus, x_minus)]
        plus, minus = (values(score, module(x), len(x)) for x in ends)
    change = plus - minus
    error = (used.flatten(1).sum(1) - change).abs()
    return error / change.abs().clamp_min(torch.finfo(change.dtype).tiny)


def _along(z: Tensor, d: Tensor, step: float) -> Tensor:
    if not step > 0:
        raise ValueError(f"expected a step > 0, got {step}")
    if d.shape != z.shape[1:]:
        raise ValueError(
            f"expected a direction of shape {tuple(z.shape[1:])}, one entry per coordinate of z"
            f" {tuple(z.shape)}, got {tuple(d.shape)}"
        )
    return scores.unit_vector(d).to(z)


def _layers(part: Part) -> tuple[str, ...]:
    if not part.layers:
        raise ValueError("expected a part with at least one default layer, got none")
    return part.layers


def features_of(part: Part, x: Tensor) -> Tensor:
    """What a part's deepest default layer returns for images (N, C, *S), flattened to (N, F).

    Raises:
        ValueError: a part without layers; see `hooks.watched` for others.
    """
    with hooks.watched(part.module, [_layers(part)[-1]], x) as run:
        return run.activations[0].detach().flatten(1)
