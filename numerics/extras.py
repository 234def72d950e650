"""Which extra of the project brings an optional package, as the installed project itself says."""

from __future__ import annotations

import re
from importlib import metadata, util

#: Packages that are imported under another name than the one they are installed by.
_INSTALLED_AS = {"sklearn": "scikit-learn"}
#: Extras that are made of others, and those of developers: not named in a message to a user.
_GATHERED = ("full", "test", "bench", "docs")


def extra_of(package: str) -> str | None:
    """The extra that brings a package, None where no extra names it.

    Examples
    --------
    >>> extra_of("optax")
    'jax'
    """
    wanted = _INSTALLED_AS.get(package, package)
    for line in metadata.requires("deeplimits") or ():
        named = re.match(r"([\w-]+).*extra == [\"'](\w+)[\"']", line)
        if named and named[1] == wanted and named[2] not in _GATHERED:
            return named[2]
    return None


def how_to_install(package: str) -> str:
    """The command that brings a package.

    Examples
    --------
    >>> how_to_install("jax")
    'pip install "deeplimits[jax]"'
    """
    extra = extra_of(package)
    return f"pip install {package}" if extra is None else f'pip install "deeplimits[{extra}]"'


def is_missing(package: str) -> bool:
    """Whether a package cannot be imported here."""
    return util.find_spec(package) is None
