r"""Activations from untrusted text: a formula is checked against a whitelist and built, never evaluated.

The text is parsed to Python's syntax tree (:mod:`derivations.activations.syntax`), and the tree is walked: each node
either is one of the few kinds below or is refused. What a hostile formula could still do is to be expensive, so that every
quantity that can grow is bounded: length, nodes, nesting, exponents, digits, kinks, the size of the
result; and a constant is looked at as a number before anything is built on it.

Every partial result carries its values at a few points, found bottom-up. A value that is complex,
infinite or beyond :math:`10^{\pm 100}` counts as undefined; a part that is undefined at all of the
points is refused, and so ``log(-1)``, ``1/0`` and ``exp(exp(exp(9)))`` never become an activation.
Neither does what has values on an interval only because a part without values there cancels, as ``0*log(x)``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import sympy as sp

from derivations.activations.base import Activation, from_expression
from derivations.activations.cancelled import refuse_what_cancels
from derivations.activations.registry import ACTIVATIONS
from derivations.activations.syntax import refuse, shorten, syntax, variables
from derivations.activations.terms import MAX_EXPONENT, POINTS, Term, combine, number, power
from derivations.activations.words import WORDS, Word
from derivations.errors import DerivationError, UnsafeExpression, unknown
from derivations.symbols import state

#: The operations and comparisons of a formula, shared with layers.
OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_Relation: TypeAlias = Callable[[sp.Expr, sp.Expr], sp.Basic]
COMPARISONS: dict[type[ast.cmpop], _Relation] = {
    ast.Lt: sp.Lt,
    ast.LtE: sp.Le,
    ast.Gt: sp.Gt,
    ast.GtE: sp.Ge,
}
_CONSTANTS = MappingProxyType({"pi": sp.pi, "e": sp.E})


class Source(NamedTuple):
    """A text, and the points at which its parts are evaluated while they are built."""

    text: str
    points: tuple[sp.Expr, ...] = POINTS


def parse_activation(text: str) -> Activation:
    r"""The activation that a text stands for: a name, a member of a family, or a formula.

    ``"gelu"`` is the registered activation, ``"sin"`` the function of one number, ``"leaky_relu(0.1)"`` the leaky ReLU with that slope (likewise
    ``"elu(2)"``, ``"hardtanh(-2, 2)"``, ``"gelu(tanh)"``), and ``"x*tanh(x)"`` a formula. Names are those of
    PyTorch, JAX and Keras, in any case, with or without underscores and module: ``"nn.LeakyReLU(0.2)"``. In a formula
    a function takes its argument first, ``"leaky_relu(x, 0.2)"``; comparisons are 1 or 0, as in ``"(x > 0)*x"``.
    The variable may be any one letter but e and I, decimals are exact, and nothing is ever evaluated as code.

    Parameters
    ----------
    text : str
        At most 1000 characters of plain ASCII.

    Raises
    ------
    UnsafeExpression
        If the text is anything else, a word is unknown, or a formula is too large, or undefined wherever it was
        tried; the message says the cause first, then what to do.

    Examples
    --------
    >>> parse_activation("LeakyReLU(0.1)").expr
    Piecewise((x/10, x <= 0), (x, True))
    >>> parse_activation("s * exp(-0.5*s**2)").expr
    x*exp(-x**2/2)
    >>> parse_activation("rellu")
    Traceback (most recent call last):
    derivations.errors.UnsafeExpression: unknown word 'rellu'; close names: relu, relu6, relu2; a variable is one letter, such as x
    """
    body = syntax(text)
    text = text.strip()
    if isinstance(body, ast.Name) and body.id in ACTIVATIONS:
        return ACTIVATIONS[body.id]
    if (
        isinstance(body, ast.Name)
        and (word := WORDS.get(body.id))
        and word.least == 1
        and not word.needed
        and not word.family
    ):
        body = ast.Call(func=body, args=[ast.Name(id=str(state), ctx=ast.Load())], keywords=[])  # of one number, as sin
    occur = variables(body)
    if isinstance(body, ast.Call) and not occur:
        return _member(body, Source(text))
    for node in ast.walk(body) if not occur else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and WORDS[node.func.id].family:
            refuse(
                f"{shorten(ast.unparse(node))} in a formula has no argument",
                f"write the variable first, as in {node.func.id}(x)",
            )
    made = _term(body, Source(text))
    refuse_what_cancels(body, made, min(occur, default=""), lambda node, points: _term(node, Source(text, points)))
    return from_expression(made.expr)


def _member(call: ast.Call, source: Source) -> Activation:
    """The activation of a call without a variable: a family with parameters, or a function that needs none."""
    if not isinstance(call.func, ast.Name):
        refuse(f"{shorten(ast.unparse(call))} (Call) cannot be read", "write the variable as its argument")
    name, word = call.func.id, WORDS[call.func.id]
    if not call.args and not call.keywords and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if word.family is None:
        if name in ACTIVATIONS:
            refuse(f"{name} has no parameters, got {shorten(ast.unparse(call))}", f"write {name} or {name}(x)")
        if word.parameters:
            refuse(f"{shorten(ast.unparse(call))} holds no variable", f"write it first, as in {name}(x, ...)")
        return from_expression(_term(call, source).expr)
    return _of_family(name, word, _parameters(name, call, call.args, source))


def _of_family(name: str, word: Word, parameters: Sequence[sp.Expr | None]) -> Activation:
    """The member of a family, whose constructor checks the parameters."""
    assert word.family is not None
    try:
        return word.family(*parameters)
    except DerivationError as error:
        raise UnsafeExpression(str(error)) from error


def _parameters(name: str, call: ast.Call, given: Sequence[ast.expr], source: Source) -> list[sp.Expr | None]:
    """The parameters of a call: those by position, then those by name, then what is usual."""
    word = WORDS[name]
    names = word.parameters
    if name == "polynomial":
        if call.keywords or not 1 <= len(given) <= MAX_EXPONENT + 1:
            refuse(f"polynomial has {len(given)} coefficients", f"give it 1 to {MAX_EXPONENT + 1}")
        names = tuple((f"c{k}",) for k in range(len(given)))
    chosen: dict[int, ast.expr] = dict(enumerate(given))
    for keyword in call.keywords:
        index = next((k for k, known in enumerate(names) if keyword.arg in known), None)
        if index is None and not names:
            refuse(f"{name} takes no parameter {shorten(str(keyword.arg))}", "leave it out")
        if index is None:
            raise UnsafeExpression(unknown(f"parameter of {name}", keyword.arg, [known[0] for known in names]))
        if index in chosen:
            refuse(f"{name} is given {names[index][0]} twice", "give it once")
        chosen[index] = keyword.value
    if len(given) > len(names) or len(chosen) < word.needed:
        inside = ", ".join(known[0] for known in names)
        alone = f"{name}({inside}) with numbers only, or " if word.family else ""
        refuse(f"{shorten(ast.unparse(call))} has the wrong number of arguments", f"write {alone}{name}(x, {inside})")
    found: list[sp.Expr | None] = []
    for k, known in enumerate(names):
        if k not in chosen:
            found.append(word.defaults[k])
            continue
        term = _term(chosen[k], source)
        if term.expr.has(state):
            refuse(f"the parameter {known[0]} of {name} holds the variable", "give numbers only")
        found.append(term.expr)
    return found


def _call(node: ast.Call, source: Source) -> Term:
    """A function at its arguments, which come before its parameters."""
    if isinstance(node.func, ast.Call) and len(node.args) == 1 and not node.keywords and not variables(node.func):
        return combine(node, _member(node.func, source), _term(node.args[0], source))  # nn.LeakyReLU(0.2)(x)
    if not isinstance(node.func, ast.Name):
        refuse(f"{shorten(ast.unparse(node))} (Call) cannot be read", "call functions by name")
    name, word = node.func.id, WORDS[node.func.id]
    if name == "polynomial":
        refuse("polynomial of the variable cannot be read", "give numbers only, or write the polynomial out")
    if name == "where":
        return _where(node, source)
    count = len(node.args)
    if count < word.least or (count > word.most and not word.parameters):
        least = str(word.least) if word.least == word.most else f"{word.least} to {word.most}"
        refuse(f"{name} has {count} arguments", f"give it {least}")
    arguments = [_term(argument, source) for argument in node.args[: word.most]]
    parameters = _parameters(name, node, node.args[word.most :], source)
    if word.family is not None:
        _of_family(name, word, parameters)
    return combine(node, lambda *u: word.formula(*u, *parameters), *arguments)


def _where(node: ast.Call, source: Source) -> Term:
    """A choice between two formulas, of which only the chosen one needs a value."""
    if len(node.args) != 3 or node.keywords:
        refuse(f"where has {len(node.args)} arguments", "give it a comparison and two formulas")
    condition, *branches = node.args
    if not isinstance(condition, ast.Compare):
        refuse(f"{shorten(ast.unparse(condition))} is no comparison", "write where(x > 0, a, b)")
    inside, outside = (_term(branch, source) for branch in branches)
    for holds, left, right in reversed(_comparisons(condition, source)):

        def build(low: sp.Expr, high: sp.Expr, a: sp.Expr, b: sp.Expr, holds: _Relation = holds) -> sp.Expr:
            return sp.Piecewise((a, holds(low, high)), (b, True))

        inside = combine(node, build, left, right, inside, outside, partial=True)
    return inside


def _comparisons(node: ast.Compare, source: Source) -> list[tuple[_Relation, Term, Term]]:
    """The links of a chain such as 0 < x < 1."""
    for kind in node.ops:
        if type(kind) not in COMPARISONS:
            refuse(f"{shorten(ast.unparse(node))} compares at single points", "write <, <=, > or >=")
    terms = [_term(operand, source) for operand in (node.left, *node.comparators)]
    return list(zip((COMPARISONS[type(kind)] for kind in node.ops), terms, terms[1:], strict=False))


def _indicator(node: ast.Compare, source: Source) -> Term:
    """A comparison as a number, 1 where it holds and 0 elsewhere; a chain is a product."""
    product = combine(node, lambda: sp.S.One)
    for holds, left, right in _comparisons(node, source):

        def build(low: sp.Expr, high: sp.Expr, holds: _Relation = holds) -> sp.Expr:
            return sp.Piecewise((sp.S.One, holds(low, high)), (sp.S.Zero, True))

        product = combine(node, operator.mul, product, combine(node, build, left, right))
    return product


def _term(node: ast.expr, source: Source) -> Term:
    """Build the expression of a node from those of its children."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return number(node, source.text)
        case ast.Name(id=name) if name in _CONSTANTS:
            return combine(node, lambda: _CONSTANTS[name])
        case ast.Name():
            return Term(state, source.points, sp.S.One)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _term(operand, source)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return combine(node, lambda u: -u, _term(operand, source))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return power(node, _term(left, source), _term(right, source))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            above, below = _term(left, source), _term(right, source)
            return combine(node, operator.truediv, above, below, asks=1 / below.expr)
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in OPERATORS:
            return combine(node, OPERATORS[type(kind)], _term(left, source), _term(right, source))
        case ast.Compare():
            return _indicator(node, source)
        case ast.Call():
            return _call(node, source)
    refuse(f"{shorten(ast.unparse(node))} ({type(node).__name__}) cannot be read")
