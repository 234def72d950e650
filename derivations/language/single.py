r"""A layer with one Gaussian matrix, :math:`x' = f(x, u, m, \varepsilon)` with :math:`u = W\psi(x) + b`: its parts."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.registry import ACTIVATIONS
from derivations.language.statements import Matrix, Program
from derivations.language.weights import Weights
from derivations.symbols import step


@dataclass(frozen=True)
class OneMatrixLayer:
    r"""The parts of such a layer.

    Parameters
    ----------
    inner : Activation
        :math:`\psi`.
    weights : Weights
        The matrix; centred where the means have a statement of their own.
    means : Weights or None
        The matrix without variance that is applied to the same, if there is one.
    update : Expr
        f in ``symbols.state``, ``symbols.step``, ``noise`` and ``shift``.
    noise : Symbol
        u.
    shift : Symbol or None
        What ``means`` puts out, m.
    """

    inner: Activation
    weights: Weights
    means: Weights | None
    update: sp.Expr
    noise: sp.Symbol
    shift: sp.Symbol | None

    @classmethod
    def of(cls, program: Program) -> OneMatrixLayer | None:
        """The parts of a program; None where a layer has other statements, or its matrix no independent Gaussian entries.

        Examples
        --------
        >>> from derivations.language import program
        >>> from derivations.symbols import state, step
        >>> W = Weights("W")
        >>> OneMatrixLayer.of(program(state + step * W(sp.tanh(state)))).inner.expr
        tanh(x)
        """
        matrices = [s for s in program.statements if isinstance(s, Matrix)]
        drawn, means = ([s for s in matrices if s.weights.is_mean is known] for known in (False, True))
        if len(drawn) != 1 or len(means) > 1 or len(matrices) < len(program.statements):
            return None
        (matrix,), shift = drawn, means[0] if means else None
        body = matrix.body
        if not matrix.weights.is_gaussian or matrix.target.index != 0 or body.has(step, *(s.symbol for s in matrices)):
            return None
        if shift is not None and shift.body != body:
            return None
        named = (None, None) if shift is None else (shift.weights, shift.symbol)
        known = next((a for a in ACTIVATIONS.values() if a.expr == body), None)
        inner = Activation(str(body), body) if known is None else known
        return cls(inner, matrix.weights, named[0], program.update, matrix.symbol, named[1])

    def order(self, power: int) -> sp.Expr:
        """The coefficient of the update at a power of the small parameter, up to a factorial."""
        return sp.expand(sp.diff(self.update, step, power).subs(step, 0))

    @property
    def has_linear_noise(self) -> bool:
        """Whether what is of the order of the small parameter is a number times u."""
        return not sp.diff(self.order(1), self.noise).free_symbols
