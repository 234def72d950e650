r"""A layer with one Gaussian matrix, :math:`x' = f(x, u, m, \varepsilon)` with :math:`u = W\psi(x) + b`: its parts."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.piecewise_linear import PIECEWISE_LINEAR
from derivations.language.statements import Matrix, Mean, Program
from derivations.language.weights import Weights
from derivations.symbols import state, step


@dataclass(frozen=True)
class OneMatrixLayer:
    r"""The parts of such a layer.

    Parameters
    ----------
    body : Expr
        :math:`\psi` in ``symbols.state``; of a normalised layer, in the normalised state.
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
    is_normalised : bool
        Whether the state is divided by its root mean square over the layer before :math:`\psi`.
    """

    body: sp.Expr
    weights: Weights
    means: Weights | None
    update: sp.Expr
    noise: sp.Symbol
    shift: sp.Symbol | None
    is_normalised: bool = False

    @classmethod
    def of(cls, program: Program) -> OneMatrixLayer | None:
        """The parts of a program; None where a layer has other statements, or its matrix no independent Gaussian entries.

        Examples
        --------
        >>> from derivations.language import program
        >>> from derivations.symbols import state, step
        >>> W = Weights("W")
        >>> OneMatrixLayer.of(program(state + step * W(sp.tanh(state)))).body
        tanh(x)
        """
        matrices = [s for s in program.statements if isinstance(s, Matrix)]
        drawn, means = ([s for s in matrices if s.weights.is_mean is known] for known in (False, True))
        norms = [s for s in program.statements if isinstance(s, Mean) and s.body == state**2 and s.power == 1]
        if len(drawn) != 1 or len(means) > 1 or len(norms) > 1 or len(matrices) + len(norms) < len(program.statements):
            return None
        (matrix,), shift = drawn, means[0] if means else None
        if not matrix.weights.is_gaussian or matrix.target.index != 0 or matrix.body.has(*(s.symbol for s in matrices)):
            return None
        if shift is not None and shift.body != matrix.body:
            return None
        body = matrix.body.xreplace({s.symbol: sp.S.One for s in norms})
        if any(matrix.body != body.xreplace({state: state / sp.sqrt(s.symbol)}) for s in norms):
            return None
        named = (None, None) if shift is None else (shift.weights, shift.symbol)
        return cls(body, matrix.weights, named[0], program.update, matrix.symbol, named[1], bool(norms))

    @property
    def is_coordinatewise(self) -> bool:
        r"""Whether :math:`\psi` is one function of a neuron's own value, whatever the small parameter is."""
        return not self.is_normalised and not self.body.has(step)

    @property
    def inner(self) -> Activation:
        r""":math:`\psi` with its name where it has one."""
        named = next((a for a in PIECEWISE_LINEAR if a.expr == self.body), None)
        if named is None:  # only then all others are made
            from derivations.activations.registry import ACTIVATIONS

            named = next((a for a in ACTIVATIONS.values() if a.expr == self.body), None)
        return Activation(str(self.body), self.body) if named is None else named

    @property
    def is_linear(self) -> bool:
        """Whether the update is a number times the state and a number times u, with centred weights and without biases."""
        slopes = sp.diff(self.update, state), sp.diff(self.update, self.noise)
        weights = self.weights
        return (
            self.shift is None
            and (weights.mean, weights.bias_variance, weights.bias_mean) == (0, 0, 0)
            and not any(slope.has(state, self.noise) for slope in map(sp.expand, slopes))
            and sp.expand(self.update.subs({state: 0, self.noise: 0})) == 0
        )

    def order(self, power: int) -> sp.Expr:
        """The coefficient of the update at a power of the small parameter, up to a factorial."""
        return sp.expand(sp.diff(self.update, step, power).subs(step, 0))

    @property
    def has_linear_noise(self) -> bool:
        """Whether what is of the order of the small parameter is a number times u."""
        return not sp.diff(self.order(1), self.noise).free_symbols
