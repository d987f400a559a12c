"""Measures during training how good images are, as `latentkit evaluate` does afterwards."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from latentkit.data.base import ImageData, Split
from latentkit.data.images import random_rows
from latentkit.metrics.generated import compared
from latentkit.metrics.reconstruction import WINDOW, ssim
from latentkit.store import write_json
from latentkit.training.base import Training
from latentkit.training.classifier import has_classes, require_classes
from latentkit.training.features import Space, named_space
from latentkit.training.run import folder_of
from latentkit.training.watch import boards, data_of, judged

QUALITY_FILE = "quality.json"
_FEWEST = 64  # images that are worth a number: the features are about as many
_REBUILT = 32  # images whose reconstruction is compared: the window is slow


class Quality(pl.Callback):
    """Logs how good generated images and reconstructions are, after every `every`-th validation.

    Of a model with a prior: Frechet and kernel distance, precision, recall, density and coverage
    of its images (the averaged generator's, where there is an average) against validation images,
    as `val/frechet_<features>` and so on. Of one with an encoder: structural similarity of the
    reconstructions, as `val/ssim`. The number of images is part of what a distance means: with
    fewer it is larger. It is in `quality.json` in the run folder, with all other settings and with
    what as many training images reach in the place of generated ones, which nobody needs to beat.

    The numbers choose nothing; labels only make the features. The data have to be an `ImageData`.

    Args:
        every: validations between measurements; 0 for none.
        count: generated images, and validation images, at most; fewer than 64 are not measured.
        features: what images are compared in: classifier (trained on the labels before the first
            step, within a minute), inception (torchvision's, where its weights are) or
            package.module:callable. None takes the classifier where there are labels, and
            otherwise compares nothing. The model's own encoder will not do: it changes all the
            time, so the numbers would not compare.

    Raises:
        ValueError: `every` is below 0, `count` below 64, or the features are the model's own.
    """

    def __init__(self, every: int = 1, count: int = 500, features: str | None = None) -> None:
        if every < 0 or count < _FEWEST:
            raise ValueError(
                f"expected quality.every of 0 or more and quality.count of {_FEWEST} or more, got "
                f"{every} and {count}"
            )
        if features == "encoder":
            raise ValueError(
                "quality.features cannot be the encoder, which changes during the training: use "
                "classifier, inception or package.module:callable"
            )
        self.every, self.count, self.features = every, count, features
        self._seen = 0
        self._space: Space | None = None
        self._real, self._images = torch.empty(0), torch.empty(0)

    def state_dict(self) -> dict[str, int]:
        """Validations seen, for resuming."""
        return {"seen": self._seen}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restores the count."""
        self._seen = state_dict["seen"]

    def check(self, data: Any) -> None:  # noqa: ANN401  (a data module)
        """Raises a ValueError if the features that the user named cannot be had for these data."""
        if not self.every or not self.features or not isinstance(data, ImageData):
            return
        if self.features == "classifier":
            require_classes(data)
        else:
            named_space(self.features, data, torch.device("cpu"), 0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the feature space, and describes it in the run folder.

        Raises:
            ValueError: if it cannot be opened.
        """
        data = data_of(trainer)
        wanted = self.every and trainer.enable_validation and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if not wanted or not isinstance(data, ImageData) or not isinstance(pl_module, Training):
            return
        images = _drawn(data, "val", self.count, pl_module.seed)
        if len(images) < _FEWEST:
            return
        self._images = images[:: -(-len(images) // _REBUILT)]
        if hasattr(pl_module, "prior") and (self.features or has_classes(data)):
            self._space = self._opened(data, pl_module)
        if self._space is not None:
            self._real = self._space.read(images, pl_module.device)
            self._describe(trainer, pl_module, self._space, data)

    def _opened(self, data: ImageData, module: Training) -> Space | None:
        """The feature space; none where the one that nobody asked for cannot be had."""
        try:
            name = self.features or "classifier"
            if name == "classifier":
                rank_zero_info(
                    "quality: first trains a classifier, in whose features images are compared, "
                    "within a minute (--quality.every 0 leaves it out)"
                )
            return named_space(name, data, module.device, module.seed)
        except ValueError as error:
            if self.features:
                raise
            rank_zero_info(f"quality: generated images are not compared: {error}")
            return None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures, when it is due, and logs the numbers with those of the validation.

        All processes do so, and get the same.
        """
        if trainer.state.fn != "fit" or trainer.sanity_checking or not len(self._images):
            return
        self._seen += 1
        if (self._seen - 1) % self.every:
            return
        with judged(trainer, pl_module):
            numbers = self._generated(pl_module) | self._rebuilt(trainer, pl_module)
        named = {f"val/{k}": v for k, v in numbers.items()}
        pl_module.log_dict(named, batch_size=self.count, sync_dist=True)

    def _generated(self, module: Any) -> dict[str, float]:  # noqa: ANN401
        """Of images of the prior, against as many real ones."""
        if self._space is None:
            return {}
        same = torch.Generator(module.device).manual_seed(0)  # the same latents each time
        latents = module.prior.sample(len(self._real), generator=same)
        images = [module.decode(z).float() for z in torch.split(latents, 256)]
        fake = self._space.read(torch.cat(images), module.device)
        if not fake.isfinite().all():
            return {f"frechet_{self._space.name}": float("nan")}
        return compared(self._real, fake, self._space.name, module.seed)[0]

    def _rebuilt(self, trainer: pl.Trainer, module: Any) -> dict[str, float]:  # noqa: ANN401
        """Of reconstructions."""
        if not hasattr(module, "encode") or min(self._images.shape[2:]) < WINDOW:
            return {}
        images = self._images.to(module.device)
        rebuilt = module.decode(module.encode(trainer.precision_plugin.convert_input(images)))
        return {"ssim": ssim(rebuilt.float(), images).mean().item()}

    def _describe(
        self, trainer: pl.Trainer, module: Training, space: Space, data: ImageData
    ) -> None:
        """Writes what the numbers depend on, and those of training images, for comparison."""
        count, size = self._real.shape
        train = space.read(_drawn(data, "train", count, module.seed), module.device)
        floor, settings = compared(self._real, train, space.name, module.seed)
        about: dict[str, Any] = {"features": space.name, "feature_size": size, **space.numbers}
        about |= {"real_images": count, "generated_images": count, "seed": module.seed}
        about |= {**space.settings, **settings, "ssim_images": len(self._images)}
        about["of_training_images"] = floor
        folder = folder_of(trainer)
        if folder is not None and trainer.is_global_zero:
            write_json(folder / QUALITY_FILE, about)
        for board in boards(trainer):
            text = "\n".join(f"- {key}: {value}" for key, value in about.items())
            board.add_text("quality", text, int(module.iteration))


def _drawn(data: ImageData, split: Split, n: int, seed: int) -> Tensor:
    """`n` random images of a split, or all if there are fewer: (n, C, *S)."""
    chosen = data.split(split)
    return chosen[random_rows(len(chosen), n, seed)][0]
