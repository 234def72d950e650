r"""Which functions of a layer's state have an equation of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import NotClosed, brief
from derivations.piecewise import pieces
from derivations.sums import CoordinateSum

_LONG = 64  # binary digits of a coefficient


@dataclass(frozen=True)
class Closure:
    r"""Drift and covariance of functions :math:`Y = F(\sum_i g(X_i))`, written in Y as far as possible.

    Parameters
    ----------
    states : tuple of Symbol
        The new states Y.
    functions : tuple of Expr
        What they are, in sums over the neurons.
    drift : Matrix, shape (k, 1)
    covariance : Matrix, shape (k, k)
        Coefficients of dY, in Y and in the sums that are left over.
    left_over : tuple of CoordinateSum
        Sums that the coefficients still need; empty if Y is a diffusion by itself.
    """

    states: tuple[sp.Symbol, ...]
    functions: tuple[sp.Expr, ...]
    drift: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix
    left_over: tuple[CoordinateSum, ...]
    limit: NeuronDiffusion

    @property
    def closed(self) -> bool:
        """Whether Y is a diffusion by itself."""
        return not self.left_over

    @property
    def closed_up_to_counts(self) -> bool:
        """Whether all that is left over are numbers of neurons, which change only when a neuron crosses a kink."""
        return bool(self.left_over) and all(is_count(s) for s in self.left_over)

    @property
    def verdict(self) -> tuple[str | sp.Basic, ...]:
        """One sentence on what is left over, text and expressions."""
        if self.closed:
            return ("The equation is closed: a diffusion by itself.",)
        rest: list[str | sp.Basic] = []
        for k, s in enumerate(self.left_over):
            rest += [", "] * (k > 0) + [s]
        if self.closed_up_to_counts:
            return (
                "Closed up to the number of neurons ",
                *rest,
                ", which is constant until a neuron crosses the kink.",
            )
        if len(self.left_over) > 3:
            return (f"Not closed: the coefficients also depend on {len(self.left_over)} other sums over the neurons.",)
        return ("Not closed: the coefficients also depend on ", *rest, ".")

    def diffusion(self, domain: sp.Set = sp.S.Reals) -> Diffusion:
        """The diffusion of Y.

        Raises
        ------
        NotClosed
            If something is left over; the message names it.
        """
        if self.left_over:
            rest = ", ".join(map(str, self.left_over))
            raise NotClosed(
                f"the coefficients also depend on {brief(rest)}; add these as states, or simulate the layer"
            )
        where = domain if len(self.states) == 1 else sp.S.UniversalSet  # what several sums can be together is not known
        return Diffusion(self.states, self.drift, self.covariance, where, self.limit.time)


def is_count(s: CoordinateSum) -> bool:
    """Whether a sum counts neurons: its summand is constant between kinks."""
    used = [x for x in s.bound_symbols if s.body.has(x)]
    return len(used) == 1 and all(not p.expr.has(used[0]) for p in pieces(s.body, used[0]))


def close(limit: NeuronDiffusion, functions: Mapping[sp.Symbol, sp.Expr]) -> Closure:
    r"""Apply Itô's formula to functions of sums over the neurons and see whether the result closes.

    Each function is solved for one sum that it contains; what the coefficients contain beyond
    these sums is left over.

    Parameters
    ----------
    limit : NeuronDiffusion
    functions : mapping
        New state to a function of ``limit.sum(g)``.

    Examples
    --------
    >>> from derivations import ResNet, identity, symbols
    >>> from derivations.limits import depth_limit
    >>> limit = depth_limit(ResNet(identity, width=symbols.width))
    >>> R = sp.Symbol("R", positive=True)
    >>> close(limit, {R: limit.sum(limit.neuron[0] ** 2)}).drift
    Matrix([[R]])
    """
    names, maps = tuple(functions), tuple(functions.values())
    drift = [limit.generator(f) for f in maps]
    covariance = [[limit.bracket(f, g) for g in maps] for f in maps]
    rules = _solve_for_sums(functions)

    def rewrite(expr: sp.Expr) -> sp.Expr:
        # stand-ins first: cancel would fold the kinks of the summands otherwise
        present = sp.Tuple(expr, *rules, *rules.values()).atoms(CoordinateSum)
        sums = {s: sp.Dummy(real=True) for s in sorted(present, key=sp.default_sort_key)}
        opened = {sums[s]: value.xreplace(sums) for s, value in rules.items()}
        flat = _in_factors(sp.cancel(expr.xreplace(sums).subs(opened)), sums.values())
        return flat.xreplace({v: k for k, v in sums.items()})

    drift_, covariance_ = (
        sp.ImmutableMatrix(drift).applyfunc(rewrite),
        sp.ImmutableMatrix(covariance).applyfunc(rewrite),
    )
    rest = drift_.atoms(CoordinateSum) | covariance_.atoms(CoordinateSum)
    return Closure(names, maps, drift_, covariance_, tuple(sorted(rest, key=sp.default_sort_key)), limit)


def _in_factors(quotient: sp.Expr, sums: Iterable[sp.Symbol]) -> sp.Expr:
    """The irreducible factors of a quotient in lowest terms.

    SymPy looks for them for seconds where coefficients have hundreds of digits (SELU's constants). What a sum enters linearly
    has those that are common to its coefficient and to the rest, and one more.
    """
    above, below = sp.fraction(quotient)
    if all(number.p.bit_length() + number.q.bit_length() <= _LONG for number in above.atoms(sp.Rational)):
        return sp.factor(quotient)
    for s in sums:
        polynomial = sp.Poly(above, s)
        if polynomial.degree() == 1:
            common = sp.gcd(*polynomial.all_coeffs())
            return sp.factor(common / below) * sp.cancel(above / common)
    return sp.factor(quotient)


def _solve_for_sums(functions: Mapping[sp.Symbol, sp.Expr]) -> dict[CoordinateSum, sp.Expr]:
    rules: dict[CoordinateSum, sp.Expr] = {}
    for name, function in functions.items():
        stand_ins = {s: sp.Dummy(positive=True) for s in sorted(function.atoms(CoordinateSum), key=sp.default_sort_key)}
        opened, back = function.xreplace(stand_ins), {v: k for k, v in stand_ins.items()}
        for s, stand_in in stand_ins.items():
            solved = sp.solve(opened - name, stand_in, simplify=False) if s not in rules else []
            if len(solved) == 1:
                rules[s] = solved[0].xreplace(back)
                break
    return rules
