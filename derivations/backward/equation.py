r"""The matrix equations of a Jacobian and of its inverse, by a generic column of the one and a generic row of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import sympy as sp

from derivations.backward.differential import LayerDifferential
from derivations.entries import CovarianceField, LazyMatrix
from derivations.equations import DT
from derivations.limits.elimination.moments import state_averages
from derivations.notation.nodes import DifferentialOf, Total, Variation, expected, indexed, letter
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, Term, equation
from derivations.symbols import time

_X = letter("X")


@dataclass(frozen=True, repr=False)
class MatrixEquation(Shown):
    r"""How a matrix whose columns, or rows, are tangents moves with depth, in Itô's sense.

    Formulas are those of a generic neuron, whose state is ``state`` and whose entries of two columns (or rows) are ``first``
    and ``second``; :math:`\langle\cdot\rangle` is the average over the neurons. Formulas, which are long over positions, are made when they are read.

    Parameters
    ----------
    letter : str
        J, or K for the inverse.
    state, first, second : tuple of Symbol
        One symbol a position.
    drift : Matrix, shape (p, 1)
        Of the entries in the first column.
    covariance : Matrix, shape (p, p)
        Of one neuron's entries in the first and in the second column.
    between : Matrix, shape (p, p)
        Of two neurons' entries, the numbers of the second neuron with a prime; 0 where neurons are driven independently.
    size : Expr
        The number of neurons.
    """

    letter: str
    state: tuple[sp.Symbol, ...]
    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix = CovarianceField("state", needed=True)  # noqa: RUF009  a descriptor
    covariance: sp.ImmutableMatrix = CovarianceField("state", needed=True)  # noqa: RUF009  a descriptor
    between: sp.ImmutableMatrix = CovarianceField("state", needed=True)  # noqa: RUF009  a descriptor
    size: sp.Expr  # type: ignore[misc]  # the field before it has no default

    @property
    def is_independent(self) -> bool:
        """Whether different neurons are driven independently."""
        return all(entry == 0 for entry in self.between)

    @property
    def lines(self) -> tuple[Line, ...]:
        """Drift and covariance of a generic entry, neuron i."""
        p, lines = len(self.state), []

        def entry(neuron: str, column: str, a: int) -> sp.Expr:
            return _entry(self.letter, neuron, column, a, p)

        for a in range(p):
            left = expected(DifferentialOf(entry("i", "k", a)), _X, letter(self.letter))
            lines.append(Line(left, (Term(_shown(self.drift[a], self), DT),)))
        for a in range(p):
            for b in range(p):
                both = entry("i", "k", a), entry("i", "l", b)
                lines.append(Line(Variation(*both, time), (Term(_shown(self.covariance[a, b], self), DT),)))
        if self.is_independent:
            zero = Variation(entry("i", "k", 0), entry("j", "l", 0), time)
            return (*lines, equation(zero, sp.S.Zero, where=sp.Ne(letter("i"), letter("j"))))
        for a in range(p):
            for b in range(p):
                both = entry("i", "k", a), entry("j", "l", b)
                shown = _shown(self.between[a, b], self)
                lines.append(Line(Variation(*both, time), (Term(shown, DT),), where=sp.Ne(letter("i"), letter("j"))))
        return tuple(lines)


def of_columns(layer: LayerDifferential) -> MatrixEquation:
    r""":math:`\mathrm{d}J = \mathrm{d}M\,J`: each column is a tangent."""
    return _named(layer, "J", lambda: layer.drift, layer.own, layer.apart)


def of_inverse_rows(layer: LayerDifferential) -> MatrixEquation:
    r""":math:`\mathrm{d}K = K\,(-\mathrm{d}M + (\mathrm{d}M)^2)`: each row moves by the transpose.

    Raises
    ------
    NotClosed
        If the rows of M are not independent.
    """
    layer.require_invertible()
    layer.require_independent_rows()

    @cache
    def moved() -> tuple[sp.Expr, ...]:
        return layer.transposed(tuple(q - a for q, a in zip(layer.squared, layer.drift, strict=True)))

    def entry(which: int) -> Callable[[int, int], sp.Expr]:
        return lambda a, b: layer.transposed_covariance[which][a, b]

    return _named(layer, "K", moved, entry(0), entry(1))


def _named(
    layer: LayerDifferential,
    letter: str,
    drift: Callable[[], tuple[sp.Expr, ...]],
    covariance: Callable[[int, int], sp.Expr],
    between: Callable[[int, int], sp.Expr],
) -> MatrixEquation:
    p = layer.positions

    def symbols(stem: str, column: str = "") -> tuple[sp.Symbol, ...]:
        places = [f"^{a + 1}" if p > 1 else "" for a in range(p)]
        return tuple(sp.Symbol(f"{stem}{'_' if column else ''}{column}{place}", real=True) for place in places)

    groups = symbols("x"), symbols(letter, "k"), symbols(letter, "l")
    old, new = layer.moments.states, tuple(s for group in groups for s in group)
    rule: dict[sp.Basic, sp.Basic] = dict(zip(old, new, strict=True))
    rule |= {y: sp.Symbol(f"{s.name}'", real=True) for y, s in zip(layer.moments.other, new, strict=True)}

    at = layer.written_in(rule)
    return MatrixEquation(
        letter,
        *groups,
        LazyMatrix(lambda a, _: at(drift()[a]), columns=1),
        LazyMatrix(lambda a, b: at(covariance(a, b))),
        LazyMatrix(lambda a, b: at(between(a, b))),
        layer.size,
    )


def _entry(stem: str, neuron: str, column: str, a: int, p: int) -> sp.Expr:
    above = (sp.Integer(a + 1),) if p > 1 else ()
    lower = (neuron, column) if stem != "K" else (column, neuron)
    return indexed(stem, lower, above)


def _shown(expr: sp.Expr, sde: MatrixEquation) -> sp.Expr:
    """A formula with neurons as indices: i, j for a second one, and r in sums over the layer."""
    p = len(sde.state)

    def names(neuron: str, mark: str = "") -> dict[sp.Basic, sp.Basic]:
        rule: dict[sp.Basic, sp.Basic] = {}
        for a in range(p):
            above = (sp.Integer(a + 1),) if p > 1 else ()
            rule[_marked(sde.state[a], mark)] = indexed("X", (neuron,), above)
            rule[_marked(sde.first[a], mark)] = _entry(sde.letter, neuron, "k", a, p)
            rule[_marked(sde.second[a], mark)] = _entry(sde.letter, neuron, "l", a, p)
        return rule

    inside = names("r")
    sums = {
        node: Total(node.body.xreplace(inside), letter("r"), sde.size, ()) / sde.size for node in state_averages(expr)
    }
    return sp.factor_terms(expr).xreplace({**names("i"), **names("j", "'"), **sums})


def _marked(symbol: sp.Symbol, mark: str) -> sp.Symbol:
    return sp.Symbol(f"{symbol.name}{mark}", real=True) if mark else symbol
