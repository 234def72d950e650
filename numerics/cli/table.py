"""What can be typed of recipes and activations, in a table beside this file: help and complaints need no mathematics.

It is made from the recipes by ``python -m numerics.cli.table``; a test holds that it is what they say.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from derivations.errors import DerivationError, UnsafeExpression, unknown

FILE = Path(__file__).with_name("recipes.json")


class Typed(NamedTuple):
    """An option: as it is typed, the field that it gives, what stands for its value (nothing for a flag), its line of help, the recipes that take it."""

    name: str
    field: str
    metavar: str | None
    help: str
    kinds: list[str]


@cache
def table() -> dict[str, Any]:
    """The table as it was written."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def words() -> list[str]:
    """The recipes' words."""
    return list(table()["recipes"])


def typed() -> list[Typed]:
    """The options of recipes."""
    return [Typed(*row) for row in table()["options"]]


def require_known_words(formula: str) -> None:
    """Refuse an activation that is one word, or calls one, which no function has; what else is wrong with it is seen when it is read.

    Raises
    ------
    UnsafeExpression
        With close names.
    """
    found = re.fullmatch(r"\s*([A-Za-z]\w+)\s*", formula, re.ASCII)
    called = re.findall(r"(?<![\w.'\"])([A-Za-z]\w+)\s*\(", formula, re.ASCII)
    for word in [*([found[1]] if found else []), *called]:
        key = word.lower().replace("_", "")
        if key not in table()["keys"] and key not in ("pi", "e"):
            raise UnsafeExpression(
                f"{unknown('word', word, table()['spellings'])}; a variable is one letter, such as x"
            )


def require_taken(architecture: str, given: dict[str, Any]) -> None:
    """Refuse options, by their fields, that a recipe does not take, and a grid that it needs and was not given.

    Raises
    ------
    DerivationError
        That says whose they are.
    """
    for option in typed():
        if given.get(option.field) is not None and architecture not in option.kinds:
            raise DerivationError(
                f"{option.name} is for {', '.join(option.kinds)}, got it with {architecture}; leave it out"
            )
    if architecture in table()["grids"] and given.get("positions") is None:
        raise DerivationError(
            f"{architecture} needs the sizes of its grid of positions, such as --positions 8 or --positions 8x8"
        )


def made() -> dict[str, Any]:
    """The table as the recipes and the words of activations say it."""
    from derivations.activations.words import IMPOSSIBLE, key, spellings
    from numerics.cli.recipes import SHAPING, helps, metavar, named, options

    spelled, recipes = spellings(), list(named())
    return {
        "recipes": recipes,
        "grids": list(options()["positions"].kinds),
        "options": [
            [o.name, o.field, None if o.is_flag else metavar(o), text, recipes if o.field in SHAPING else list(o.kinds)]
            for o, text in helps()
        ],
        "spellings": list(spelled),
        "keys": sorted({*map(key, spelled), *IMPOSSIBLE}),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(made(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
