"""What the command ``choose`` is asked for, and the letters of a layer, read before anything is loaded."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

#: What stands for the number that is sought.
UNKNOWN = "?"


def parameters_of(options: argparse.Namespace) -> tuple[Any, ...]:
    """The parameters of a layer, positive symbols."""
    names = getattr(options, "parameter", None) or ()
    if not names:
        return ()
    from derivations.symbols import positive

    return positive(names)


def sought_option(options: argparse.Namespace) -> str:
    """The option that is a question mark.

    Raises
    ------
    ValueError
        If there is none, or more than one; or what is wanted of the output is not said, or said twice.
    """
    asked = [name for name, value in vars(options).items() if isinstance(value, str) and UNKNOWN in value]
    if len(asked) != 1:
        layer = getattr(options, "layer", None)
        such = "--depth '?', or a number in --layer" if layer else "--c-minus '?' or --depth '?'"
        raise ValueError(f"one option must be {UNKNOWN}, the number that is sought, such as {such}; got {len(asked)}")
    if (options.mean_square is None) == (options.correlation is None):
        raise ValueError("one of --mean-square and --correlation must be given, the value that is wanted")
    if options.mean_square is not None and options.mean_square <= 0:
        raise ValueError(f"--mean-square must be a positive number, got {options.mean_square:g}")
    given_sizes(options)
    return asked[0]


def given_sizes(options: argparse.Namespace) -> dict[str, float]:
    """The depth and the time, where they are numbers."""
    size = {"depth": options.depth, "t": options.t}
    return {name: _number(text, name) for name, text in size.items() if text is not None and UNKNOWN not in text}


def _number(text: str, name: str) -> float:
    try:
        value = float(Fraction(text)) if len(text) <= 30 else None
    except (ValueError, ZeroDivisionError):
        value = None
    if value is None or value <= 0 or (name == "depth" and value != int(value)):
        what = "a positive whole number" if name == "depth" else "a positive number"
        raise ValueError(f"{name} must be {what}, or {UNKNOWN} where it is sought, got {text[:40]!r}")
    return value
