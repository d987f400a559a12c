"""Equal images never stand in two parts."""

import numpy as np
import torch

from latentkit.data.arrays import Arrays
from latentkit.data.splits import without_copies


def test_equal_images_are_kept_in_one_part(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (100, 8, 8, 3), dtype=np.uint8)
    images = np.concatenate([images, images[:40], images[:20]])  # some stand two or three times
    np.savez(tmp_path / "a.npz", x=images)
    data = Arrays(str(tmp_path / "a.npz"))
    seen = [{x.numpy().tobytes() for x in data.split(n)[:][0]} for n in ("train", "val", "test")]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert sum(len(data.split(n)) for n in ("train", "val", "test")) == 160


def test_a_part_is_never_emptied():
    parts = torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3])
    assert without_copies(parts, [b"a", b"a", b"a", b"a"]) is parts
    moved = without_copies(parts, [b"a", b"b", b"c", b"d"])
    assert [m.tolist() for m in moved] == [[0, 1], [2], [3]]
