"""Limits as JSON: written as SymPy's source and as LaTeX, and read back without evaluating text.

The source is Python, so it is parsed and rebuilt node by node from classes that are known here; nothing in it is run.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import sympy as sp

from derivations.entries import LazyCovariance
from derivations.errors import DerivationError, brief, shown
from derivations.notation.latex import latex

#: Where the project's own nodes are defined that a limit may hold.
_HOMES = (
    "constants",
    "special",
    "gaussian",
    "sums",
    "piecewise.cases",
    "piecewise.continued",
    "piecewise.root",
    "covariances",
)
#: SymPy's classes that a limit may hold besides functions of numbers.
_SHAPES = """Add Mul Pow Symbol Dummy Integer Rational Float Tuple Lambda Piecewise ExprCondPair Equality Unequality StrictLessThan LessThan
StrictGreaterThan GreaterThan And Or Not ITE Contains Interval FiniteSet Union Intersection Complement ProductSet ConditionSet Sum Integral
ImmutableDenseMatrix ImmutableSparseMatrix MutableDenseMatrix"""
_FUNCTIONS = """exp log sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan acot asec acsc asinh acosh atanh acoth asech acsch
atan2 erf erfc erfi erfinv erfcinv Abs sign Min Max Heaviside floor ceiling gamma loggamma polygamma besseli besselk besselj bessely hyper LambertW"""
_CONSTANTS = "pi E I oo zoo nan true false Reals Integers Naturals EmptySet EulerGamma GoldenRatio ExponentialE"
#: What takes text or Python numbers; everything else takes nodes only, so that no text reaches SymPy's parser.
_ATOMS = ("Symbol", "Dummy", "Integer", "Rational", "Float")
#: Exponents and arguments beyond which a number would be written out.
_LARGEST = 10_000
_LONGEST_SOURCE = 5_000_000


def entry(expr: sp.Basic) -> dict[str, str]:
    """One expression as SymPy's source and as LaTeX."""
    return {"sympy": sp.srepr(expr), "latex": latex(expr)}


def written(kind: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a limit: symbols, expressions and matrices."""
    return {
        "kind": kind,
        **{name: _written(part) for name, part in parts.items() if part is not None and part is not False},
    }


def _written(part: Any) -> Any:
    if isinstance(part, LazyCovariance):
        raise TypeError("a covariance is read before it is written")
    if isinstance(part, sp.MatrixBase):
        once = cache(entry)  # a covariance holds most of its entries twice
        return [[once(e) for e in row] for row in part.tolist()]
    if isinstance(part, tuple):
        return [_written(e) for e in part]
    return entry(sp.true if part is True else part)


def read_limit(text: str, kinds: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, Any]]:
    """The kind and the fields of a limit that JSON holds, by itself or in a derivation.

    Parameters
    ----------
    text : str
    kinds : mapping
        The kinds that are known, and the fields of each.

    Raises
    ------
    DerivationError
        If it is no JSON, holds no limit, or anything but known nodes.
    """
    if not isinstance(text, str | bytes):
        raise DerivationError(f"a limit is read from JSON text, got {shown(text)}; read the file first")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DerivationError(f"this is no JSON: {error}; write it with limit.to_json()") from error
    held = data.get("limit", data) if isinstance(data, dict) else None
    kind = str(held.get("kind")) if isinstance(held, dict) else ""
    if not isinstance(held, dict) or kind not in kinds:
        raise DerivationError(
            f"this JSON holds no limit of a known kind, {', '.join(kinds)}; write it with limit.to_json()"
        )
    return kind, {name: _read(held[name]) for name in kinds[kind] if name in held}


def _is_matrix(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, list) for row in part)


def _read(part: Any) -> Any:
    if isinstance(part, dict):
        return read_source(part.get("sympy"))
    if isinstance(part, list) and part and all(_is_matrix(m) for m in part):
        return tuple(map(_read, part))
    if isinstance(part, list) and part and all(isinstance(row, list) for row in part):
        rows = [[_read(e) for e in row] for row in part]
        if len({len(row) for row in rows}) != 1:
            raise DerivationError("a matrix must have rows of one length")
        return sp.ImmutableMatrix(rows)
    if isinstance(part, list):
        return tuple(map(_read, part))
    raise DerivationError(f'expected {{"sympy": …}} or a list of these, got {shown(part)}')


def read_source(source: Any) -> sp.Basic:
    """The expression that SymPy's ``srepr`` wrote, rebuilt from known classes.

    Raises
    ------
    DerivationError
        For anything else.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> read_source(sp.srepr(sp.sqrt(x**2 + 1))) == sp.sqrt(x**2 + 1)
    True
    >>> read_source("__import__('os')")
    Traceback (most recent call last):
    derivations.errors.DerivationError: __import__ is no part of a formula that can be read; write it with limit.to_json()
    """
    if not isinstance(source, str) or len(source) > _LONGEST_SOURCE:
        raise DerivationError(f"expected the source of an expression, got {shown(source)}")
    try:
        found = _node(ast.parse(source, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError, sp.SympifyError) as error:
        if isinstance(error, DerivationError):
            raise
        raise DerivationError(
            f"the source of an expression cannot be read: {shown(source)}; write it with limit.to_json()"
        ) from error
    if not isinstance(found, sp.Basic | sp.MatrixBase):
        raise DerivationError(f"expected the source of an expression, got {shown(source)}")
    return found


def _node(tree: ast.expr) -> Any:
    match tree:
        case ast.Name(id=name) if name in _CONSTANTS.split():
            return getattr(sp.S, name, None) or getattr(sp, name)
        case ast.List(elts=items):
            return [_node(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_node(item) for item in items)
        case ast.Call(func=ast.Name(id="Function"), args=[ast.Constant(value=str(name))], keywords=options):
            return sp.Function(name, **_options(options))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=options) if name in _ATOMS:
            return getattr(sp, name)(*(_plain(g) for g in given), **_options(options))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]):
            return _built(name, _known(name), [_node(g) for g in given])
        case ast.Call(func=ast.Call() as inner, args=given, keywords=[]):
            return _node(inner)(*map(_node, given))
    name = getattr(tree, "id", None) or getattr(getattr(tree, "func", None), "id", None) or type(tree).__name__
    raise DerivationError(f"{name} is no part of a formula that can be read; write it with limit.to_json()")


def _built(name: str, make: Callable[..., Any], given: list[Any]) -> Any:
    exponent = given[-1] if name == "Pow" else given[0] if name in ("gamma", "polygamma") and given else None
    if isinstance(exponent, sp.Number) and all(g.is_number for g in given):
        base = given[0] if name == "Pow" and isinstance(given[0], sp.Rational) else sp.S.One
        bits = max(abs(base.p), base.q).bit_length()  # powers of powers grow too
        if abs(exponent) > _LARGEST or abs(exponent) * bits > 64 * _LARGEST:
            raise DerivationError(f"{name} of numbers is too large a number to be written out, to {brief(exponent)}")
    return make(*given)


def _plain(tree: ast.expr) -> Any:
    """Text or a number, as it stands."""
    value = ast.literal_eval(tree)
    if not isinstance(value, str | int):
        raise ValueError(value)
    return value


def _options(given: list[ast.keyword]) -> dict[str, Any]:
    """Assumptions of a symbol, and its number."""
    found = {option.arg: ast.literal_eval(option.value) for option in given}
    if None in found or not all(isinstance(value, bool | int) or value is None for value in found.values()):
        raise ValueError(found)
    return found  # type: ignore[return-value]


def _known(name: str) -> Callable[..., Any]:
    if name in _SHAPES.split() or name in _FUNCTIONS.split():
        return getattr(sp, name, None) or getattr(sp.functions.elementary.piecewise, name)  # type: ignore[no-any-return]
    own = _own_nodes()
    if name not in own:
        raise DerivationError(f"{name} is no part of a formula that can be read; write it with limit.to_json()")
    return own[name]


@cache
def _own_nodes() -> dict[str, type[sp.Basic]]:
    """The project's nodes by name."""
    for home in _HOMES:
        import_module(f"derivations.{home}")

    def below(kind: type[sp.Basic]) -> Iterator[type[sp.Basic]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    places = tuple(f"derivations.{home}" for home in _HOMES)
    return {kind.__name__: kind for kind in below(sp.Basic) if (kind.__module__ or "").startswith(places)}
