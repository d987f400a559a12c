"""Groups of images named on the command line, for an attribute between them."""

import hashlib
import operator
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from latentkit.cli.named.endpoints import parse_number, read_image
from latentkit.cli.named.sources import Source
from latentkit.latent.attributes import Strata

FORMS = "label:CLASS, name:TEXT, without:TEXT, attribute:NAME=NUMBER or a folder of images"
_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
_COMPARE = {"=": operator.eq, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Group:
    """Some images.

    Attributes:
        name: as the user gave it.
        images: (N, C, *S).
        keys: what each image shares with its pair in another group; empty if nothing says.
        rows: which training images these are, (N,); None for a folder's.
    """

    name: str
    images: Tensor
    keys: tuple[str, ...]
    rows: Tensor | None


def read_group(source: Source, name: str, limit: int) -> Group:
    """The images of one group, of the first `limit` for training or in a folder.

    Args:
        source: the model.
        name: `label:CLASS`, by name or number; `name:dark skin` (a regular expression, found in
            the image's name whatever the case) or `without:skin tone` (not found in it);
            `attribute:smile=1`, `<` or `>`; or a folder.
        limit: images to look at, at most.

    Raises:
        ValueError: the name is none of these, or chooses no image.
    """
    kind, _, value = name.partition(":")
    if kind not in {"label", "name", "without", "attribute"} or not value:
        return _folder(source, name, limit)
    keys: tuple[str, ...] = ()
    labels = source.data.split("train").labels[:limit]
    if kind == "label":
        classes = source.data.class_names
        chosen = labels == (classes.index(value) if value in classes else parse_number(name, value))
    elif kind == "attribute":
        chosen = _by_attribute(source, value, limit)
    else:
        chosen, keys = _by_name(source, kind, value, limit)
    rows = chosen.nonzero().flatten()
    if not len(rows):
        raise ValueError(f"{name} has no image among the first {len(labels)} for training")
    return Group(name, source.data.split("train")[rows][0], keys, rows)


def check_apart(start: Group, end: Group) -> None:
    """Raises a ValueError if two groups of training images share some: no statistic would hold.

    Equal pictures that are not known to be one image are left to `without_copies`.
    """
    if start.rows is None or end.rows is None:
        return
    shared = int(torch.isin(start.rows, end.rows).sum())
    if shared:
        raise ValueError(
            f"expected groups without a common image, got {shared} in both {start.name} and "
            f"{end.name}: no statistic holds for such groups; narrow one of them, as without:TEXT "
            "does against name:TEXT, or < against > of an attribute"
        )


def without_copies(start: Group, end: Group) -> tuple[Group, Group]:
    """Both groups without the pictures that are in the other too, under another number."""
    kept = [~torch.tensor(_copied(*pair)) for pair in ((start, end), (end, start))]
    groups = [
        replace(
            group,
            images=group.images[rows],
            keys=tuple(key for key, keep in zip(group.keys, rows.tolist(), strict=False) if keep),
            rows=None if group.rows is None else group.rows[rows],
        )
        for group, rows in zip((start, end), kept, strict=True)
    ]
    return groups[0], groups[1]


def _copied(group: Group, other: Group) -> list[bool]:
    """Whether each image of a group equals one of the other."""
    known = set(map(_digest, other.images))
    return [_digest(image) in known for image in group.images]


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()


def in_pairs(start: Group, end: Group) -> tuple[Tensor, Tensor]:
    """Rows (P,) of start and of end, pair by pair: images whose keys are alike and found once.

    Names are alike but for the text that chose them: `waving hand: dark skin tone`, chosen by
    `name:: dark skin tone`, is the pair of `waving hand`. Files of folders have equal names.

    Raises:
        ValueError: the groups have no names to go by, or no name in common.
    """
    if not (start.keys and end.keys):
        raise ValueError(
            "--estimator paired needs two groups by name:TEXT or without:TEXT, or two folders with "
            f"files of equal names, got {start.name} and {end.name}"
        )
    places = [{k: i for i, k in enumerate(g.keys) if g.keys.count(k) == 1} for g in (start, end)]
    shared = sorted(places[0].keys() & places[1].keys())
    if not shared:
        raise ValueError(
            f"no image of {start.name} has a pair in {end.name}: pairs have one name, "
            "but for the text that chose them"
        )
    first, second = (torch.tensor([place[key] for key in shared]) for place in places)
    return first, second


def confounds(source: Source, start: Group, end: Group, confound: str) -> Strata:
    """The value of a confound, `label` or `attribute:NAME`, for each image of two groups.

    Raises:
        ValueError: a group is a folder, or there is no such confound.
    """
    if start.rows is None or end.rows is None:
        raise ValueError("--estimator balanced needs groups of training images, got a folder")
    kind, _, name = confound.partition(":")
    if confound == "label":
        values = source.data.split("train").labels
    elif kind == "attribute" and name:
        column = source.data.attribute_values("train")[:, _column(source, name)]
        values = torch.unique(column, return_inverse=True)[1]
    else:
        raise ValueError(f"expected --confound label or attribute:NAME, got {confound}")
    return values[start.rows], values[end.rows]


def _by_attribute(source: Source, value: str, limit: int) -> Tensor:
    parts = re.fullmatch(r"(.+?)([=<>])(-?[0-9.]+)", value)
    try:
        number = float(parts[3]) if parts else None
    except ValueError:
        number = None
    if parts is None or number is None:
        raise ValueError(f"expected attribute:NAME=NUMBER (or < or >), got attribute:{value}")
    values = source.data.split("train").attribute_values[:limit, _column(source, parts[1])]
    chosen: Tensor = _COMPARE[parts[2]](values, number)
    return chosen


def _column(source: Source, name: str) -> int:
    names = source.data.attributes
    if name not in names:
        known = ", ".join(names) if names else "none"
        raise ValueError(f"the data has no attribute {name!r}: it has {known}")
    return names.index(name)


def _by_name(source: Source, kind: str, text: str, limit: int) -> tuple[Tensor, tuple[str, ...]]:
    """Which images, and the rest of the name of each that is one of them."""
    names = source.data.item_names("train")[:limit]
    if not names:
        raise ValueError(
            "the images have no names: files of a folder have theirs, and an .npz names its images "
            'under the key "name"'
        )
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    found = [bool(pattern.search(name)) == (kind == "name") for name in names]
    chosen = [name for name, hit in zip(names, found, strict=True) if hit]
    return torch.tensor(found), tuple(pattern.sub("", name).strip() for name in chosen)


def _folder(source: Source, name: str, limit: int) -> Group:
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"{name} is no group: expected {FORMS}")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _FILES)[:limit]
    if not files:
        raise ValueError(f"no images ({', '.join(_FILES)}) in {folder}")
    images = torch.cat([read_image(path, source) for path in files])
    return Group(name, images, tuple(path.stem for path in files), None)
