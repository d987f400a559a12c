"""The control of a reading: the same question, asked of networks that have learned nothing.

What a network with random weights reads just as well says nothing about the trained one (Adebayo et
al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292; see `randomisation`).
"""

from dataclasses import replace
from types import MethodType, SimpleNamespace
from typing import Any, cast

from torch import nn

from latentkit.explain import hooks
from latentkit.explain.randomisation import randomised
from latentkit.protocols import Decoder, Encode, Part

CONTROLS = 3  # networks with random weights that a reading is compared with
_APART = 1000  # of their seeds, since the layers of a network take consecutive ones


def networks(model: object) -> dict[str, Part]:
    """The networks that can be looked into; none where the model does not offer any.

    Args:
        model: of any kind; it offers its networks by `explainable()`.
    """
    return dict(model.explainable()) if hasattr(model, "explainable") else {}


def untrained(model: Decoder, number: int) -> Decoder:
    """The model with its generator as it is and every other network with random weights.

    Args:
        model: anything with `decode`; it stays as it is.
        number: which of such models, from 0.

    Returns:
        What offers `decode`, and `encode` and `explainable` where there are weights to be made
        random: of an `encode` that belongs to no `nn.Module`, or of a network that cannot be
        copied, there is no control.
    """
    seed = _APART * number
    blank = {name: _blank(part.module, seed) for name, part in networks(model).items()}
    parts = {
        name: replace(part, module=module)
        for name, part in networks(model).items()
        if (module := blank[name]) is not None
    }
    found: dict[str, Any] = {"decode": model.decode, "explainable": lambda: parts}
    if hasattr(model, "encode"):
        encode = _encode(model.encode, seed)
        if encode is not None:
            found["encode"] = encode
        else:
            parts.pop("encoder", None)  # it need not be what `encode` runs
    return cast(Decoder, SimpleNamespace(**found))


def _encode(encode: Encode, seed: int) -> Encode | None:
    """The same method of a network with random weights."""
    network = hooks.owner(encode)
    blank = None if network is None else _blank(network, seed)
    if blank is None or encode is network:
        return blank
    function = getattr(encode, "__func__", None)  # its name may be that of something else
    return None if function is None else MethodType(function, blank)


def _blank(module: nn.Module, seed: int) -> nn.Module | None:
    if next(module.parameters(), None) is None:
        return None
    try:
        return randomised(module, seed)
    except (RuntimeError, TypeError):  # what holds a lock or a file, for one, cannot be copied
        return None
