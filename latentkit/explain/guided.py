"""Gradients that only follow what speaks for the score: guided backpropagation and deconvnet.

Guided backpropagation: Springenberg et al., ICLR 2015 workshop (arXiv 1412.6806). Deconvnet: Zeiler
and Fergus, ECCV 2014 (arXiv 1311.2901). Guided Grad-CAM: Selvaraju et al., ICCV 2017 (arXiv
1610.02391). The papers know ReLU alone. Here the same rule holds for every rectifier f, with R the
signal that comes back to its output and x its input:

    gradient                 R f'(x)
    guided backpropagation   max(R, 0) f'(x) where x > 0, else 0
    deconvnet                max(R, 0)

so that LeakyReLU, ELU or SiLU pass nothing back through their negative half. Rectifiers are treated
wherever they are called, as modules, functions or methods, in place or not. Sharp pictures are no
proof of faithfulness: see `randomisation` for the test that guided backpropagation fails.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from latentkit.explain.attribution import INPUT, record
from latentkit.explain.cam import cam
from latentkit.explain.gradients import differentiate
from latentkit.explain.hooks import borrowed
from latentkit.protocols import Score

# fmt: off
# By the names of torch's functions, which modules and methods end in; a last "_" is dropped.
_RECTIFIERS = {"relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu",
               "silu", "mish", "softplus", "hardswish"}
_CUTS = {"clamp", "clip", "clamp_min", "hardtanh"}  # rectifiers where they cut at 0
_SIGNS = {"gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal", "sign", "sgn",
          "heaviside"}  # how a rectifier is written by hand
# Operations of the autograd graph that bend a signal and have no rule. Softmax and pooling are
# not among them: they weigh and choose, and both papers differentiate through them as usual.
_BENDS = {"Relu", "LeakyRelu", "RreluWithNoise", "PreluKernel", "Elu", "Celu", "Gelu", "Silu",
          "Mish", "Softplus", "Hardswish", "Threshold", "Clamp", "ClampMin", "ClampMax", "Hardtanh",
          "Maximum", "Minimum", "Abs", "Sigmoid", "Hardsigmoid", "LogSigmoid", "Tanh", "Glu",
          "Softshrink", "Hardshrink", "Sin", "Cos", "Erf", "MkldnnRnnLayer", "CudnnRnn",
          "DifferentiableGraph"}
# fmt: on


def guided_backpropagation(
    module: nn.Module, x: Tensor, score: Score, plain: Collection[str] = ()
) -> Tensor:
    """The gradient, but only through rectifiers that are on, and only where it is positive.

    Args:
        module: the network; it comes back as it was, train flags included.
        x: input (N, C, *S).
        score: the module's output -> (N,).
        plain: names of operations without a rule to differentiate as usual, such as "Sigmoid" for
            gates; the error names them.

    Returns:
        Signed (N, C, *S).

    Raises:
        ValueError: where the score depends on x through an activation that has no rule, or through
            no rectifier at all: the result would be, in part or in full, the plain gradient.
            One that is written out by exponentials is not recognised.
    """
    return _through(_Rectify(gated=True), module, x, score, plain)


def deconvnet(module: nn.Module, x: Tensor, score: Score, plain: Collection[str] = ()) -> Tensor:
    """The signal sent back as if each rectifier stood the other way round.

    Arguments, result and errors as in `guided_backpropagation`.
    """
    return _through(_Rectify(gated=False), module, x, score, plain)


def guided_grad_cam(
    module: nn.Module,
    layer: str | nn.Module,
    x: Tensor,
    score: Score,
    plain: Collection[str] = (),
    call: int | None = None,
) -> Tensor:
    """Guided backpropagation times the positive part of Grad-CAM, interpolated to the input.

    Args:
        module: the network.
        layer: dotted name or sub-module that gives (N, C', *S_layer).
        x: input (N, C, *S).
        score: the module's output -> (N,).
        plain: see `guided_backpropagation`.
        call: which call of the layer, see `cam`.

    Returns:
        Signed (N, C, *S).

    Raises:
        ValueError, TypeError: as `guided_backpropagation` and `cam` do.
    """
    where = cam(module, layer, x, score, "grad-cam", call).relu().resized(x.shape[2:]).raw
    guided = guided_backpropagation(module, x, score, plain)
    return guided * where[:, None].to(guided)


def _through(
    rule: "_Rectify", module: nn.Module, x: Tensor, score: Score, plain: Collection[str]
) -> Tensor:
    with borrowed(module), rule:
        value, leaf = record(module, x[None], score)
        rule.check(_between(value, leaf), plain)
        return differentiate(value, leaf, INPUT)[0]


class _Rectify(TorchFunctionMode):
    """Inside: rectifiers compute the same, and send back what the rule says.

    The operations themselves stay as they are, with hooks around them: a checkpoint that computes
    them a second time, on the way back, must find the same ones.
    """

    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.gated, self.treated, self.compared = gated, set[Node](), set[str]()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (whatever torch's function returns)
        kwargs = kwargs or {}
        called = getattr(func, "__name__", "").split(".")[0]
        name, x = called.strip("_"), args[0] if args else kwargs.get("input")
        if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled():
            if name in _SIGNS:
                self.compared.add(name)
            if name in _RECTIFIERS or (name in _CUTS and _at_zero(args, kwargs)):
                rest = {key: value for key, value in kwargs.items() if key != "input"}
                result = self._rectified(x, lambda t: func(t, *args[1:], **rest))
                in_place = called.endswith("_") or kwargs.get("inplace")
                return x.copy_(result) if in_place else result
        return func(*args, **kwargs)

    def _rectified(self, x: Tensor, rectifier: Callable[[Tensor], Tensor]) -> Tensor:
        inside, off = x.clone(), x.detach() <= 0  # not "x > 0": nan must not become a clean zero
        kept: list[Tensor] = []
        gated = self.gated  # the hooks must not hold us, who hold what they hang on

        def arrive(signal: Tensor) -> Tensor:
            kept.append(signal.relu())
            return kept[-1]

        def leave(gradient: Tensor) -> Tensor:
            positive = kept.pop().to(gradient)
            return gradient.masked_fill(off, 0.0) if gated else positive

        inside.register_hook(leave)  # type: ignore[no-untyped-call]
        outside = rectifier(inside)
        outside.register_hook(arrive)  # type: ignore[no-untyped-call]
        if outside.grad_fn is not None:
            self.treated.add(outside.grad_fn)
        return outside

    def check(self, met: list[Node], plain: Collection[str]) -> None:
        """Refuse what has no rule, since it would silently be the plain gradient."""
        kinds = {kind for node in met if node not in self.treated and (kind := _bend(node))}
        known = f"rectifiers ({', '.join(sorted(_RECTIFIERS))})"
        if bent := sorted((kinds | self.compared) - set(plain)):
            raise ValueError(
                f"expected {known} as the only activations between input and score, got"
                f" {', '.join(bent)}; pass plain={bent} to differentiate these as usual"
            )
        if met and self.treated.isdisjoint(met):
            raise ValueError(
                f"expected {known} between input and score, got none: the result would be the plain"
                " gradient, which `attribution.saliency` gives"
            )


def _at_zero(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    low = args[1] if len(args) > 1 else kwargs.get("min_val", kwargs.get("min"))
    return isinstance(low, int | float) and low == 0


def _between(value: Tensor, leaf: Tensor) -> list[Node]:
    """The operations through which a value depends on a leaf, whatever else it depends on."""
    users: dict[Node, list[Node]] = {}
    queue = [value.grad_fn] if value.grad_fn else []
    for node in queue:  # grows meanwhile
        for source, _ in node.next_functions:
            if source is not None:
                if source not in users:
                    queue.append(source)
                users.setdefault(source, []).append(node)
    met: dict[Node, None] = {}
    queue = [get_gradient_edge(leaf).node]
    for node in queue:
        fresh = [user for user in users.get(node, []) if user not in met]
        met.update(dict.fromkeys(fresh))
        queue += fresh
    return list(met)


def _bend(node: Node) -> str | None:
    """The name of what has no rule, such as "Relu" for ReluBackward0; None for the rest."""
    kind = node.name().split("::")[-1].rstrip("0123456789").removesuffix("Backward")
    custom = isinstance(node, torch.autograd.function.BackwardCFunction)
    return kind if custom or kind in _BENDS else None
