r"""Activations from untrusted text: a formula is checked against a whitelist and built, never evaluated.

The text is parsed to Python's syntax tree, and the tree is walked: each node either is one of the few
kinds below or is refused. What a hostile formula could still do is to be expensive, so that every
quantity that can grow is bounded: length, nodes, nesting, exponents, digits, kinks, the size of the
result; and a constant is looked at as a number before anything is built on it.

Every partial result carries its values at a few points, found bottom-up. A value that is complex,
infinite or beyond :math:`10^{\pm 100}` counts as undefined; a part that is undefined at all of the
points is refused, and so ``log(-1)``, ``1/0`` and ``exp(exp(exp(9)))`` never become an activation.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import NoReturn

import sympy as sp

from derivations.activations.base import Activation, as_activation
from derivations.activations.piecewise_linear import leaky_relu, two_slope
from derivations.activations.registry import ACTIVATIONS
from derivations.activations.smooth import polynomial
from derivations.errors import UnsafeExpression
from derivations.symbols import state

MAX_LENGTH = 1000  # characters
MAX_NODES = 250  # of the syntax tree
MAX_DEPTH = 40  # of the syntax tree, and of parentheses
MAX_EXPONENT = 64  # of a power, and of powers of powers together
MAX_BITS = 2048  # of the numerator and the denominator of an exact number
MAX_KINKS = 16  # of abs, max, min, sign in the result
MAX_SIZE = 1000  # nodes of the result, in which gelu(u) holds u twice
_HUGE = sp.Integer(10) ** 100

_POINTS = tuple(
    sp.Float(sp.Rational(p, q), 30)
    for p, q in [(0, 1), (1, 97), (1, 3), (6, 7), (5, 2), (41, 3), (1000, 3), (10**6, 3), (10**12, 3)]
    for p in sorted({p, -p})
)


def _slopes(positive: sp.Expr, negative: sp.Expr) -> Callable[[sp.Expr], sp.Expr]:
    """A two-slope function of any expression, a x⁺ − b x⁻ = b x + (a − b) max(x, 0), in which kinks nest well."""
    return lambda u: negative * u + (positive - negative) * sp.Max(u, 0)


def _leaky_relu(u: sp.Expr, slope: sp.Expr | None = None) -> sp.Expr:
    return _slopes(sp.S.One, leaky_relu().derivative().subs(state, -1) if slope is None else slope)(u)


@dataclass(frozen=True)
class _Function:
    build: Callable[..., sp.Expr]
    least: int = 1
    most: int = 1


_OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_KINKS = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside)
# what SymPy raises on formulas that make no sense, e.g. when a comparison meets nan inside an assumption
_FAILURES = (ArithmeticError, ValueError, TypeError, NotImplementedError, RecursionError)
_CONSTANTS = MappingProxyType({"pi": sp.pi, "e": sp.E})

_SMOOTH = {
    **{name: activation.__call__ for name, activation in ACTIVATIONS.items()},
    "exp": sp.exp,
    "log": sp.log,
    "ln": sp.log,
    "sqrt": sp.sqrt,
    "sin": sp.sin,
    "cos": sp.cos,
    "tan": sp.tan,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "asin": sp.asin,
    "acos": sp.acos,
    "atan": sp.atan,
    "asinh": sp.asinh,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "erfi": sp.erfi,
    "swish": ACTIVATIONS["silu"].__call__,
    "sigmoid": lambda u: 1 / (1 + sp.exp(-u)),
}
_FUNCTIONS = MappingProxyType(
    {name: _Function(build) for name, build in _SMOOTH.items()}
    | {
        "abs": _Function(sp.Abs),
        "absolute": _Function(sp.Abs),
        "sign": _Function(sp.sign),
        "heaviside": _Function(sp.Heaviside),
        "max": _Function(sp.Max, 2, 8),
        "min": _Function(sp.Min, 2, 8),
        "relu": _Function(_slopes(sp.S.One, sp.S.Zero)),
        "leaky_relu": _Function(_leaky_relu, 1, 2),
    }
)

# whole texts of the form family(numbers)
_FAMILIES: dict[str, Callable[..., Activation]] = {
    "leaky_relu": leaky_relu,
    "two_slope": two_slope,
    "polynomial": polynomial,
}
_FAMILY_ARITY = {"leaky_relu": (1, 1), "two_slope": (2, 2), "polynomial": (1, MAX_EXPONENT + 1)}

_ALLOWED = "a formula of one variable in numbers, pi, e, + - * / **, parentheses and the functions " + ", ".join(
    sorted(_FUNCTIONS)
)


@dataclass(frozen=True)
class _Term:
    """A part of the formula: the expression, its values at the points, its degree in powers of the variable."""

    expr: sp.Expr
    values: tuple[sp.Expr, ...]
    degree: sp.Expr = sp.S.Zero


def parse_activation(text: str) -> Activation:
    r"""The activation that a text stands for: a registered name, a member of a family, or a formula.

    ``"gelu"`` is the registered activation, ``"leaky_relu(0.1)"`` the leaky ReLU with that slope (likewise
    ``"two_slope(2, -1)"`` and ``"polynomial(0, 1, 1/2)"``), and ``"x*tanh(x)"`` a formula. Its
    variable may have any name, decimals are exact, and nothing is ever evaluated as code.

    Parameters
    ----------
    text : str
        At most 1000 characters of plain ASCII.

    Raises
    ------
    UnsafeExpression
        If the text is anything else, or a formula too large, or undefined wherever it was tried; the message
        says what came, what is allowed and what to do.

    Examples
    --------
    >>> parse_activation("leaky_relu(0.1)").expr
    Piecewise((x/10, x <= 0), (x, True))
    >>> parse_activation("s * exp(-0.5*s**2)").expr
    x*exp(-x**2/2)
    """
    body = _syntax(text)
    text = text.strip()
    if isinstance(body, ast.Name) and body.id in ACTIVATIONS:
        return ACTIVATIONS[body.id]
    _check_variables(body)
    if isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and body.func.id in _FAMILIES:
        terms = [_term(node, text) for node in _arguments(body, *_FAMILY_ARITY[body.func.id])]
        if not any(term.expr.has(state) for term in terms):
            return _FAMILIES[body.func.id](*(term.expr for term in terms))
        if body.func.id not in _FUNCTIONS:
            _refuse(f"{body.func.id} of the variable", f"give {body.func.id} numbers only")
    return as_activation(_term(body, text).expr)


def _refuse(came: str, advice: str = "rewrite the formula") -> NoReturn:
    raise UnsafeExpression(f"expected {_ALLOWED}; got {came}; {advice}")


def _shorten(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _syntax(text: str) -> ast.expr:
    """The syntax tree of a text whose length, characters, nesting and size are within bounds."""
    if not isinstance(text, str):
        _refuse(f"an object of type {type(text).__name__}", "give the formula as text")
    if len(text) > MAX_LENGTH:
        _refuse(f"{len(text)} characters", f"use at most {MAX_LENGTH}")
    if not text.strip():
        _refuse("an empty text", "give a name such as relu, or a formula such as x*tanh(x)")
    if foreign := re.search(r"[^A-Za-z0-9_.+\-*/(), \t]", text):
        power = "; write powers with **" if foreign[0] == "^" else ""
        _refuse(f"the character {foreign[0]!a} in {_shorten(text)}", f"use plain ASCII formulas{power}")
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        _refuse(f"parentheses nested {deepest} deep", f"nest at most {MAX_DEPTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd literals such as 1if: they are refused below or above
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsafeExpression(
            f"expected {_ALLOWED}; got {_shorten(text)}, which does not parse ({type(error).__name__}); "
            "check operators, commas and parentheses"
        ) from error
    level, nodes = [body], 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if level or nodes > MAX_NODES:
        _refuse(_shorten(text), f"use at most {MAX_NODES} operations, at most {MAX_DEPTH} inside one another")
    return body


def _check_variables(body: ast.expr) -> None:
    called = {id(node.func) for node in ast.walk(body) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name) and id(node) not in called}
    variables = sorted(names - set(_CONSTANTS))
    for name in variables:
        if name in _FUNCTIONS or name in _FAMILIES:
            _refuse(f"the function {name} without an argument", f"write {name}(x)")
        if name.startswith("_"):
            _refuse(f"the name {_shorten(name)}", "call the variable x")
    if len(variables) > 1:
        _refuse(f"the variables {', '.join(map(_shorten, variables))}", "keep one and put numbers for the others")


def _arguments(call: ast.Call, least: int, most: int) -> list[ast.expr]:
    if call.keywords or not least <= len(call.args) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        given = f"{len(call.args)} arguments" + (" and keywords" if call.keywords else "")
        _refuse(f"{ast.unparse(call.func)} with {given}", f"give it {count}, without keywords")
    return call.args


def _term(node: ast.expr, text: str) -> _Term:
    """Build the expression of a node from those of its children."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return _number(node, text)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _combine(node, lambda: _CONSTANTS[name])
        case ast.Name():
            return _Term(state, _POINTS, sp.S.One)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _term(operand, text)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine(node, lambda u: -u, _term(operand, text))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(node, _term(left, text), _term(right, text))
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _OPERATORS:
            return _combine(node, _OPERATORS[type(kind)], _term(left, text), _term(right, text))
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            function = _FUNCTIONS[name]
            terms = [_term(argument, text) for argument in _arguments(node, function.least, function.most)]
            return _combine(node, function.build, *terms)
        case ast.Call(func=ast.Name(id=name)):
            _refuse(f"the function {_shorten(name)}", "use one of those listed")
    _refuse(f"{_shorten(ast.unparse(node))} ({type(node).__name__})")


def _number(node: ast.Constant, text: str) -> _Term:
    # a decimal is read from its text, and so exactly; but its size is looked at first in the rounded number that
    # Python made of it, since the exact 1e-999999999 has as many digits
    value, source = node.value, ast.get_source_segment(text, node) or ""
    zero = value == 0 and not re.search(r"[1-9]", re.split("[eE]", source)[0])
    if not zero and not 1 / _HUGE**2 < value < _HUGE**2:
        _refuse(f"the number {_shorten(source)}", "use numbers between 1e-100 and 1e100 in size")
    exact = sp.S.Zero if zero else sp.Rational(source) if isinstance(value, float) else sp.Integer(value)
    return _combine(node, lambda: exact)


def _power(node: ast.expr, base: _Term, exponent: _Term) -> _Term:
    if exponent.expr.has(state):
        return _combine(node, operator.pow, base, exponent)
    size = sp.ceiling(abs(exponent.values[0]))
    # the power of a rational number multiplies its digits, that of a formula its degree
    bits = size * _bits(base.expr) if base.expr.is_Rational else sp.S.Zero
    degree = max(sp.S.One, size) * base.degree
    if size > MAX_EXPONENT or degree > MAX_EXPONENT or bits > MAX_BITS:
        _refuse(
            f"the power {_shorten(ast.unparse(node))}",
            f"keep exponents, powers of powers together, within {MAX_EXPONENT}, exact numbers within {MAX_BITS} bits",
        )
    return _combine(node, operator.pow, base, exponent, degree=degree)


def _bits(number: sp.Rational) -> int:
    return max(int(number.p).bit_length(), int(number.q).bit_length())


def _combine(node: ast.expr, build: Callable[..., sp.Expr], *terms: _Term, degree: sp.Expr | None = None) -> _Term:
    """Apply a function to terms: first to their values, and only if that makes sense to their expressions."""
    rows = zip(*(term.values for term in terms), strict=True) if terms else ((),) * len(_POINTS)
    values = tuple(_value(build, row) for row in rows)
    if all(value is sp.nan for value in values):
        _refuse(
            f"{_shorten(ast.unparse(node))}, which at every point tried is complex, infinite, or not between 1e-100 "
            "and 1e100 in size",
            "write a formula with real values of moderate size",
        )
    try:
        expr = build(*(term.expr for term in terms))
    except _FAILURES:
        _refuse(f"{_shorten(ast.unparse(node))}, which cannot be built", "write it in another way")
    if expr.has(sp.I, sp.nan, sp.zoo, sp.oo, -sp.oo):
        _refuse(f"{_shorten(ast.unparse(node))}, which is complex or infinite", "write a formula with real values")
    parts = list(islice(sp.preorder_traversal(expr), MAX_SIZE + 1))
    if len(parts) > MAX_SIZE or sum(isinstance(part, _KINKS) for part in parts) > MAX_KINKS:
        _refuse(f"{_shorten(ast.unparse(node))}, which is too large when written out", "nest fewer functions")
    if any(_bits(part) > MAX_BITS for part in parts if part.is_Rational):
        _refuse("an exact number of too many digits", f"keep numbers within {MAX_BITS} bits")
    # a rational constant stays exact, so that a power of it is a power with an exact exponent; and where the variable
    # has cancelled, as in x/x, the constant is defined at every point
    if not expr.has(state):
        constant = expr if expr.is_Rational else next(value for value in values if value is not sp.nan)
        values = (constant,) * len(_POINTS)
    return _Term(expr, values, max((term.degree for term in terms), default=sp.S.Zero) if degree is None else degree)


def _value(build: Callable[..., sp.Expr], arguments: tuple[sp.Expr, ...]) -> sp.Expr:
    """A value as a real number of moderate size, or ``nan``."""
    if sp.nan in arguments:
        return sp.nan
    try:
        value = sp.N(build(*arguments), 30)  # never an exact integer, with which 2**(10**99) would be worked out
    except _FAILURES:
        return sp.nan
    if value.is_zero:
        return sp.S.Zero
    return value if value.is_Float and value.is_finite and 1 / _HUGE <= abs(value) <= _HUGE else sp.nan
