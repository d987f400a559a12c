"""What peers have and latentkit has not, found in the installed packages."""

import importlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from peers_outcome import Outcome

NAMES: dict[str, tuple[str, str, list[str]]] = {
    "text": (
        "Explaining language models: tokens, templates, answers",
        "captum",
        [
            "captum.attr:LLMAttribution",
            "captum.attr:TextTokenInput",
            "captum.attr:TokenReferenceBase",
        ],
    ),
    "concepts": (
        "Concepts (TCAV) and influence of training examples",
        "captum",
        ["captum.concept:TCAV", "captum.influence:TracInCP", "captum.influence:TracInCPFast"],
    ),
    "neurons": (
        "Attribution to and of single neurons and layers, by a dozen methods",
        "captum",
        [
            "captum.attr:LayerConductance",
            "captum.attr:NeuronConductance",
            "captum.attr:InternalInfluence",
            "captum.attr:LayerDeepLift",
        ],
    ),
    "boxes": (
        "Ready scores for segmentation and for boxes of a detector",
        "grad-cam",
        [
            "pytorch_grad_cam.utils.model_targets:SemanticSegmentationTarget",
            "pytorch_grad_cam.utils.model_targets:FasterRCNNBoxScoreTarget",
        ],
    ),
    "transformers": (
        "Heatmaps of vision transformers: tokens laid out as an image",
        "grad-cam",
        [
            "pytorch_grad_cam.utils.reshape_transforms:vit_reshape_transform",
            "pytorch_grad_cam.utils.reshape_transforms:swinT_reshape_transform",
        ],
    ),
    "newer-cams": (
        "Newer and rarer class activation maps",
        "grad-cam",
        [
            "pytorch_grad_cam:FinerCAM",
            "pytorch_grad_cam:ShapleyCAM",
            "pytorch_grad_cam:KPCA_CAM",
            "pytorch_grad_cam:SegEigenCAM",
            "pytorch_grad_cam:DeepFeatureFactorization",
        ],
    ),
    "score-cams": (
        "Smoothed and integrated Score-CAM",
        "torchcam",
        ["torchcam.methods:SSCAM", "torchcam.methods:ISCAM", "torchcam.methods:SmoothGradCAMpp"],
    ),
    "autoencoders": (
        "Many kinds of autoencoder",
        "pythae",
        [
            "pythae.models:VQVAE",
            "pythae.models:RHVAE",
            "pythae.models:IWAE",
            "pythae.models:VAE_IAF",
            "pythae.models:WAE_MMD",
            "pythae.models:VAMP",
            "pythae.models:FactorVAE",
            "pythae.models:SVAE",
            "pythae.models:PoincareVAE",
        ],
    ),
    "samplers": (
        "Normalising flows and PixelCNN as samplers",
        "pythae",
        [
            "pythae.samplers:MAFSampler",
            "pythae.samplers:IAFSampler",
            "pythae.samplers:PixelCNNSampler",
        ],
    ),
    "hub": (
        "Sharing models on a hub, with a card",
        "pythae",
        ["pythae.models:BaseAE.push_to_hf_hub", "pythae.models:BaseAE.load_from_hf_hub"],
    ),
    "trackers": (
        "Weights & Biases, MLflow and Comet without a line of one's own",
        "pythae",
        [
            "pythae.trainers.training_callbacks:WandbCallback",
            "pythae.trainers.training_callbacks:MLFlowCallback",
            "pythae.trainers.training_callbacks:CometCallback",
        ],
    ),
}
"""By name: what it is, whose, and where it is found, as `module:name`."""


def present(names: list[str]) -> Outcome:
    """Whether all can be imported."""
    for name in names:
        module, path = name.split(":")
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    return Outcome(True, ", ".join(name.split(":")[1].removeprefix("BaseAE.") for name in names))


def projector() -> Outcome:
    """Whether TensorBoard's page computes maps in the browser: the words of its script."""
    import tensorboard.plugins.projector as plugin

    folder = Path(plugin.__file__).parent / "tf_projector_plugin"
    text = (folder / "projector_binary.js").read_text().lower()
    found = [word for word in ("t-sne", "umap", "pca", "nearest") if word in text]
    return Outcome(len(found) == 4, "t-SNE, UMAP and PCA in the browser, 3-D, nearest points")


def needs(package: str) -> Outcome:
    """How many distributions a package asks for, extras left out."""
    lines = metadata.requires(package) or []
    names = [line for line in lines if "extra ==" not in line]
    return Outcome(len(names) <= 8, f"{len(names)} packages")


def command(package: str) -> Outcome:
    """Whether it installs a command."""
    scripts = metadata.distribution(package).entry_points.select(group="console_scripts")
    found = ", ".join(sorted(script.name for script in scripts))
    return Outcome(bool(found), found or "none")


CHECKS: dict[str, tuple[str, dict[str, Callable[[], Outcome]]]] = {
    name: (claim, {peer: lambda names=names: present(names)})
    for name, (claim, peer, names) in NAMES.items()
} | {"projector": ("Maps computed live in the browser", {"tensorboard": projector})}
"""By name: what a peer has that we have not, and how that is seen."""
