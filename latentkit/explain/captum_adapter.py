"""Every other attribution method, from captum (extra `attribution`), under our rules.

Kokhlikyan et al., "Captum: A unified and generic model interpretability library for PyTorch", 2020
(arXiv 2009.07896). DeepLift, LRP, Shapley values, LIME and the like work on any score here. What
this package has itself (`attribution`, `guided`, `occlusion`, `cam`) is right in more places.
"""

import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from latentkit.explain.borrow import seeded
from latentkit.explain.gradients import values
from latentkit.explain.hooks import borrowed, find_layer, normal
from latentkit.explain.twin import twin
from latentkit.protocols import Score

Attributions: TypeAlias = Tensor | tuple[Any, ...]

# Seeds and filters of warnings belong to the process: two methods that draw would mix them up.
_turn = threading.RLock()


def captum_attribution(
    method: str | Callable[..., Any],
    module: nn.Module,
    x: Tensor,
    score: Score,
    /,
    seed: int = 0,
    **settings: Any,
) -> Attributions:
    """Attribute a score by a method of captum.

    Calls from several threads take turns, so that each has the random numbers of its seed: a score
    must not wait for another thread that attributes by captum too.

    Args:
        method: name of a class in `captum.attr`, such as "DeepLift", the class itself, or what
            builds one: `lambda f: NoiseTunnel(IntegratedGradients(f))`.
        module: the network; it comes back as it was, train flags and hooks included.
        x: input (N, C, *S).
        score: the module's output -> (N,). Methods that stack several copies of the batch into one
            need a score that holds nothing for each sample; others raise.
        seed: of methods that draw at random; the global random states are not touched.
        settings: of the method, whether captum takes them where it builds the method or where it
            attributes: `baselines`, `n_steps`, `sliding_window_shapes` ... A `layer` may be a
            dotted name.

    Returns:
        What the method returns, detached: most often signed (N, C, *S).

    Raises:
        ModuleNotFoundError: without captum.
        ValueError: no such method.
    """
    build = _find(method) if isinstance(method, str) else method
    copied = twin(module, share=True)  # captum leaves attributes on modules
    if "layer" in settings:
        settings["layer"] = find_layer(copied, find_layer(module, settings["layer"])[0])[1]
    names = inspect.signature(build).parameters
    building = {key: settings.pop(key) for key in list(settings) if key in names}
    with borrowed(copied), torch.enable_grad(), _alone(seed):
        leaf = normal(x).requires_grad_()
        return _detached(build(_Scored(copied, score), **building).attribute(leaf, **settings))


class _Scored(nn.Module):
    """The module and the score as one network with one output for each sample."""

    def __init__(self, module: nn.Module, score: Score) -> None:
        super().__init__()
        self.module, self.score = module, score

    def forward(self, x: Tensor) -> Tensor:
        # A copy goes in: the first layer may work in place.
        return values(self.score, self.module(x.clone()), len(x))


def _find(name: str) -> Callable[..., Any]:
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "expected captum to be installed for its methods; install it with"
            " pip install 'latentkit-lightning[attribution]'"
        ) from error
    methods = {n: getattr(captum.attr, n) for n in captum.attr.__all__}
    methods = {n: one for n, one in methods.items() if hasattr(one, "attribute")}
    if name not in methods:
        raise ValueError(f"expected a method of captum.attr, {', '.join(methods)}, got {name!r}")
    found: Callable[..., Any] = methods[name]
    return found


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Inside, all that captum draws is of a seed, and it does not warn of hooks on our copy."""
    with _turn, seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks")  # not on yours
        state = np.random.get_state()  # noqa: NPY002  (captum draws from numpy's global state)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _detached(found: Any) -> Attributions:  # noqa: ANN401
    if isinstance(found, tuple | list):
        return tuple(_detached(one) for one in found)
    tensor: Tensor = found.detach()
    return tensor
