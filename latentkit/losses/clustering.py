"""ClusterGAN's cycle losses: the encoder must recover both parts of the latent.

Mukherjee et al., "ClusterGAN: Latent Space Clustering in Generative Adversarial Networks", AAAI
2019 (arXiv 1809.03627), eq. 2.
"""

import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor


def continuous_cycle(recovered: Tensor, drawn: Tensor) -> Tensor:
    """Mean squared error of the Gaussian part: (N, d_n), (N, d_n) -> scalar."""
    return F.mse_loss(recovered, drawn)


def class_cycle(logits: Tensor, drawn: Tensor) -> Tensor:
    """Cross-entropy of the one-hot part in nats: logits (N, K), one-hot (N, K) -> scalar."""
    return F.cross_entropy(logits, drawn)
