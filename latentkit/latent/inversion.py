"""What an inversion of images found, and which of the images lie outside the model's domain."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentkit.latent.typicality import rank_p


@dataclass(frozen=True)
class Inversion:
    """Latents found for N images, and what is known of them.

    Attributes:
        z: (N, *Z), the best latents seen.
        image: (N, C, *S), what they decode to.
        start: (N, *Z), where the search began.
        mse: (N,) mean squared error of `image`.
        psnr: (N,) the same in decibels.
        feature: (N,) the feature distance of `invert.Terms`; None without features.
        typicality: (N,) chance under the prior, see `typicality.typicality`; None where the prior
            is not of a known form.
        history: (steps + 1, N) lowest loss so far, the start's first; it never rises.
    """

    z: Tensor
    image: Tensor
    start: Tensor
    mse: Tensor
    psnr: Tensor
    feature: Tensor | None
    typicality: Tensor | None
    history: Tensor

    def outside(self, reference: "Inversion | None" = None, alpha: float = 0.05) -> Tensor:
        """Whether each image lies outside the model's domain.

        With a reference, in-domain images that the model was not trained on, inverted with the same
        settings: an image is outside if its error, or how atypical its latent is, is so large among
        those of the reference that the conformal p-value (`rank_p`), doubled for asking twice, is
        alpha or less. At most a share alpha of in-domain images is then flagged, whatever the model
        and its errors; the reference must hold 2 / alpha images or more to flag any. Without one:
        if the latent's typicality is below alpha, which an image that is decoded badly from a
        typical latent escapes.

        An image of another kind that the model happens to decode well is not found.

        Args:
            reference: inversion of in-domain images.
            alpha: share of in-domain images that may be flagged, in (0, 1).

        Returns:
            (N,) booleans.

        Raises:
            ValueError: if alpha is out of range, the reference is too small, or there is neither a
                reference nor a typicality.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"expected alpha in (0, 1), got {alpha}")
        if reference is None:
            if self.typicality is None:
                raise ValueError(
                    "expected a reference, since the latents have no prior of a known form to be "
                    "judged by: invert some in-domain images with the same settings"
                )
            return self.typicality < alpha
        tests = [(self.mse, reference.mse)]
        if self.typicality is not None and reference.typicality is not None:
            tests.append((-self.typicality, -reference.typicality))
        needed = math.ceil(round(len(tests) / alpha, 6)) - 1
        if len(reference.mse) < needed:
            raise ValueError(
                f"expected a reference of {needed} images or more for alpha={alpha}, got "
                f"{len(reference.mse)}"
            )
        p = torch.stack([rank_p(own, others.to(own)) for own, others in tests]).amin(0)
        return len(tests) * p <= alpha * (1 + 1e-6)
