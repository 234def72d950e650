"""Sums, products and functions neuron by neuron; what is added to the state is a branch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sympy as sp

from derivations import parse_activation
from numerics.pytorch.attention import masked, multiplied_as_matrices
from numerics.pytorch.cutting import chunked
from numerics.pytorch.moving import weighed
from numerics.pytorch.neighbours import ComplexNeurons, times_complex
from numerics.pytorch.norms import without_guard
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.turning import table_of, times_table
from numerics.pytorch.values import MULTIPLIED, NEURONS, THERE, Value, is_tensor, number


def added(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A sum; what is added to the state is a branch, numbers that are added to scores are a mask."""
    if alpha != 1:
        b = alpha * b if is_tensor(b) else reader.value(b, "a term").map(lambda e: number(alpha) * e)
    for scores, mask in ((a, b), (b, a)):
        if isinstance(scores, Value) and THERE in scores.axes and is_tensor(mask) and mask.numel() > 1:
            return masked(reader, scores, mask, False)
    first, second = reader.value(a, "a term"), reader.value(b, "a term")
    if first.truth and second.truth:
        raise ValueError(
            "two comparisons are added, which PyTorch takes as or; write one | other, or numbers by float()"
        )
    if first.skip is None:
        first, second = second, first
    if first.skip is None or second.skip is not None:
        return reader.combine(first, second, lambda x, y: x + y)
    if _for_each_input(second):  # the state is centred
        return replace(reader.combine(first, second, lambda x, y: x + y), skip=first.skip)
    size = reader.branch()
    return replace(reader.combine(first, second, lambda x, y: x + size * y), skip=first.skip | {size})


def _for_each_input(value: Value) -> bool:
    """Whether this is a number that the neurons of an input share, such as their average: a norm is made of these, a branch is not."""
    return bool(value.axes) and NEURONS not in value.axes and value.skip is None


def finite(reader: Reader, x: Any, *arguments: Any, **options: Any) -> Value:
    """``torch.nan_to_num``: the numbers themselves, which a formula of finite numbers has."""
    reader.remark("nan_to_num is left out: what it reads is finite")
    return reader.value(x, "nan_to_num")


def subtracted(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A difference, as the sum with the negative."""
    return added(reader, a, -b if is_tensor(b) else reader.value(b, "a term").map(lambda e: -e), alpha)


def multiplied(reader: Reader, a: Any, b: Any) -> Value:
    """A product, neuron by neuron; numbers for pairs of positions multiply scores."""
    for scores, numbers in ((a, b), (b, a)):
        if isinstance(scores, Value) and THERE in scores.axes and is_tensor(numbers) and numbers.numel() > 1:
            return weighed(reader, scores, numbers)
    for value, tensor in ((a, b), (b, a)):
        if isinstance(value, ComplexNeurons):
            return times_complex(reader, value, tensor)
        table = table_of(reader, value, tensor)
        if table is not None:
            return times_table(reader, value, table)
    first, second = reader.value(a, "a factor"), reader.value(b, "a factor")
    skip = _passed(first, second)
    return replace(
        reader.combine(first, second, lambda x, y: x * y), skip=_passed(second, first) if skip is None else skip
    )


def _passed(state: Value, factor: Value) -> frozenset[sp.Symbol] | None:
    """The branches of a state that a factor multiplies: what a norm multiplies by, or a number."""
    if state.skip is None:
        return None
    if _for_each_input(factor):
        return state.normed
    if factor.axes or not factor.expr.is_positive:
        return None
    return state.skip if factor.expr == 1 else state.skip | {MULTIPLIED}


def divided(reader: Reader, a: Any, b: Any) -> Value:
    """A quotient, neuron by neuron."""
    first, second = reader.value(a, "a numerator"), without_guard(reader, reader.value(b, "a denominator"))
    return replace(reader.combine(first, second, lambda x, y: x / y), skip=_passed(first, second))


def between(reader: Reader, a: Any, b: Any, weight: Any) -> Value:
    """``torch.lerp``: the first and a share of the way to the second."""
    share = reader.value(weight, "a weight")
    return added(reader, multiplied(reader, a, share.map(lambda e: 1 - e)), multiplied(reader, b, share))


def product_and_sum(reader: Reader, x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    """``torch.baddbmm``: numbers beside a product of matrices, as scores with their mask."""
    product = multiplied_as_matrices(reader, a, b).map(lambda e: number(alpha) * e)
    return product if beta == 0 else added(reader, product, x if beta == 1 else beta * x)


def powered(reader: Reader, a: Any, exponent: Any) -> Value:
    """A power, neuron by neuron."""
    base, power = reader.value(a, "a base"), reader.value(exponent, "an exponent")
    if not power.axes and power.expr in (sp.S.Half, -sp.S.Half, sp.S.NegativeOne):
        base = without_guard(reader, base)
    return reader.combine(base, power, lambda x, y: x**y)


def glu(reader: Reader, x: Any, dim: int = -1) -> Value:
    """The first half times the sigmoid of the second."""
    a, b = chunked(reader, x, 2, dim)
    return multiplied(reader, a, b.map(parse_activation("sigmoid")))


def gated(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.GLU``: the first half times the sigmoid of the second."""
    return glu(reader, x, module.dim)


def _pointwise(function: Callable[[sp.Expr], sp.Expr]) -> Rule:
    def rule(reader: Reader, x: Any) -> Value:
        return reader.value(x, "the argument").map(function)

    return rule


MODULES: dict[str, Rule] = {"GLU": gated}
FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("add", "iadd", "radd"), added),
    **dict.fromkeys(("sub", "isub"), subtracted),
    **dict.fromkeys(("mul", "imul", "multiply"), multiplied),
    **dict.fromkeys(("truediv", "itruediv", "div", "divide"), divided),
    "rtruediv": lambda reader, a, b: divided(reader, b, a),
    "rsub": lambda reader, a, b, alpha=1: subtracted(reader, b, a, alpha),
    "nan_to_num": finite,
    "lerp": between,
    "addcmul": lambda reader, a, b, c, value=1: added(reader, a, multiplied(reader, b, c), value),
    "addcdiv": lambda reader, a, b, c, value=1: added(reader, a, divided(reader, b, c), value),
    **dict.fromkeys(("pow", "ipow"), powered),
    "square": _pointwise(lambda e: e**2),
    "sqrt": lambda reader, x: powered(reader, x, sp.S.Half),
    "rsqrt": lambda reader, x: powered(reader, x, -sp.S.Half),
    "reciprocal": lambda reader, x: powered(reader, x, sp.S.NegativeOne),
    "neg": _pointwise(lambda e: -e),
    **dict.fromkeys(("addmm", "baddbmm"), product_and_sum),
    "glu": glu,
}
