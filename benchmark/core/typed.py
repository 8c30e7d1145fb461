"""Values that come from a file, checked against the type hints of the class they are for."""

from __future__ import annotations

import functools
import math
import re
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from benchmark.core.numbers import LARGEST, Number
from benchmark.core.registry import InputError

T = TypeVar("T")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but tab and newline
Check = Callable[[Any, str], Any]  # (value, where it is) -> the value as its type wants it


def typed(hint: Callable[..., T], value: Any, where: str) -> T:
    """Return `value`, parsed from JSON or TOML, as what `hint` says.

    Dataclasses and TypedDicts are made from objects, tuples from lists. A bool is no number, an
    integer is a float, a float is no integer; a number is finite. Fields of the type
    `Annotated[int, Number(...)]` are in that range. Fields with a default may be absent; in a class
    that marks some as `later`, which older files lack, only those.

    Raises:
        InputError: what is wrong and where: "`where`.train_s is 'x', not a number".
    """
    made: T = _check_of(hint)(value, where)
    return made


@functools.cache
def annotated(cls: Hashable) -> tuple[tuple[str, Any], ...]:
    """Return (field, note) of the fields of the type `Annotated[..., note]`, or that or None."""
    return tuple(
        (name, note)
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        for kind in (hint, *typing.get_args(hint))
        for note in getattr(kind, "__metadata__", ())
    )


def is_checked(hint: Hashable) -> bool:
    """Return whether `typed` knows the type; the code of others may have any."""
    try:
        _check_of(hint)
    except (AssertionError, TypeError, ValueError):
        return False
    return True


def _wrong(where: str, value: Any, wanted: str) -> InputError:
    shown = repr(value)
    where = where or "all of it"
    return InputError(
        f"{where} is {shown if len(shown) < 80 else shown[:77] + '...'}, not {wanted}"
    )


def _at(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _number(value: Any, where: str) -> Any:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > LARGEST:
        raise _wrong(where, value, "a number")
    return value


def _plain(kind: type, wanted: str) -> Check:
    def check(value: Any, where: str) -> Any:
        if type(value) is not kind:  # isinstance would let a bool be an int
            raise _wrong(where, value, wanted)
        return value

    return check


def _text(value: Any, where: str) -> Any:
    if type(value) is not str:
        raise _wrong(where, value, "a text")
    if _CONTROL.search(value):  # in a terminal they are commands, in an SVG not allowed
        raise _wrong(where, value, "a text without control characters")
    return value


def _anything(value: Any, where: str) -> Any:
    return value


_PLAIN: dict[Any, Check] = {
    Any: _anything,
    bool: _plain(bool, "true or false"),
    int: _plain(int, "a whole number"),
    float: _number,
    str: _text,
    type(None): _plain(type(None), "null"),
}


@functools.cache
def _check_of(hint: Hashable) -> Check:
    """Return the check of a type; made once, since 100,000 records may be read."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if is_dataclass(hint) or typing.is_typeddict(hint):
        return _object(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (check,) = (_check_of(t) for t in inner if t is not type(None))
        return lambda value, where: None if value is None else check(value, where)
    if origin is typing.Literal:

        def one_of(value: Any, where: str) -> Any:
            if value not in inner or type(value) not in map(type, inner):
                raise _wrong(where, value, f"one of {', '.join(map(repr, inner))}")
            return value

        return one_of
    if origin is dict:
        each = _check_of(inner[1])

        def mapping(value: Any, where: str) -> Any:
            if not isinstance(value, dict):
                raise _wrong(where, value, "an object")
            return {str(name): each(v, _at(where, name)) for name, v in value.items()}

        return mapping
    assert origin in (list, tuple), f"{hint} is no type that a file can have"
    item = _check_of(inner[0])

    def listing(value: Any, where: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong(where, value, "a list")
        return origin(item(v, f"{where}[{i}]") for i, v in enumerate(value))

    return listing


def _object(hint: Any) -> Check:
    hints = typing.get_type_hints(hint)
    checks = {name: _check_of(kind) for name, kind in hints.items()}
    strict = is_dataclass(hint)
    items = fields(hint) if strict else ()
    optional = {i.name for i in items if (i.default, i.default_factory) != (MISSING, MISSING)}
    later = {i.name for i in items if "later" in i.metadata}
    required = {i.name for i in items} - (later or optional)
    needed = required if strict else hint.__required_keys__
    ranges = [(name, note) for name, note in annotated(hint) if isinstance(note, Number)]
    bounds = [(name, *numbers.inside, numbers) for name, numbers in ranges]

    def check(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "an object")
        if missing := needed - value.keys():
            raise InputError(f"{where or 'it'} has no {', '.join(sorted(missing))}")
        if strict and (unknown := value.keys() - checks.keys()):
            names = ", ".join(map(repr, sorted(map(str, unknown))))
            raise InputError(f"{where or 'it'} has {names}, which this version does not know")
        found = {
            name: checks[name](v, _at(where, name)) if name in checks else v
            for name, v in value.items()
        }
        for name, low, high, numbers in bounds:
            number = found.get(name)
            if number is not None and not low < number < high:  # the usual case costs no call
                numbers.check(number, _at(where, name))
        return hint(**found)

    return check
