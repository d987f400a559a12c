"""What an explanation leaves behind, and what it meets: train mode, threads, repeated layers."""

import copy
import gc
import sys
import threading
from collections.abc import Callable

import torch
from peers_networks import by_hand, images, network, pick
from peers_outcome import Outcome, compared, named
from peers_sides import Side, one
from torch import Tensor, nn


def training(side: Side) -> Outcome:
    """The network is in the middle of a training: its state must come back."""
    net = network(norm=True)
    expected, kept = by_hand(net, images()), copy.deepcopy(net.train().state_dict())
    found = compared(one(side, net, images(), pick), expected)
    same = all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())
    faults = [] if found.ok else ["map depends on the rest of the batch"]
    faults += [] if same else ["batch statistics moved"]
    faults += [] if net.training else ["left in eval mode"]
    return Outcome(not faults, ", ".join(faults) or "right")


def gradients(side: Side) -> Outcome:
    """Gradients that a training step has gathered stay."""
    net = network()
    for p in net.parameters():
        p.grad = torch.full_like(p, 7.0)
    one(side, net, images(), pick)
    kept = all(p.grad is not None and bool((p.grad == 7).all()) for p in net.parameters())
    return Outcome(kept, "kept" if kept else "overwritten")


def repeated(side: Side) -> Outcome:
    """Which of two calls does the map show?"""
    net, x = network(), images()
    calls = {"first": by_hand(net, x), "second": -by_hand(net, x.flip(-1))}
    try:
        got = one(side, Twice(net), x, pick, layer="net.0")
    except ValueError as error:
        asks = "give call=0 ... 1" in str(error)
        return Outcome(asks, "asks which one" if asks else named(error))
    shows = [name for name, expected in calls.items() if compared(got, expected).ok]
    return Outcome(False, f"the {shows[0]}, silently" if shows else "neither, silently")


class Twice(nn.Module):
    """A layer that runs twice, as a siamese network's or a shared discriminator's do."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """f(x) - 2 f(mirrored x)."""
        return self.net(x) - 2 * self.net(x.flip(-1))


def threads(side: Side) -> Outcome:
    """Two threads, each with a score of its own, 40 calls each on one network."""
    net, x = network(), images()
    picks = [lambda row, k=k: row[k] for k in range(2)]
    expected = [one(side, net, x, p) for p in picks]
    bad: list[str] = []

    def work(k: int) -> None:
        torch.set_num_threads(1)
        for _ in range(40):
            try:
                if not compared(one(side, net, x, picks[k]), expected[k]).ok:
                    bad.append("wrong")
            except Exception:  # noqa: BLE001  (a thread's error would be lost)
                bad.append("raised")

    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-4)
        both = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    counts = [f"{bad.count(kind)} {kind}" for kind in ("wrong", "raised") if kind in bad]
    return Outcome(not bad, f"{', '.join(counts)} of 80" if bad else "80 of 80 right")


def error(side: Side) -> Outcome:
    """A score raises: the error arrives, and no hook stays."""

    def bad(_row: Tensor) -> Tensor:
        raise IndexError("no such output")

    net = network()
    try:
        one(side, net, images(), bad)
        said = "IndexError is swallowed"
    except IndexError:
        said = ""
    except TypeError:  # without the error there is nothing to index: None comes back
        said = "IndexError is swallowed"
    left = hooks(net)
    said = ", ".join(filter(None, [said, f"{left} hooks stay" if left else ""]))
    return Outcome(not said, said or "arrives, no hook stays")


def hooks(net: nn.Module) -> int:
    """How many hang on a network."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(part, kind)) for part in net.modules() for kind in kinds)


def forgotten(side: Side) -> Outcome:
    """An explainer that is dropped without `with` or a clean-up leaves nothing behind."""
    net = network()
    if side.__name__ == "torchcam":
        from torchcam.methods import GradCAM

        explainer = GradCAM(net, "0")
        explainer(targets=pick, scores=net(images()))
        del explainer
    elif side.__name__ == "grad_cam":
        import pytorch_grad_cam

        kept = pytorch_grad_cam.GradCAM(net, [net[0]])
        kept(images(), [pick] * 4)
        del kept
    else:  # they have nothing to be dropped but the call
        one(side, net, images(), pick)
    gc.collect()
    left = hooks(net)
    return Outcome(not left, f"{left} hooks stay" if left else "nothing stays")


CHECKS: dict[str, tuple[str, Callable[[Side], Outcome]]] = {
    "training": ("A network with batch norm in train mode: map, statistics and mode", training),
    "gradients": ("Parameter gradients gathered so far", gradients),
    "repeated": ("A layer that runs twice in one forward pass: which call is shown?", repeated),
    "threads": ("Two threads, one network, 80 calls", threads),
    "error": ("A score that raises IndexError", error),
    "forgotten": ("The explainer is dropped without `with`", forgotten),
}
"""By name: the claim, and the check of one side."""
