"""Names of a package that load when they are first used, so that a package costs what is used of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def on_demand(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        From a module to the names that it holds, with spaces between them.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}
    held = sys.modules[package].__dict__

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        held[name] = value = getattr(import_module(home_of[name]), name)
        return value

    return load, lambda: sorted({*held, *home_of})
