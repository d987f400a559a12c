"""Question READING: where does the encoder read what the decoder uses?

The decoder-weighted latent CAM: latent units count by how much the decoder's image depends on them.
It is our own and not from a paper. Grad-LAM (Bartler et al., EUSIPCO 2020) takes weights from the
decoder, too; which ones we do not know, and nothing here is meant to be them.

With z the encoder's latents and x' = decode(z), the heatmap is the class activation map of

    s = sum_k w_k z_k, the weights held constant.

The methods that are linear in the gradient (grad-cam, xgrad-cam, hires-cam) give exactly the sum
over units of w_k times the unit's own map (`cam.latent_cams`), in one gradient instead of K. Two
kinds of weights, both blind to how the latent space is scaled: encoder and decoder that multiply a
unit by c and divide it again, c negative included, keep their heatmap.

- `effect_weights`: |dx'/dz_k| sign(z_k - o_k). Then s = sum_k |dx'/dz_k| |z_k - o_k|, the size of
  what the decoder makes of each unit, counted from an origin o.
- `score_weights`: the gradient of a score of the image x'. Then the heatmap is that of the score
  through encoder and decoder, what the image would change but for the encoder left out.
"""

import torch
from torch import Tensor, nn

from latentkit.explain import hooks
from latentkit.explain.cam import Method, cam
from latentkit.explain.gradients import differentiate, values
from latentkit.explain.heatmap import Heatmap
from latentkit.explain.scores import named
from latentkit.latent.derivative import pullback, pushforward
from latentkit.protocols import Decode, Score


def decoder_weighted(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    weights: Tensor,
    method: Method = "hires-cam",
) -> Heatmap:
    """The decoder-weighted latent CAM, ours: one signed map an image.

    Args:
        module: the encoder, (N, C, *S) -> (N, *Z); what it returns is what the decoder takes.
        layer: dotted name or sub-module that gives (N, C, *S_layer).
        x: images (N, C, *S).
        weights: (N, *Z), of `effect_weights` or `score_weights` at the latents of x.
        method: see `cam`. grad-cam++ and layer-cam are not linear in the gradient: they give the
            map of s, not the sum of the units' maps.

    Returns:
        Signed maps (N, *S_layer) of the layer.

    Raises:
        ValueError, TypeError: see `cam.cam`; or weights that do not fit the latents.
    """
    return cam(module, layer, x, weighted(weights), method)


def weighted(weights: Tensor) -> Score:
    """The score s = sum_k w_k z_k with constant weights (N, *Z): output (N, *Z) -> (N,).

    Args:
        weights: (N, *Z), taken as constants.

    Raises:
        ValueError: from the score, if the output has another shape than the weights.
    """

    def add(output: Tensor) -> Tensor:
        constant = hooks.normal(weights)
        if output.shape != constant.shape:
            raise ValueError(
                f"expected weights for each latent, {tuple(output.shape)}, got"
                f" {tuple(constant.shape)}; take them at the latents of the same images"
            )
        # A product and a sum: a matrix product would fall to half precision under autocast.
        total: Tensor = (output * constant.to(output)).flatten(1).sum(1)
        return total

    return named("decoder-weighted", add)


def effect_weights(
    decode: Decode, z: Tensor, origin: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """How much the image depends on each unit: |dx'/dz_k|, with the sign of z_k - o_k.

    Exact, by forward mode, one product a unit. The sign makes up for the unit's own: which way a
    unit counts is arbitrary. A unit that is at its origin weighs nothing, and so does one that the
    decoder ignores.

    Args:
        decode: latents (N, *Z) -> images (N, C, *S); a module or a module's bound method is put
            into eval mode meanwhile, anything else must be deterministic by itself.
        z: latents (N, *Z) of the images.
        origin: (*Z), latents that stand for nothing in particular, such as the mean of the data's;
            zero, a Gaussian prior's mean, if not given.
        mask: what broadcasts to (N, C, *S), 1 inside a region of the image whose change alone
            counts, 0 outside; all of the image if not given.

    Returns:
        (N, *Z), norms of image change per unit of latent length.

    Raises:
        TypeError, ValueError: if decode cannot be differentiated, or origin or mask do not fit.
    """
    if origin is not None and origin.shape != z.shape[1:]:
        raise ValueError(
            f"expected an origin of shape {tuple(z.shape[1:])}, as one latent has, got"
            f" {tuple(origin.shape)}"
        )
    z = hooks.normal(z)
    units = torch.eye(z[0].numel(), dtype=z.dtype, device=z.device).reshape(-1, *z.shape[1:])
    with hooks.borrowed(hooks.owner(decode)):
        sizes = [_size(pushforward(decode, z, u.expand_as(z).contiguous()), mask) for u in units]
    away = z if origin is None else z - hooks.normal(origin).to(z)
    return torch.stack(sizes, 1).reshape(z.shape) * away.sign()


def score_weights(decode: Decode, z: Tensor, score: Score) -> Tensor:
    """The gradient by each unit of a score of the decoder's image.

    Args:
        decode: as in `effect_weights`.
        z: latents (N, *Z) of the images.
        score: of images (N, C, *S) -> (N,), such as minus `references.reconstruction_error(x)`, or
            the mean over a region.

    Returns:
        (N, *Z), change of the score per unit of latent length.

    Raises:
        TypeError, ValueError: if decode cannot be differentiated, the score is not (N,), or it does
            not depend on the image.
    """
    z = hooks.normal(z)
    with hooks.borrowed(hooks.owner(decode)):
        image = hooks.normal(decode(z.clone())).requires_grad_()
        with torch.enable_grad():
            value = values(score, image.clone(), len(z))
            slope = differentiate(value, image, "the decoder's image")
            return pullback(decode, z, slope).detach()


def _size(change: Tensor, mask: Tensor | None) -> Tensor:
    """Change (N, C, *S) -> its norm (N,), inside the mask."""
    if mask is not None:
        try:
            inside = mask.to(change).broadcast_to(change.shape)
        except RuntimeError as error:
            raise ValueError(
                f"expected a mask that fits images {tuple(change.shape)}, got {tuple(mask.shape)}"
            ) from error
        change = change * inside
    norm: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
    return norm
