"""Pictures inside a page, within its size."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

KINDS = {".png": "png", ".gif": "gif", ".webp": "webp", ".svg": "svg+xml"}
"""Endings of pictures that a page can hold, and how it names them."""

_LARGE = 700_000  # bytes of a PNG from which on it is embedded as WebP
_MOST = 7_000_000  # bytes of all pictures: as text they take a third more
_PAGE = 10_000_000  # bytes of a page
_SIDE = 16_383  # pixels: WebP has no more


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        name: of its file.
        source: a `data:` address.
        alt: what it shows, in words.
        direction: the number of the direction that it is about; None for others.
    """

    name: str
    source: str
    alt: str
    direction: int | None = None


class Budget:
    """Embeds pictures until the page is full.

    Args:
        used: bytes that are taken already.

    Attributes:
        left_out: a sentence for each picture that is not in the page.
    """

    def __init__(self, used: int = 0) -> None:
        self.used = used
        self.left_out: list[str] = []

    def picture(self, path: Path, alt: str, direction: int | None) -> Picture | None:
        """A picture from a file; None, and a sentence, where it is damaged or too large."""
        try:
            content, kind = _content(path)
        except Exception as error:  # noqa: BLE001  (each kind of damage raises a different type)
            self.left_out.append(f"{path.name} is left out: it is damaged ({error})")
            return None
        if self.used + len(content) > _MOST:
            size = len(content) / 1e6
            self.left_out.append(
                f"{path} is left out: with its {size:.1f} MB the page would have more than 10 MB"
            )
            return None
        self.used += len(content)
        return Picture(path.name, address(content, kind), alt, direction)


def too_large(content: str) -> bool:
    """Whether a page has more than 10 MB."""
    return len(content.encode()) > _PAGE


def fitted(
    render: Callable[[], str], pictures: Sequence[list[Picture]], left_out: list[str]
) -> str:
    """A page that leaves out its largest pictures until it fits, or has none.

    Args:
        render: gives the text, with what is in the next two.
        pictures: of each result; shortened.
        left_out: a sentence for each picture that is not in the page; grows.
    """
    content = render()
    while too_large(content) and any(pictures):
        size, result = max((len(p.source), k) for k, some in enumerate(pictures) for p in some)
        picture = next(p for p in pictures[result] if len(p.source) == size)
        pictures[result].remove(picture)
        left_out.append(f"{picture.name} is left out: with it the page would have more than 10 MB")
        content = render()
    return content


def address(content: bytes, kind: str) -> str:
    """A `data:` address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _content(path: Path) -> tuple[bytes, str]:
    content, kind = path.read_bytes(), KINDS[path.suffix]
    if kind == "svg+xml":
        return content, kind
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        if kind == "png" and len(content) > _LARGE:
            buffer = io.BytesIO()
            image.thumbnail((_SIDE, _SIDE))
            image.convert("RGB").save(buffer, format="WEBP", quality=90)
            content, kind = buffer.getvalue(), "webp"
    return content, kind
