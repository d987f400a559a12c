"""Question READING: which change that the generator can make would a network take for d?

A gradient is a filter: it says what the network multiplies the image with, also to cancel what it
must not be misled by. Where it finds a direction is its pattern (Haufe et al., "On the
interpretation of weight vectors of linear models in multivariate neuroimaging", NeuroImage 2014).
Here: of all small steps w in latent space, the one that the network answers with a step along d
and along nothing else, decoded. With M the network's response to the generator's latents (to first
order M w is what it reads after a step w) and J the generator's Jacobian, the pattern is
J M^T (M M^T + ridge)^-1 d. A network that undoes the generator has M = 1 and reads d exactly where
the generator changes the image; one that mixes d up with another direction shows both; one that
has learned nothing shows any.

This map is ours. `natural` needs no generator, and says less.
"""

import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor

from latentkit.explain import hooks, scores
from latentkit.explain.borrow import in_full
from latentkit.explain.directions import features_of
from latentkit.explain.ridge import damped_solve
from latentkit.latent.derivative import pushforward
from latentkit.protocols import Decode, Encode, Part

READOUT = 1000  # latents that a discriminator's readout is learned from
_ALPHAS = tuple(10.0**k for k in range(-2, 6))  # what the ridge of the readout is chosen from


def pattern(
    encode: Encode,
    decode: Decode,
    z: Tensor,
    directions: Tensor,
    step: float = 0.8,
    ridge: float = 0.1,
    *,
    spread: float | None = None,
) -> Tensor:
    """The change of each image that the network reads as a step along d.

    Args:
        encode: images (N, C, *S) -> latents (N, *Z); see `discriminator_readout` for a network
            without latents.
        decode: latents (N, *Z) -> images (N, C, *S).
        z: where, (N, *Z), N >= 2, or N >= 1 with a spread.
        directions: (K, *Z), not zero; their length does not matter.
        step: how far the latents are moved to each side to see the network's response, in standard
            deviations of the latents. Very small steps find its wiggles, not what it reads.
        ridge: of the inversion, relative to the mean squared response; what the network hardly
            reads is left out rather than blown up.
        spread: standard deviation of the latents, of many more than z, say, so that what is found
            at one latent does not depend on the others; None for that of z, the mean over units.

    Returns:
        (K, N, C, *S), signed, per unit of latent length; single precision for half.

    Raises:
        ValueError: if the directions do not fit z, the latents are all alike, encode gives latents
            of another size, or step, ridge or spread is not above 0.
    """
    least, said = (2, "two latents") if spread is None else (1, "a latent")
    if directions.shape[1:] != z.shape[1:] or len(z) < least:
        size = ", ".join(map(str, z.shape[1:]))
        raise ValueError(
            f"expected {said} or more and directions (K, {size}),"
            f" got {tuple(z.shape)} and {tuple(directions.shape)}"
        )
    if not step > 0 or not ridge > 0:
        raise ValueError(f"expected step and ridge above 0, got {step} and {ridge}")
    z = hooks.normal(z)
    spread = float(z.flatten(1).std(0).mean()) if spread is None else spread
    if not spread > 0:
        raise ValueError(f"expected latents that differ, got a standard deviation of {spread}")
    response = _response(encode, decode, z, step * spread)
    wanted = torch.stack([scores.unit_vector(d).flatten() for d in directions]).to(response)
    with in_full(z):
        steps = _invert(response, wanted, ridge).reshape(len(directions), *z.shape).to(z)
    with hooks.borrowed(hooks.owner(decode)):
        return torch.stack([_wide(pushforward(decode, z, w)) for w in steps])


def discriminator_readout(part: Part, decode: Decode, z: Tensor) -> Encode:
    """A linear readout of the latents from a discriminator's deepest default layer.

    A discriminator has no latents; what its features tell of them is learned by ridge regression on
    generated images, its strength chosen by leave-one-out error. It shows what the features KEEP of
    a direction, not that the discriminator has learned to look for it: features of random weights
    keep nearly all of it where they are many, and their pattern is as good. What is lost on the way
    to the deepest layer is missing.

    Args:
        part: the discriminator.
        decode: latents (N, *Z) -> images (N, C, *S).
        z: latents to learn from, (N, *Z); a thousand is enough.

    Returns:
        Images (N, C, *S) -> latents (N, *Z), as far as the features tell; single precision for
        half.

    Raises:
        ValueError: a part without layers.
    """
    z = hooks.normal(z)
    with hooks.borrowed(hooks.owner(decode)):
        found = [_wide(features_of(part, decode(some.clone()))) for some in torch.split(z, 256)]
    features, latents = torch.cat(found), _wide(z.flatten(1))
    middle, size = features.mean(0), features.abs().amax()
    # The ridge must not depend on the scale of the features; below rounding they tell nothing.
    least = (torch.finfo(size.dtype).eps * size).clamp_min(torch.finfo(size.dtype).tiny)
    scale = torch.maximum((features - middle).square().mean().sqrt(), least)
    inputs = ((features - middle) / scale).cpu().numpy()
    fitted = RidgeCV(_ALPHAS).fit(inputs, latents.cpu().numpy())
    weight, offset = (torch.from_numpy(v).to(features) for v in (fitted.coef_, fitted.intercept_))

    def read(x: Tensor) -> Tensor:
        inputs = (_wide(features_of(part, x)) - middle) / scale
        with in_full(inputs):
            return (inputs @ weight.T + offset).reshape(-1, *z.shape[1:])

    return read


def _response(encode: Encode, decode: Decode, z: Tensor, step: float) -> Tensor:
    """What the network reads after a unit step along each latent: (N, D read, D moved)."""
    units = torch.eye(z[0].numel(), dtype=z.dtype, device=z.device).reshape(-1, *z.shape[1:])
    with hooks.borrowed(hooks.owner(decode)), hooks.borrowed(hooks.owner(encode)):
        read = [
            (_wide(encode(decode(z + step * u))) - _wide(encode(decode(z - step * u)))).flatten(1)
            for u in units
        ]
    if read[0].shape[1] != len(units):
        raise ValueError(
            f"expected encode to give {len(units)} numbers, as many as decode takes, got"
            f" {read[0].shape[1]}"
        )
    return torch.stack(read, 2) / (2 * step)


def _wide(x: Tensor) -> Tensor:
    """At least single precision: half has no solver, and numpy no half of torch's."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _invert(response: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    """Response M (N, D, D), wanted (K, D) -> M^T (M M^T + ridge)^-1 d, (K, N, D)."""
    back = response.transpose(1, 2)
    steps: Tensor = back @ damped_solve(response @ back, wanted, ridge)
    return steps.permute(2, 0, 1)
