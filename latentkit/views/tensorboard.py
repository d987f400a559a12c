"""TensorBoard pictures during training: samples, reconstructions, walks through latent space."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from latentkit.latent.interpolate import lerp, matched
from latentkit.latent.render import decode_path
from latentkit.priors import Gaussian, GaussianOneHot, Uniform
from latentkit.training.base import Training
from latentkit.views.figures import coloured, rendered
from latentkit.views.panel import Panel, drawn, inputs
from latentkit.views.pixels import alternate, check_picture, grid
from latentkit.views.sheets import sheet

ERROR = 0.5
"""Mean absolute error of a pixel at which the colours of error maps end."""

REACH = 2.0
"""Standard deviations that a walk along a direction goes to each side."""

_FRAMES = 9  # images of a walk
_SPREAD = 256  # images whose latents tell how far to walk


class Pictures(Panel):
    """Grids of samples, and of reconstructions below their originals and above their errors.

    Samples of an averaged generator come with those of its latest weights. Error maps, the mean
    over channels of |difference|, have the same colours each time: dark for 0, yellow for 0.5.

    Args:
        every: training images between pictures; 0 for none.
        count: images in each grid.

    Raises:
        ValueError: `every` is below 0, or `count` below 1.
    """

    def __init__(self, every: int = 50_000, count: int = 32) -> None:
        super().__init__(every)
        if count < 1:
            raise ValueError(f"expected pictures.count of 1 or more, got {count}")
        self.count = count

    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Logs `samples`, `samples of the latest weights` and `reconstructions`."""
        model, raw, step = module.portable(), module.model, int(module.iteration)
        if hasattr(model, "prior"):
            z = drawn(module, self.count)
            board.add_image("samples", _grid(model, z), step)
            if hasattr(module, "ema"):
                board.add_image("samples of the latest weights", _grid(raw, z), step)
        x = self.held_out(trainer, self.count).images
        if hasattr(model, "encode") and len(x):
            rebuilt = model.decode(model.encode(inputs(trainer, module, x)))  # type: ignore[operator]
            board.add_image("reconstructions", beside_originals(x, rebuilt), step)


class UnitPanel(Panel):
    """Abstract callback: shows latent units, chosen at its first drawing.

    They stay the same for the whole run, resumed or not, so that its steps can be compared.

    Args:
        every: training images between drawings; 0 for none.
    """

    def __init__(self, every: int) -> None:
        super().__init__(every)
        self._chosen: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        """Of every panel, and the units that were chosen."""
        return {**super().state_dict(), "chosen": list(self._chosen)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        super().load_state_dict(state_dict)
        self._chosen = list(state_dict.get("chosen", ()))  # which earlier checkpoints lack

    def chosen(self, model: Any, z: Tensor, n: int) -> list[int]:  # noqa: ANN401
        """At most `n` units, those of latents (N, D) that varied most the first time."""
        self._chosen = self._chosen or most_varying(model, z, n)
        return self._chosen


class Walks(UnitPanel):
    """Traversals of single latent units, and interpolations between fixed validation images.

    A traversal starts at the latent of one validation image and moves one unit from -2 to 2
    standard deviations around it; the units are those that varied most at the first drawing, the
    first one first. An interpolation is matched to the prior where it has one to match, and
    otherwise straight. Without an encoder both start at samples of the prior.

    Args:
        every: training images between pictures; 0 for none.
        units: of the traversals, at most.
        pairs: of images interpolated between.

    Raises:
        ValueError: `every` is below 0, or `units` or `pairs` below 1.
    """

    def __init__(self, every: int = 250_000, units: int = 8, pairs: int = 4) -> None:
        super().__init__(every)
        if units < 1 or pairs < 1:
            raise ValueError(
                f"expected walks.units and walks.pairs of 1 or more, got {units} and {pairs}"
            )
        self.units, self.pairs = units, pairs

    def draw(self, board: SummaryWriter, trainer: pl.Trainer, module: Training) -> None:
        """Logs `traversals` and `interpolations`."""
        model: Any = module.portable()
        z = self.latents(trainer, module, max(_SPREAD, 2 * self.pairs))
        if len(z) < 2 or not hasattr(model, "decode"):
            return
        step = int(module.iteration)
        board.add_image("traversals", self._traversals(model, z.flatten(1)), step)
        count = min(self.pairs, len(z) // 2)
        path = between(model, z[:count], z[count : 2 * count], _FRAMES)
        rows = [f"pair {k + 1}" for k in range(count)]
        columns = [f"{t:.2g}" for t in torch.linspace(0, 1, _FRAMES).tolist()]
        pictures = decode_path(model.decode, path).float().cpu()
        board.add_image(
            "interpolations", rendered(sheet(pictures, rows, columns, "interpolations", [])), step
        )

    def _traversals(self, model: Any, z: Tensor) -> Tensor:  # noqa: ANN401
        units = self.chosen(model, z, self.units)
        steps = torch.linspace(-REACH, REACH, _FRAMES, device=z.device, dtype=z.dtype)
        path = z[:1, None].expand(len(units), _FRAMES, -1).clone()
        for row, unit in zip(path, units, strict=True):
            row[:, unit] += steps * z[:, unit].std()
        pictures = decode_path(model.decode, path).float().cpu()
        columns = [f"{t:+.1f} sd" for t in steps.tolist()]
        rows = [f"unit {unit}" for unit in units]
        return rendered(sheet(pictures, rows, columns, "traversals of one image", []))


def between(model: Any, a: Tensor, b: Tensor, steps: int) -> Tensor:  # noqa: ANN401
    """Paths (N, T, *Z) from a to b, (N, *Z): matched to the model's prior where it can be."""
    prior = getattr(model, "prior", None)
    if isinstance(prior, Gaussian | GaussianOneHot | Uniform):
        return matched(a, b, steps, prior)
    return lerp(a, b, steps)


def most_varying(model: Any, z: Tensor, n: int) -> list[int]:  # noqa: ANN401
    """Numbers of the units of latents (N, D) that vary most, at most `n`, the first one first.

    Of a ClusterGAN only continuous ones: its classes are one code, which no single unit can leave.
    """
    prior = getattr(model, "prior", None)
    some = z[:, : prior.continuous] if isinstance(prior, GaussianOneHot) else z
    order = some.float().std(0).argsort(descending=True, stable=True)
    return order[:n].tolist()


def beside_originals(x: Tensor, rebuilt: Tensor) -> Tensor:
    """Originals (N, C, H, W) above their reconstructions above error maps: (3, H', W')."""
    check_picture(x)
    rebuilt = rebuilt.float().cpu().clamp(0, 1)
    errors = coloured((rebuilt - x).abs().mean(1), (0.0, ERROR))
    return grid(alternate(*(images.expand(-1, 3, -1, -1) for images in (x, rebuilt, errors))), 8)


def _grid(model: Any, z: Tensor) -> Tensor:  # noqa: ANN401
    images = model.decode(z)
    check_picture(images)
    return grid(images, 8).clamp(0, 1)
