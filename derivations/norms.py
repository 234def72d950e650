r"""How the norm of a layer moves with depth: the equation of :math:`\|\psi(X_t)\|`, and its slope at the start."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import sympy as sp

from derivations.activations.base import Activation
from derivations.calculus.closure import Closure, close, is_count
from derivations.diffusion import NeuronDiffusion
from derivations.errors import NotClosed, brief
from derivations.gaussian import expect
from derivations.piecewise import Piece, join, pieces
from derivations.sums import CoordinateSum
from derivations.symbols import time

#: Beyond this number of neurons (1 - q)^n is not written out.
_WIDEST = 10_000

squared_norm = sp.Symbol("S", positive=True)
log_norm = sp.Symbol("Lambda", real=True)


@dataclass(frozen=True)
class NormDynamics:
    r"""The equations of :math:`S = \|\psi(X)\|^2` and of :math:`\Lambda = \log\|\psi(X)\|`, first input.

    Parameters
    ----------
    square, logarithm : Closure
        Itô's formula on S and on :math:`\tfrac12 \log S`, with what is left over.
    """

    square: Closure
    logarithm: Closure
    activation: Activation


def norm_dynamics(limit: NeuronDiffusion, activation: Activation) -> NormDynamics:
    r"""Apply Itô's formula to :math:`S = \sum_i \psi(x_i)^2` and to :math:`\tfrac12\log S`.

    :math:`\psi^2` must have a continuous derivative where the second derivative has kinks, as for
    every member of the two-slope family: Itô's formula then holds with the derivative taken
    almost everywhere.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> from derivations.limits import depth_limit
    >>> norm_dynamics(depth_limit(ResNet(relu, width=symbols.width)), relu).logarithm.drift
    Matrix([[(Count_j(x_j > 0) - 2)/(2*n)]])
    """
    _require_smooth_square(activation)
    s = limit.sum(activation(limit.neuron[0]) ** 2)
    return NormDynamics(close(limit, {squared_norm: s}), close(limit, {log_norm: sp.log(s) / 2}), activation)


def _require_smooth_square(activation: Activation) -> None:
    """Itô's formula needs the derivative of ψ² to be continuous; a jump would add a local time."""
    x = activation.variable
    parts = pieces(activation.expr**2, x)
    for left, right in pairwise(parts):
        for order in (0, 1):
            jump = sp.diff(right.expr, x, order).subs(x, left.right) - sp.diff(left.expr, x, order).subs(x, left.right)
            if sp.expand(jump) != 0:
                raise NotClosed(
                    f"the square of {activation} has a jump in its derivative of order {order} at {left.right}: "
                    "a local time enters, and the norm has no equation of its own"
                )


@dataclass(frozen=True)
class InitialSlope:
    r"""The slope at t = 0 of :math:`\mathbb{E}\log\|\psi(X_t)\|`, and only there.

    Parameters
    ----------
    value : Expr
        An exact function of the width, per unit of time.
    width : Expr
        The width it depends on.
    """

    value: sp.Expr
    width: sp.Expr

    @property
    def statement(self) -> tuple[str | sp.Basic, ...]:
        """What the number is, and what it is not: text and expressions."""
        return (
            "This is the slope at ",
            time,
            " = 0 only, for a start with i.i.d. symmetric coordinates and given that the norm is not 0; "
            "later the number of active neurons has another law.",
        )

    def at(self, width: int) -> sp.Expr:
        """The exact slope at a given width."""
        return self.value.subs(self.width, width)

    def sign_change(self, up_to: int = 1000) -> tuple[int, int] | None:
        """Neighbouring widths between which the slope goes from at most 0 to positive, if any up to a bound; none with other parameters."""
        if self.value.free_symbols - {self.width}:
            return None
        for n in range(1, up_to):
            if self.at(n) <= 0 < self.at(n + 1):
                return n, n + 1
        return None


def initial_slope(dynamics: NormDynamics) -> InitialSlope:
    r"""Average the drift of :math:`\log\|\psi(X)\|` over a symmetric start.

    The drift is affine in counts :math:`N_A = \#\{i : x_i \in A\}`. With i.i.d. symmetric coordinates each is in
    A with probability p (that of a centred Gaussian, for half-lines of any symmetric law), so :math:`\mathbb{E}N_A = np`. The norm is
    positive iff some coordinate is where :math:`\psi \ne 0`, a set of probability q, hence

    .. math:: \mathbb{E}[N_A \mid \|\psi(X_0)\| > 0] = \frac{n p}{1 - (1-q)^n}, \qquad A \subseteq \{\psi \ne 0\} .

    Raises
    ------
    NotClosed
        If the drift needs more than counts, or the width is a number so large that the slope is not written out.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> from derivations.limits import depth_limit
    >>> slope = initial_slope(norm_dynamics(depth_limit(ResNet(relu, width=symbols.width)), relu))
    >>> [slope.at(n) for n in (1, 2, 3, 4)], slope.sign_change()
    ([-1/2, -1/6, -1/21, 1/60], (3, 4))
    """
    closure, x = dynamics.logarithm, dynamics.activation.variable
    (drift,) = closure.drift
    width = closure.limit.width
    if width.is_Integer and width > _WIDEST:
        raise NotClosed(
            f"the chance that no neuron of {width} moves has too many digits to write; take the width as a symbol"
        )
    counts = sorted(filter(is_count, drift.atoms(CoordinateSum)), key=sp.default_sort_key)
    stand_ins = {s: sp.Dummy() for s in counts}
    opened = drift.xreplace(stand_ins)
    affine = all(sp.diff(opened, a, b) == 0 for a in stand_ins.values() for b in stand_ins.values())
    if opened.has(CoordinateSum) or log_norm in opened.free_symbols or not affine:
        raise NotClosed(
            f"the drift of the log-norm, {brief(drift)}, is not an affine function of counts; its average needs the law of the state"
        )
    moving = join(
        tuple(Piece(p.left, p.right, sp.Integer(p.expr != 0)) for p in pieces(dynamics.activation.expr, x)), x
    )
    moves = expect(moving, x)
    averages = {}
    for s, d in stand_ins.items():
        body = s.at([x])
        if sp.expand(expect(body * moving, x) - expect(body, x)) != 0:
            raise NotClosed(
                f"{s} counts neurons on which the activation vanishes; the conditional average needs more than its mean"
            )
        averages[d] = width * expect(body, x) / (1 - (1 - moves) ** width)
    return InitialSlope(sp.expand(opened.subs(averages)), width)
