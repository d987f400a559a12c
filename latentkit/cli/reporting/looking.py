"""What `latentkit report` looks at before it writes: verbs on the run's model, and a latent map."""

import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch

from latentkit.cli.explaining.verbs import explain
from latentkit.cli.generating.verbs import reconstruct, sample
from latentkit.cli.judging.verbs import evaluate
from latentkit.cli.named.sources import BATCH, Source, open_source, usable_device
from latentkit.cli.parser import Common
from latentkit.cli.progress import stage
from latentkit.cli.stopping import asked_to_stop
from latentkit.data.images import random_rows
from latentkit.latent.cluster import Clustering, kmeans
from latentkit.store import alone, read_json, versions, write_json
from latentkit.views.report.latent_map import MOST_POINTS, LatentMap, latent_map

T = TypeVar("T")
Key: TypeAlias = dict[str, Any]
Images: TypeAlias = tuple[torch.Tensor, torch.Tensor]  # (N, C, *S), and labels (N,)
_KEY = "looked_at.json"  # what a result was made of


def explore(
    run: str, common: Common, data: str | None, count: int
) -> tuple[LatentMap | None, list[str]]:
    """Runs the verbs that apply and are missing.

    Returns:
        The map, of a model that encodes; and a sentence for everything that could not be done.
    """
    usable_device(common)  # a mistake of the user, which ends the command
    failed: list[str] = []
    source = tried("loading the model", partial(open_source, run, common, data), failed)
    if source is None:
        failed.append("So nothing was looked at: results below are of what the model was before.")
        return None, failed
    draw = partial(source.sample, "test", count, common.seed)
    images = tried("reading the test images", draw, failed)
    pictures = _are_pictures(source, images, failed)
    key = _key(source, data, common.seed, count, images)
    _look_at_all(_verbs(source, data, count, pictures), Path(run) / "report", common, key, failed)
    if images is None or not pictures or not hasattr(source.model, "encode"):
        return None, failed
    with stage("latent map"):
        return tried("latent map", partial(_map, source, images, common.seed), failed), failed


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps the folder from other reports, unless nobody can write there anyway.

    Raises:
        ValueError: another report is being made there.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            stack.enter_context(alone(folder, "makes a report there"))
        yield


def tried(name: str, work: Callable[[], T], failed: list[str]) -> T | None:
    """What the work gives; None, and a sentence more, where it fails in any way.

    A page about a broken model or lost data is worth more than none.
    """
    try:
        return work()
    except Exception as error:
        if asked_to_stop():  # compiled code has made this error of a Ctrl-C
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        failed.append(f"{name} could not be done: {kind}{error}")
        return None


def _are_pictures(source: Source, images: Images | None, failed: list[str]) -> bool:
    """Whether the model's images can be shown; a sentence more where they cannot."""
    shape = source.image_shape if images is None else tuple(images[0].shape[1:])
    if shape is None or len(shape) == 3:
        return True
    failed.append(
        f"Data of shape {shape} are no pictures, so no samples, reconstructions, directions or "
        "latent map are drawn."
    )
    return False


def _key(source: Source, data: str | None, seed: int, count: int, images: Images | None) -> Key:
    """What results depend on; without the images where they cannot be read."""
    key = {"fingerprint": source.fingerprint, "data": data, "seed": seed, "images": count}
    key["latentkit"] = versions()["latentkit"]
    return key if images is None else key | {"content": _hash(images)}


def _hash(images: Images) -> str:
    digest = hashlib.sha256()
    for part in images:
        digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _look_at_all(
    verbs: dict[str, Callable[[Common], None]],
    folder: Path,
    common: Common,
    key: Key,
    failed: list[str],
) -> None:
    for path in folder.glob(f"*/{_KEY}"):  # also of verbs that apply no more
        if _content(path).get("fingerprint") != key["fingerprint"]:
            tried(f"removing the old {path.parent.name}", partial(_forget, path.parent), failed)
    for name, verb in verbs.items():
        if not _known(folder / name, key):
            # If the work fails, the page must not show something else.
            tried(f"removing the old {name}", partial(_forget, folder / name), failed)
            print(f"report: {name}", file=sys.stderr, flush=True)
            tried(name, partial(_look, folder / name, verb, common, key), failed)


def _forget(place: Path) -> None:
    """Removes the files of a result that was made here, and none that somebody else made."""
    if not (place / _KEY).is_file():
        return
    files = _content(place / "result.json").get("files")
    names = map(str, files) if isinstance(files, list) else ()
    for path in [place / Path(name).name for name in ("result.json", *names, _KEY)]:
        if path.is_file():
            path.unlink()


def _content(path: Path) -> dict[str, Any]:
    """Of a JSON file; nothing of one that is missing or damaged."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _look(place: Path, verb: Callable[[Common], None], common: Common, key: Key) -> None:
    with redirect_stdout(io.StringIO()):
        verb(Common(str(place), common.seed, common.device))
    if _content(place / "result.json").get("fingerprint") != key["fingerprint"]:
        raise ValueError("the model has changed meanwhile: make the report again")
    write_json(place / _KEY, key)


def _verbs(
    source: Source, data: str | None, count: int, pictures: bool
) -> dict[str, Callable[[Common], None]]:
    """What can be done with the model, by name; what draws needs pictures."""
    model, name = source.model, source.name
    encodes, decodes = hasattr(model, "encode"), hasattr(model, "decode")
    found: dict[str, Callable[[Common], None]] = {}
    if pictures and source.generates:
        found["sample"] = lambda c: sample(name, c, count=32, data=data)
    if pictures and encodes and decodes:
        found["reconstruct"] = lambda c: reconstruct(name, c, data=data, random=True)
    if pictures and decodes and (encodes or hasattr(model, "prior")):
        found["explain"] = lambda c: explain(name, c, data=data)
    if encodes or hasattr(model, "discriminate"):
        found["evaluate"] = lambda c: evaluate(name, c, data=data, limit=count)
    return found


def _known(place: Path, key: Key) -> bool:
    """Whether there is a whole result of the same model, images, seed and version."""
    files = _content(place / "result.json").get("files")
    made_of = _content(place / _KEY)
    if not isinstance(files, list) or any(made_of.get(k, ...) != v for k, v in key.items()):
        return False
    return all((place / name).is_file() for name in files)


def _map(source: Source, images: Images, seed: int) -> LatentMap:
    rows = random_rows(len(images[0]), MOST_POINTS, seed)
    shown, labels = images[0][rows], images[1][rows]
    latents = source.encode(shown).flatten(1)
    found, how = _clusters(source, shown, latents, seed)
    notes = [f"{len(shown)} test images, drawn at random. {how}"]
    if len(shown) < len(images[0]):
        notes.append(f"The scores are of {len(images[0])}: a page has no room for so many here.")
    return latent_map(latents, shown, labels, found, source.data.class_names, notes)


def _clusters(
    source: Source, images: torch.Tensor, latents: torch.Tensor, seed: int
) -> tuple[Clustering, str]:
    """The model's own clusters where it has them, else those of K-means."""
    count = min(len(source.data.class_names) or 10, len(latents))
    if not hasattr(source.model, "cluster"):
        return kmeans(latents, count, seed), f"Clusters by K-means with {count} centres."
    with torch.no_grad():
        parts = [source.model.code(x.to(source.device))[1] for x in torch.split(images, BATCH)]
    shares = torch.cat(parts).softmax(1).cpu()
    confidence, labels = shares.max(1)
    centres = torch.zeros(shares.shape[1], latents.shape[1])
    found = Clustering("encoder", labels, centres, confidence)
    return found, "Clusters are the encoder's own, as sure as its softmax is."
