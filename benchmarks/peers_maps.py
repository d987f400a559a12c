"""Heatmaps in the contexts where hooks go wrong, against a derivative taken by hand.

Small networks whose layers keep the size of the images, so that a peer that resizes changes
nothing. Maps are compared after the ReLU and stretched from 0 to 1, as some peers always do.
"""

import copy
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from peers_networks import by_hand, images, network, pick
from peers_outcome import Outcome, compared
from peers_sides import Side, one
from torch import nn


def in_place(side: Side) -> Outcome:
    """The operation after the layer writes into what the layer gave."""
    expected = by_hand(network(), images())
    return compared(one(side, network(inplace=True), images(), pick), expected)


def _within(context: Callable[[], Any]) -> Callable[[Side], Outcome]:
    def check(side: Side) -> Outcome:
        net, expected = network(), by_hand(network(), images())
        with context():
            got = one(side, net, images(), pick)
        return compared(got.clone(), expected)

    return check


def frozen(side: Side) -> Outcome:
    """No parameter requires a gradient."""
    net = network().requires_grad_(False)
    return compared(one(side, net, images(), pick), by_hand(network(), images()))


def _rank(rank: int) -> Callable[[Side], Outcome]:
    def check(side: Side) -> Outcome:
        net, x = network(rank), images(rank)
        return compared(one(side, net, x, pick), by_hand(net, x))

    return check


def bfloat16(side: Side) -> Outcome:
    """A network in half precision, to within its rounding."""
    net, x = network().bfloat16(), images().bfloat16()
    return compared(one(side, net, x, pick), by_hand(net, x).float(), 0.05)


def compiled(side: Side) -> Outcome:
    """`torch.compile` has run the network before; the layer is named as that wants it."""
    net = network()
    expected, whole = by_hand(net, images()), torch.compile(net, backend="eager")
    whole(images())
    name = "0" if side.__name__ == "latentkit" else "_orig_mod.0"
    return compared(one(side, whole, images(), pick, layer=name), expected)


def batches(side: Side) -> Outcome:
    """The maps of a batch are those of its images one by one."""
    net, x = network(norm=True), images()
    alone = torch.cat([one(side, net, row[None], pick) for row in x])
    return compared(one(side, net, x, pick), alone)


def signed(side: Side) -> Outcome:
    """Negative values, and values that compare between images, can be had."""
    got, expected = one(side, network(), images(), pick), by_hand(network(), images())
    if torch.allclose(got, expected, atol=1e-5):
        return Outcome(True, "signed, unscaled")
    raw = torch.allclose(got, expected.relu(), atol=1e-5)
    return Outcome(False, "without what is below zero" if raw else "from 0 to 1 alone")


def several(side: Side) -> Outcome:
    """Maps of two layers from one forward pass."""
    net, x = network(), images()
    found = side(net, ["0", "2"], x, pick)
    if len(found) == 1:
        return Outcome(False, "their mean alone")
    pairs = zip(found, (0, 2), strict=True)
    right = all(compared(maps, by_hand(net, x, layer)).ok for maps, layer in pairs)
    return Outcome(right, "right" if right else "wrong")


def embedding(side: Side) -> Outcome:
    """A direction in an encoder's latent space as the score."""
    net, x, d = network(), images(), torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0])
    leaf = net[:1](x).detach().requires_grad_()
    (g,) = torch.autograd.grad((net[1:](leaf.clone()) @ d).sum(), leaf)
    expected = (g.mean((2, 3), keepdim=True) * leaf).sum(1)
    return compared(one(side, net, x, lambda row: row @ d), expected)


def _plus_plus(scale: float) -> Callable[[Side], Outcome]:
    """Grad-CAM++ after a ReLU, by equation 19 of the paper, in double precision."""

    def check(side: Side) -> Outcome:
        if side.__name__ == "captum":
            return Outcome(None, "has none")
        net, x = network(), images()
        net[1] = nn.ReLU()
        net[6].weight.data *= scale
        sharp = copy.deepcopy(net).double()
        leaf = sharp[:2](x.double()).detach().requires_grad_()
        (g,) = torch.autograd.grad(sharp[2:](leaf.clone())[:, 2].sum(), leaf)
        below = 2 * g**2 + g**3 * leaf.sum((2, 3), keepdim=True)
        alpha = torch.where(g > 0, g**2 / torch.where(g > 0, below, 1.0), 0.0)
        expected = ((alpha * g.relu()).sum((2, 3), keepdim=True) * leaf).sum(1)
        got = one(side, net, x, pick, layer="1", method="grad-cam++")
        return compared(got, expected, 0.01)

    return check


def guided(side: Side) -> Outcome:
    """Guided backpropagation through a LeakyReLU, by its rule: nothing where x < 0 or R < 0."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 3)).eval(), images()
    x = x.flatten()[:24].view(4, 6)
    passed = (net[0](x) > 0) & (net[2].weight[2] > 0)
    expected = (passed * net[2].weight[2]) @ net[0].weight
    if side.__name__ == "latentkit":
        from latentkit.explain.guided import guided_backpropagation

        got = guided_backpropagation(net, x, lambda y: y[:, 2])
    elif side.__name__ == "captum":
        from captum.attr import GuidedBackprop

        got = GuidedBackprop(net).attribute(x, target=2)
    elif side.__name__ == "grad_cam":  # its class takes pictures of three channels alone
        from pytorch_grad_cam import guided_backprop

        leaky = "LeakyReLU" in inspect.getsource(guided_backprop)
        return Outcome(None, "has a rule for it" if leaky else "replaces nn.ReLU alone")
    else:
        return Outcome(None, "has none")
    right = torch.allclose(got, expected, atol=1e-5)
    return Outcome(right, "right" if right else "the plain gradient, silently")


CHECKS: dict[str, tuple[str, Callable[[Side], Outcome]]] = {
    "in-place": ("An operation in place comes right after the layer", in_place),
    "no-grad": ("Called inside `torch.no_grad()`", _within(torch.no_grad)),
    "inference-mode": ("Called inside `torch.inference_mode()`", _within(torch.inference_mode)),
    "frozen": ("All parameters are frozen", frozen),
    "compiled": ("A network compiled by `torch.compile`", compiled),
    "bfloat16": ("A network in bfloat16", bfloat16),
    "1d": ("Signals (N, C, L)", _rank(1)),
    "3d": ("Volumes (N, C, D, H, W)", _rank(3)),
    "batches": ("A batch gives the maps of its images one by one", batches),
    "several": ("Maps of two layers in one pass", several),
    "signed": ("Raw signed maps", signed),
    "plain": ("The plain case, to be sure that each is asked rightly", _within(nullcontext)),
    "embedding": ("A direction in a latent space as the score", embedding),
    "plus-plus": ("Grad-CAM++ as its paper has it", _plus_plus(1.0)),
    "plus-plus-small": ("The same, outputs 100 times smaller", _plus_plus(0.01)),
    "guided": ("Guided backpropagation through LeakyReLU", guided),
}
"""By name: the claim, and the check of one side."""
