r"""The expectation of a function of one neuron's numbers over what one statement draws for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import sympy as sp

from derivations.binding import bound_symbol, bound_symbols
from derivations.errors import DerivationError, NotClosed, brief
from derivations.gaussian import SoftmaxShare, joint_mean
from derivations.gaussian.joint import GaussianJointExpectation
from derivations.gaussian.node import GaussianMean
from derivations.limits.elimination.averages import LayerAverage, may_vanish
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.dead import continued, jumps
from derivations.limits.elimination.draws import Coins, Draw
from derivations.limits.elimination.held import HeldSum, released, with_sums
from derivations.limits.elimination.linear_forms import mean_over_all, nests, unnested
from derivations.limits.elimination.products import expanded
from derivations.limits.elimination.series import Series, as_expression
from derivations.limits.elimination.wick import gaussian_mean

_Naming: TypeAlias = Callable[[sp.Expr, dict[sp.Symbol, sp.Expr]], sp.Expr]


class Law:
    """How one statement's variables are distributed, with placeholders for its covariance until all means are taken."""

    variables: tuple[sp.Symbol, ...]
    layer: int | None
    independent = True  # whether different neurons are, given what the statement reads
    isotropic = False  # whether the neurons' numbers of each variable are a Gaussian vector of one variance

    def mean(self, body: sp.Expr) -> sp.Expr:
        """The expectation over the variables."""
        raise NotImplementedError

    def require_alone(self, body: sp.Expr) -> None:
        """Refuse a body in which something else depends on what is drawn here; most laws know nothing of the kind."""

    def joint(self, bodies: Sequence[sp.Expr]) -> list[tuple[sp.Expr, list[sp.Expr]]]:
        """The expectation of a product of functions of different neurons: a sum of constants times one function a neuron."""
        return [(sp.S.One, [self.mean(body) for body in bodies])]

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """The expression with the covariance, to an order in the small parameter, in the place of its placeholders."""
        raise NotImplementedError


class GaussianLaw(Law):
    """Of what a matrix puts out."""

    isotropic = True

    def __init__(self, draw: Draw, evaluate: bool = True, keeps: bool = True) -> None:
        self.evaluate, self.keeps = evaluate, keeps  # whether what has no rule is kept as a value of its own
        self.variables, self.layer = draw.variables, draw.layer
        # equal entries share a placeholder, so that a degenerate pair is seen as such
        self.names: dict[Series, sp.Symbol] = {}
        self.zeros: dict[Series, sp.Symbol] = {}  # variances that can be 0, where the placeholders are positive
        self.covariance = draw.covariance
        self.places = {v: i for i, v in enumerate(draw.variables)}
        self._settled: tuple[Coefficients, Collection[sp.Symbol], Collection[sp.Symbol]] | None = None

    def with_coefficients(
        self, coefficients: Coefficients, moving: Collection[sp.Symbol], neurons: Collection[sp.Symbol]
    ) -> None:
        """From now on means have names where they are functions of averages alone, of no neuron's numbers and of averages without moving ones."""
        self._settled = coefficients, moving, neurons

    def _named(self, found: sp.Expr, entries: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
        """A mean, in letters for some entries of the covariance, with names for what is no polynomial in them."""
        assert self._settled is not None
        coefficients, moving, neurons = self._settled
        if found.free_symbols & set(
            neurons
        ):  # as of max(x, Bx): an average over the neurons would not see them in a name
            return found
        series = {name: series for series, name in self.names.items()}
        places = {}
        for letter, entry in entries.items():
            first, *later = series.get(entry, (entry,))
            places[letter] = with_sums(first)
            if (any(later) or places[letter].atoms(sp.Symbol) & moving) and not found.is_polynomial(letter):
                return found
        return coefficients.of_means(found, places)

    def _placeholder(self, series: Series, positive: bool = False) -> sp.Expr:
        if (series[0].is_number or series[0].is_Symbol) and not any(series[1:]):
            return series[0]
        return self.names.setdefault(series, sp.Dummy("S", **({"positive": True} if positive else {"real": True})))

    def entry(self, first: sp.Symbol, second: sp.Symbol) -> sp.Expr:
        """The covariance of two of the variables, by its placeholder."""
        i, j = self.places[first], self.places[second]
        return self._placeholder(self.covariance[max(i, j), min(i, j)], positive=i == j)

    def table(self, body: sp.Expr) -> dict[tuple[sp.Symbol, sp.Symbol], sp.Expr]:
        """The covariances of the variables that occur in a body; variances first, so that what equals one of them is positive."""
        used = [v for v in self.variables if v in body.free_symbols]
        found = {(v, v): self.entry(v, v) for v in used}
        return found | {(u, v): self.entry(u, v) for u in used for v in used if u != v}

    def variance(self, variable: sp.Symbol) -> sp.Expr:
        """Of one of the variables, by its placeholder."""
        return self.entry(variable, variable)

    def mean(self, body: sp.Expr) -> sp.Expr:
        """Term by term."""
        terms = (term.as_independent(*self.variables, as_Add=False) for term in sp.Add.make_args(expanded(body)))
        return sp.Add(*(outside * self.own_mean(inside) for outside, inside in terms))

    def own_mean(self, body: sp.Expr) -> sp.Expr:
        """Of a function of the variables; a smooth one that no rule is known for is unevaluated, as one mean over all variables."""
        self._require_size(body)
        met = self.keeps and any(mean.has(*self.variables) for mean in body.atoms(GaussianJointExpectation))
        if met and (kept := self.unevaluated(body)) is not None:
            return kept
        try:
            found = self.by_rule(body)
        except NotClosed:
            kept = self.unevaluated(body) if self.keeps else None
            if kept is None:
                raise
            return kept
        return (self.unevaluated(body) if self.keeps and nests(found) else None) or found

    def by_rule(self, body: sp.Expr) -> sp.Expr:
        """Of a function of the variables; where a variance can be 0, also right there."""
        if body == 1 or body in self.variables:  # they are centred
            return sp.S.One if body == 1 else sp.S.Zero
        vanishing = self._may_vanish(body)
        # a name would hide the variances
        value = self._generic_mean(body, self._named if self._settled and not vanishing else None)
        for name, (argument, own) in vanishing.items():
            value = continued(value, released(body), own, name, argument, self.mean)
        return value

    def unevaluated(self, body: sp.Expr) -> sp.Expr | None:
        """The mean of a function that has one under every Gaussian law; None where that is not seen."""
        body = released(body)
        used = [v for v in self.variables if body.has(v)]
        return mean_over_all(body, used, {(u, v): self.entry(u, v) for u in used for v in used})

    def _require_size(self, body: sp.Expr) -> None:
        """Refuse a jump at what vanishes with the small parameter: its mean is not that at 0, however small it is."""
        for v in self.variables:
            if v in body.free_symbols and self.entry(v, v) == 0 and jumps(released(body), v):
                raise NotClosed(
                    f"{brief(body)} jumps where {v} is 0, and {v} becomes small with ε; take ε out of the step, as sign(B(x)) for sign(B(eps*x))"
                )

    def _may_vanish(self, body: sp.Expr) -> dict[sp.Symbol, tuple[sp.Symbol, list[sp.Symbol]]]:
        """The variances of a body's variables that can be 0, by their placeholders: as a number that can be 0, and whose they are."""
        found: dict[sp.Symbol, tuple[sp.Symbol, list[sp.Symbol]]] = {}
        for v in self.variables if self.evaluate else ():
            if v not in body.free_symbols or body.is_polynomial(v):
                continue
            series, name = self.covariance[self.places[v], self.places[v]], self.entry(v, v)
            if series in self.names and series[0] != 0 and may_vanish(series[0]):
                zero = self.zeros.setdefault(series, sp.Dummy("S", nonnegative=True))
                found.setdefault(name, (zero, []))[1].append(v)
        return found

    def _generic_mean(self, body: sp.Expr, naming: _Naming | None) -> sp.Expr:
        """By Stein's identity or the Gaussian calculus, where variances are positive."""
        # an average, which an earlier mean left in a variance, is a parameter to the Gaussian calculus
        names = {node: sp.Dummy("s", **_sign_of(node)) for node in body.atoms(LayerAverage, HeldSum)}
        back = {name: node for node, name in names.items()}
        try:
            body = released(body.xreplace(names))
            table = self.table(body)
            try:
                return _same_for_all(body, table, self.evaluate, None if names else naming).xreplace(back)
            except DerivationError:  # again, for an error in the terms of this body
                return gaussian_mean(body, table, self.evaluate).xreplace(back)
        except NotClosed:
            raise
        except DerivationError as error:
            raise NotClosed(f"no rule is known for the Gaussian mean of {brief(body)}: {error}") from error

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """Averages for placeholders."""
        present = expr.atoms(sp.Symbol)
        names = (*self.names.items(), *self.zeros.items())
        rule = {name: as_expression(series[: order + 1]) for series, name in names if name in present}
        return expr.xreplace(rule)


def _same_for_all(
    body: sp.Expr,
    table: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr],
    evaluate: bool,
    naming: _Naming | None,
) -> sp.Expr:
    """The mean of a body under other names: what differs by them only, as at many positions, is taken once."""
    used = list(dict.fromkeys(u for u, _ in table))
    entries = list(dict.fromkeys(entry for entry in table.values() if entry.is_Symbol))
    own = bound_symbols([f"u_{i}" for i in range(len(used))], (), real=True)
    signs = [{"positive": True} if entry.is_positive else {"real": True} for entry in entries]
    held = [bound_symbol(f"S_{i}", 1, **sign) for i, sign in enumerate(signs)]
    rule = dict(zip((*used, *entries), (*own, *held), strict=True))
    covariance = tuple((rule[u], rule[v], entry.xreplace(rule)) for (u, v), entry in table.items())
    found = _mean(body.xreplace(rule), covariance, evaluate)
    back = dict(zip(held, entries, strict=True))
    return (naming(found, back) if naming else found).xreplace(back)


@lru_cache(maxsize=256)
def _mean(body: sp.Expr, covariance: tuple[tuple[sp.Symbol, sp.Symbol, sp.Expr], ...], evaluate: bool) -> sp.Expr:
    return gaussian_mean(body, {(u, v): entry for u, v, entry in covariance}, evaluate)


def _sign_of(node: LayerAverage | HeldSum) -> dict[str, bool]:
    return {"positive": True} if node.is_extended_positive else {"real": True}


class FluctuationLaw(GaussianLaw):
    """Of sums over infinitely many neurons: a function of them without a closed form is kept as an unevaluated mean."""

    isotropic = False

    def own_mean(self, body: sp.Expr) -> sp.Expr:
        """By the Gaussian calculus where it has a rule."""
        body = released(body).replace(SoftmaxShare, lambda *parts: SoftmaxShare(*parts).explicit())
        body, others, blocks = unnested(body, self.variables)
        if body.has(LayerAverage):
            raise NotClosed(
                f"an average of a function of scores, {brief(body)}, has no rule; read the sum over positions linearly"
            )
        self._require_size(body)
        if not others:
            try:
                found = self.by_rule(body)
            except NotClosed:
                pass
            else:  # a mean without a closed form that others' scores are averaged over next is kept with their variables
                if not found.has(GaussianMean) or not any(
                    isinstance(s, sp.Dummy) for s in body.free_symbols - {*self.variables}
                ):
                    return found
        used = [v for v in self.variables if body.has(v)]
        own = sp.Matrix(len(used), len(used), lambda i, j: self.entry(used[i], used[j]))
        return joint_mean(body, [*used, *others], sp.diag(own, *blocks))


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

    def filled(self, expr: sp.Expr, order: int) -> sp.Expr:
        """Nothing to fill in."""
        return expr
