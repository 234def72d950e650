"""How the values of options are read: whole numbers, finite ones, pairs and ranges."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable


def width(text: str) -> str:
    """A number of neurons as it is typed."""
    if text.lower() in ("inf", "infinity", "∞"):
        return "oo"
    if text not in ("n", "oo", "?") and not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise argparse.ArgumentTypeError(
            f"width must be a whole number from 1 to 999999999, n for a symbol, or oo, got {text[:40]!r}"
        )
    return text


#: Neurons of networks where nothing else is said: one has a law of its own, and what needs many takes so many.
NARROW, WIDE = "1", "32"


class Usual(str):
    """A default; the same text, typed, is none."""


def depths(text: str) -> tuple[int, ...]:
    """Numbers of layers, with commas between them."""
    return tuple(map(whole("depth", 1, 1_000_000), text.split(",")))


def bounds(text: str) -> tuple[float, float]:
    """Two numbers with a comma between them."""
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"bounds must be two numbers such as 0.1,10, got {text[:40]!r}") from error
    if not -math.inf < low < high < math.inf:
        raise argparse.ArgumentTypeError(f"bounds must be two finite numbers, the lower one first, got {text[:40]!r}")
    return low, high


def letters(text: str) -> tuple[str, ...]:
    """Names of parameters with commas between them."""
    found = tuple(word.strip() for word in text.split(","))
    strange = [word for word in found if not re.fullmatch(r"[a-z][a-z0-9_]*", word)]
    if strange:
        raise argparse.ArgumentTypeError(f"a parameter is a word in small letters such as g, got {strange[0][:40]!r}")
    taken = [word for word in found if word in ("x", "eps", "epsilon", "varepsilon", "n", "t", "pi", "causal")]
    if taken:
        raise argparse.ArgumentTypeError(f"the parameter {taken[0]!r} has a meaning of its own in a layer; rename it")
    return found


def whole(name: str, least: int, most: int = 10**18 - 1) -> Callable[[str], int]:
    """A reader of whole numbers in a range."""

    def read(text: str) -> int:
        try:
            value = int(text) if len(text) <= 18 else None
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            limit = "of at most 18 digits" if most >= 10**18 - 1 else f"of at most {most}"
            raise argparse.ArgumentTypeError(
                f"{name} must be a whole number {limit}, at least {least}, got {text[:40]!r}"
            )
        return value

    return read


def pair(name: str) -> Callable[[str], tuple[int, int]]:
    """A reader of two whole numbers with an x between them."""

    def read(text: str) -> tuple[int, int]:
        if not re.fullmatch(r"[1-9]\d{0,8}x[1-9]\d{0,8}", text, re.ASCII):
            raise argparse.ArgumentTypeError(f"{name} must be two whole numbers such as 3x4, got {text[:40]!r}")
        rows, columns = map(int, text.split("x"))
        if rows * columns > 10_000_000:
            raise argparse.ArgumentTypeError(f"{name} must be at most 10000000 numbers together, got {text}")
        return rows, columns

    return read


def finite(name: str, above: float = -math.inf) -> Callable[[str], float]:
    """A reader of finite numbers above a bound."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{name} must be a finite number, got {text[:40]!r}")
        if value <= above:
            raise argparse.ArgumentTypeError(f"{name} must be above {above:g}, got {text[:40]!r}")
        return value

    return read
