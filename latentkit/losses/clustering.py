"""ClusterGAN's cycle losses: the encoder must recover both parts of the latent.

Mukherjee et al., "ClusterGAN: Latent Space Clustering in Generative Adversarial Networks", AAAI
2019 (arXiv 1809.03627), eq. 2.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor


def continuous_cycle(recovered: Tensor, drawn: Tensor) -> Tensor:
    """Mean squared error of the Gaussian part: (N, d_n), (N, d_n) -> scalar."""
    return F.mse_loss(recovered, drawn)


def class_cycle(logits: Tensor, drawn: Tensor) -> Tensor:
    """Cross-entropy of the one-hot part in nats: logits (N, K), one-hot (N, K) -> scalar."""
    return F.cross_entropy(logits, drawn)


def mutual_information(p: Tensor, q: Tensor) -> Tensor:
    """Information that the clusters of two views of the same images share, in nats.

    Ji et al., "Invariant Information Clustering", ICCV 2019 (arXiv 1807.06653), eq. 3: large when
    both views agree, are sure, and all clusters are used.

    Args:
        p: (..., N, K) cluster probabilities of one view.
        q: (..., N, K) those of the other.

    Returns:
        (...) in [0, log K], to be maximised.
    """
    wide = torch.promote_types(p.dtype, torch.float32)
    with torch.autocast(p.device.type, enabled=False):  # half precision is too coarse here
        joint = p.to(wide).mT @ q.to(wide) / p.shape[-2]
    joint = ((joint + joint.mT) / 2).clamp(min=1e-8)
    independent = joint.sum(-2, keepdim=True) * joint.sum(-1, keepdim=True)
    return (joint * (joint.log() - independent.log())).sum((-2, -1))
