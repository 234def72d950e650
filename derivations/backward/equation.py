r"""The matrix equations of a Jacobian and of its inverse, by a generic column of the one and a generic row of the other."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.backward.differential import LayerDifferential, renamed


@dataclass(frozen=True)
class MatrixEquation:
    r"""How a matrix whose columns, or rows, are tangents moves with depth, in Itô's sense.

    Formulas are those of a generic neuron, whose state is ``state`` and whose entries of two columns (or rows) are ``first``
    and ``second``; :math:`\langle\cdot\rangle` is the average over the neurons.

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
    drift: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix
    between: sp.ImmutableMatrix
    size: sp.Expr

    @property
    def is_independent(self) -> bool:
        """Whether different neurons are driven independently."""
        return all(entry == 0 for entry in self.between)


def of_columns(layer: LayerDifferential) -> MatrixEquation:
    r""":math:`\mathrm{d}J = \mathrm{d}M\,J`: each column is a tangent."""
    return _named(layer, "J", layer.drift, layer.covariance, layer.between)


def of_inverse_rows(layer: LayerDifferential) -> MatrixEquation:
    r""":math:`\mathrm{d}K = K\,(-\mathrm{d}M + (\mathrm{d}M)^2)`: each row moves by the transpose.

    Raises
    ------
    NotClosed
        If the rows of M are not independent.
    """
    layer.require_invertible()
    moved = layer.transposed(tuple(q - a for q, a in zip(layer.squared, layer.drift, strict=True)))
    return _named(layer, "K", moved, *layer.transposed_covariance)


def _named(
    layer: LayerDifferential,
    letter: str,
    drift: tuple[sp.Expr, ...],
    covariance: dict[tuple[int, int], sp.Expr],
    between: dict[tuple[int, int], sp.Expr],
) -> MatrixEquation:
    p = layer.positions

    def symbols(stem: str, column: str = "") -> tuple[sp.Symbol, ...]:
        places = [f"^{a + 1}" if p > 1 else "" for a in range(p)]
        return tuple(sp.Symbol(f"{stem}{'_' if column else ''}{column}{place}", real=True) for place in places)

    groups = symbols("x"), symbols(letter, "k"), symbols(letter, "l")
    old, new = layer.moments.states, tuple(s for group in groups for s in group)
    rule: dict[sp.Basic, sp.Basic] = dict(zip(old, new, strict=True))
    rule |= {y: sp.Symbol(f"{s.name}'", real=True) for y, s in zip(layer.moments.other, new, strict=True)}

    def at(expr: sp.Expr) -> sp.Expr:
        return renamed(expr, rule)

    return MatrixEquation(
        letter,
        *groups,
        sp.ImmutableMatrix([at(d) for d in drift]),
        sp.ImmutableMatrix(p, p, lambda a, b: at(covariance[a, b])),
        sp.ImmutableMatrix(p, p, lambda a, b: at(between[a, b])),
        layer.size,
    )
