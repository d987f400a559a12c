"""YAML files and values from outside, checked before anything is built from them.

A few lines of YAML can stand for more values than fit any memory, each the alias of many others,
or be nested so deeply that a parser fails. Both are refused while reading, without expanding them.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

_DEEPEST = 50  # levels; the configs here have ten
_MOST = 100_000  # values, with every alias written out


def read_yaml(path: Path) -> Any:  # noqa: ANN401  (whatever the file holds)
    """Gives the content of a YAML file of plain values.

    Raises:
        ValueError: it is no YAML text, or one of those that `check_yaml` refuses.
    """
    try:
        text = path.read_text("utf-8")
        check_yaml(text)
        return yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no YAML: expected text in UTF-8, got other bytes") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is no YAML of plain values: {error}") from error


def check_yaml(text: str) -> None:
    """Refuses a text that is too deep, refers to itself or stands for too many values.

    Raises:
        ValueError: it is one of these.
        yaml.YAMLError: it is no YAML.
    """
    sizes: dict[str | None, int] = {}  # values that an anchor stands for
    starts: list[tuple[str | None, int]] = []  # of the collections that are not complete
    total = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            starts.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = starts.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in starts):
                raise ValueError(f"expected values that end, but *{event.anchor} holds itself")
            total += sizes.get(event.anchor, 1) - 1
        total += isinstance(event, yaml.NodeEvent)
        if len(starts) > _DEEPEST:
            raise ValueError(f"expected at most {_DEEPEST} levels, one inside the other, got more")
        if total > _MOST:
            raise ValueError(f"expected at most {_MOST:,} values, aliases written out, got more")


def check_words(args: Iterable[str]) -> None:
    """Refuses words of a command line that are no text, or, read as YAML, one of those."""
    for word in args:
        if any("\udc80" <= letter <= "\udcff" for letter in word):  # bytes that are no UTF-8
            raise ValueError(f"expected text in UTF-8, got {word!r}: rename the file")
        value = word.partition("=")[2] if word.startswith("--") else word
        check_value(value)
        if Path(value).suffix in {".yaml", ".yml"} and Path(value).is_file():
            read_yaml(Path(value))  # a part of a config, which the parser will read


def check_value(text: str) -> None:
    """Refuses a text that, read as YAML, is one of those: jsonargparse reads values so."""
    if {"[", "{", "*"} & set(text):
        with suppress(yaml.YAMLError):  # it is a name, or told by whoever wants YAML
            check_yaml(text)


def check_calls(content: Any, where: str) -> None:  # noqa: ANN401  (any part of a config)
    """Refuses keys that are no names, and a `class_path` or `init_args` that can be no call.

    Numbers may be keys where all are, as in a schedule. Texts are checked as values are.

    Args:
        content: of a config, or a part of it.
        where: it stands, for the message.
    """
    if isinstance(content, str):
        check_value(content)
    if isinstance(content, list):
        for value in content:
            check_calls(value, where)
    if isinstance(content, dict):
        _check_mapping(content, where)


def _check_mapping(content: dict[Any, Any], where: str) -> None:
    numbered = all(type(key) in (int, float) for key in content)
    for key, value in content.items():
        if not numbered and (not isinstance(key, str) or not key):
            raise ValueError(f"expected names for keys in {where}, got {key!r}")
        if key == "class_path" and not isinstance(value, str):
            raise ValueError(
                f"expected class_path to be module.Class in {where}, got {value!r:.60}"
            )
        if key == "init_args" and not isinstance(value, dict | None):
            raise ValueError(f"expected init_args to be a mapping in {where}, got {value!r:.60}")
        check_calls(value, f"{where}, {key}" if "," not in where else f"{where}.{key}")
