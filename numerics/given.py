"""What the arguments of public functions must be, asked before any work: one rule a kind, one line a refusal."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable
from functools import wraps
from os import PathLike
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

import derivations
from derivations.errors import shown

P = ParamSpec("P")
R = TypeVar("R")

_LARGEST = 10**12  # of what is counted: more layers, steps or samples do not end


class Rule(NamedTuple):
    """What a value must be, in words, whether it is, and how the function gets it."""

    expected: str
    holds: Callable[[Any], bool]
    taken: Callable[[Any], Any] = lambda value: value


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse arguments of a function that are not what their rules say; what is annotated as a bool must be one.

    Examples
    --------
    >>> @checked(t=number, count=optional(whole))
    ... def f(t, count=None):
    ...     return t
    >>> f(1.5)
    1.5
    >>> f("1.5")
    Traceback (most recent call last):
    ValueError: t must be a finite number, got '1.5'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        flags = {name: flag for name, p in signature.parameters.items() if p.annotation in ("bool", bool)}
        asked = flags | rules

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given = bound.arguments
            for name, rule in asked.items():
                if name in given:
                    if not rule.holds(given[name]):
                        raise ValueError(f"{name} must be {rule.expected}, got {shown(given[name])}")
                    given[name] = rule.taken(given[name])
            return function(*bound.args, **bound.kwargs)

        return call

    return decorate


def optional(rule: Rule) -> Rule:
    """The same, or nothing."""
    return Rule(
        rule.expected,
        lambda value: value is None or rule.holds(value),
        lambda value: None if value is None else rule.taken(value),
    )


def instance(expected: str, *names: str) -> Rule:
    """A value of one of some classes of ``derivations``, which are loaded when they are asked for."""
    return Rule(expected, lambda value: isinstance(value, tuple(getattr(derivations, name) for name in names)))


def _is_number(value: Any) -> bool:
    constant = getattr(value, "is_number", False) and getattr(value, "is_extended_real", False)  # of SymPy
    if isinstance(value, bool | np.bool_) or not (isinstance(value, numbers.Real) or constant):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def _as_float(value: Any) -> Any:
    """SymPy's numbers and fractions as floats; what NumPy computes with as it is."""
    return value if isinstance(value, int | float | np.number) else float(value)


def _as_floats(value: Any) -> Any:
    """The same of arrays."""
    array = np.asarray(value)
    return array.astype(float) if array.dtype.kind == "O" else value


def _is_numbers(value: Any) -> bool:
    try:
        array = np.asarray(value)
        if array.dtype.kind in "USbcmMV" or (
            array.dtype.kind == "O" and any(v is None or isinstance(v, str) for v in array.flat)
        ):
            return False
        array.astype(float)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_shape(value: Any) -> bool:
    sizes = value if isinstance(value, tuple | list) else (value,)
    return all(whole.holds(size) and size >= 0 for size in sizes)


def _is_random_state(value: Any) -> bool:
    random = np.random
    known = (random.Generator, random.BitGenerator, random.SeedSequence, random.RandomState)
    return isinstance(value, known) or (
        isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0
    )


def _is_moderate(value: np.ndarray) -> bool:
    size = np.abs(value[value != 0])
    return bool(np.all((size >= 1e-75) & (size <= 1e75)))


flag = Rule("True or False", lambda value: isinstance(value, bool | np.bool_))
number = Rule("a finite number", _is_number, _as_float)
positive = Rule("a positive finite number", lambda value: _is_number(value) and float(value) > 0, _as_float)
moderate = Rule(
    "0 or of a size from 1e-75 to 1e75, whose fourth power a double holds",
    lambda value: _is_numbers(value) and _is_moderate(np.asarray(value, dtype=float)),
)
size = Rule(moderate.expected, lambda value: _is_number(value) and moderate.holds(float(value)), _as_float)
time = Rule("a number from 0 to 10^9", lambda value: _is_number(value) and 0.0 <= float(value) <= 1e9, _as_float)
duration = Rule("a number above 0, at most 10^9", lambda value: time.holds(value) and float(value) > 0.0, _as_float)
whole = Rule(
    "a whole number of at most 10^12",
    lambda value: _is_number(value) and isinstance(value, numbers.Integral) and abs(int(value)) <= _LARGEST,
)
shape = Rule("a whole number, at least 0, or a tuple of them", _is_shape)
random_state = Rule("a whole number, at least 0, or a generator of NumPy", _is_random_state)
array = Rule("a number or an array of numbers", _is_numbers, _as_floats)
listed = Rule("a list of numbers", lambda value: _is_numbers(value) and np.ndim(value) == 1, _as_floats)
end = Rule(
    "a number, or infinite", lambda value: np.ndim(value) == 0 and _is_numbers(value) and not np.isnan(float(value))
)
function = Rule("a function", callable)
network = instance("a network such as ResNet(relu, width=4)", "Recipe")
derivation = instance("what derive(...) gives", "Derivation")
derived = Rule(
    "what derive(...) or jacobian(...) gives",
    lambda v: isinstance(v, (derivations.Derivation, derivations.Jacobian, derivations.backward.WideJacobian)),
)
limit = instance("a limit, as derive(...).limit gives it", "Diffusion", "NeuronDiffusion", "Flow")
limit_or_derivation = instance(
    "what derive(...) gives, or its limit", "Derivation", "Diffusion", "NeuronDiffusion", "Flow"
)
law = instance("a law, as derive(...).law gives it", "Law")
path = Rule("the name of a file", lambda value: isinstance(value, str | PathLike))
start = Rule("a number, an array of numbers or a Normal", lambda v: _is_numbers(v) or isinstance(v, derivations.Normal))
