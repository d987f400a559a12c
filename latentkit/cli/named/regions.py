"""The part of the image that `--region` names."""

from pathlib import Path
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentkit.latent.activations import Region, region_mask


def read_region(name: str, shape: tuple[int, ...]) -> Tensor:
    """A mask (1, *S) of zeros and ones for images of `shape` (C, *S).

    Args:
        name: a half, `center` (the middle half of each side), or an image file, white inside.
        shape: (C, *S).

    Raises:
        ValueError: it is none of these.
    """
    if name in get_args(Region):
        return region_mask(shape, name)  # type: ignore[arg-type]  # one of the literals
    if name == "center":
        mask = torch.zeros(1, *shape[1:])
        mask[(slice(None), *(slice(size // 4, size - size // 4) for size in shape[1:]))] = 1
        return mask
    path = Path(name)
    if not path.is_file() or len(shape) != 3:
        raise ValueError(
            f"{name} is no region: expected {', '.join(get_args(Region))}, center, or an image "
            "file that is white inside"
        )
    try:
        with Image.open(path) as file:
            grey = file.convert("L").resize((shape[2], shape[1]), Image.Resampling.BOX)
    except Exception as error:  # each kind of damage raises a different type
        raise ValueError(f"{path} is no readable image: {error}") from error
    return torch.from_numpy(np.array(grey) > 127).float()[None]
