"""Scenes of two objects on a textured ground, drawn when first asked for; see `shapes_render`."""

import torch
from torch import Tensor

from latentkit.data.base import ImageData, Splits
from latentkit.data.batches import keyed_generator
from latentkit.data.images import ImageSet
from latentkit.data.pixels import unit
from latentkit.data.shapes_render import FACTORS, SHAPES, render, sample_factors, shape_index

KEPT = 2 * 2**30  # bytes: a part of data that takes more is drawn anew each time


class Scenes(ImageSet):
    """Scenes drawn when first indexed, and kept as bytes: drawing takes longer than a step.

    A part too large for `KEPT` (174,762 scenes of 64x64) is drawn anew each time it is asked for,
    so that any number of scenes can be had, if slowly.

    Args:
        factors: (N, 10), also the attribute values; the label is the shape of object 1.
        size: height and width of the images.
    """

    def __init__(self, factors: Tensor, size: int) -> None:
        super().__init__(shape_index(factors), factors)
        self.size = size
        fits = len(factors) * 3 * size**2 <= KEPT
        self._drawn = torch.zeros(len(factors) if fits else 0, dtype=torch.bool)
        self._images = torch.empty(len(self._drawn), *self.image_shape, dtype=torch.uint8)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return 3, self.size, self.size

    def pixels(self, rows: Tensor) -> Tensor:
        """Row numbers (n,) -> images (n, 3, H, W) float32 in [0, 1], multiples of 1/255."""
        if not len(self._drawn):
            return unit(self._draw(rows))
        new = rows[~self._drawn[rows]].unique()  # type: ignore[no-untyped-call]
        if len(new):
            self._images[new], self._drawn[new] = self._draw(new), True
        return unit(self._images[rows])

    def _draw(self, rows: Tensor) -> Tensor:
        image = render(self.attribute_values[rows], self.size).image
        return (image * 255).round().byte()


class Shapes(ImageData):
    """Coloured scenes with ten known factors, which are their attributes.

    Scene i of a part is the same for every batch, count and `seed`; no part has another's scenes.

    Args:
        count: training scenes.
        size: height and width.
        val_count: validation scenes.
        test_count: test scenes.
        scene_seed: another one gives other scenes.
        batch_size: images of a batch, per process.
        seed: of the order of the training batches.

    Raises:
        ValueError: a count or the size is below 1.
    """

    def __init__(
        self,
        count: int = 10_000,
        size: int = 64,
        val_count: int = 1_000,
        test_count: int = 1_000,
        scene_seed: int = 0,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.save_hyperparameters(logger=False)
        if min(count, val_count, test_count, size) < 1:
            raise ValueError(
                "expected count, val_count, test_count and size of 1 or more, got"
                f" {count}, {val_count}, {test_count} and {size}"
            )
        self.counts, self.size = [test_count, val_count, count], size
        self.scene_seed = scene_seed

    def load(self) -> Splits:
        """Draw the factors of all scenes; the scenes are drawn when first asked for."""
        test, val, train = (
            Scenes(sample_factors(count, keyed_generator(self.scene_seed, part)), self.size)
            for part, count in enumerate(self.counts)
        )
        return Splits(train, val, test, class_names=SHAPES, attributes=FACTORS)
