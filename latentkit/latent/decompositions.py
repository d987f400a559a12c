"""scikit-learn's decompositions as latent models, for whatever takes `encode` and `decode`.

PCA of images; TruncatedSVD of word counts, which is latent semantic analysis (Deerwester et al.,
1990); LatentDirichletAllocation (Blei, Ng and Jordan, 2003), whose latents are shares of topics.
"""

import math
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import NMF, PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
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
        """(N, C, *S) -> (N, D), in the samples' dtype and on their device.

        With gradients for PCA and TruncatedSVD, without for others.

        Raises:
            ValueError: if the samples have another shape.
        """
        if x.shape[1:] != self.shape:
            raise ValueError(f"expected samples (N, *{self.shape}), got {tuple(x.shape)}")
        if isinstance(self.decomposition, PCA | TruncatedSVD):
            return _linear_encode(self.decomposition, x.flatten(1))
        rows = x.detach().flatten(1).to("cpu", torch.float64).numpy()
        # Of one sample some decompositions give a vector.
        return torch.from_numpy(np.atleast_2d(self.decomposition.transform(rows))).to(x)


class DecompositionModel(DecompositionEncoder):
    """A decomposition with a way back: `encode` and `decode`.

    Args:
        decomposition: fitted, with `transform` and either `inverse_transform` or, as topics have,
            non-negative `components_`.
        shape: (C, *S) of a sample.
    """

    def decode(self, z: Tensor, /) -> Tensor:
        """(N, D) -> (N, C, *S), clamped to [0, 1].

        Shares of topics give the probability of every word. With gradients for PCA, TruncatedSVD,
        NMF and topics, which are linear; without for others.

        Raises:
            ValueError: if the latents are not (N, D).
        """
        if z.ndim != 2 or z.shape[1] != self._size:
            raise ValueError(f"expected latents (N, {self._size}), got {tuple(z.shape)}")
        matrix = _linear_decode(self.decomposition)
        if matrix is not None:
            rows, offset = (part.to(z.device) for part in matrix)
            found = (z.double() @ rows + offset).to(z)
        else:
            back = self.decomposition.inverse_transform(z.detach().to("cpu", torch.float64).numpy())
            found = torch.from_numpy(np.asarray(back)).to(z)
        return found.clamp(0, 1).reshape(-1, *self.shape)

    @cached_property
    def _size(self) -> int:
        """D."""
        return int(_blank(self.decomposition, self.shape).shape[1])


def _linear_encode(decomposition: Any, x: Tensor) -> Tensor:  # noqa: ANN401
    """Rows (N, W) -> (N, D), as scikit-learn's `transform` of a PCA or TruncatedSVD."""
    rows = _matrix(decomposition.components_).to(x.device)
    mean = _matrix(getattr(decomposition, "mean_", 0.0)).to(x.device)
    latents: Tensor = (x.double() - mean) @ rows.T
    if getattr(decomposition, "whiten", False):
        latents = latents / _scales(decomposition).to(x.device)
    return latents.to(x)


def _linear_decode(decomposition: Any) -> tuple[Tensor, Tensor] | None:  # noqa: ANN401
    """The matrix (D, W) and offset of `inverse_transform`, where it is linear and known."""
    if hasattr(decomposition, "inverse_transform") and not isinstance(
        decomposition, PCA | TruncatedSVD | NMF
    ):
        return None
    rows = _matrix(decomposition.components_)
    if isinstance(decomposition, PCA):
        scaled = rows * _scales(decomposition)[:, None] if decomposition.whiten else rows
        return scaled, _matrix(decomposition.mean_)
    if not hasattr(decomposition, "inverse_transform"):  # topics
        rows = rows / rows.sum(1, keepdim=True)
    return rows, torch.zeros(rows.shape[1], dtype=torch.float64)


def _has_way_back(decomposition: Any, shape: tuple[int, ...]) -> bool:  # noqa: ANN401
    if not hasattr(decomposition, "inverse_transform"):
        topics = getattr(decomposition, "components_", None)
        return topics is not None and bool(topics.min() >= 0)
    try:
        decomposition.inverse_transform(_blank(decomposition, shape))
    except NotFittedError:  # a KernelPCA that was not asked to learn it
        return False
    return True


def _blank(decomposition: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:  # noqa: ANN401
    """Latents (2, D) of samples of zeros; of one sample some decompositions give a vector."""
    return np.asarray(decomposition.transform(np.zeros((2, math.prod(shape)))))


def _scales(pca: Any) -> Tensor:  # noqa: ANN401
    """Standard deviations (D,) that a whitening PCA divides by."""
    variance = _matrix(pca.explained_variance_)
    return variance.sqrt().clamp(min=torch.finfo(variance.dtype).eps)


def _matrix(values: Any) -> Tensor:  # noqa: ANN401
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def from_sklearn(decomposition: Any, shape: tuple[int, ...]) -> DecompositionEncoder:  # noqa: ANN401
    """A fitted scikit-learn decomposition as a latent model.

    Args:
        decomposition: fitted on rows of prod(shape) numbers, with `transform`: PCA, TruncatedSVD,
            FastICA, NMF, KernelPCA, LatentDirichletAllocation, a Pipeline of such, ...
        shape: (C, *S) of a sample: (1, 8, 8) for digits, (1, words) for texts.

    Returns:
        A `DecompositionModel` where there is a way back (a fitted `inverse_transform`, in a
        Pipeline one of every part; or topics), else a `DecompositionEncoder`. Decoded samples are
        clamped to [0, 1], so fit on such samples (tf-idf is; divide counts by their largest, but
        for topics, whose words are probabilities).

    Raises:
        ValueError: if it has no `transform`, is not fitted, or takes rows of another length.

    >>> from sklearn.datasets import load_digits
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
    back = _has_way_back(decomposition, shape)
    return (DecompositionModel if back else DecompositionEncoder)(decomposition, shape)
