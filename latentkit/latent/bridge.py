"""A latent model as a scikit-learn transformer."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

Rows = npt.NDArray[np.floating[Any]]


class LatentTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Encodes rows of numbers with a model that is trained already, for pipelines and searches.

    A row is a flattened image, channels first. `fit` trains nothing: it checks that the rows fit
    the model, and counts its latents. scikit-learn's `clone` copies the model, so what one pipeline
    does to its copy does not reach the others.

    Args:
        model: anything with `encode`, (N, C, *S) -> (N, *Z), and for `inverse_transform` with
            `decode`; put a module in evaluation mode and on its device first.
        shape: (C, *S) of an image; None is the model's own `shape`, or (1, columns) without one.
        batch_size: rows in one call of the model.

    Attributes:
        n_features_in_: columns of the rows.
        image_shape_: (C, *S).
        latent_shape_: *Z, of one latent.

    >>> from types import SimpleNamespace
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> x, y = load_digits(return_X_y=True)
    >>> basis = torch.linalg.qr(torch.randn(64, 20))[0]  # stands for networks you have trained
    >>> model = SimpleNamespace(
    ...     encode=lambda x: x.flatten(1) @ basis,
    ...     decode=lambda z: (z @ basis.T).reshape(-1, 1, 8, 8),
    ... )
    >>> encoder = LatentTransformer(model, shape=(1, 8, 8))
    >>> pipeline = make_pipeline(encoder, LogisticRegression(max_iter=2000)).fit(x / 16, y)
    >>> pipeline.score(x / 16, y) > 0.5
    True
    >>> encoder.fit(x).inverse_transform(encoder.transform(x)).shape
    (1797, 64)
    """

    def __init__(
        self, model: object = None, shape: tuple[int, ...] | None = None, batch_size: int = 256
    ) -> None:
        self.model = model
        self.shape = shape
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> "LatentTransformer":  # noqa: ANN401, ARG002, N803
        """Checks rows (N, C * S) against the model.

        Raises:
            ValueError: if the model has no `encode`, a row is no image of the shape, a number is
                not finite, or batch_size < 1.
        """
        rows = validate_data(self, X, dtype=(np.float64, np.float32))
        if not hasattr(self.model, "encode"):
            raise ValueError(f"expected a model with encode, got {type(self.model).__name__}")
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size >= 1, got {self.batch_size}")
        shape = self.shape or getattr(self.model, "shape", None) or (1, rows.shape[1])
        if math.prod(shape) != rows.shape[1]:
            raise ValueError(
                f"expected rows of {math.prod(shape)} numbers, images of shape {tuple(shape)}, got "
                f"{rows.shape[1]}"
            )
        self.image_shape_ = tuple(shape)
        self.latent_shape_ = tuple(self._run("encode", rows[:1], self.image_shape_).shape[1:])
        return self

    def transform(self, X: Any) -> Rows:  # noqa: ANN401, N803
        """Rows (N, C * S) -> latents (N, D), flattened, in the rows' precision.

        Raises:
            ValueError: if the rows differ in width from those of `fit`, or are not finite.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self._rows(self._run("encode", rows, self.image_shape_), rows)

    def inverse_transform(self, X: Any) -> Rows:  # noqa: ANN401, N803
        """Latents (N, D) -> rows (N, C * S), in the latents' precision.

        Raises:
            ValueError: if the model has no `decode`, or the latents have another width.
        """
        check_is_fitted(self)
        if not hasattr(self.model, "decode"):
            raise ValueError(f"{type(self.model).__name__} has no decode to go back with")
        latents = np.asarray(X)
        wanted = math.prod(self.latent_shape_)
        if latents.ndim != 2 or latents.shape[1] != wanted:
            raise ValueError(f"expected latents (N, {wanted}), got {latents.shape}")
        latents = latents.astype(latents.dtype if latents.dtype.kind == "f" else np.float64)
        return self._rows(self._run("decode", latents, self.latent_shape_), latents)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:  # noqa: ANN401, ARG002
        """Names "z0", "z1", ... of the columns that `transform` gives.

        Raises:
            NotFittedError: before `fit`.
        """
        check_is_fitted(self)
        return np.array([f"z{i}" for i in range(math.prod(self.latent_shape_))], dtype=object)

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  (scikit-learn's own type)
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @torch.no_grad()
    def _run(self, what: str, rows: Rows, shape: tuple[int, ...]) -> Tensor:
        """Runs encode or decode on batches, in the model's own precision and on its device."""
        first = next(self.model.parameters(), None) if isinstance(self.model, nn.Module) else None
        like = torch.empty(0) if first is None else first
        whole = torch.tensor(rows).reshape(-1, *shape)  # a copy: rows may be read-only
        function = getattr(self.model, what)
        batches = torch.split(whole, self.batch_size)
        return torch.cat([function(batch.to(like)).cpu() for batch in batches])

    @staticmethod
    def _rows(result: Tensor, like: Rows) -> Rows:
        found: Rows = result.flatten(1).numpy().astype(like.dtype)
        return found
