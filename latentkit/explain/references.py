"""Scores that compare: with another image, with the image itself, with its reconstruction.

They keep the output of a network for the images they compare with. Kept outputs are constants: only
the image under explanation moves.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

from latentkit.explain.hooks import borrowed, own, owner
from latentkit.explain.scores import named
from latentkit.protocols import Score

Measure: TypeAlias = Literal["dot", "cosine"]


class Chain(nn.Module):
    """Callables one after the other, as one module that can be looked into.

    `Chain(model.encode, model.decode)` gives reconstructions. Modules among the callables, and
    those they are bound methods of, are its `parts`, each once: "parts.0.encoder.net" is a layer.
    """

    def __init__(self, *functions: Callable[[Any], Any]) -> None:
        super().__init__()
        self.functions = functions
        owners = [part for part in map(owner, functions) if part is not None]
        self.parts = nn.ModuleList(dict.fromkeys(owners))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *S) -> what the last of the callables returns."""
        for function in self.functions:
            x = function(x)
        return x


def outputs(module: nn.Module, x: Tensor) -> Tensor:
    """What the module returns for x, in eval mode, as a constant: a reference for a score.

    Args:
        module: the network; it comes back as it was.
        x: (N, C, *S).

    Returns:
        What the module returns, most often (N, *Z).
    """
    with borrowed(module):
        found: Tensor = module(own(x))
    return found


def similarity(reference: Tensor, measure: Measure = "dot") -> Score:
    """How alike each output is to a reference.

    With measure "dot" and a module's own outputs for the same images this is label-free importance,
    <f(x), f(reference)> (Crabbe and van der Schaar, ICML 2022, arXiv 2203.01928): it explains an
    embedding as a whole.

    Args:
        reference: outputs (N, *Z), one for each sample, or one for all, (*Z) or (1, *Z); see
            `outputs`.
        measure: "dot", the inner product, or "cosine" in [-1, 1].

    Raises:
        ValueError: an unknown measure; from the score, a reference that does not fit the output.
        TypeError: from the score, a module that returns no tensor.
    """
    if measure not in ("dot", "cosine"):
        raise ValueError(f"expected measure 'dot' or 'cosine', got {measure!r}")
    reference = reference.detach()

    def compare(output: Tensor) -> Tensor:
        kept = _like(reference, output).flatten(1)
        rows = output.flatten(1)
        if measure == "cosine":
            return functional.cosine_similarity(rows, kept, dim=1)
        product: Tensor = (rows * kept).sum(1)  # no matrix product: autocast would round it
        return product

    return named(f"similarity({measure})", compare)


def reconstruction_error(x: Tensor) -> Score:
    """Squared error of reconstructions, (N, C, *S) -> (N,), summed over values.

    For a module that returns reconstructions, such as `Chain(model.encode, model.decode)`. The
    images are kept: a map shows what moves the reconstruction away from them, and not that the
    images would move too.

    Args:
        x: the images (N, C, *S) that were put in.

    Raises:
        ValueError, TypeError: from the score, if the output is not of the images' shape.
    """
    original = x.detach()

    def error(output: Tensor) -> Tensor:
        return (_like(original, output) - output).flatten(1).square().sum(1)

    return named("reconstruction_error", error)


def difference(score: Score, reference: Any) -> Score:  # noqa: ANN401  (as the module's output)
    """Score of x minus score of a reference x'.

    What it means for maps: x' adds a constant, so that the gradient, and every map made of it at x,
    is the map of the score itself. Where the two inputs differ is seen by methods that compare
    values: `integrated_gradients(..., baseline=x')`, which adds up to this difference, and
    `occlusion(..., fill=x')`.

    Args:
        score: of a module's output.
        reference: the module's output for x', from `outputs`; one for each sample or one for all.

    Raises:
        ValueError, TypeError: from the score, if the reference does not fit the output.
    """
    constant = score(reference).detach()
    name = getattr(score, "__qualname__", type(score).__name__)

    def subtract(output: Any) -> Tensor:  # noqa: ANN401
        value = score(output)
        return value - _like(constant, value)

    return named(f"difference({name})", subtract)


def _like(reference: Tensor, output: Tensor) -> Tensor:
    """A reference for each sample or for all -> the shape of the output."""
    if not isinstance(output, Tensor):
        raise TypeError(
            f"expected the module to return a tensor, got {type(output).__name__}; score the part"
            " you mean: lambda output: score(output[1])"
        )
    own, all_alike = tuple(output.shape), tuple(output.shape[1:])
    if tuple(reference.shape) not in (own, all_alike, (1, *all_alike)):
        raise ValueError(
            f"expected a reference for each sample, {own}, or for all, {all_alike}, got"
            f" {tuple(reference.shape)}"
        )
    return reference.to(output).expand(own)
