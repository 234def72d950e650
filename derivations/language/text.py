r"""A layer from untrusted text: the syntax tree is walked over a whitelist and built, never evaluated."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from inspect import signature
from typing import Any, NoReturn

import sympy as sp

from derivations.activations.registry import ACTIVATIONS
from derivations.activations.text import parse_activation
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, UnsafeExpression, unknown
from derivations.language.nodes import average, normalised_sum
from derivations.language.positions import attention, causal, other, over_positions, self_attention, softmax
from derivations.language.vocabulary import drop_branch, dropout, layer_norm, rms_norm
from derivations.language.weights import Weights
from derivations.symbols import state, step, width

MAX_LENGTH = 1000  # characters
MAX_NODES = 250  # of the syntax tree
MAX_EXPONENT = 64

_SYMBOLS = {"x": state, "eps": step, "epsilon": step, "varepsilon": step, "n": width, "pi": sp.pi, "causal": causal}
_OPERATORS: dict[type[ast.operator], Callable[[sp.Expr, sp.Expr], sp.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_NORMS: dict[str, Callable[[sp.Expr], sp.Expr]] = {
    "average": average,
    "normalised_sum": normalised_sum,
    "other": other,
    "over_positions": over_positions,
    "rms_norm": rms_norm,
    "layer_norm": layer_norm,
}
_FACTORS: dict[str, Callable[..., sp.Expr]] = {"dropout": dropout, "drop_branch": drop_branch}
_ATTENTION: dict[str, tuple[Callable[..., sp.Expr], int]] = {
    "softmax": (softmax, 1),
    "attention": (attention, 3),
    "self_attention": (self_attention, 1),
}
_MATRIX = re.compile(r"[A-Z][A-Z0-9_]*")
_OPTIONS = ("out", "variance", "mean", "bias_variance", "bias_mean", "law")


def parse_layer(text: str) -> sp.Expr:
    r"""A layer typed as a formula, such as ``x + eps*A(relu(B(rms_norm(x))))``.

    A word in capitals is a matrix, with options as keywords: ``B(x, out=4*n, variance=2, law=orthogonal)``. ``average``,
    ``rms_norm``, ``layer_norm``, ``attention(Q(x), K(x), V(x), mask=causal)``, ``dropout(body, keep)`` and ``drop_branch(body, keep)``
    are those of the language; any name of an activation is applied to its first argument.

    Parameters
    ----------
    text : str

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
    """
    if len(text) > MAX_LENGTH:
        _refuse(f"the layer has {len(text)} characters", f"use at most {MAX_LENGTH}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UnsafeExpression(f"{text[:60]!r} does not parse; check operators, commas and parentheses") from error
    if sum(1 for _ in ast.walk(body)) > 2 * MAX_NODES:
        _refuse("the layer is too large", f"use at most {MAX_NODES} operations")
    return _Builder().visit(body)


def _refuse(cause: str, advice: str) -> NoReturn:
    raise UnsafeExpression(f"{cause}; {advice}")


class _Builder(ast.NodeVisitor):
    """One method a kind of node; anything else is refused."""

    def __init__(self) -> None:
        self.matrices: dict[str, Weights] = {}

    def generic_visit(self, node: ast.AST) -> NoReturn:
        """What the language does not have."""
        _refuse(
            f"{ast.unparse(node)[:60]!r} ({type(node).__name__}) is no part of a layer",
            "write functions, sums and products",
        )

    def visit_Constant(self, node: ast.Constant) -> sp.Expr:
        """A number, read as it is written."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**100:
            _refuse(f"{str(value)[:40]!r} is no number of moderate size", "use numbers below 1e100")
        return exact_decimals(value)

    def visit_Name(self, node: ast.Name) -> sp.Expr:
        """The state, the small parameter, the width."""
        if node.id not in _SYMBOLS:
            raise UnsafeExpression(unknown("symbol", node.id, _SYMBOLS))
        return _SYMBOLS[node.id]

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
        if type(node.op) not in _OPERATORS:
            self.generic_visit(node)
        return _OPERATORS[type(node.op)](left, right)

    def visit_Call(self, node: ast.Call) -> sp.Expr:
        """A matrix, a word of the language, or an activation."""
        if not isinstance(node.func, ast.Name) or not node.args:
            self.generic_visit(node)
        name, arguments = node.func.id, [self.visit(a) for a in node.args]
        options = {k.arg: k.value for k in node.keywords if k.arg}
        if _MATRIX.fullmatch(name):
            return self._matrix(name, arguments, options)
        if name in _NORMS and len(arguments) == 1 and not options:
            return _NORMS[name](arguments[0])
        if name in _FACTORS and len(arguments) == 2:
            return _FACTORS[name](*arguments, shared=self._shared(name, options))
        if name in _ATTENTION and len(arguments) == _ATTENTION[name][1]:
            return self._attention(name, arguments, options)
        if options or name in _NORMS or name in _FACTORS:
            _refuse(
                f"{name} is given {len(arguments)} arguments{' and options' if options else ''}",
                "see --help for its form",
            )
        if len(arguments) == 1 and name in ACTIVATIONS:
            return ACTIVATIONS[name](arguments[0])
        return parse_activation(f"{name}({', '.join(['x', *map(str, arguments[1:])])})")(arguments[0])

    def _matrix(self, name: str, arguments: list[sp.Expr], options: dict[str, ast.expr]) -> sp.Expr:
        if len(arguments) != 1 or set(options) - set(_OPTIONS):
            wrong = next(iter(set(options) - set(_OPTIONS)), None)
            raise UnsafeExpression(
                unknown(f"option of the matrix {name}", wrong, _OPTIONS) if wrong else f"{name} is applied to one body"
            )
        if options or name not in self.matrices:
            read: dict[str, Any] = {k: self._word(v) if k == "law" else self.visit(v) for k, v in options.items()}
            made = Weights(name, **read)
            if self.matrices.setdefault(name, made) != made:
                raise DerivationError(f"the matrix {name} has two sets of options; give them where it first stands")
        return self.matrices[name](arguments[0])

    def _attention(self, name: str, arguments: list[sp.Expr], options: dict[str, ast.expr]) -> sp.Expr:
        function, _ = _ATTENTION[name]
        known = [word for word in list(signature(function).parameters)[len(arguments) :] if word != "names"]
        for word in options:
            if word not in known:
                raise UnsafeExpression(unknown(f"option of {name}", word, known))
        read: dict[str, Any] = {
            k: self._word(v) if k in ("kind", "scale") else self.visit(v) for k, v in options.items()
        }
        if "heads" in read:
            read["heads"] = int(read["heads"]) if read["heads"].is_Integer else read["heads"]
        return function(*arguments, **read)

    def _word(self, value: ast.expr) -> str:
        """A name, with or without quotation marks."""
        if isinstance(value, ast.Name):
            return value.id
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
        _refuse(f"{ast.unparse(value)[:60]!r} is no name", "write law=orthogonal, law=uniform or law=rademacher")

    def _shared(self, name: str, options: dict[str, ast.expr]) -> bool:
        value = options.pop("shared", None)
        if options or not (value is None or (isinstance(value, ast.Constant) and isinstance(value.value, bool))):
            _refuse(f"{name} has one option, shared=True or shared=False", "leave others out")
        return bool(value.value) if isinstance(value, ast.Constant) else False
