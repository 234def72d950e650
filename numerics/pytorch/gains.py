r"""Vectors of numbers that differ between neurons, as trained layer scales: covariances of the rows or columns of the matrix beside them.

While a block is read such a vector is one symbol :math:`g_i`. In the finished layer :math:`g_i (A b)_i` is what a matrix with the row covariance
:math:`\operatorname{diag}(g^2)` puts out, and :math:`\sum_j A_{ij} g_j b_j` comes from the column covariance :math:`\operatorname{diag}(g^2)`; signs
drop out of a centred Gaussian law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import sympy as sp

from derivations import Weights
from derivations.language.nodes import Applied
from derivations.piecewise.cases import Encloses, outermost

#: What each symbol stands for: the name of the tensor, and its entries.
Gains = Mapping[sp.Symbol, tuple[str, tuple[sp.Expr, ...]]]

_UNREAD = (
    "holds numbers that differ between neurons; this is known as a factor of what one matrix puts out, or reads, alone"
)


def without_gains(layer: sp.Expr, gains: Gains) -> sp.Expr:
    """The layer with every vector taken into the law of the matrix beside it.

    Parameters
    ----------
    layer : Expr
    gains : mapping
        From symbols to a tensor's name and its numbers.

    Raises
    ------
    ValueError
        For a vector that stands otherwise than as a factor of what a matrix puts out or reads, or for matrices with covariances of their own.
    """
    if not layer.free_symbols & set(gains):
        return layer
    reader = _Gains(gains)
    reader.note(layer)
    return reader.rewritten(layer)


class _Gains:
    """Which vectors stand before and behind each matrix."""

    def __init__(self, gains: Gains) -> None:
        self.gains, self.symbols = gains, set(gains)
        self.before: dict[Weights, sp.Expr] = {}
        self.behind: dict[Weights, sp.Expr] = {}

    def factors(self, product: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """The vectors in a product, and the rest."""
        own = [
            f
            for f in sp.Mul.make_args(product)
            if f.free_symbols and f.free_symbols <= self.symbols and not f.has(Encloses)
        ]
        return sp.Mul(*own), sp.Mul(*(f for f in sp.Mul.make_args(product) if f not in own))

    def note(self, expr: sp.Expr) -> None:
        """Each matrix must have the same vectors before it wherever it stands."""
        for vector, node in self._applied(self._apart(expr)):
            read, rest = self.common(node.body)
            for known, found, verb in ((self.before, vector, "puts out"), (self.behind, read, "reads")):
                if known.setdefault(node.weights, found) != found:
                    raise ValueError(
                        f"{self._name(found * known[node.weights])} multiplies what {node.weights.name} {verb} in one place and not in another, "
                        "which has no rule"
                    )
            self.note(rest)

    def common(self, body: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        """The vectors that all terms of a sum have, and the rest."""
        found = [self.factors(term) for term in sp.Add.make_args(body)]
        if len({vector for vector, _ in found}) > 1:
            return sp.S.One, body
        return found[0][0], sp.Add(*(rest for _, rest in found))

    def _apart(self, expr: sp.Expr) -> sp.Expr:
        """Sums of what matrices put out that a vector multiplies, multiplied out."""
        names = {node: sp.Dummy(real=True) for node in outermost(expr)}
        drawn = {name for node, name in names.items() if isinstance(node, Applied)}

        def sums(e: sp.Basic) -> list[sp.Expr]:
            return [f for f in e.args if f.is_Add and f.free_symbols & drawn] if e.is_Mul else []

        def out(e: sp.Expr) -> sp.Expr:
            rest = sp.Mul(*(f for f in e.args if f not in sums(e)))
            return sp.Add(*(sp.Mul(rest, *terms) for terms in product(*(s.args for s in sums(e)))))

        made = expr.xreplace(names).replace(lambda e: bool(sums(e)) and self.factors(e)[0] != 1, out)
        return made.xreplace({name: node for node, name in names.items()})

    def _applied(self, expr: sp.Expr) -> Iterator[tuple[sp.Expr, Applied]]:
        """Matrices outside of other matrices, with the vectors before them."""
        if isinstance(expr, Applied):
            yield sp.S.One, expr
            return
        if expr in self.symbols:
            raise ValueError(f"{self._name(expr)} {_UNREAD}")
        vector, rest = self.factors(expr) if expr.is_Mul else (sp.S.One, expr)
        if vector != 1:
            direct = [f for f in sp.Mul.make_args(rest) if isinstance(f, Applied)]
            if len(direct) != 1:
                raise ValueError(f"{self._name(vector)} {_UNREAD}")
            yield vector, direct[0]
            rest = rest / direct[0]
        inside = (rest.body,) if hasattr(rest, "body") else rest.args
        for part in inside:
            yield from self._applied(part)

    def _name(self, vector: sp.Expr) -> str:
        return ", ".join(sorted({self.gains[s][0] for s in vector.free_symbols & self.symbols}))

    def rewritten(self, expr: sp.Expr) -> sp.Expr:
        """Without the symbols."""
        expr = self._apart(expr)
        table = {node: self._of(node) for node in _outer(expr)}
        return expr.xreplace({**table, **dict.fromkeys(self.symbols, sp.S.One)})

    def _of(self, node: Applied) -> sp.Expr:
        behind, body = self.common(node.body)
        before, weights = self.before[node.weights], node.weights
        body = self.rewritten(body)
        if before == behind == 1:
            return weights(body)
        if weights.taps or weights.is_orthogonal or not weights.is_gaussian:
            raise ValueError(
                f"{self._name(before * behind)} {_UNREAD}, which must be dense and Gaussian, and {weights.name} is not"
            )
        rows, columns = (None if v == 1 else sp.diag(*self._squares(v)) for v in (before, behind))
        own = {"out": weights.out, "variance": weights.variance, "row_covariance": rows, "column_covariance": columns}
        if before == 1:
            return Weights(weights.name, bias_variance=weights.bias_variance, **own)(body)
        if weights.bias_variance == 0:
            return Weights(weights.name, **own)(body)
        biases = Weights(
            self._bias_name(weights.name), out=weights.out, variance=weights.bias_variance, row_covariance=rows
        )
        return Weights(weights.name, **own)(body) + biases(sp.S.One)

    def _bias_name(self, name: str) -> str:
        own = f"{name}_bias"
        while own in {w.name for w in self.before}:
            own += "_"
        return own

    def _squares(self, vector: sp.Expr) -> list[sp.Expr]:
        used = sorted(vector.free_symbols, key=str)
        rows = zip(*(self.gains[s][1] for s in used), strict=True)
        return [vector.xreplace(dict(zip(used, row, strict=True))) ** 2 for row in rows]


def _outer(expr: sp.Basic) -> Iterator[Applied]:
    if isinstance(expr, Applied):
        yield expr
        return
    inside = (expr.body,) if hasattr(expr, "body") else expr.args
    for part in inside:
        yield from _outer(part)
