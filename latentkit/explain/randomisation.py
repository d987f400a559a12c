"""Does an explanation depend on what the network has learned?

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018 (arXiv 1810.03292): layers are
initialised anew one after the other, from the output to the input, and the map should stop looking
like the map of the trained network. One that stays shows the image, not the network; guided
backpropagation is the known case. Only a trained network can be told from its random self.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm

from latentkit.explain.agreement import Explain, spearman
from latentkit.explain.borrow import seeded
from latentkit.explain.twin import twin

_POWER = 30  # passes in which a spectral norm finds the size of new weights


def cascade(module: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network, each with one layer more that has learned nothing.

    Layers are the sub-modules that have parameters of their own, last registered first. They draw
    as torch does for new ones (`reset_parameters`); what that leaves as it was, such as parameters
    of user-written modules or under a spectral norm, is shuffled within each tensor.

    Args:
        module: the network, which stays as it is.
        seed: of the weights; the global random state is not touched.

    Yields:
        The name of the layer that was the last to go, and a copy in which it and all layers above
        are new. Each copy is the caller's own.

    Raises:
        ValueError: no parameters.
    """
    work = twin(module)
    for name in _renewed(work, seed):
        yield name, twin(work)


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network that has learned nothing: the last of its `cascade`.

    Args:
        module: the network, which stays as it is.
        seed: of the weights; the global random state is not touched.

    Raises:
        ValueError: no parameters.
    """
    work = twin(module)
    for _ in _renewed(work, seed):
        pass
    return work


def randomisation(
    explain: Explain, module: nn.Module, x: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """How much the maps still look like those of the trained network, stage by stage.

    Args:
        explain: module and inputs -> maps (N, ...); name layers by their dotted names in it, since
            each stage is a copy.
        module: the trained network, which stays as it is.
        x: inputs (N, C, *S).
        seed: of the new weights.

    Returns:
        By the name of the layer that was the last to go, from the output to the input: Spearman's
        correlation of |map| with the trained network's, (N,). Near 0 is right, near 1 means that
        the map does not depend on the weights.

    Raises:
        ValueError: no parameters, or maps whose shape changes.
    """
    trained = explain(module, x).abs()
    return {
        name: spearman(trained, explain(stage, x).abs()) for name, stage in cascade(module, seed)
    }


def _renewed(work: nn.Module, seed: int) -> Iterator[str]:
    """Makes one layer after the other new, in place, from the last on: their names."""
    layers = [(name or type(work).__name__, part) for name, part in _layers(work)]
    if not layers:
        raise ValueError(f"expected a network with parameters, got {type(work).__name__} without")
    for number, (name, part) in enumerate(reversed(layers)):
        with seeded(seed + number), torch.no_grad():
            _renew(part)
        yield name


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    parts = [
        pair for pair in module.named_modules() if "parametrizations" not in pair[0].split(".")
    ]
    return [(name, part) for name, part in parts if _own(part)]


def _own(part: nn.Module) -> list[nn.Parameter]:
    """Parameters of this layer itself, with those that its parametrizations keep."""
    own = list(part.parameters(recurse=False))
    if parametrize.is_parametrized(part):
        own += part.get_submodule("parametrizations").parameters()
    return own


def _renew(part: nn.Module) -> None:
    before = [(value, value.clone()) for value in _own(part)]
    reset = getattr(part, "reset_parameters", None)
    if callable(reset):
        reset()
    for value, old in before:
        if torch.equal(value, old):
            order = torch.randperm(value.numel()).to(value.device)
            value.copy_(value.flatten()[order].view_as(value))
    if parametrize.is_parametrized(part):
        _settle(part)
    for hook in part._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm):  # of torch's old way
            for _ in range(_POWER):
                hook.compute_weight(part, do_power_iteration=True)


def _settle(part: nn.Module) -> None:
    """Let the singular vectors that a spectral norm keeps follow the new weight."""
    kept = part.get_submodule("parametrizations")
    flags = [(one, one.training) for one in kept.modules()]
    kept.train()
    for _ in range(_POWER):
        for name, _ in kept.named_children():
            getattr(part, name)
    for one, flag in flags:
        one.training = flag
