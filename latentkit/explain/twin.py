"""A copy of a network, whatever it remembers of its last forward pass."""

import copy

from torch import nn

from latentkit.explain.lookup import floating


def twin(module: nn.Module, share: bool = False) -> nn.Module:
    """A copy of a network that shares nothing with it but, if asked, parameters and buffers.

    Tensors that a recorded forward pass has left on its parts, such as the weight that the old
    `nn.utils.spectral_norm` computes anew in each, have a graph, which `copy.deepcopy` refuses:
    the copy keeps their values, without it.

    Args:
        module: the network, which stays as it is.
        share: the copy has the network's own parameters and buffers.
    """
    kept = [one for part in module.modules() for one in floating(vars(part)).values()]
    memo = {id(one): one.detach().clone() for one in kept if not one.is_leaf}
    if share:
        memo |= {id(one): one for one in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)
