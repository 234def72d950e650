r"""When two networks move two inputs alike: their correlations follow the same flow."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.calculus.gram import pair_correlation
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, brief, require


@dataclass(frozen=True)
class Equivalence:
    r"""Two flows of Gram matrices whose correlations agree for one value of a constant.

    Parameters
    ----------
    first, second : Flow
        Of the correlation, in the same symbol; ``first`` with the unknown still in it.
    unknown, value : Expr
        The constant of the first network, and the value that makes the velocities the same function.
    """

    first: Flow
    second: Flow
    unknown: sp.Symbol
    value: sp.Expr

    @property
    def velocity(self) -> sp.Expr:
        """The common velocity of the correlation."""
        return self.second.drift[0]


def equivalence(first: Flow, second: Flow, unknown: sp.Symbol) -> Equivalence:
    r"""Find the constant for which two networks give two inputs the same flow of their correlation.

    Parameters
    ----------
    first, second : Flow
        Of the Gram matrix of two inputs: the upper triangle in their states.
    unknown : Symbol
        A parameter of the first.

    Raises
    ------
    DerivationError
        If one of the correlations does not close, or no value makes the velocities the same function.

    Examples
    --------
    >>> from derivations import ResNet, ShapedMLP, relu, width_limit, joint_limit
    >>> v, c = sp.Symbol("v", positive=True), sp.Symbol("c", positive=True)
    >>> residual = width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=v))
    >>> half = sp.Rational(1, 2)
    >>> shaped = joint_limit(ShapedMLP(relu, inputs=2, c_plus=c, c_minus=0, rate=half / 2, depth_rate=half))
    >>> equivalence(residual, shaped, v).value
    c**2
    """
    for limit in (first, second):
        require(
            "a limit to be compared",
            limit,
            (Flow, Diffusion),
            "a Flow, such as width_limit(ResNet(relu, width=sp.oo, inputs=2))",
        )
    require("the unknown", unknown, sp.Symbol, "a symbol")
    left, right = (pair_correlation(flow, flow.states).process() for flow in (first, second))
    if not isinstance(left, Flow) or not isinstance(right, Flow):
        raise DerivationError(
            "an equivalence of flows needs two limits without noise; choose depths far below the width"
        )
    (state,), velocity = left.states, left.drift[0]
    # one point of the line decides the constant; whether it is right everywhere is then an identity
    at = {state: 0}
    found = sp.solve(velocity.subs(at) - right.drift[0].subs(at), unknown)
    for value in found:
        if sp.expand(velocity.subs(unknown, value) - right.drift[0]) == 0:
            return Equivalence(left, right, unknown, sp.factor(value))
    raise DerivationError(
        f"no value of {unknown} makes {brief(velocity)} and {brief(right.drift[0])} the same function"
    )
