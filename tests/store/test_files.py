import errno
import json
import math
import stat
from pathlib import Path

import pytest

from latentkit.store import atomic, write_all, write_json


def names(folder):
    return [path.name for path in Path(folder).iterdir()]


def fail(*args, **kwargs):
    raise OSError("disk full")


def interrupted(path):
    with atomic(path) as temporary:
        temporary.write_text("half of the")
        raise KeyboardInterrupt


def test_writes_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent  # the same file system, or the renaming would copy
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_an_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_while_renaming_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"), atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_files_get_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    write_json(tmp_path / "ours", {})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")]
    assert modes[0] == modes[1]


def test_json_holds_what_was_given(tmp_path):
    path = tmp_path / "a.json"
    content = {"a": 1, "b": (1.5, math.nan, [math.inf]), "c": {"d": Path("e"), 3: None, "f": True}}
    write_json(path, content)
    assert json.loads(path.read_text()) == {
        "a": 1,
        "b": [1.5, None, [None]],
        "c": {"d": "e", "3": None, "f": True},
    }


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


def test_of_files_that_belong_together_only_the_last_is_ever_missing(tmp_path, monkeypatch):
    first, last = tmp_path / "model.bin", tmp_path / "about.json"
    write_all({first: lambda path: path.write_text("old"), last: lambda path: path.touch()})
    seen, replace = [], Path.replace

    def watched(self, target):
        seen.append((first.read_text(), last.exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_all({first: lambda path: path.write_text("new"), last: lambda path: path.touch()})
    assert seen == [("old", True), ("old", False), ("new", False)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["about.json", "model.bin"]


def test_a_file_system_without_second_names_gets_copies(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path, told = tmp_path / "a", tmp_path / "b"
    for text in ("old", "new"):
        write_all(
            {path: lambda new, text=text: new.write_text(text), told: lambda new: new.touch()}
        )
    assert path.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2
