"""Where a verb's results go: named files, written whole, with a `result.json` beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from latentkit.cli import video
from latentkit.cli.parser import Common
from latentkit.cli.sources import Source
from latentkit.store import atomic, versions, write_json
from latentkit.views.pixels import enlarged, to_pil

if TYPE_CHECKING:  # a verb that draws no axes does without it
    from matplotlib.figure import Figure

FIGURE = (".png", ".svg", ".pdf")
"""Endings of a picture that is drawn, not made of pixels alone."""

_DPI = 200  # of a .png, and of the images inside the others: enough for print


class Results:
    """The output folder of one call of a verb.

    Args:
        verb: the verb's name.
        common: its common options. `--out` names a folder, or the verb's main file.
        endings: those the main file may have, the default one first.
    """

    def __init__(self, verb: str, common: Common, endings: tuple[str, ...] = (".png",)) -> None:
        self.verb, self.common = verb, common
        out = Path(common.out or f"outputs/{verb}")
        if out.suffix and not out.is_dir():
            if out.suffix not in endings:
                raise ValueError(f"expected --out to be a folder or end in {endings}, got {out}")
            self.main, self.json = out, out.with_suffix(".json")
            self.prefix = f"{out.stem}_"
        else:
            self.main, self.json = out / (verb + endings[0]), out / "result.json"
            self.prefix = ""
        self._check_writable()
        if self.main.suffix == ".mp4":
            video.check_video()
        self.files: list[str] = []

    def _check_writable(self) -> None:
        """Finds out before the work, not after it, that a file is where a folder must be."""
        for parent in self.main.parents:
            if parent.exists() and not parent.is_dir():
                raise ValueError(f"cannot write {self.main}: {parent} is a file, not a folder")

    @property
    def drawn(self) -> Path:
        """Where the drawn picture goes, beside an animation that may be the main file."""
        return self.main if self.main.suffix in FIGURE else self.main.with_suffix(".png")

    def path(self, name: str) -> Path:
        """A further file beside the main one; it has its name in front where that was typed."""
        return self.main.with_name(self.prefix + name)

    def image(self, grid: Tensor, path: Path | None = None) -> None:
        """Writes an image (C, H, W) in [0, 1], a small one with its pixels enlarged."""
        self._save(to_pil(enlarged(grid)), path or self.main)

    def figure(self, figure: "Figure", path: Path | None = None) -> None:
        """Writes a matplotlib figure, without the date."""
        path = path or self.main
        dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        with atomic(path) as temporary:
            figure.savefig(
                temporary, dpi=_DPI, bbox_inches="tight", metadata=dates.get(path.suffix)
            )
        self.files.append(path.name)

    def text(self, content: str, path: Path | None = None) -> None:
        """Writes a text."""
        path = path or self.main
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
        self.files.append(path.name)

    def animation(
        self, frames: list[Tensor], path: Path | None = None, seconds: float = 0.1
    ) -> None:
        """Writes frames (C, H, W) in [0, 1] as an endless GIF."""
        first, *rest = [to_pil(frame) for frame in frames]
        self._save(
            first,
            path or self.main,
            save_all=True,
            append_images=rest,
            duration=int(1000 * seconds),
            loop=0,
        )

    def video(self, frames: list[Tensor]) -> None:
        """Writes frames (C, H, W) in [0, 1] as an .mp4, where `--out` ends in it."""
        if self.main.suffix == ".mp4":
            video.write_video(frames, self.main)
            self.files.append(self.main.name)

    def _save(self, image: Image.Image, path: Path, **settings: Any) -> None:
        with atomic(path) as temporary:
            image.save(temporary, **settings)
        self.files.append(path.name)

    def arrays(self, path: Path | None = None, **arrays: NDArray[Any]) -> None:
        """Writes a compressed `.npz`."""
        path = path or self.main
        with atomic(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        self.files.append(path.name)

    def finish(
        self, numbers: Mapping[str, Any], source: Source | None = None, **settings: Any
    ) -> None:
        """Writes the JSON with numbers and all options, and says where everything is.

        Args:
            numbers: what was found.
            source: the model.
            settings: what was used where an option was left open.
        """
        content = {"verb": self.verb, "numbers": dict(numbers), "files": self.files}
        content["settings"] = {**self.common.options, **settings, "seed": self.common.seed}
        if source is not None:
            content |= {"model": source.name, "fingerprint": source.fingerprint}
        write_json(self.json, {**content, "versions": versions()})
        for name in self.files:
            print(self.main.with_name(name))
        for name, value in numbers.items():
            if isinstance(value, int | float | str):
                print(f"  {name}: {_short(value)}")
            elif isinstance(value, list) and all(isinstance(v, float) for v in value):
                print(f"  {name}: {' '.join(map(_short, value))}")


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
