"""How a setting is offered to users, and the checks of what they give.

A field of a settings dataclass is annotated with an ``Option``; what it is called in Python follows from its flag
(``--min-length``: ``min_length``; Python's own words get an underscore, ``--from``: ``from_``). The command line,
public functions and configuration files check values here, with the same sentences.
"""

import keyword
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from roadseg.errors import UsageError

Settings = TypeVar("Settings")

AnyPath = str | os.PathLike[str]
"""A path in Python: a text, a ``Path``, or what stands for one."""


@dataclass(frozen=True)
class Option:
    """A setting as users meet it.

    Parameters
    ----------
    flag
        Name on the command line; ``--on/--off`` for a switch with two names. None for a setting of configuration
        files and ``--set`` only.
    help
        What the value is, with its unit.
    group
        Heading under which ``--help`` lists it.
    metavar
        Placeholder for the value in ``--help``.
    min, max
        Smallest and largest number allowed; a largest needs a smallest.
    rule
        Further check of a value: what it must be and whether it is; it may raise a ``UsageError`` that says more.
    alias
        Second name on the command line.
    """

    flag: str | None
    help: str
    group: str = ""
    metavar: str | None = None
    min: float | None = None
    max: float | None = None
    rule: tuple[str, Callable[[Any], bool]] | None = None
    alias: str | None = None

    @property
    def keyword(self) -> str:
        """Name of the keyword in Python."""
        name = (self.flag or "").partition("/")[0].removeprefix("--").replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name


@dataclass(frozen=True)
class Declared:
    """A field of a settings dataclass with an option: its name, type and default."""

    field: str
    type: Any
    default: Any
    option: Option


@cache
def declared(settings: type) -> tuple[Declared, ...]:
    """Return the fields of a settings dataclass that carry an ``Option``, in their order."""
    hints = get_type_hints(settings, include_extras=True)
    found = []
    for field in fields(settings):
        if get_origin(hints[field.name]) is Annotated:
            kind, option = get_args(hints[field.name])
            found.append(Declared(field.name, kind, None if field.default is MISSING else field.default, option))
    return tuple(found)


def offered(settings: type) -> dict[str, Declared]:
    """Return those that are offered on the command line and in Python, by keyword."""
    return {one.option.keyword: one for one in declared(settings) if one.option.flag}


def check_keywords(function: str, options: Mapping[str, object], known: type) -> None:
    """Refuse keywords that a ``TypedDict`` of options does not have.

    Raises
    ------
    TypeError
        As Python raises for an unexpected keyword argument.
    """
    unknown = next((name for name in options if name not in known.__annotations__), None)
    if unknown is not None:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown!r}")


def refuse_options(settings: type, options: Mapping[str, Any], reason: str) -> None:
    """Refuse the options that a dataclass declares.

    Raises
    ------
    UsageError
        If one of them is given; ``reason`` follows its flag in the message.
    """
    flag = next((one.option.flag for name, one in offered(settings).items() if options.get(name)), None)
    if flag:
        raise UsageError(f"{flag} {reason}")


def changed_flags(settings: Any, *names: str) -> list[str]:
    """Return the flags of those of some fields that differ from their defaults, for messages."""
    kind: type = type(settings)
    found = []
    for one in declared(kind):
        value = getattr(settings, one.field)
        if one.field in names and value != one.default:
            on, _, off = str(one.option.flag).partition("/")
            found.append(off if value is False and off else on)
    return found


def from_options(settings: type[Settings], options: Mapping[str, Any], **others: Any) -> Settings:
    """Make settings of keyword options.

    Parameters
    ----------
    settings
        A settings dataclass.
    options
        Values by keyword; those of other dataclasses are ignored.
    others
        Values of fields that are no options.

    Raises
    ------
    UsageError
        If a value does not fit.
    """
    return settings(**checked(settings, options), **others)


def checked(settings: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked values of the options that are there, by field."""
    return {
        one.field: fitted(options[name], one.type, one.option, str(one.option.flag).partition("/")[0])
        for name, one in offered(settings).items()
        if name in options
    }


def as_options(settings: Any) -> dict[str, Any]:
    """Return settings as keyword options, the inverse of ``from_options``."""
    return {name: getattr(settings, one.field) for name, one in offered(type(settings)).items()}


def fitted(value: Any, kind: Any, option: Option, name: str) -> Any:
    """Return a value in the type of its setting.

    Parameters
    ----------
    value
        What was given. Numbers separated by commas may be a text.
    kind
        The type: bool, int, float, str, Path, a Literal, a tuple of numbers, or one of these or None.
    option
        Bounds and rule.
    name
        What the message calls it.

    Raises
    ------
    UsageError
        If it does not fit.
    """
    kinds = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    value = _without_numpy(value)
    if {float, str} <= set(kinds) and isinstance(value, str):  # the command line has only texts for those
        with suppress(ValueError):
            value = float(value)
    if value is None and NoneType in kinds:
        return None
    if value == "" and NoneType in kinds:
        raise UsageError(f"{name} is empty; give it a value, or leave it out")
    found = next((fit for fit in (_converted(value, one) for one in kinds) if fit is not None), None)
    if found is None:
        wanted = " or ".join(_wanted(one) for one in kinds if one is not NoneType)
        raise UsageError(f"{name} must be {wanted}, not {_shown(value)}")
    _check_bounds(found, option, name)
    if option.rule and not option.rule[1](found):
        raise UsageError(f"{name} must be {option.rule[0]}, not {_shown(value)}")
    return found


def _without_numpy(value: Any) -> Any:
    """Return numbers and arrays of numpy, also in a list, as plain ones; anything else stays as it is."""
    if isinstance(value, list | tuple):
        plain = [_without_numpy(one) for one in value]
        return plain if isinstance(value, list) else tuple(plain)
    return value.tolist() if type(value).__module__ == "numpy" else value


def _converted(value: Any, kind: Any) -> Any:
    """Return a value in a type, or None if it is of another."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if get_origin(kind) is tuple:
        return _tuple(value, get_args(kind))
    if kind is float:
        return _as_float(value) if _is_number(value) and math.isfinite(_as_float(value)) else None
    if kind is Path:
        return Path(os.fspath(value)) if isinstance(value, str | os.PathLike) else None
    if kind is str and isinstance(value, os.PathLike):  # a model may be a file or a name
        value = os.fspath(value)
    return value if type(value) is kind else None


def _tuple(value: Any, items: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return a sequence, one path or word, or numbers separated by commas as a tuple of the types given."""
    kind, any_length = items[0], items[-1] is Ellipsis
    if isinstance(value, str | os.PathLike):
        texts = os.fspath(value).split(",") if kind in {int, float} else [value]
        try:
            value = [kind(text) for text in texts]
        except ValueError:
            return None
    if not isinstance(value, Sequence):
        return None
    if not any_length and len(value) != len(items):
        return None
    found = tuple(_converted(item, kind) for item in value)
    return None if None in found else found


def _as_float(number: float) -> float:
    """Return a number as a float, infinite if it is too large for one."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


def _shown(value: Any) -> str:
    """Return a value as a message shows it; lists of paths and words as they were written on the command line."""
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    words = isinstance(value, list | tuple) and value and all(isinstance(item, os.PathLike | str) for item in value)
    return ", ".join(map(_shown, value)) if words else repr(value)


def _wanted(kind: Any) -> str:
    """Say what a value of a type is."""
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) is tuple:
        items = get_args(kind)
        any_length = items[-1] is Ellipsis
        return f"a list of {_PLURAL[items[0]]}" if any_length else f"{len(items)} numbers separated by commas"
    return _WORDS[kind]


_PLURAL = {int: "numbers", float: "numbers", str: "texts", Path: "paths"}


def _check_bounds(value: Any, option: Option, name: str) -> None:
    least, most = option.min, option.max
    for number in value if isinstance(value, tuple) else (value,):
        if least is not None and most is not None and not least <= number <= most:
            raise UsageError(f"{name} must be from {least:g} to {most:g}, not {_as_float(number):g}")
        if least is not None and number < least:
            raise UsageError(f"{name} must be at least {least:g}, not {_as_float(number):g}")
