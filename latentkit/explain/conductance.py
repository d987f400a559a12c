"""Question READING, of a change: where does a network pick up that an image moves along d?

A class activation map weighs what a layer holds; most of that stays as it is along d. Conductance
weighs what changes there: the gradient of the score times the layer's change, summed over channels.
Its sum over space is the change of the score. Dhamdhere, Sundararajan and Yan, "How Important Is a
Neuron?", ICLR 2019 (arXiv 1805.12233), integrate it from a baseline to the input; here the path is
a generator's own, along d, and infinitely short.

It needs the generator, so it cannot show that a network looks elsewhere than where the image
changes; for that question see `natural`.
"""

from torch import Tensor

from latentkit.explain import hooks, scores
from latentkit.explain.directions import discriminator_direction
from latentkit.explain.heatmap import Heatmap
from latentkit.explain.weighing import weigh
from latentkit.protocols import Decode, Part, Score


def conductance(
    part: Part,
    decode: Decode,
    z: Tensor,
    d: Tensor,
    layer: str | None = None,
    step: float = 0.01,
) -> Heatmap:
    """Where does an encoder read that the image moves along d?

    Args:
        part: the encoder.
        decode: latents (N, *Z) -> images (N, C, *S).
        z: where, (N, *Z).
        d: which way, (*Z); only its direction counts.
        layer: dotted name; the part's earliest default layer if not given.
        step: latent length walked to each side for the layer's change.

    Returns:
        Signed maps (N, *S_layer). Their sum is the derivative of <encode(G(z)), d / |d|> along d:
        1 where the encoder undoes the generator.
    """
    frames = _frames(decode, z, d, step)
    return _through(part, frames, [layer or part.layers[0]], scores.direction(d), step)


def discriminator_conductance(
    part: Part,
    decode: Decode,
    z: Tensor,
    d: Tensor,
    layer: str | None = None,
    step: float = 0.01,
) -> Heatmap:
    """Where does a discriminator read that the image moves along d?

    Its score is the projection of its deepest default layer on `discriminator_direction`.

    Args:
        part: the discriminator.
        decode: latents (N, *Z) -> images (N, C, *S).
        z: where, (N, *Z).
        d: which way, (*Z); only its direction counts.
        layer: dotted name; the part's earliest default layer if not given.
        step: latent length walked to each side for the layer's change.

    Returns:
        Signed maps (N, *S_layer).
    """
    u = discriminator_direction(part, decode, z, d)
    layers = [layer or part.layers[0], part.layers[-1]]
    return _through(part, _frames(decode, z, d, step), layers, scores.direction(u), step)


def _frames(decode: Decode, z: Tensor, d: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Images before, at and after z."""
    if not step > 0:
        raise ValueError(f"expected a step > 0, got {step}")
    along = step * scores.unit_vector(d).to(z)
    with hooks.borrowed(hooks.owner(decode)):
        z = hooks.normal(z)
        return decode(z - along), decode(z), decode(z + along)


def _through(
    part: Part, frames: tuple[Tensor, Tensor, Tensor], layers: list[str], score: Score, step: float
) -> Heatmap:
    """The score is of the network's output, or of the second layer where there are two."""
    before, at, after = frames
    with hooks.watched(part.module, layers, at) as run:
        target = run.activations[1] if len(layers) > 1 else run.output
        value = hooks.values(score, target, run.batch)
        slope = hooks.differentiate(value, run.activations[0], run.layers[0])
    change = (_layer(part, layers[0], after) - _layer(part, layers[0], before)) / (2 * step)
    maps, noise = weigh(change, slope, "hires-cam")
    return Heatmap(maps.float(), run.layers[0], "conductance", noise.float())


def _layer(part: Part, layer: str, x: Tensor) -> Tensor:
    with hooks.watched(part.module, [layer], x) as run:
        return run.activations[0].detach()
