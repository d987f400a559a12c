"""Inverting images for the verbs: in batches, with a progress bar, judged by held-out images."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from latentkit.cli.named.endpoints import read_images
from latentkit.cli.named.features import space_of
from latentkit.cli.named.sources import Source
from latentkit.data.base import Split
from latentkit.latent.inversion import Inversion
from latentkit.latent.invert import Terms, invert
from latentkit.metrics.reconstruction import WINDOW, psnr, ssim
from latentkit.views.sheets import sheet

_BATCH = 64  # images inverted at a time
_SHOWN = 16  # columns of the sheet
_ALPHA = 0.05  # share of in-domain images that may be called out of domain


@dataclass(frozen=True)
class Search:
    """How to invert.

    Attributes:
        steps: of the optimiser.
        starts: prior samples to start from, in a model without an encoder.
        seed: of these samples.
        features: name of a feature space, see `space_of`; None for none.
        prior_weight: see `Terms`.
    """

    steps: int
    starts: int
    seed: int
    features: str | None = None
    prior_weight: float = 0.01

    def run(self, source: Source, images: Tensor, what: str = "invert") -> Inversion:
        """Inverts images (N, C, *S); the result lies on the CPU."""
        if not hasattr(source.model, "encode") and not hasattr(source.model, "prior"):
            raise ValueError(
                f"{source.name} has no encode and no prior: inverting needs one to start from"
            )
        terms, parts = self._terms(source), torch.split(images, _BATCH)
        generator = torch.Generator().manual_seed(self.seed)
        encode = _encode(source) if hasattr(source.model, "encode") else None
        found = []
        with tqdm(total=len(parts) * (self.steps + 2), desc=what, leave=False, disable=None) as bar:
            for part in parts:
                x = part.to(source.device)
                decode = _decode(source, bar)
                given = (encode, terms, self.steps)
                found.append(invert(decode, x, *given, samples=self.starts, generator=generator))
        return _join(found)

    def _terms(self, source: Source) -> Terms:
        space = space_of(source, self.features, self.seed) if self.features else None
        return Terms(
            prior=getattr(source.model, "prior", None),
            features=None if space is None else space.flat,
            prior_weight=self.prior_weight,
        )


def _decode(source: Source, bar: tqdm) -> Callable[[Tensor], Tensor]:
    def decode(z: Tensor) -> Tensor:
        bar.update(int(torch.is_grad_enabled()))  # once a step of the optimiser
        return source.run("decode", z)

    return decode


def _encode(source: Source) -> Callable[[Tensor], Tensor]:
    return lambda x: source.run("encode", x)


def _join(parts: list[Inversion]) -> Inversion:
    joined: dict[str, Any] = {}
    for field in fields(Inversion):
        values = [getattr(part, field.name) for part in parts]
        along = 1 if field.name == "history" else 0
        joined[field.name] = None if values[0] is None else torch.cat(values, along).cpu()
    return Inversion(**joined)


def choose_images(
    source: Source, specs: list[str] | None, split: Split, count: int
) -> tuple[Tensor, list[str]]:
    """The images (N, C, *S) that the user named, else the first of a split, and their names."""
    if specs:
        return read_images(specs, source), [spec.rpartition("/")[2] for spec in specs]
    images = source.images(split, count)[0]
    return images, [f"{split} {k}" for k in range(len(images))]


def judge(
    found: Inversion, source: Source, search: Search, split: Split, count: int
) -> tuple[list[bool] | None, str]:
    """Which images are out of domain (None where that cannot be told), and how that was judged.

    Args:
        found: the inversion to judge.
        source: the model.
        search: how `found` was made.
        split: the reference's images, which the model was not trained on.
        count: how many of them; 0 for no reference.
    """
    has_data = source.data_name is not None or "data" in source.about
    if count and has_data:
        reference = search.run(source, source.images(split, count)[0], "invert the reference")
        try:
            flags = found.outside(reference, _ALPHA)
        except ValueError as error:
            if found.typicality is None:
                return None, f"not judged: {error}"
        else:
            return flags.tolist(), f"error and typicality among {len(reference.mse)} {split} images"
    if found.typicality is None:
        return None, "not judged: no reference images, and no prior whose typical latents are known"
    return found.outside(alpha=_ALPHA).tolist(), "typicality of the latent alone"


def picture(
    images: Tensor, started: Tensor, found: Inversion, names: list[str], outside: list[bool] | None
) -> Figure:
    """Original, start, inversion and error of the first images (N, C, H, W), below each other."""
    x, first, last = images[:_SHOWN], started[:_SHOWN], found.image[:_SHOWN]
    error = (x - last).abs().mean(1, keepdim=True).expand_as(x)
    flags = [False] * len(x) if outside is None else outside
    columns = [
        f"{name}\n{quality:.1f} dB" + "\nOUT OF DOMAIN" * flag
        for name, quality, flag in zip(names, found.psnr.tolist(), flags, strict=False)
    ]
    rows = ["original", "start", "inversion", "error"]
    return sheet(torch.stack([x, first, last, error]), rows, columns[: len(x)], "inversion", ())


def numbers_of(
    images: Tensor, started: Tensor, found: Inversion, outside: list[bool] | None
) -> dict[str, Any]:
    """What `result.json` says of an inversion: means, and lists with one number an image.

    Args:
        images: (N, C, *S).
        started: what the inversion started from, (N, C, *S).
        found: the inversion.
        outside: which images are out of domain; None where nobody can tell.
    """
    numbers: dict[str, Any] = {
        "images": len(images),
        "mse": found.mse.mean().item(),
        "psnr_db": found.psnr.mean().item(),
        "start_psnr_db": psnr(started, images).mean().item(),
    }
    if images.ndim == 4 and min(images.shape[2:]) >= WINDOW:
        numbers["ssim"] = ssim(found.image, images).mean().item()
    if outside is not None:
        numbers["out_of_domain"] = sum(outside)
    each = {"psnr_db": found.psnr, "typicality": found.typicality, "feature": found.feature}
    numbers["each"] = {name: v.tolist() for name, v in each.items() if v is not None}
    numbers["each"] |= {} if outside is None else {"out_of_domain": outside}
    return numbers
