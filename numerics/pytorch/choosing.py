"""Comparisons and what is chosen by them: a comparison is 1 where it holds and else 0, also where both sides are equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from derivations import parse_activation
from numerics.pytorch.attention import masked
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import THERE, Value, is_tensor

#: Numbers below this hide a score.
HIDDEN = -700
_AT_ZERO = "(x >= 0)*(x <= 0)"


def _comparison(said: str) -> Rule:
    def rule(reader: Reader, a: Any, b: Any) -> Value:
        first, second = reader.value(a, "a comparison"), reader.value(b, "a comparison")
        step = parse_activation(said)
        return replace(reader.combine(first, second, lambda x, y: step(x - y)), truth=True)

    return rule


def _true(said: Any, where: str) -> Value:
    if not (isinstance(said, Value) and said.truth):
        raise ValueError(f"{where} is known for comparisons such as x > 0, and for masks of scores that are given")
    return said


def negated(reader: Reader, a: Any) -> Value:
    """``~condition``."""
    return replace(_true(a, "a negation").map(lambda e: 1 - e), truth=True)


def both(reader: Reader, a: Any, b: Any) -> Value:
    """``one & other``."""
    made = reader.combine(_true(a, "a conjunction"), _true(b, "a conjunction"), lambda x, y: x * y)
    return replace(made, truth=True)


def either(reader: Reader, a: Any, b: Any) -> Value:
    """``one | other``."""
    made = reader.combine(_true(a, "a disjunction"), _true(b, "a disjunction"), lambda x, y: x + y - x * y)
    return replace(made, truth=True)


def chosen(reader: Reader, a: Any, b: Any, c: Any) -> Value:
    """``torch.where(condition, one, other)`` and ``one.where(condition, other)``.

    Raises
    ------
    ValueError
        If the condition is no comparison, nor a mask of scores that is given.
    """
    if isinstance(b, Value) and b.truth and not (isinstance(a, Value) and a.truth):
        a, b = b, a  # the tensor's own method names the condition second
    if is_tensor(a):
        return _masked_scores(reader, a, b, c)
    condition = _true(a, "where")
    one, other = reader.value(b, "what is chosen"), reader.value(c, "what is chosen")
    taken, left = (_only_where(reader, x, y) for x, y in ((one, condition), (other, condition.map(lambda e: 1 - e))))
    return reader.combine(taken, left, lambda x, y: x + y)


def _only_where(reader: Reader, value: Value, condition: Value) -> Value:
    return reader.combine(value, condition, lambda x, y: x * y)


def _masked_scores(reader: Reader, seen: Any, one: Any, other: Any) -> Value:
    """Scores where a mask that is given shows them, else a number that hides them."""
    for scores, fill, mask in ((one, other, seen), (other, one, ~seen.bool())):
        if isinstance(scores, Value) and THERE in scores.axes and _hides(fill):
            return masked(reader, scores, mask.bool(), False)
    raise ValueError("where is known for comparisons such as x > 0, and for masks of scores with -inf elsewhere")


def _hides(fill: Any) -> bool:
    if is_tensor(fill):
        return fill.numel() == 1 and float(fill) < HIDDEN
    return isinstance(fill, (int, float)) and fill < HIDDEN


def filled(reader: Reader, x: Any, mask: Any, value: Any) -> Value:
    """``x.masked_fill(mask, value)``: scores where a mask hides them, or a number where a comparison holds.

    Raises
    ------
    ValueError
        For scores with another filling, or other tensors with a mask that is given.
    """
    tensor = reader.value(x, "masked_fill")
    if isinstance(mask, Value) and isinstance(value, float) and abs(value) > -HIDDEN:
        raise ValueError("a mask that follows from the state hides what a number fills, which has no rule")
    if isinstance(mask, Value):
        return chosen(reader, _true(mask, "masked_fill"), value, tensor)
    if THERE not in tensor.axes or not is_tensor(mask) or not _hides(value):
        raise ValueError(
            "masked_fill is known on scores, with a mask that is given and a value of -inf, and with a comparison such as x > 0"
        )
    return masked(reader, tensor, ~mask.bool(), False)


def stepped(reader: Reader, x: Any, values: Any) -> Value:
    """``torch.heaviside(x, value at 0)``."""
    at_zero = parse_activation(_AT_ZERO)
    above = parse_activation("(x > 0)")
    return reader.combine(
        reader.value(x, "heaviside"),
        reader.value(values, "the value of heaviside at 0"),
        lambda e, v: above(e) + v * at_zero(e),
    )


def _constant_like(value: sp.Expr) -> Rule:
    return lambda reader, x, **options: reader.value(x, "a constant").map(lambda e: value)


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {
    **{
        word: _comparison(said)
        for words, said in (
            (("gt", "greater"), "(x > 0)"),
            (("ge", "greater_equal"), "(x >= 0)"),
            (("lt", "less"), "(x < 0)"),
            (("le", "less_equal"), "(x <= 0)"),
            (("eq",), _AT_ZERO),
            (("ne", "not_equal"), f"1 - {_AT_ZERO}"),
        )
        for word in words
    },
    **dict.fromkeys(("invert", "logical_not", "bitwise_not"), negated),
    **dict.fromkeys(("and", "logical_and", "bitwise_and"), both),
    **dict.fromkeys(("or", "logical_or", "bitwise_or"), either),
    "where": chosen,
    "masked_fill": filled,
    "heaviside": stepped,
    "zeros_like": _constant_like(sp.S.Zero),
    "ones_like": _constant_like(sp.S.One),
}
