"""What the Latent tab of TensorBoard shows: strips of images with the maps that explain them.

An entry is one summary of a run's event file, under the name of a direction or a pair of images: a
JSON head, the strip as PNG, and each map as raw numbers, so that the page can draw maps of several
runs and steps on one scale.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from latentkit.views.pixels import to_pil
from latentkit.views.plugin import PLUGIN_NAME

_BLOB_SEQUENCE = 3  # tensorboard's DATA_CLASS_BLOB_SEQUENCE


@dataclass(frozen=True)
class Entry:
    """One direction or pair at one step of a training.

    Attributes:
        kind: "direction" or "pair".
        walk: the images from one end to the other, (T, C, H, W) in [0, 1].
        maps: question -> its map (H, W).
        notes: sentences with what was measured.
    """

    kind: str
    walk: Tensor
    maps: Mapping[str, Tensor]
    notes: list[str] = field(default_factory=list)


def write_entry(board: SummaryWriter, name: str, entry: Entry, step: int) -> None:
    """Adds an entry to a run's event file.

    Args:
        board: of the run.
        name: of the direction or pair, the same at every step.
        entry: what to show.
        step: the iteration.
    """
    blobs = [_head(entry), _png(entry.walk)]
    blobs += [m.detach().float().cpu().contiguous().numpy().tobytes() for m in entry.maps.values()]
    metadata = SummaryMetadata(data_class=_BLOB_SEQUENCE)
    metadata.plugin_data.plugin_name = PLUGIN_NAME
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(blobs))])
    tensor = TensorProto(dtype=DT_STRING, string_val=blobs, tensor_shape=shape)
    value = Summary.Value(tag=name, metadata=metadata, tensor=tensor)
    writer: Any = board  # which has no public way to a plugin of one's own
    writer._get_file_writer().add_summary(Summary(value=[value]), step)


def _head(entry: Entry) -> bytes:
    maps = [
        {"question": q, "height": m.shape[0], "width": m.shape[1]} for q, m in entry.maps.items()
    ]
    frames = len(entry.walk)
    head = {"kind": entry.kind, "frames": frames, "maps": maps, "notes": entry.notes}
    return json.dumps(head).encode()


def _png(walk: Tensor) -> bytes:
    """The images side by side without gaps, pixel for pixel."""
    buffer = io.BytesIO()
    to_pil(walk.movedim(0, -2).flatten(-2)).save(buffer, format="PNG")
    return buffer.getvalue()
