r"""A layer from untrusted text: the syntax tree is walked over a whitelist and built, never evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any, NoReturn

import sympy as sp

from derivations.activations.registry import ACTIVATIONS
from derivations.activations.syntax import to_check
from derivations.activations.text import COMPARISONS, OPERATORS, parse_activation
from derivations.activations.words import IMPOSSIBLE, MODULES, WORDS, find, key, spellings
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, UnsafeExpression, shown, unknown
from derivations.language.elsewhere import ELSEWHERE, OPTIONS_ELSEWHERE
from derivations.language.nodes import Node, average, normalised_sum
from derivations.language.positions import (
    PLACES,
    attention,
    causal,
    mixed,
    other,
    over_positions,
    position_matrix,
    rotary,
    rotary_frequencies,
    self_attention,
    softmax,
)
from derivations.language.vocabulary import drop_branch, dropout, layer_norm, mixture_of_experts, rms_norm
from derivations.language.weights import Weights
from derivations.piecewise.cases import outermost
from derivations.symbols import depth, state, step, time, width

MAX_LENGTH = 1000  # characters
MAX_NODES = 250  # of the syntax tree
MAX_EXPONENT = 64

_SYMBOLS = {
    "x": state,
    "eps": step,
    "epsilon": step,
    "varepsilon": step,
    "n": width,
    "L": depth,
    "t": time,
    "pi": sp.pi,
    "causal": causal,
}
#: Words of the language; each is given as many bodies as it needs, and its other arguments by name.
_WORDS: dict[str, Callable[..., sp.Expr]] = {
    key(word.__name__): word
    for word in (
        average, normalised_sum, other, over_positions, mixed, position_matrix, rms_norm, layer_norm, dropout, drop_branch, softmax,
        attention, self_attention, rotary, rotary_frequencies, mixture_of_experts,
    )
}  # fmt: skip
#: This place and the other one, where a function of two places is written.
_PLACES = dict(zip(("here", "there"), PLACES, strict=True))
_OF_PLACES = (key(position_matrix.__name__), key(mixed.__name__))
#: Places are whole numbers, so that equality holds on more than single points.
_WHOLE: dict[type[ast.cmpop], Callable[..., sp.Basic]] = {ast.Eq: sp.Eq, ast.NotEq: sp.Ne}
_MATRIX = re.compile(r"[A-Z][A-Z0-9_]*")
_OPTIONS = tuple(word for word in signature(Weights.__new__).parameters if word not in ("cls", "name", "taps"))


def parse_layer(text: str, parameters: Sequence[sp.Symbol] = ()) -> sp.Expr:
    r"""A layer typed as a formula, such as ``x + eps*A(relu(B(rms_norm(x))))``.

    A word in capitals is a matrix, with the options of :class:`~derivations.Weights` as keywords where it first stands:
    ``B(x, out=4*n, variance=1 + t, law=orthogonal)``, ``W(relu(x), filter=(3, 3), padding=zeros)``, ``A(x, row_covariance=[[1, 1/2], [1/2, 1]])``, ``A(x,
    law={4: 9/5})``; ``A.T(body)`` is its transpose. ``average``, ``rms_norm``, ``layer_norm``, ``attention(Q(x), K(x), V(x), mask=causal)``,
    ``rotary(Q(x), [1, 1/10])``, ``mixed([[0, 1], [1, 0]], x)``, ``dropout(body, keep)`` and ``drop_branch(body, keep)`` are those of the language, and
    ``position_matrix(-abs(here - there))`` is a function of this place and the other one, counted from 0. Any
    name of an activation is applied to its first argument, in any spelling that it has in PyTorch, JAX or Keras. ``eps`` is the small parameter, and
    ``L`` the number of layers in a unit of time, so that ``A(x)/sqrt(L)`` is ``eps*A(x)``; ``n`` is the width and ``t`` the time.

    Parameters
    ----------
    text : str
    parameters : sequence of Symbol
        What else may stand in the formula, by its name.

    Returns
    -------
    Expr
        The new state, for :class:`~derivations.Network`.

    Raises
    ------
    UnsafeExpression
        For anything else, with what it is.

    Examples
    --------
    >>> parse_layer("x + eps*A(tanh(B(x, out=8)))")
    varepsilon*A(tanh(B(x))) + x
    >>> parse_layer("x + g*eps*A(x)", [sp.Symbol("g", positive=True)])
    g*varepsilon*A(x) + x
    """
    return _Builder(parameters).visit(_tree(text))


def _tree(text: str) -> ast.expr:
    if not isinstance(text, str):
        _refuse(f"the layer must be text, got {shown(text)}", "give the layer as text")
    if len(text) > MAX_LENGTH:
        _refuse(f"the layer has {len(text)} characters", f"use at most {MAX_LENGTH}")
    if "^" in text:  # Python's exclusive or, which binds last: the whole formula would be named
        _refuse(f"the character '^' in {text[:60]!r} cannot be read", "write powers with **")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsafeExpression(f"{text[:60]!r} does not parse; {to_check(text)}") from error
    if sum(1 for _ in ast.walk(body)) > 2 * MAX_NODES:
        _refuse("the layer is too large", f"use at most {MAX_NODES} operations")
    return body


def parse_option(text: str) -> Any:
    """What an option of a matrix may be, such as ``orthogonal``, ``{4: 9/5}`` or ``[[1, 1/2], [1/2, 1]]``.

    Raises
    ------
    UnsafeExpression
        For anything else.

    Examples
    --------
    >>> parse_option("[[1, 1/2], [1/2, 1]]"), parse_option("orthogonal")
    ([[1, 1/2], [1/2, 1]], 'orthogonal')
    """
    return _Builder()._value(_tree(text))


def parse_number(text: str) -> sp.Expr:
    """A number, or a formula in the width n and the limit's time t, such as ``1/2``, ``4*n`` or ``1 + t``.

    Raises
    ------
    UnsafeExpression
        For anything else.

    Examples
    --------
    >>> parse_number("1 + t/2"), parse_number("0.1")
    (t/2 + 1, 1/10)
    """
    found = parse_layer(text)
    if not isinstance(found, sp.Expr) or found.has(Node, sp.Function) or found.free_symbols - {width, time}:
        _refuse(f"{text[:60]!r} is no number and no formula in n and t", "write a number such as 1/2, or 4*n")
    return found


def _chosen(inside: sp.Expr, condition: sp.Basic, outside: sp.Expr) -> sp.Expr:
    """One of two bodies. A kink in the condition makes SymPy solve for the state, which it cannot see inside a node: there nodes have letters."""
    names = {node: sp.Dummy("u", real=True) for node in outermost(condition)}
    inside, condition, outside = (part.xreplace(names) for part in (inside, condition, outside))
    return sp.Piecewise((inside, condition), (outside, True)).xreplace({name: node for node, name in names.items()})


def _needed(word: Callable[..., sp.Expr]) -> list[str]:
    """What a word must be given."""
    return [p.name for p in signature(word).parameters.values() if p.default is p.empty]


def _refuse(cause: str, advice: str) -> NoReturn:
    raise UnsafeExpression(f"{cause}; {advice}")


class _Builder(ast.NodeVisitor):
    """One method a kind of node; anything else is refused."""

    def __init__(self, parameters: Sequence[sp.Symbol] = ()) -> None:
        self.symbols = _SYMBOLS | {p.name: p for p in parameters if isinstance(p, sp.Symbol) and p.name not in _SYMBOLS}
        self.matrices: dict[str, Weights] = {}
        self.statements: list[str] = []  # those that are being read, the innermost last

    def generic_visit(self, node: ast.AST) -> NoReturn:
        """What the language does not have."""
        _refuse(
            f"{ast.unparse(node)[:60]!r} ({type(node).__name__}) is no part of a layer",
            "write functions, sums and products",
        )

    def visit_Constant(self, node: ast.Constant) -> sp.Expr:
        """A number, read as it is written."""
        value = node.value
        if isinstance(value, str | bytes):
            _refuse(f"{ast.unparse(node)[:40]} is a text in quotes", "write words without them")
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**100:
            _refuse(f"{str(value)[:40]!r} is no number of moderate size", "use numbers below 1e100")
        return exact_decimals(value)

    def visit_Name(self, node: ast.Name) -> sp.Expr:
        """The state, the small parameter, the width."""
        if node.id not in self.symbols:
            cause, _, close = unknown("symbol", node.id, self.symbols).partition("; ")
            where = self.statements[-1] if self.statements else "the update"
            advice = (
                close
                if close.startswith("close")
                else "the symbols of a layer are x, eps, L, n and t, and its parameters"
            )
            if _MATRIX.fullmatch(node.id) or find(node.id):
                kind = "a matrix" if _MATRIX.fullmatch(node.id) else "a function"
                advice = f"{kind} is applied to something, such as {node.id}(x)"
            raise UnsafeExpression(f"{cause} in {where}; {advice}")
        return self.symbols[node.id]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> sp.Expr:
        """A sign."""
        if not isinstance(node.op, ast.USub | ast.UAdd):
            self.generic_visit(node)
        value = self.visit(node.operand)
        return -value if isinstance(node.op, ast.USub) else value

    def visit_BinOp(self, node: ast.BinOp) -> sp.Expr:
        """Sums, products, quotients, powers with small exponents."""
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Pow):
            if not right.is_Rational or abs(right) > MAX_EXPONENT:
                _refuse(f"the exponent {right} is no number up to {MAX_EXPONENT}", "write powers with small numbers")
            return left**right
        if type(node.op) not in OPERATORS:
            self.generic_visit(node)
        return OPERATORS[type(node.op)](left, right)

    def visit_Compare(self, node: ast.Compare) -> sp.Expr:
        """A comparison as a number, 1 where it holds and 0 elsewhere; a chain is a product."""
        return _chosen(sp.S.One, self._condition(node), sp.S.Zero)

    def visit_Call(self, node: ast.Call) -> sp.Expr:
        """A matrix or its transpose, a word of the language, or an activation."""
        function, transposed = node.func, False
        if isinstance(function, ast.Attribute) and function.attr == "T":
            function, transposed = function.value, True
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id in MODULES
        ):
            function = ast.Name(function.attr)
        if isinstance(function, ast.Name) and not node.args and not node.keywords:
            _refuse(f"{function.id} is given no arguments", f"apply it to something, such as {function.id}(x)")
        if not isinstance(function, ast.Name) or not node.args or any(k.arg is None for k in node.keywords):
            self.generic_visit(node)
        self.statements.append(ast.unparse(node)[:60])
        if find(function.id) == "where":
            return self._where(node)
        name, arguments = function.id, self._arguments(function.id, node.args)
        options: dict[str, Any] = {}
        for k in node.keywords:
            if k.arg in options:
                _refuse(f"{k.arg} of {name} is given twice", "give it once")
            options[str(k.arg)] = self._value(k.value)
        self.statements.pop()
        if _MATRIX.fullmatch(name):
            matrix = self._matrix(name, arguments, options)
            return matrix.T(arguments[0]) if transposed else matrix(arguments[0])
        if transposed:
            _refuse(f"{name}.T is no transpose of a matrix", "write matrices in capitals, such as A.T(body)")
        if key(name) in _WORDS:
            return self._word(_WORDS[key(name)], arguments, options)
        if instead := ELSEWHERE.get(key(name)):
            _refuse(f"{name!r} is no word of a layer", instead)
        if find(name) is None and key(name) not in IMPOSSIBLE:
            known = (*(word.__name__ for word in _WORDS.values()), *spellings())
            cause = unknown("function", name, known)
            raise UnsafeExpression(cause if "; " in cause else f"{cause}; if it is a matrix, write {name.upper()}")
        if any(isinstance(a, list) for a in (*arguments, *options.values())):
            _refuse(f"{name} is an activation and takes no lists", "write leaky_relu(x, 0.2)")
        if len(arguments) == 1 and not options and find(name) in ACTIVATIONS:
            return ACTIVATIONS[str(find(name))](arguments[0])
        if (word := WORDS.get(str(find(name)))) and word.least <= len(arguments) <= word.most and word.least > 1:
            return word.formula(*arguments)
        given = ["x", *map(str, arguments[1:]), *(f"{word}={value}" for word, value in options.items())]
        return parse_activation(f"{name}({', '.join(given)})")(arguments[0])

    def _arguments(self, name: str, nodes: list[ast.expr]) -> list[Any]:
        """Bodies, then what a word may be given besides; numbers for pairs of positions may be a function of the two places."""
        if key(name) == key(mixed.__name__) and isinstance(nodes[0], ast.Name) and _MATRIX.fullmatch(nodes[0].id):
            _refuse(f"{nodes[0].id} would be a random matrix over positions", ELSEWHERE[key("token_mixing")])
        needed = len(_needed(_WORDS[key(name)])) if key(name) in _WORDS else len(nodes)
        outer = self.symbols
        if key(name) in _OF_PLACES:
            self.symbols = outer | _PLACES
        first = self._value(nodes[0], words=False)
        self.symbols = outer
        if key(name) in _OF_PLACES and isinstance(first, sp.Expr):
            first = sp.Lambda(PLACES, first)
        return [first, *(self._value(node, words=i >= needed) for i, node in enumerate(nodes[1:], 1))]

    def _where(self, node: ast.Call) -> sp.Expr:
        """One of two bodies, as a comparison says."""
        condition, *branches = node.args
        if len(branches) != 2 or node.keywords or not isinstance(condition, ast.Compare):
            _refuse(f"{ast.unparse(node)[:60]} is no choice by a comparison", "write where(B(x) > 0, A(x), 0)")
        inside, outside = map(self.visit, branches)
        self.statements.pop()
        return _chosen(inside, self._condition(condition), outside)

    def _condition(self, node: ast.Compare) -> sp.Basic:
        known = COMPARISONS | (_WHOLE if self.symbols.keys() >= _PLACES.keys() else {})
        if any(type(kind) not in known for kind in node.ops):
            _refuse(f"{ast.unparse(node)[:60]!r} compares at single points", "write <, <=, > or >=")
        sides = [self.visit(side) for side in (node.left, *node.comparators)]
        links = zip(node.ops, sides, sides[1:], strict=False)
        return sp.And(*(known[type(kind)](low, high) for kind, low, high in links))

    def _matrix(self, name: str, arguments: list[Any], options: dict[str, Any]) -> Weights:
        if wrong := next((word for word in options if word not in _OPTIONS), None):
            raise UnsafeExpression(unknown(f"option of the matrix {name}", wrong, _OPTIONS))
        if len(arguments) != 1:
            _refuse(
                f"{name} is given {len(arguments)} argument{'s' * (len(arguments) != 1)}", "apply a matrix to one body"
            )
        if options or name not in self.matrices:
            made = Weights(name, **options)
            if self.matrices.setdefault(name, made) != made:
                raise DerivationError(f"the matrix {name} has two sets of options; give them where it first stands")
        return self.matrices[name]

    def _word(self, word: Callable[..., sp.Expr], arguments: list[Any], options: dict[str, Any]) -> sp.Expr:
        name, needed = word.__name__, _needed(word)
        known = [option for option in signature(word).parameters if option not in (*needed, "names")]
        more = dict(zip(known, arguments[len(needed) :], strict=False))
        if not more.keys() & options.keys() and len(arguments) <= len(needed) + len(known):
            arguments, options = arguments[: len(needed)], more | options
        bodies = {option: value for option, value in options.items() if option in needed[len(arguments) :]}
        arguments = [*arguments, *(bodies[option] for option in needed if option in bodies)]
        options = {option: value for option, value in options.items() if option not in bodies}
        if wrong := next((option for option in options if option not in known), None):
            if "attention" in name and (instead := OPTIONS_ELSEWHERE.get(key(wrong))):
                _refuse(f"{wrong!r} is no option of {name}", instead)
            raise UnsafeExpression(unknown(f"option of {name}", wrong, known))
        if len(arguments) != len(needed):
            _refuse(
                f"{name} is given {len(arguments)} argument{'s' * (len(arguments) != 1)}",
                f"write {name}({', '.join(needed)})",
            )
        return word(*arguments, **options)

    def _value(self, node: ast.expr, words: bool = True) -> Any:
        """What an option is: an expression, a whole number, True or False, a word with or without quotation marks, a list of these, a table."""
        if isinstance(node, ast.List | ast.Tuple):
            values = [self._value(entry) for entry in node.elts]
            return values if isinstance(node, ast.List) else tuple(values)
        if words and isinstance(node, ast.Dict) and None not in node.keys:
            return {
                self._value(k): self._value(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None
            }
        if words and isinstance(node, ast.Constant) and isinstance(node.value, str | bool):
            return node.value
        if words and isinstance(node, ast.Name) and node.id not in self.symbols:
            return node.id
        value = self.visit(node)
        return int(value) if words and value.is_Integer else value
