"""Command-line options made of settings dataclasses, and help that lists them in groups.

A command declares its arguments and what only concerns the terminal; ``with_options`` adds a parameter for every
``Option`` of the dataclasses it is given, through an explicit signature, which typer reads. Typer only turns texts into
numbers and paths; ``roadseg.settings.option`` checks the values, as for Python and configuration files.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import Parameter
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import typer
from typer.core import TyperCommand

from roadseg.cli.terminal import MESSAGES, usage, usage_errors
from roadseg.settings.option import Declared, checked, offered

Command = TypeVar("Command", bound=Callable[..., None])

OUTPUT, MODEL = "Output", "Model and device"
"""Headings of options that the commands declare themselves."""


class ConvertsPlainly:
    """Part of a command that converts values which are there and right.

    Typer asks pydantic for that, which takes a tenth of a second to load; the other values are left to it.
    """

    callback: Any

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, and that of ``--help``."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        kinds = {name: one.annotation for name, one in inspect.signature(self.callback).parameters.items()}
        for param in params:
            if "process_value" not in vars(param):
                param.process_value = _converter(param, kinds.get(param.name))
        return params


class GroupedCommand(ConvertsPlainly, TyperCommand):
    """A command whose help lists the options under their headings (``rich_help_panel``), in plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each heading, in the order of its first option."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in sorted(self.get_params(ctx), key=lambda one: one.param_type_name != "argument"):
            record = param.get_help_record(ctx)
            if record and param.param_type_name == "argument":
                name, text = record
                sections.setdefault("Arguments", []).append((name.partition(" <")[0], text))  # without its type
            elif record:
                sections.setdefault(getattr(param, "rich_help_panel", None) or MESSAGES, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line of usage; what is required stands without braces, as other tools print it."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


def model_names(start: str) -> list[str]:
    """Return the names of bundled models that begin with what was typed; a shell proposes files where there is none."""
    from roadseg.info import bundled_models

    return [name for name in bundled_models() if name.startswith(start)]


def _devices(start: str) -> list[str]:
    return [name for name in ("auto", "cpu", "cuda", "mps") if name.startswith(start)]


_COMPLETIONS: dict[str | None, Callable[[str], list[str]]] = {"MODEL": model_names, "DEVICE": _devices}
"""What a shell proposes for an option, by its placeholder."""


def _converter(param: Any, annotation: Any) -> Callable[[Any, Any], Any]:
    """Return what turns what is given for a parameter into its value."""
    kind = _members(get_args(annotation)[0])[0] if annotation else None
    item = get_args(kind)[0] if get_origin(kind) is list else None
    convert_by_typer = param.process_value

    def convert(context: Any, given: Any) -> Any:
        texts = given if isinstance(given, list | tuple) else (given,)
        if "" in texts and param.metavar != _METAVARS[str] and not context.resilient_parsing:
            usage(f"{_name(param)} is empty; is a variable of the shell not set?")
        is_missing = given is None or given == ()
        if is_missing and not param.required:
            nothing = () if item else None
            return param.callback(context, param, nothing) if param.callback else nothing
        with suppress(ValueError, TypeError):
            if kind in _PLAIN and given is not None:
                return kind(given)
            if item in _PLAIN and given:
                return [item(text) for text in given]
        return convert_by_typer(context, given)

    return convert


def _name(param: Any) -> str:
    """Return the name of a parameter for messages: the long flag of an option, an argument as ``--help`` shows it."""
    return str(param.opts[0]) if param.param_type_name == "option" else str(param.metavar or param.name.upper())


_PLAIN = {str, int, float, Path}


def with_options(*settings: type, layered: type | None = None) -> Callable[[Command], Command]:
    """Add the options of settings dataclasses to a command, which receives their checked values as keywords.

    Parameters
    ----------
    settings
        The dataclasses, in the order of ``--help``.
    layered
        The one whose defaults a recipe may change.
    """
    options = {name: (one, one_class is layered) for one_class in settings for name, one in offered(one_class).items()}

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        before = [p for p in own if p.kind is not Parameter.KEYWORD_ONLY]
        after = [p for p in own if p.kind is Parameter.KEYWORD_ONLY]
        added = [_parameter(name, one, layered=is_layered) for name, (one, is_layered) in options.items()]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            values = {name: value for name, value in values.items() if value is not None or name not in options}
            with usage_errors():
                for one_class in settings:
                    checked(one_class, values)
            command(**values)

        parameters = [p.replace(kind=Parameter.KEYWORD_ONLY) for p in (*before, *added, *after)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return cast(Command, run)

    return decorate


def _parameter(name: str, one: Declared, *, layered: bool) -> Parameter:
    """Return the parameter of an option as typer reads it: its type, default and line of help."""
    kind, choices = _parsed_as(one.type), _choices(one.type)
    placeholder = one.option.metavar or _METAVARS.get(kind)
    completion: Callable[..., list[str]] | None = _COMPLETIONS.get(one.option.metavar)
    if choices:
        placeholder, completion = f"[{'|'.join(choices)}]", lambda: choices
    shown = f"  [default: {_text(one.default)}]" if layered and _text(one.default) else ""
    option = typer.Option(
        *filter(None, (one.option.flag, one.option.alias)),
        help=one.option.help + shown,
        rich_help_panel=one.option.group,
        metavar=placeholder,
        autocompletion=completion,
    )
    default = None if layered else _default(one.default, kind)
    parsed = kind if default is not None else kind | None
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[parsed, option])


def _parsed_as(kind: Any) -> Any:
    """Return the type that typer turns a value into: choices, numbers with commas and mixed types stay texts."""
    kinds = _members(kind)
    if len(kinds) == 1 and kinds[0] in {bool, int, float, Path}:
        return kinds[0]
    item = get_args(kinds[0])[0] if get_origin(kinds[0]) is tuple else None
    return list[item] if item in {str, Path} else str  # type: ignore[valid-type]


def _choices(kind: Any) -> list[str]:
    first = _members(kind)[0]
    return list(get_args(first)) if get_origin(first) is Literal else []


def _members(kind: Any) -> list[Any]:
    """Return the types that a union joins, without None."""
    kinds = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    return [one for one in kinds if one is not NoneType]


_METAVARS = {Path: "PATH", list[Path]: "PATH", float: "NUMBER", str: "TEXT"}


def _default(default: Any, kind: Any) -> Any:
    """Return a default for typer, which shows it in ``--help``; None where there is nothing to show."""
    if default == () or (kind is str and not _text(default)):
        return None
    if isinstance(default, float) and default.is_integer():
        return int(default)  # shown without a decimal place
    return _text(default) if kind is str else default


def _text(default: Any) -> str:
    """Return a default as ``--help`` shows it; a switch shows none."""
    if default is None or isinstance(default, bool):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def given(settings: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that belong to a settings dataclass."""
    return {name: value for name, value in options.items() if name in offered(settings)}
