"""``torch.einsum`` of two tensors that share one sum: products of matrices with their axes named."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

from numerics.pytorch.arithmetic import multiplied
from numerics.pytorch.attention import multiplied_as_matrices
from numerics.pytorch.linear import linear_function
from numerics.pytorch.norms import summed as add_up
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import Value, is_tensor, spoken


def einsum(reader: Reader, equation: str, *operands: Any) -> Value:
    """A matrix of the block on the neurons, scores of queries and keys, their shares times values, or products number by number.

    Raises
    ------
    ValueError
        For other sums.
    """
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], tuple) else operands
    if len(given) != 2 or equation.count(",") != 1:
        raise ValueError(f"{equation!r} is no product of two tensors, such as 'bid,bjd->bij'")
    names, out = _named_axes(equation.replace(" ", ""), [_count(reader, x) for x in given])
    (a, x), (b, y) = sorted(zip(names, given, strict=True), key=lambda pair: is_tensor(pair[1]))
    summed = [label for label in a if label in b and label not in out]
    if ({*a} <= {*b} or {*b} <= {*a}) and {*a, *b} == {*out, *summed} and len(summed) < 2:
        return _number_by_number(reader, (x, a), (y, b), out, "".join(summed))
    if len(summed) != 1 or {*a, *b} - {*out} != {*summed} or any(len(set(s)) < len(s) for s in (a, b, out)):
        raise ValueError(f"{equation!r} sums over more or less than one axis of both tensors, which has no rule")
    (k,) = summed
    first = _ordered(reader, x, a, a.replace(k, "") + k)
    if is_tensor(y):
        row = b.replace(k, "")
        if len(row) != 1 or len(b) != 2:
            raise ValueError(f"{equation!r} multiplies by a tensor of {len(b)} axes; a matrix has two")
        made = multiplied_as_matrices(reader, first, y) if b[0] == k else linear_function(reader, first, y)
        return _ordered(reader, made, a.replace(k, "") + row, out)
    heads = _listed(reader, x, a) + "".join(
        h for h in _listed(reader, y, b) if h not in a
    )  # those of one alone the other's share
    each = "".join(label for label in a if label in b and label not in k + heads) + heads
    m, n = (s.translate(dict.fromkeys(map(ord, each + k))) for s in (a, b))
    if len(m) != 1 or len(n) != 1:
        raise ValueError(f"{equation!r} is no product of two matrices for each of the axes that both have")
    if out.index(m) > out.index(n):
        (x, a, m), (y, b, n) = (y, b, n), (x, a, m)
    first, second = (
        _spread(_ordered(reader, x, a, _in(a, each) + m + k), a, each),
        _spread(_ordered(reader, y, b, _in(b, each) + k + n), b, each),
    )
    return _ordered(reader, multiplied_as_matrices(reader, first, second), each + m + n, out)


def _count(reader: Reader, x: Any) -> int:
    return x.ndim if is_tensor(x) else len(reader.value(x, "einsum", unsummed=True).axes)


def _named_axes(equation: str, counts: list[int]) -> tuple[list[str], str]:
    """The labels of two factors and of their product: a letter for each axis that ``...`` stands for, and the product's where it is not said."""
    left, arrow, out = equation.partition("->")
    names = left.split(",")
    if not arrow:
        once = sorted(label for label in {*left} - {*",."} if left.count(label) == 1)
        out = "..." * ("..." in left) + "".join(once)
    free = "".join(label for label in ascii_letters if label not in equation)
    kept = [
        free[: max(0, count - len(own) + 3)] if "..." in own else "" for own, count in zip(names, counts, strict=True)
    ]
    longest = max(kept, key=len)
    ends = [longest[len(longest) - len(own) :] for own in kept]  # axes are alike from the last one
    return [own.replace("...", end) for own, end in zip(names, ends, strict=True)], out.replace("...", longest)


def _number_by_number(reader: Reader, *factors: Any) -> Value:
    """Products of numbers with the same labels, summed over one of them or over none."""
    first, second, out, summed = factors
    x, y = (_with_all(reader, tensor, labels, out + summed) for tensor, labels in (first, second))
    made: Value = multiplied(reader, x, y)
    if not summed:
        return made
    total: Value = add_up(reader, made, -1, True)
    return total.without(len(out))


def _with_all(reader: Reader, x: Any, labels: str, wanted: str) -> Any:
    """A tensor with an axis for each of the labels, of size 1 where it has none."""
    own = [labels.index(label) for label in wanted if label in labels]
    if is_tensor(x):
        return x.permute(own).reshape([x.shape[labels.index(w)] if w in labels else 1 for w in wanted])
    return _spread(_ordered(reader, x, labels, _in(labels, wanted)), labels, wanted)


def _listed(reader: Reader, x: Any, labels: str) -> str:
    """The labels of axes that list tensors, such as heads."""
    axes = reader.value(x, "einsum", unsummed=True).axes
    return "".join(label for label, axis in zip(labels, axes, strict=False) if isinstance(axis, int))


def _in(labels: str, wanted: str) -> str:
    return "".join(label for label in wanted if label in labels)


def _spread(value: Value, labels: str, wanted: str) -> Value:
    """With an axis of size 1 for each label in front that it does not have."""
    for place, label in enumerate(wanted):
        if label not in labels:
            value = value.with_one(place)
    return value


def _ordered(reader: Reader, x: Any, labels: str, wanted: str) -> Value:
    value = reader.value(x, "einsum", unsummed=True)
    if len(value.axes) != len(labels):
        raise ValueError(
            f"einsum names {len(labels)} axes of a tensor of {spoken(value.axes)}; give the number of positions, positions="
        )
    return value.arranged([labels.index(label) for label in wanted])


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {"einsum": einsum}
