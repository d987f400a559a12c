"""Frames to an .mp4, by the optional package av."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from latentkit.cli.progress import watched
from latentkit.views.pixels import enlarged


def check_video() -> None:
    """Raises a ValueError unless .mp4 files can be written."""
    try:
        importlib.import_module("av")
    except ImportError as error:
        raise ValueError(
            "writing an .mp4 needs the package av: pip install 'latentkit-lightning[video]', or "
            "let --out end in .gif"
        ) from error


def write_video(frames: Sequence[Tensor], width: int, path: Path) -> None:
    """Writes frames (C, H, W) in [0, 1], 1 or 3 channels, enlarged to about `width`, as H.264.

    Each side is cut to an even number of pixels, as the format wants.
    """
    import av

    height, breadth = (size // 2 * 2 for size in enlarged(frames[0], width).shape[1:])
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = breadth, height, "yuv420p"
        for frame in watched(frames, "video", few=len(frames) < 100):
            shown = enlarged(frame, width)[:, :height, :breadth].float().cpu().clamp(0, 1)
            pixels = (shown * 255).round().to(torch.uint8).expand(3, -1, -1)
            array = pixels.movedim(0, -1).contiguous().numpy()
            file.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        file.mux(stream.encode())
