"""Registries of plug-ins: a name to a value, filled by decorators, read with a helpful error."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
MOST_LISTED = 60  # names in an error; timm knows more than a thousand models
# The group of entry points by which installed packages make their methods known by name.
ENTRY_POINTS = "peft_medical_benchmark.methods"


class InputError(ValueError):
    """Bad input: one sentence with the value, what is allowed and what to do (exit code 2)."""


class DeviceLost(Exception):  # noqa: N818 - it tells of a state, and is shown as a sentence
    """A GPU whose context is broken: no later call of this process can succeed (exit code 1)."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """Return the error for a name that is not in `allowed`, with the nearest name if any."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=5) or [
        other for other in names if other.casefold() == name.casefold()
    ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(names if len(names) <= MOST_LISTED else near)
    if len(names) > MOST_LISTED:
        listed = f"{len(names)} names" + (f", such as {listed}" if listed else "")
    return InputError(f"unknown {kind} {name!r}; {hint}known: {listed}")


class Registry(Generic[T]):
    """Named plug-ins of one kind; a second plug-in of the same name is an error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its argument under `name`."""

        def file(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return file

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise unknown(self.kind, name, self._items)
        return self._items[name]

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)


def module_names(package: str) -> list[str]:
    """Return the names of the modules in `package`, sorted; none of them is imported."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found else None
    modules = pkgutil.iter_modules(folders or [])
    return sorted(module.name for module in modules if not module.ispkg)


def discover(package: str) -> None:
    """Import every module of `package`, so that its decorators run; a broken module raises."""
    path = importlib.import_module(package).__path__
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
