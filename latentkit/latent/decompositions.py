"""scikit-learn's decompositions as latent models, for whatever takes `encode` and `decode`.

PCA of images; TruncatedSVD of word counts, which is latent semantic analysis (Deerwester et al.,
1990); LatentDirichletAllocation (Blei, Ng and Jordan, 2003), whose latents are shares of topics.
"""

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor


class DecompositionEncoder:
    """A fitted decomposition of flattened samples: `encode`.

    Args:
        decomposition: fitted, with `transform`.
        shape: (C, *S) of a sample.
    """

    def __init__(self, decomposition: Any, shape: tuple[int, ...]) -> None:  # noqa: ANN401
        self.decomposition, self.shape = decomposition, tuple(shape)

    def encode(self, x: Tensor, /) -> Tensor:
        """(N, C, *S) -> (N, D), in the samples' dtype and on their device; no gradients."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"expected samples (N, *{self.shape}), got {tuple(x.shape)}")
        rows = x.detach().flatten(1).to("cpu", torch.float64).numpy()
        return torch.from_numpy(np.asarray(self.decomposition.transform(rows))).to(x)


class DecompositionModel(DecompositionEncoder):
    """A decomposition with a way back: `encode` and `decode`.

    Args:
        decomposition: fitted, with `transform` and either `inverse_transform` or, as topics have,
            non-negative `components_`.
        shape: (C, *S) of a sample.
    """

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S), clamped to [0, 1]; no gradients.

        Shares of topics give the probability of every word.
        """
        size = len(self.decomposition.components_)
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(f"expected latents (N, {size}), got {tuple(z.shape)}")
        rows = z.detach().to("cpu", torch.float64).numpy()
        if hasattr(self.decomposition, "inverse_transform"):
            found = self.decomposition.inverse_transform(rows)
        else:
            topics = self.decomposition.components_
            found = rows @ (topics / topics.sum(1, keepdims=True))
        return torch.from_numpy(np.asarray(found)).clamp(0, 1).reshape(-1, *self.shape).to(z)


def from_sklearn(decomposition: Any, shape: tuple[int, ...]) -> DecompositionEncoder:  # noqa: ANN401
    """A fitted scikit-learn decomposition as a latent model.

    Args:
        decomposition: fitted on rows of prod(shape) numbers, with `transform`: PCA, TruncatedSVD,
            FastICA, NMF, LatentDirichletAllocation, a Pipeline without names of parts, ...
        shape: (C, *S) of a sample: (1, 8, 8) for digits, (1, words) for texts.

    Returns:
        A `DecompositionModel` where there is a way back (`inverse_transform`, or topics), else a
        `DecompositionEncoder`. Decoded samples are clamped to [0, 1], so fit on such samples
        (tf-idf is; divide counts by their largest, but for topics, whose words are probabilities).

    Raises:
        ValueError: if it has no `transform`, is not fitted, or takes rows of another length.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from latentkit.latent.interpolate import lerp
    >>> x = torch.from_numpy(load_digits().images[:, None] / 16)
    >>> model = from_sklearn(PCA(10, random_state=0).fit(x.flatten(1)), shape=(1, 8, 8))
    >>> path = lerp(model.encode(x[:1]), model.encode(x[1:2]), steps=5)
    >>> model.decode(path[0]).shape
    torch.Size([5, 1, 8, 8])
    """
    if not hasattr(decomposition, "transform"):
        raise ValueError(f"expected a decomposition with transform, got {decomposition!r}")
    try:
        check_is_fitted(decomposition)
    except (ValueError, TypeError) as error:
        raise ValueError(f"expected a fitted decomposition, got {decomposition!r}") from error
    width = getattr(decomposition, "n_features_in_", math.prod(shape))
    if width != math.prod(shape):
        raise ValueError(
            f"expected a shape of {width} numbers, as the decomposition was fitted on, got "
            f"{tuple(shape)} of {math.prod(shape)}"
        )
    topics = getattr(decomposition, "components_", None)
    back = hasattr(decomposition, "inverse_transform") or (topics is not None and topics.min() >= 0)
    kind = DecompositionModel if back and topics is not None else DecompositionEncoder
    return kind(decomposition, shape)
