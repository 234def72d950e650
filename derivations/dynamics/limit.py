r"""Training at infinite width in the scaling that learns features: forward and backward processes, their kernels, and how these close."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.dynamics.adjoint import Adjoint, ratio
from derivations.dynamics.growth import require_linear_growth
from derivations.dynamics.words import steps
from derivations.errors import DerivationError
from derivations.exponents import scalings
from derivations.exponents.at_point import readout_exponent
from derivations.exponents.moved import Power
from derivations.language.statements import Matrix, Mean
from derivations.notation.printed import Printed
from derivations.notation.steps import Step
from derivations.symbols import state, step


@dataclass(frozen=True, repr=False)
class TrainingLimit(Printed):
    r"""Gradient descent on :math:`\frac1{2m}\sum_\mu (f_\mu - y_\mu)^2` at infinite width, printable in every format.

    Attributes
    ----------
    network : Recipe
    adjoint : Adjoint
        The layer and its adjoint, as formulas of one neuron.
    rates : dict
        For each matrix, and its biases, the power of the depth in its learning rate, beside :math:`\eta\gamma_0^2 n`.
    is_linear : bool
        Whether the kernels close by themselves.
    """

    network: Recipe

    def __post_init__(self) -> None:
        if not isinstance(self.network, Recipe):
            raise DerivationError(
                f"training_limit expects a network such as ResNet(tanh, width=sp.oo), got {self.network!r}"
            )
        if self.network.regime.is_joint:
            raise DerivationError(
                "training is derived for a depth that grows after the width; say the layer as a Network(..., width=sp.oo)"
            )
        if self.network.width != sp.oo:
            raise DerivationError(f"training is solved at infinite width, got width={self.network.width}; use width=oo")
        self._require_known()
        self.rates  # noqa: B018  refuses what has none

    def _require_known(self) -> None:
        known = {state, step, *(s.symbol for s in self.adjoint.statements)}
        for expr in (*(s.body for s in self.adjoint.statements), self.adjoint.program.update):
            if free := sorted(map(str, expr.free_symbols - known)):
                raise DerivationError(
                    f"expected numbers in the layer, got {', '.join(free)}; substitute values for these"
                )
        neurons = known - {step, *(s.symbol for s in self.adjoint.statements if isinstance(s, Mean))}
        for expr in (*(s.body for s in self.adjoint.matrices), self.adjoint.program.update):
            require_linear_growth(expr, neurons)
        if not self.adjoint.matrices:
            raise DerivationError("the layer has no matrix to train")
        for s in self.adjoint.matrices:
            w = s.weights
            if not w.is_gaussian or w.is_correlated:
                raise DerivationError(f"training is derived for independent Gaussian entries; {w.name} has others")
            if (w.mean, w.bias_mean) != (0, 0):
                raise DerivationError(
                    f"training is derived for centred matrices and biases: means, such as those of {w.name}, move all neurons together; leave them out"
                )
            for what, value in (("variance", w.variance), ("variance of the biases", w.bias_variance)):
                if not value.is_number:
                    raise DerivationError(f"expected a number for the {what} of {w.name}, got {value}")
            if w.variance == 0:
                raise DerivationError(
                    f"{w.name} starts at 0 and has no learning rate in units of its deviation; give it a variance"
                )
            ratio(s.target, self.adjoint.program.neurons)

    @cached_property
    def adjoint(self) -> Adjoint:
        """The layer's statements and their adjoint."""
        return Adjoint(self.network.program())

    @property
    def is_linear(self) -> bool:
        """Whether all fields are Gaussian, and the kernels close by themselves."""
        return self.adjoint.is_linear

    @cached_property
    def rates(self) -> dict[Matrix, sp.Expr]:
        """The powers of the depth in the learning rates, from the orders of the first step.

        Raises
        ------
        DerivationError
            If the first step has no such learning rate that does not depend on the width.
        """
        first = scalings(self.network, training=True)
        rows = {(row.name, row.role): row.rate for row in first.moved("sgd", readout=1)}
        at: dict[sp.Basic, sp.Expr] = {readout_exponent: sp.S.One}
        at |= {s: sp.Rational(p.numerator, p.denominator) for s, p in first.stands.items()}
        found = {}
        for s in self.adjoint.matrices:
            rate = rows[s.weights.name, "hidden"]
            # an entry that is trained itself has the deviation 1/sqrt(n), a bias has 1
            bias = rows.get((s.weights.name, "bias"), Power(rate.width and rate.width + 1, rate.depth))
            wide, deep = rate.width, rate.depth
            if wide is None or deep is None or wide.xreplace(at) != 0 or (bias.width - wide, bias.depth) != (1, deep):
                raise DerivationError(
                    f"no learning rate of {s.weights.name} in units of its deviation moves features by order 1 at every width; "
                    "scalings(net, training=True) has the orders of the first step"
                )
            found[s] = deep.xreplace(at)
        return found

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Named steps, each with its statement, expressions and reason."""
        return steps(self)

    @property
    def title(self) -> str:
        """What was derived, in a few words."""
        return f"Training of {type(self.network).__name__} at infinite width"


def training_limit(net: Recipe) -> TrainingLimit:
    r"""The equations of a network of infinite width while it is trained.

    Gradient descent on the squared loss, with a readout :math:`f = \frac{1}{\gamma_0 n} v\cdot x_L` and the learning rates at which features move by
    order 1 at every width and depth. Each neuron is then an independent copy of a forward and a backward process over the steps, driven by Gaussian
    noise whose covariances are the two-time kernels of these processes. The forward one is the layer's program, the backward one its adjoint.
    For linear layers the kernels close by themselves. :func:`numerics.solve_training` solves them.

    Parameters
    ----------
    net : Recipe
        Of infinite width: layers of centred Gaussian matrices, with biases or without, that are applied once, averages, and functions with bounded slopes.

    Returns
    -------
    TrainingLimit

    Raises
    ------
    DerivationError
        For random factors, positions, transposes, means, gates, other entries, functions that grow faster than linearly, or a depth that grows
        with the width.

    Examples
    --------
    >>> from derivations import Network, Weights, epsilon, tanh
    >>> found = training_limit(Network(lambda x: x + epsilon**2 * Weights("W")(tanh(x)), width=sp.oo))
    >>> found.is_linear, list(found.rates.values())
    (False, [1])
    """
    return TrainingLimit(net)
