"""Endpoints and image groups named on the command line, turned into latents and images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentkit.cli.named.sources import Source
from latentkit.data.pixels import resize, to_channels, unit
from latentkit.priors import GaussianOneHot

_FOR_CENTRES = 5000  # training images that `cluster:` looks at


def endpoint(spec: str, source: Source, seed: int) -> Tensor:
    """Turns an endpoint into a latent (1, *Z) on the CPU.

    Args:
        spec: an image file, `seed:3` (a prior sample), `item:17` (of the test images), `cluster:2`
            or a `.npy` with a latent.
        source: the model.
        seed: of the clustering that `cluster:` needs where the model has no clusters of its own.

    Raises:
        ValueError: there is no such file, image or cluster, or the model cannot make a latent of
            it.
    """
    kind, _, value = spec.partition(":")
    if kind in {"seed", "item", "cluster"} and value:
        number = parse_number(spec, value)
        if kind == "seed":
            return source.prior_sample(1, number)
        return _item(source, number) if kind == "item" else _centre(source, number, seed)
    path = Path(spec)
    if not path.is_file():
        raise ValueError(
            f"{spec} is no endpoint: expected an image file, a .npy latent, seed:N, item:N "
            "or cluster:N"
        )
    latent = read_latent(path) if path.suffix == ".npy" else source.encode(read_image(path, source))
    return check_latent(latent, source, spec)


def parse_number(spec: str, value: str) -> int:
    """The N of `kind:N`, 0 or more.

    Raises:
        ValueError: it is no number, or one of more than 18 digits.
    """
    if not value.isdecimal() or len(value) > 18:
        raise ValueError(f"expected a number of 0 or more after the colon, got {spec}")
    return int(value)


def _item(source: Source, number: int) -> Tensor:
    source.require("encode")
    return source.encode(_test_image(source, number))


def _test_image(source: Source, number: int) -> Tensor:
    images = source.data.split("test")
    if number >= len(images):
        raise ValueError(f"item:{number} is outside the {len(images)} test images")
    return images[[number]][0]


def read_images(specs: list[str], source: Source) -> Tensor:
    """Images (N, C, *S) named on the command line: image files, or `item:17` (of the test images).

    An endpoint that is no image, such as `seed:3`, is refused.
    """
    return torch.cat([_image(spec, source) for spec in specs])


def _image(spec: str, source: Source) -> Tensor:
    kind, _, value = spec.partition(":")
    if kind == "item" and value:
        return _test_image(source, parse_number(spec, value))
    if not Path(spec).is_file():
        raise ValueError(f"{spec} is no image: expected an image file or item:N (a test image)")
    return read_image(Path(spec), source)


def _centre(source: Source, number: int, seed: int) -> Tensor:
    prior = getattr(source.model, "prior", None)
    if isinstance(prior, GaussianOneHot):
        _check_cluster(number, prior.classes)
        code = torch.nn.functional.one_hot(torch.tensor([number]), prior.classes).float()
        return torch.cat([torch.zeros(1, prior.continuous), code], dim=1)
    from latentkit.latent.cluster import kmeans  # scikit-learn: slow to import, for this alone

    count = len(source.data.class_names) or 10
    _check_cluster(number, count)
    latents = source.encode(source.sample("train", _FOR_CENTRES, seed)[0])
    centres = kmeans(latents.flatten(1), count, seed).centres
    return centres[[number]].reshape(1, *latents.shape[1:])


def _check_cluster(number: int, count: int) -> None:
    if number >= count:
        raise ValueError(f"cluster:{number} is outside the {count} clusters")


def read_latent(path: Path) -> Tensor:
    """Reads one latent from a `.npy`: *Z or (1, *Z) -> (1, *Z); of a leading 1 it is the latter.

    Raises:
        ValueError: the file is no array of real numbers.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # each kind of damage raises a different type
        raise ValueError(f"{path} is no array of numbers: write it with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim == 0:
        raise ValueError(f"expected one latent of real numbers, *Z or (1, *Z), in {path}")
    latent = torch.from_numpy(array.astype(np.float32))
    return latent if latent.ndim > 1 and len(latent) == 1 else latent[None]


def check_latent(latent: Tensor, source: Source, name: str) -> Tensor:
    """Gives `latent` (1, *Z) back if it is one latent of the model's size.

    Raises:
        ValueError: there are several, or it has another size, or a value that is not finite.
    """
    wanted = source.latent_size
    if len(latent) != 1 or (wanted and tuple(latent.shape[1:]) != (wanted,)):
        size = f"({wanted},)" if wanted else "one latent"
        raise ValueError(f"expected {size} in {name}, got shape {tuple(latent.squeeze(0).shape)}")
    if not latent.isfinite().all():
        raise ValueError(f"expected finite numbers in {name}")
    return latent


def read_image(path: Path, source: Source) -> Tensor:
    """Reads an image file as the model takes it: (1, C, H, W) in [0, 1], centre crop, resized.

    Raises:
        ValueError: the file is no image, or the model does not say what size it takes.
    """
    shape = source.image_shape
    if shape is None or len(shape) != 3:
        raise ValueError(
            f"{source.name} does not say what image size it takes: give it `shape` (C, H, W)"
        )
    try:
        with Image.open(path) as file:
            pixels = torch.from_numpy(np.array(file.convert("RGBA"))).movedim(-1, 0)[None]
    except Exception as error:  # each kind of damage raises a different type
        raise ValueError(f"{path} is no readable image: {error}") from error
    return unit(resize(to_channels(pixels, shape[0]), shape[-1]))
