"""Class activation maps by the peers, each as its README says, for `cam.py`.

`one(...)` gives maps of class 3 at the size of the pictures, `every(...)` those of all K outputs.
A peer that is not installed is left out, with a word.
"""

import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PACKAGES = {"captum": "captum", "torchcam": "torchcam", "pytorch_grad_cam": "grad-cam"}
CLASS = 3


def installed() -> dict[str, str]:
    """Versions of the peers that can be imported; says which are left out."""
    found = {}
    for module, package in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{package} is not installed: its rows are left out")
        else:
            found[package] = metadata.version(package)
    return found


def one(
    peers: dict[str, str], net: nn.Module, layer: str, x: Tensor
) -> dict[str, Callable[[], Any]]:
    """By "package, method": a call that makes N maps at the size of the pictures."""
    calls: dict[str, Callable[[], Any]] = {}
    part = net.get_submodule(layer)
    if "captum" in peers:
        from captum.attr import LayerGradCam

        explainer = LayerGradCam(net, part)
        calls["captum, grad-cam"] = lambda: _resized(
            explainer.attribute(x, target=CLASS, relu_attributions=True), x
        )
    if "torchcam" in peers:
        from torchcam import methods

        def torchcam(kind: str) -> Tensor:
            with getattr(methods, kind)(net, layer) as extractor:
                return _resized(extractor([CLASS] * len(x), net(x))[0][:, None], x)

        calls["torchcam, grad-cam"] = lambda: torchcam("GradCAM")
        calls["torchcam, grad-cam++"] = lambda: torchcam("GradCAMpp")
    if "grad-cam" in peers:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        def grad_cam(kind: str) -> Any:
            with getattr(pytorch_grad_cam, kind)(net, [part]) as explainer:
                return explainer(x, [ClassifierOutputTarget(CLASS)] * len(x))

        calls["pytorch-grad-cam, grad-cam"] = lambda: grad_cam("GradCAM")
        calls["pytorch-grad-cam, grad-cam++"] = lambda: grad_cam("GradCAMPlusPlus")
    return calls


def every(
    peers: dict[str, str], net: nn.Module, layer: str, x: Tensor, units: int
) -> dict[str, Callable[[], Any]]:
    """By package: a call that makes the maps of all units, (N, K, *S_layer) where it has raw ones.

    torchcam gets the cheapest way its interface allows: one forward pass, K retained backwards.
    """
    calls: dict[str, Callable[[], Any]] = {}
    part = net.get_submodule(layer)
    if "captum" in peers:
        from captum.attr import LayerGradCam

        explainer = LayerGradCam(net, part)
        calls["captum"] = lambda: torch.cat(
            [explainer.attribute(x, target=k).detach() for k in range(units)], 1
        )
    if "torchcam" in peers:
        from torchcam.methods import GradCAM

        def torchcam() -> Tensor:
            with GradCAM(net, layer) as extractor:
                scores, kept = net(x), {"normalized": False, "retain_graph": True}
                maps = [extractor([k] * len(x), scores, **kept)[0] for k in range(units)]
            return torch.stack(maps, 1)

        calls["torchcam"] = torchcam
    if "grad-cam" in peers:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        def grad_cam() -> Any:
            with pytorch_grad_cam.GradCAM(net, [part]) as explainer:
                return [explainer(x, [ClassifierOutputTarget(k)] * len(x)) for k in range(units)]

        calls["pytorch-grad-cam"] = grad_cam
    return calls


def _resized(maps: Tensor, x: Tensor) -> Tensor:
    return functional.interpolate(maps, x.shape[2:], mode="bilinear").detach()
