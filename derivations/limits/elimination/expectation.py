r"""The expectation of a function of one neuron's numbers over what one statement draws for it."""

from __future__ import annotations

from functools import singledispatch

import sympy as sp

from derivations.errors import DerivationError, NotClosed
from derivations.limits.elimination.expansion import Coins, Draw
from derivations.limits.elimination.held import released
from derivations.limits.elimination.series import as_expression
from derivations.limits.wick import gaussian_mean


class Law:
    """How one statement's variables are distributed, with placeholders for its covariance until all means are taken."""

    variables: tuple[sp.Symbol, ...]
    layer: int | None

    def mean(self, body: sp.Expr) -> sp.Expr:
        """The expectation over the variables."""
        raise NotImplementedError

    def filled(self, expr: sp.Expr) -> sp.Expr:
        """The expression with the covariance in the place of its placeholders, a polynomial in the small parameter."""
        raise NotImplementedError


class GaussianLaw(Law):
    """Of what a matrix puts out."""

    def __init__(self, draw: Draw, evaluate: bool) -> None:
        self.evaluate = evaluate
        self.variables, self.layer = draw.variables, draw.layer
        # equal entries share a placeholder, so that a degenerate pair is seen as such
        names: dict[sp.Expr, sp.Symbol] = {}
        self.table: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr] = {}
        for (i, j), series in draw.covariance.items():
            value = as_expression(series)
            if value.is_number:
                entry: sp.Expr = value
            else:
                entry = names.setdefault(value, sp.Dummy("S", **({"positive": True} if i == j else {"real": True})))
            self.table[self.variables[i], self.variables[j]] = self.table[self.variables[j], self.variables[i]] = entry
        self.values = {symbol: value for value, symbol in names.items()}

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Term by term, by Stein's identity or the Gaussian calculus."""
        total = sp.S.Zero
        for term in sp.Add.make_args(sp.expand(body)):
            outside, inside = term.as_independent(*self.variables, as_Add=False)
            try:
                total += outside * (
                    inside if inside == 1 else gaussian_mean(released(inside), self.table, self.evaluate)
                )
            except NotClosed:
                raise
            except DerivationError as error:
                raise NotClosed(f"no rule is known for the Gaussian mean of {inside}: {error}") from error
        return total

    def filled(self, expr: sp.Expr) -> sp.Expr:
        """Averages for placeholders."""
        return expr.xreplace(self.values)


class CoinLaw(Law):
    """Of i.i.d. factors in {0, 1}."""

    def __init__(self, coins: Coins) -> None:
        self.variables, self.layer, self.keep = coins.variables, coins.layer, coins.keep

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Over both values of each factor."""
        for d in self.variables:
            if body.has(d):
                body = self.keep * body.subs(d, 1) + (1 - self.keep) * body.subs(d, 0)
        return sp.expand(body)

    def filled(self, expr: sp.Expr) -> sp.Expr:
        """Nothing to fill in."""
        return expr


@singledispatch
def law_of(random: object, evaluate: bool = True) -> Law:
    """The law of what a statement draws; without ``evaluate`` its means are left as nodes, for a closed form later."""
    raise DerivationError(f"no law is known of {type(random).__name__}")


@law_of.register
def _(random: Draw, evaluate: bool = True) -> Law:
    return GaussianLaw(random, evaluate)


@law_of.register
def _(random: Coins, evaluate: bool = True) -> Law:
    return CoinLaw(random)
