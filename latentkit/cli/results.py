"""Where a verb's results go: named files, written all or none, with a `result.json` beside them."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from latentkit.cli import video
from latentkit.cli.named.sources import Source
from latentkit.cli.parser import Common
from latentkit.cli.progress import watched
from latentkit.store import json_text, versions, write_all
from latentkit.views.pixels import enlarged, to_pil

if TYPE_CHECKING:  # a verb that draws no axes does without it
    from matplotlib.figure import Figure

FIGURE = (".png", ".svg", ".pdf")
"""Endings of a picture that is drawn, not made of pixels alone."""

_DPI = 200  # of a .png, and of the images inside the others: enough for print


class Results:
    """The output folder of one call of a verb, into which `finish` writes everything at once.

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
                raise ValueError(
                    f"expected --out to be a folder or end in {' or '.join(endings)}, got {out}"
                )
            self.main, self.json = out, out.with_suffix(".json")
            self.prefix = f"{out.stem}_"
        else:
            self.main, self.json = out / (verb + endings[0]), out / "result.json"
            self.prefix = ""
        self._check_writable()
        if self.main.suffix == ".mp4":
            video.check_video()
        self._writers: dict[Path, Callable[[Path], object]] = {}

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        return [path.name for path in self._writers]

    def _check_writable(self) -> None:
        """Finds out before the work, not after it, that nothing can be written there."""
        parent = next(p for p in self.main.parents if p.exists())
        if not parent.is_dir():
            raise ValueError(f"cannot write {self.main}: {parent} is a file, not a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise ValueError(
                f"cannot write {self.main}: you may not write into {parent}; choose another --out"
            )
        for path in (self.main, self.json):
            if path.is_dir():
                raise ValueError(f"cannot write {path}: it is a folder; move it, or choose another")

    def add(self, path: Path, write: Callable[[Path], object]) -> None:
        """Adds a file, by what writes it to the name that it is given."""
        self._writers[path] = write

    @property
    def drawn(self) -> Path:
        """Where the drawn picture goes, beside an animation that may be the main file."""
        return self.main if self.main.suffix in FIGURE else self.main.with_suffix(".png")

    def path(self, name: str) -> Path:
        """A further file beside the main one; it has its name in front where that was typed."""
        return self.main.with_name(self.prefix + name)

    def image(self, grid: Tensor, path: Path | None = None) -> None:
        """Adds an image (C, H, W) in [0, 1], a small one with its pixels enlarged."""
        self.add(path or self.main, to_pil(enlarged(grid)).save)

    def figure(self, figure: "Figure", path: Path | None = None) -> None:
        """Adds a matplotlib figure, without the date."""
        path = path or self.main
        dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        date = dates.get(path.suffix)
        self.add(path, partial(figure.savefig, dpi=_DPI, bbox_inches="tight", metadata=date))

    def text(self, content: str, path: Path | None = None) -> None:
        """Adds a text."""
        self.add(path or self.main, partial(Path.write_text, data=content, encoding="utf-8"))

    def animation(self, frames: Sequence[Tensor], width: int) -> None:
        """Adds frames (C, H, W) in [0, 1], enlarged to about `width` pixels, as an endless GIF.

        And as an .mp4, where `--out` ends in it.
        """
        self.add(self.main.with_suffix(".gif"), partial(_write_gif, frames, width))
        if self.main.suffix == ".mp4":
            self.add(self.main, partial(video.write_video, frames, width))

    def arrays(self, path: Path | None = None, **arrays: NDArray[Any]) -> None:
        """Adds a compressed `.npz`."""
        self.add(path or self.main, partial(np.savez_compressed, **arrays))  # type: ignore[arg-type]

    def _files_before(self) -> set[str]:
        """Names of what the same verb wrote here before, by its `result.json`."""
        try:
            content = json.loads(self.json.read_text(encoding="utf-8"))
            names = content["files"] if content["verb"] == self.verb else []
        except (OSError, ValueError, TypeError, KeyError):
            return set()  # none, or not ours
        return {name for name in names if isinstance(name, str) and name == Path(name).name}

    def finish(
        self, numbers: Mapping[str, Any], source: Source | None = None, **settings: Any
    ) -> None:
        """Writes the files and the JSON with numbers and options, and says where everything is.

        Args:
            numbers: what was found.
            source: the model.
            settings: what was used where an option was left open.
        """
        content = {"verb": self.verb, "numbers": dict(numbers), "files": self.files}
        content["settings"] = {**self.common.options, **settings, "seed": self.common.seed}
        if source is not None:
            content |= {"model": source.name, "fingerprint": source.fingerprint}
        text = json_text({**content, "versions": versions()})
        write = partial(Path.write_text, data=text, encoding="utf-8")
        before = self._files_before()
        write_all({**self._writers, self.json: write})
        for name in before - set(self.files):
            self.main.with_name(name).unlink(missing_ok=True)
        for name in self.files:
            print(self.main.with_name(name))
        for line in _lines(numbers):
            print(f"  {line}")


def _write_gif(frames: Sequence[Tensor], width: int, path: Path) -> None:
    """One enlarged frame at a time: a thousand of them would take gigabytes."""
    going = watched(frames, "animation", few=len(frames) < 100)
    shown = (to_pil(enlarged(frame, width)) for frame in going)
    next(shown).save(path, save_all=True, append_images=shown, duration=100, loop=0)


def _lines(numbers: Mapping[str, Any]) -> Iterator[str]:
    """The numbers that fit a line, each with its interval."""
    for name, value in numbers.items():
        ends = numbers.get(f"{name}_ci95")
        if isinstance(value, int | float | str):
            within = f" (95 % {_short(ends[0])} to {_short(ends[1])})" if ends else ""
            yield f"{name}: {_short(value)}{within}"
        elif name.removesuffix("_ci95") in numbers and name.endswith("_ci95"):
            continue  # stands behind its number
        elif isinstance(value, list) and all(isinstance(v, float) for v in value):
            yield f"{name}: {' '.join(map(_short, value))}"


def _short(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
