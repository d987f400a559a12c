"""Torchvision's Inception v3 as features of images, where its weights are."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

_WEIGHTS = "inception_v3_google-0cc3c7bd.pth"  # as torchvision names the file it downloads
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # that it was trained with


class _Inception(nn.Module):
    """Inception v3 up to its last pooling, for images of any size in [0, 1].

    The weights are torchvision's, not those of the TensorFlow network that published FIDs use, so
    distances in it compare with each other only.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, H, W) in [0, 1] -> (N, 2048)."""
        if x.ndim != 4 or x.shape[1] not in {1, 3}:
            raise ValueError(
                f"expected images (N, 1 or 3, H, W) for features inception, got {tuple(x.shape)}"
            )
        x = interpolate(x.expand(-1, 3, -1, -1), size=(299, 299), mode="bilinear", antialias=True)
        features: Tensor = self.network((x - self.mean) / self.deviation)
        return features


def inception() -> nn.Module:
    """Images (N, 1 or 3, H, W) in [0, 1] -> (N, 2048).

    Raises:
        ValueError: if the weights are not where torchvision keeps them, or damaged.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
    if not path.is_file():
        raise ValueError(
            f"expected torchvision's Inception v3 weights at {path}, found none: put the file "
            f"https://download.pytorch.org/models/{_WEIGHTS} there, or use features classifier"
        )
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, transform_input=False)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises its own kinds for a damaged file
        raise ValueError(f"{path} is damaged or holds other weights: {error}") from error
    network.fc = nn.Identity()
    return _Inception(network).eval().requires_grad_(requires_grad=False)
