r"""Which functions of a Gram matrix are diffusions by themselves: squared norms, and correlations of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from derivations.calculus.ito import bracket, generator, second_order
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NotClosed
from derivations.gaussian.law import root
from derivations.symbols import correlation


@dataclass(frozen=True)
class SubProcess:
    r"""Itô's formula for one function of the Gram matrix.

    Parameters
    ----------
    name : Symbol
        What the function is called.
    function : Expr
        In the entries of V.
    drift, variance : Expr
        Its coefficients, in ``name`` where they close and in what is left over.
    left_over : tuple of Symbol
        Entries of V that the coefficients still need.
    domain : Set
    """

    name: sp.Symbol
    function: sp.Expr
    drift: sp.Expr
    variance: sp.Expr
    left_over: tuple[sp.Symbol, ...]
    domain: sp.Set
    time: sp.Symbol

    @property
    def closed(self) -> bool:
        """Whether it is a process by itself."""
        return not self.left_over

    def process(self) -> Diffusion | Flow:
        """The diffusion, or the flow where there is no noise.

        Raises
        ------
        NotClosed
            If its coefficients need other entries.
        """
        if self.left_over:
            raise NotClosed(
                f"the coefficients of {self.name} = {self.function} also depend on "
                f"{', '.join(map(str, self.left_over))}; follow the whole Gram matrix"
            )
        drift = sp.ImmutableMatrix([self.drift])
        if self.variance == 0:
            return Flow((self.name,), drift, self.time)
        return Diffusion((self.name,), drift, sp.ImmutableMatrix([[self.variance]]), self.domain, self.time)


def squared_norm(limit: Diffusion | Flow, entry: sp.Symbol) -> SubProcess:
    """A diagonal entry: the squared norm of one input, per neuron."""
    return _sub_process(limit, entry, entry, {entry: entry}, sp.Interval.open(0, sp.oo))


def pair_correlation(limit: Diffusion | Flow, entries: tuple[sp.Symbol, sp.Symbol, sp.Symbol]) -> SubProcess:
    r"""The correlation :math:`\rho = V_{12}/\sqrt{V_{11}V_{22}}` of two inputs.

    Parameters
    ----------
    limit : Diffusion or Flow
        Of the Gram matrix.
    entries : tuple of Symbol
        :math:`(V_{11}, V_{12}, V_{22})`.

    Examples
    --------
    >>> from derivations.activations import identity
    >>> from derivations.architectures.perceptron import MLP
    >>> from derivations.limits.joint import joint_limit
    >>> limit = joint_limit(MLP(identity, inputs=2))
    >>> pair_correlation(limit, limit.states).drift
    rho*(rho - 1)*(rho + 1)/2
    """
    first, cross, second = entries
    scale = sp.sqrt(first) * sp.sqrt(second)
    return _sub_process(limit, correlation, cross / scale, {cross: correlation * scale}, sp.Interval.open(-1, 1))


def norm_and_correlation(limit: Diffusion, entries: tuple[sp.Symbol, sp.Symbol, sp.Symbol]) -> Diffusion:
    r"""The first input's squared norm with the correlation of two inputs, where they close.

    Parameters
    ----------
    limit : Diffusion
        Of the Gram matrix.
    entries : tuple of Symbol
        :math:`(V_{11}, V_{12}, V_{22})`.

    Raises
    ------
    NotClosed
        If the coefficients need other entries.

    Examples
    --------
    >>> from derivations.activations import identity
    >>> from derivations.architectures.perceptron import MLP
    >>> from derivations.limits.joint import joint_limit
    >>> limit = joint_limit(MLP(identity, inputs=2))
    >>> norm_and_correlation(limit, limit.states).covariance[0, 1]
    -V_11*rho*(rho - 1)*(rho + 1)
    """
    norm, angle = squared_norm(limit, entries[0]).process(), pair_correlation(limit, entries)
    both = angle.process()
    if not isinstance(norm, Diffusion) or not isinstance(both, Diffusion):
        raise NotClosed("one of the two has no noise; follow it as a flow, and the other alone")
    scale = sp.sqrt(entries[0]) * sp.sqrt(entries[2])
    cross = _rewritten(bracket(limit, entries[0], angle.function), {entries[1]: correlation * scale})
    if left := cross.free_symbols & set(entries[1:]):
        raise NotClosed(
            f"what the two share also depends on {', '.join(sorted(map(str, left)))}; follow the whole Gram matrix"
        )
    covariance = [[norm.covariance[0, 0], cross], [cross, both.covariance[0, 0]]]
    domain = sp.ProductSet(norm.domain, both.domain)
    return Diffusion((entries[0], correlation), [norm.drift[0], both.drift[0]], covariance, domain, limit.time)


def _rewritten(expr: sp.Expr, inverse: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    """In what the function is called, as far as it closes."""
    expr = sp.expand(expr).subs(dict(inverse), simultaneous=True)
    expr = expr.replace(
        lambda node: isinstance(node, sp.Pow) and node.exp == sp.S.Half and node.base.is_Add,
        lambda node: root(sp.expand(node.base)),
    )
    # open common factors first; asin, roots and the norms' own roots are then the generators of a polynomial
    norms = {v: sp.Dummy(v.name, positive=True) for v in expr.free_symbols if v.is_positive}
    expr = sp.powdenest(sp.expand(expr.subs({v: s**2 for v, s in norms.items()})), force=False)
    return sp.factor(sp.cancel(expr)).subs({s: sp.sqrt(v) for v, s in norms.items()})


def _sub_process(
    limit: Diffusion | Flow,
    name: sp.Symbol,
    function: sp.Expr,
    inverse: Mapping[sp.Symbol, sp.Expr],
    domain: sp.Set,
) -> SubProcess:
    missing = function.free_symbols - set(limit.states)
    if missing:
        raise DerivationError(f"{sorted(map(str, missing))} are no states of the limit, which has {limit.states}")

    # what the drift of V does, and what its noise adds by Itô's formula, are separated
    drift = _rewritten(generator(Flow(limit.states, limit.drift, limit.time), function), inverse)
    variance = sp.S.Zero
    if isinstance(limit, Diffusion):
        drift += _rewritten(second_order(limit, function), inverse)
        variance = _rewritten(bracket(limit, function, function), inverse)
    rest = (drift.free_symbols | variance.free_symbols) & (set(limit.states) - {name})
    return SubProcess(name, function, drift, variance, tuple(sorted(rest, key=str)), domain, limit.time)
