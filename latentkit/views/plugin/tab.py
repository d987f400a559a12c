"""The server side of the tab: one page, an index of what was logged, and its bytes."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from tensorboard import errors
from tensorboard.backend import http_util
from tensorboard.plugin_util import context, experiment_id
from tensorboard.plugins.base_plugin import FrontendMetadata, TBContext, TBLoader, TBPlugin
from werkzeug.wrappers import Request, Response

from latentkit.views.plugin import PLUGIN_NAME

_PAGE = Path(__file__).with_name("index.js")
_STEPS = 500  # of a direction in one run; TensorBoard alone would keep 10


class LatentTab(TBPlugin):  # type: ignore[misc]  # tensorboard has no types
    """Compares directions and pairs of images over runs and steps, from event files alone."""

    plugin_name = PLUGIN_NAME

    def __init__(self, tensorboard: TBContext) -> None:
        self._data = tensorboard.data_provider
        self._most = (tensorboard.sampling_hints or {}).get(PLUGIN_NAME, _STEPS)

    def get_plugin_apps(self) -> dict[str, Any]:
        """What is served, by path."""
        served = {"/index.js": _page, "/entries": self._entries, "/blob": self._blob}
        return {path: Request.application(answer) for path, answer in served.items()}

    def is_active(self) -> bool:
        """TensorBoard finds out from the event files by itself."""
        return False

    def frontend_metadata(self) -> FrontendMetadata:
        """Where the page is, and the tab's name."""
        return FrontendMetadata(es_module_path="/index.js", tab_name="Latent")

    def _entries(self, request: Request) -> Response:
        """{run: {entry: [{"step", "blobs": [key, ...]}, ...]}}."""
        found = self._data.read_blob_sequences(
            context(request.environ),
            experiment_id=experiment_id(request.environ),
            plugin_name=PLUGIN_NAME,
            downsample=self._most,
        )
        content = {
            run: {
                tag: [{"step": d.step, "blobs": [v.blob_key for v in d.values]} for d in data]
                for tag, data in tags.items()
            }
            for run, tags in found.items()
        }
        return _response(request, json.dumps(content), "application/json")

    def _blob(self, request: Request) -> Response:
        """The bytes that a key of the index names."""
        key = request.args.get("key")
        if not key:
            return _response(request, "expected ?key=, from /entries", "text/plain", 400)
        try:
            content = self._data.read_blob(context(request.environ), blob_key=key)
        except (errors.PublicError, ValueError, LookupError) as error:  # a key of somebody else's
            return _response(request, f"no such blob: {error}", "text/plain", 404)
        return _response(request, content, "application/octet-stream")


class LatentLoader(TBLoader):  # type: ignore[misc]
    """Gives TensorBoard the tab, and asks it to keep more than 10 steps of each entry."""

    def fix_flags(self, flags: Namespace) -> None:
        """Leaves a number that the user typed."""
        flags.samples_per_plugin = {PLUGIN_NAME: _STEPS, **(flags.samples_per_plugin or {})}

    def load(self, context: TBContext) -> LatentTab:
        """The tab."""
        return LatentTab(context)


def _page(request: Request) -> Response:
    return _response(request, _PAGE.read_text(encoding="utf-8"), "application/javascript")


def _response(request: Request, content: str | bytes, kind: str, code: int = 200) -> Response:
    found: Response = http_util.Respond(request, content, kind, code=code)
    return found
