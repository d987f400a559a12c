"""What `latentkit report` removes of earlier results, and what it leaves."""

import json

import pytest

from latentkit.cli.reporting.looking import _KEY, _forget


def test_results_of_somebody_else_are_left(tmp_path):
    (tmp_path / "mine.npz").write_text("")
    (tmp_path / "result.json").write_text(json.dumps({"files": ["mine.npz"]}))
    _forget(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.npz", "result.json"}


@pytest.mark.parametrize("files", [["a.png", "..", "", "folder"], 3, None])
def test_whatever_its_own_results_list_is_survived(tmp_path, files):
    (tmp_path / "folder").mkdir()
    (tmp_path / "note.txt").write_text("")
    for name in ("a.png", _KEY):
        (tmp_path / name).write_text("")
    (tmp_path / "result.json").write_text(json.dumps({"files": files}))
    _forget(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"folder", "note.txt"} | (set() if isinstance(files, list) else {"a.png"})
