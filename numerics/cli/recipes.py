"""The recipes as they are typed: words and options follow from the recipes' own fields, kept in the table of :mod:`numerics.cli.table`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import cleandoc, signature
from typing import Any

from derivations import RECIPES, DerivationError, Network, Recipe, parse_activation, shaped, symbols
from derivations.language.text import parse_number, parse_option

#: Fields that every recipe has and a command says in a way of its own.
_COMMON = ("width", "inputs")
#: How an activation is shaped: options of any recipe, which refuses a shaped one where it cannot use it.
SHAPING = tuple(name for name, p in signature(shaped).parameters.items() if p.default is not p.empty)
#: Options of recipes that a layer typed as a formula has too.
OF_LAYERS = ("positions", "rate", "depth_rate")
_LETTERS = {
    "varphi": "φ",
    "psi": "ψ",
    "sigma": "σ",
    "Sigma": "Σ",
    "mu": "μ",
    "lambda": "λ",
    "delta": "δ",
    "tau": "τ",
    "varepsilon": "ε",
    "ge": "≥",
}


def word(kind: type[Recipe]) -> str:
    """What a recipe is called: its name without another recipe's at its end; a block or an attention is a word of its own.

    Examples
    --------
    >>> from derivations import ConvResNet, MLPBlock, ResNet
    >>> [word(kind) for kind in (ResNet, ConvResNet, MLPBlock)]
    ['resnet', 'conv', 'mlp-block']
    """
    name = kind.__name__
    for other in RECIPES:
        if name != other.__name__:
            name = name.removesuffix(other.__name__)
    return re.sub(r"(?<=.)(Block|Attention)$", r"-\1", name).lower()


def named() -> dict[str, type[Recipe]]:
    """Every recipe by its word; a layer typed as a formula has none."""
    return {word(kind): kind for kind in RECIPES if kind is not Network}


@dataclass(frozen=True)
class Option:
    """A field of recipes as an option.

    Parameters
    ----------
    field : str
    kinds : tuple of str
        The words of the recipes that have it.
    annotation : str
        Its type.
    default : object
        None where it has none, or recipes have different ones.
    about, words : str
        What it is, and the words that it may be, from a recipe's own documentation.
    """

    field: str
    kinds: tuple[str, ...]
    annotation: str
    default: object
    about: str
    words: str

    @property
    def name(self) -> str:
        """As it is typed."""
        dashed = self.field.replace("_", "-")
        return f"--no-{dashed}" if self.is_flag and self.default is True else f"--{dashed}"

    @property
    def is_flag(self) -> bool:
        """Whether it is given without a value."""
        return self.annotation == "bool"

    def value(self, given: Any) -> object:
        """What was typed, as the recipe takes it.

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        if self.is_flag:
            return self.default is not True
        return next(read for part, read in _READERS if part in self.annotation)(given, self.name.lstrip("-"))


def options() -> dict[str, Option]:
    """Every option that a recipe has, by its field; :data:`SHAPING` among them."""
    found: dict[str, list[tuple[str, type[Recipe], dataclasses.Field[Any]]]] = {}
    for typed, kind in named().items():
        for field in dataclasses.fields(kind):
            if field.name not in _COMMON and not _is_first(field, kind):
                found.setdefault(field.name, []).append((typed, kind, field))
    return {name: _option(name, uses) for name, uses in found.items()}


def _option(name: str, uses: list[tuple[str, type[Recipe], dataclasses.Field[Any]]]) -> Option:
    defaults = {str(field.default): field.default for _, _, field in uses}
    default = next(iter(defaults.values())) if len(defaults) == 1 else None
    about, words = next((found for _, kind, _ in uses if (found := _documented(kind, name))[0]), ("", ""))
    kinds = tuple(typed for typed, _, _ in uses)
    default = None if default is dataclasses.MISSING else default
    return Option(name, kinds, str(uses[0][2].type), default, about, words)


def activations(kind: type[Recipe]) -> list[str]:
    """The fields that are activations, the one that ``--activation`` says first: that inside the weights."""
    fields = [f.name for f in dataclasses.fields(kind) if f.type == "Activation"]
    inside = [field for field, _ in kind.letters]
    return sorted(fields, key=lambda field: inside.index(field) if field in inside else 0)


def recipe(typed: str, given: dict[str, object], width: object, inputs: int) -> Recipe:
    """The recipe of a word with the options that were given, each by its field; ``activation`` is that inside the weights.

    Raises
    ------
    ValueError
        If it refuses a value; which options it takes and needs is asked before (:func:`numerics.cli.table.require_taken`).
    """
    kind, known, values = named()[typed], options(), dict(given)
    fields = {f.name: f.default for f in dataclasses.fields(kind)}
    shaping = {name: known[name].value(values.pop(name)) for name in SHAPING if name in values and name not in fields}
    read: dict[str, Any] = {"width": width, "inputs": inputs}
    inside, *outside = activations(kind) or [""]
    text = values.pop("activation", None)
    if not inside and (text is not None or shaping):
        raise DerivationError(f"{typed} has no activation; leave --activation and its shaping out")
    for field, value in values.items():
        got = known[field].value(value)  # n is the width, where that is a number
        read[field] = got.subs(symbols.width, width) if hasattr(got, "subs") and isinstance(width, int) else got
    for field, usual in ((inside, "relu"), *((field, "tanh") for field in outside)):
        if (
            field
            and field not in read
            and (fields[field] is dataclasses.MISSING or (field == inside and text is not None))
        ):
            read[field] = parse_activation(str(usual if text is None or field != inside else text))
    try:
        if shaping:
            read[inside] = shaped(read.get(inside, fields[inside]), **shaping)
        return kind(**read)
    except DerivationError as error:  # fields as they are typed
        message = re.sub(r"\b[a-z]+_[a-z_]+\b", lambda m: m[0].replace("_", "-") if m[0] in known else m[0], str(error))
        raise type(error)(message) from error


def _is_first(field: dataclasses.Field[Any], kind: type[Recipe]) -> bool:
    return field.name in activations(kind)[:1]


def _documented(kind: type[Recipe], name: str) -> tuple[str, str]:
    """What a recipe's documentation says of a field, on one line and without markup, and its words; empty where it says nothing of its own."""
    lines = cleandoc(kind.__doc__ or "").splitlines()
    for at, line in enumerate(lines):
        head = re.fullmatch(r"([a-z_, ]+)( : .*)?", line)
        if head is None or name not in head[1].split(", "):
            continue
        body: list[str] = []
        for text in lines[at + 1 :]:
            if not text.startswith(" "):
                break
            body.append(text.strip())
        plain, words = _plain(" ".join(body)), re.findall(r'"([^"]+)"', head[2] or "")
        return ("", "") if plain.startswith("As ") else (plain[:1].lower() + plain[1:], "|".join(words))
    return "", ""


def _plain(text: str) -> str:
    text = re.sub(r":[a-z]+:`(?:~[\w.]*\.)?([^`]*)`", r"\1", text).replace("``", "").replace("symbols.width", "n")
    text = re.sub(r"\\sqrt{([^{}]*)}", r"√(\1)", text).replace("\\sqrt ", "√").replace("\\,", " ")
    text = re.sub(r"\\([a-z]+)", lambda m: _LETTERS[m[1]], text)
    return re.sub(r"[{}\\]", "", text).rstrip(".")


def number(text: str, name: str) -> object:
    """A number, or a formula in n and t."""
    try:
        if len(text) > 60 or re.search(r"e[+-]?\d{3}", text.lower()):  # 1e999999999 would be written out
            raise ValueError
        return parse_number(text)
    except ValueError as error:
        raise DerivationError(
            f"{name} must be a number such as 2, 0.5 or 1/2, or a formula in n and t, got {text[:40]!r}"
        ) from error


def _numbers(text: str, name: str) -> object:
    values = tuple(number(part, name) for part in text.split(","))
    return values if len(values) > 1 else values[0]


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9):
        raise DerivationError(f"{name} must be a whole number, got {text[:40]!r}")
    return int(text)


def _sizes(text: str, name: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not all(p.isascii() and p.isdigit() and len(p) <= 3 and int(p) > 0 for p in parts):
        raise DerivationError(f"{name} must be whole numbers from 1 to 999, such as 8 or 8x8, got {text[:40]!r}")
    return tuple(map(int, parts))


def positions(text: str) -> tuple[int, ...]:
    """The sizes of a grid."""
    return _sizes(text, "positions")


#: How values are read, by a part of the field's type.
_READERS: tuple[tuple[str, Callable[[str, str], object]], ...] = (
    ("Activation", lambda text, _: parse_activation(text)),
    ("tuple[int", _sizes),
    ("tuple[sp.Expr", _numbers),
    ("sp.Expr", number),
    ("int", _whole),
    ("object", lambda text, _: parse_option(text)),
    ("", lambda text, _: text),
)


def helps() -> Iterator[tuple[Option, str]]:
    """Every option with its line of help."""
    everyone = set(named())
    for option in options().values():
        whose = (
            "an activation that is shaped as the width grows" if option.field in SHAPING else ", ".join(option.kinds)
        )
        head = "" if set(option.kinds) == everyone else f"for {whose}: "
        head += "not " if option.name.startswith("--no-") else ""
        tail = "; of a layer as a formula too" if option.field in OF_LAYERS else ""
        default = _shown(option)
        yield option, f"{head}{option.about}{tail}{default and f' ({default})'}".replace("%", "%%")


def metavar(option: Option) -> str:
    """What stands for the value in a line of help."""
    kinds = (
        ("tuple[int", "P|PxQ"),
        ("sp.Expr", "C"),
        ("int", "N"),
        ("Activation", "NAME|FORMULA"),
        ("object", "MATRIX"),
        ("", "WORD"),
    )
    return option.words or next(shown for part, shown in kinds if part in option.annotation)


def _shown(option: Option) -> str:
    if option.annotation == "Activation":
        return str(option.default or "tanh")
    return "" if option.is_flag or option.field == "positions" or option.default in (None, ()) else str(option.default)
