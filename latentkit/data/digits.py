"""Handwritten digits of 8x8 pixels that come with scikit-learn: no download.

The test part of UCI's "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998).
"""

import torch
from sklearn.datasets import load_digits

from latentkit.data.base import ImageData, Splits
from latentkit.data.images import TensorImages
from latentkit.data.pixels import resize
from latentkit.data.splits import cut


class Digits(ImageData):
    """1,797 grey digits, split 1,197 / 300 / 300 with the classes in proportion.

    Args:
        size: height and width, resized bilinearly; 8 gives the pixels as they are.
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
    """

    def __init__(self, size: int = 16, batch_size: int = 128, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters(logger=False)
        self.size = size

    def load(self) -> Splits:
        """Read scikit-learn's copy; its values are 0 ... 16."""
        found = load_digits()
        levels = torch.from_numpy(found.images)[:, None] * (255 / 16)
        images = resize(levels.round().to(torch.uint8), self.size)
        labels = torch.from_numpy(found.target).long()
        train, val, test = (
            TensorImages(images[rows], labels[rows]) for rows in cut(labels, 300, 300)
        )
        return Splits(train, val, test, class_names=tuple("0123456789"))
