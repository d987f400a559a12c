"""From a typed function to its command: one option a parameter, one help line an `Args:` entry."""

import inspect
import types
import typing
from argparse import SUPPRESS, Action, ArgumentError, HelpFormatter
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeAlias

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser

from latentkit.shipped import check_named


class _Formatter(HelpFormatter):
    """Plain argparse help, with the default of each option that has one."""

    def _get_help_string(self, action: Action) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in {None, SUPPRESS}
        return f"{text.removesuffix('.')} (default: {action.default})" if shown else text


Verb = Callable[..., object]
Split: TypeAlias = Literal["train", "val", "test"]
"""A part of a data set; `data.base.Split` is the same, but its module takes long to import."""


@dataclass(frozen=True)
class Common:
    """Options that every verb has.

    Args:
        out: file or folder to write to (default: outputs/<verb>).
        seed: of everything random.
        device: cpu, cuda, ... (auto: cuda where there is one).

    Attributes:
        options: every option of the call, for `result.json`.
    """

    out: str | None = None
    seed: int = 0
    device: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"expected --seed from 0 to {2**32 - 1}, got {self.seed}")


def parser_of(verb: Verb, name: str) -> ArgumentParser:
    """Builds the parser of one verb.

    A parameter without default that comes before the `*` is positional; one annotated with a
    dataclass stands for its fields; a trailing underscore is dropped (`from_` is `--from`).
    """
    doc = parse_docstring(inspect.getdoc(verb) or "")
    parser = ArgumentParser(
        prog=f"latentkit {name}",
        description=" ".join(filter(None, [doc.short_description, doc.long_description])),
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    hints = typing.get_type_hints(verb)
    helps = {p.arg_name: p.description or "" for p in doc.params}
    for parameter in inspect.signature(verb).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind):
            _add_fields(parser, kind)
        else:
            positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            default = parameter.default
            _add(parser, parameter.name, kind, default, helps.get(parameter.name, ""), positional)
    return parser


def _add_fields(parser: ArgumentParser, kind: Any) -> None:  # noqa: ANN401  (a dataclass)
    hints = typing.get_type_hints(kind)
    helps = {p.arg_name: p.description or "" for p in parse_docstring(kind.__doc__).params}
    for item in _typed(kind):
        default = inspect.Parameter.empty if item.default is MISSING else item.default
        _add(parser, item.name, hints[item.name], default, helps[item.name], positional=False)


def _typed(kind: Any) -> list[Any]:  # noqa: ANN401  (a dataclass)
    """Its fields that are options of the command."""
    return [item for item in fields(kind) if item.name != "options"]


def _add(
    parser: ArgumentParser,
    name: str,
    kind: Any,  # noqa: ANN401  (a type)
    default: Any,  # noqa: ANN401
    text: str,
    positional: bool,
) -> None:
    text = " ".join(text.split())
    settings: dict[str, Any] = {"help": text}
    item = _list_item(kind)
    if positional:
        several = {"type": item, "nargs": "+"} if item else {"type": kind}
        parser.add_argument(name, **settings, **several)
        return
    settings |= {"type": item, "nargs": "+"} if item else {"type": _without_none(kind)}
    required = default is inspect.Parameter.empty
    settings |= {"required": True} if required else {"default": default}
    parser.add_argument("--" + name.rstrip("_").replace("_", "-"), **settings)


def _list_item(kind: Any) -> Any:  # noqa: ANN401
    """The T of `list[T]` or `list[T] | None`; None for any other type."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    lists = [o for o in options if typing.get_origin(o) is list]
    return typing.get_args(lists[0])[0] if lists else None


def _without_none(kind: Any) -> Any:  # noqa: ANN401
    """The T of `T | None`, since None is said by leaving the option out; else the type itself."""
    rest = [o for o in typing.get_args(kind) if o is not types.NoneType]
    optional = len(rest) == 1 and len(typing.get_args(kind)) == 2
    return rest[0] if optional and typing.get_origin(kind) is not typing.Literal else kind


def call(verb: Verb, name: str, args: list[str]) -> None:
    """Parses `args` and calls the verb."""
    chosen = _parsed(parser_of(verb, name), args)
    for sources in filter(None, map(chosen.get, ("model", "runs"))):
        for source in [sources] if isinstance(sources, str) else sources:
            check_named(source)  # before the verb imports torch
    hints = typing.get_type_hints(verb)
    values: dict[str, Any] = {}
    for parameter in inspect.signature(verb).parameters:
        kind = hints[parameter]
        if is_dataclass(kind):
            values[parameter] = _built(kind, chosen)
        else:
            values[parameter] = chosen[parameter.rstrip("_")]
    verb(**values)


def _parsed(parser: ArgumentParser, args: list[str]) -> dict[str, Any]:
    try:
        return vars(parser.parse_args(args))
    except ArgumentError as error:
        said, missing, names = str(error).partition("arguments are required: ")
        typed = {a.dest: a.option_strings[0] for a in parser._actions if a.option_strings}
        named = ", ".join(typed.get(name, name.upper()) for name in names.split(", "))
        raise ValueError(f"{said}{missing}{named}" if missing else said) from error


def _built(kind: Any, chosen: dict[str, Any]) -> object:  # noqa: ANN401  (a dataclass)
    """One that holds what was typed of it, and all that was typed where it wants to know."""
    given = {item.name: chosen[item.name] for item in _typed(kind)}
    wants_all = any(item.name == "options" for item in fields(kind))
    return kind(**given, **({"options": chosen} if wants_all else {}))
