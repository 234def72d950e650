r"""Functions of several Gaussian variables that are functions of few linear combinations of them, which are Gaussian too.

A larger one of two is one of them and the positive part of a difference, :math:`\max(a, b) = b + (a - b)^+`, and a choice is its branches times
indicators. So what several matrices put out may meet in a maximum, in a choice, or in a sum behind an activation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TypeAlias

import sympy as sp
from sympy.core.relational import Relational

from derivations.binding import Binding
from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, joint_mean
from derivations.gaussian.growth import grows_moderately
from derivations.gaussian.joint import GaussianJointExpectation
from derivations.gaussian.node import GaussianMean

Covariance: TypeAlias = dict[tuple[sp.Symbol, sp.Symbol], sp.Expr]
_MEANS = (GaussianExpectation, GaussianPairExpectation)
_MOST = 6  # conditions of a choice: indicators multiply out


def in_linear_forms(
    expr: sp.Expr, noises: Sequence[sp.Symbol], covariance: Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]
) -> tuple[sp.Expr, Covariance, dict[sp.Symbol, sp.Expr]] | None:
    """An expression in as many variables as its functions are of, their covariances, and what letters stand for in these.

    None where it is not said otherwise.

    Parameters
    ----------
    expr : Expr
        In jointly Gaussian variables.
    noises : sequence of Symbol
        The variables.
    covariance : mapping
        From two of them to their covariance.

    Examples
    --------
    >>> a, b, s = sp.Symbol("a", real=True), sp.Symbol("b", real=True), sp.Symbol("s", positive=True)
    >>> found, table, letters = in_linear_forms(sp.tanh(a + b), (a, b), {(a, a): s, (b, b): s, (a, b): 0, (b, a): 0})
    >>> (u,) = found.free_symbols
    >>> found == sp.tanh(u), table[u, u].xreplace(letters)
    (True, 2*s)
    """
    forms = _Forms(tuple(noises))
    found = forms.said(_split(_factored(sp.powsimp(expr, combine="exp", deep=True)), noises), leave=True)
    found = forms.said(found)  # exponentials of sums of combinations that are known by now
    if found == expr:
        return None
    for form, name in forms.names.items():
        plain = next((a for a in noises if form.has(a) and found.is_polynomial(a)), None)
        if plain is not None:  # the rest of the combination cancels where it multiplies a function of it
            share = form.coeff(plain)
            found = found.xreplace({plain: (name - form) / share + plain})
    used = [u for u in (*noises, *forms.names.values()) if found.has(u)]
    return found, *_lettered(forms.covariances(covariance), used)


def _lettered(table: Covariance, used: Sequence[sp.Symbol]) -> tuple[Covariance, dict[sp.Symbol, sp.Expr]]:
    """Letters for sums of covariances, which closed forms hold many times; none where variables lie on a line, which they would hide."""
    table = {(u, v): table[u, v] for u in used for v in used}
    if any(sp.expand(table[u, u] * table[v, v] - table[u, v] ** 2) == 0 for u in used for v in used if u != v):
        return table, {}
    sums = {entry: sp.Dummy("S", positive=True) for (u, v), entry in table.items() if u == v and entry.is_Add}
    sums |= {e: sp.Dummy("S", real=True) for e in table.values() if e.is_Add and e not in sums}
    return {p: sums.get(entry, entry) for p, entry in table.items()}, {name: entry for entry, name in sums.items()}


class _Forms:
    """Linear combinations with coefficients that are numbers or parameters, each under a name, the first variable's coefficient 1."""

    def __init__(self, noises: tuple[sp.Symbol, ...]) -> None:
        self.noises = noises
        self.names: dict[sp.Expr, sp.Symbol] = {}

    def said(self, expr: sp.Expr, leave: bool = False) -> sp.Expr:
        """Each function of one combination of several variables as one of its name; exponentials may be left."""
        if isinstance(expr, Binding) or sum(map(expr.has, self.noises)) < 2 or expr.is_polynomial(*self.noises):
            return expr
        if isinstance(expr, sp.exp) and leave:
            return expr
        if isinstance(expr, sp.exp) and (parts := self._in_known(expr.args[0])) is not None:
            return sp.exp(parts)
        alone = not (self.names and expr.has(*self.names.values()))
        if alone and (form := self._form(expr)) is not None and (named := self._named(expr, form)) is not None:
            return named
        return expr.func(*(self.said(a, leave) if isinstance(a, sp.Expr) else a for a in expr.args))

    def _in_known(self, exponent: sp.Expr) -> sp.Expr | None:
        """A linear exponent as a sum of combinations that have names."""
        rest = sp.expand(exponent)
        for form, name in self.names.items():
            first = next(a for a in self.noises if form.has(a))
            if rest.is_polynomial(first) and sp.degree(rest, first) == 1:
                share = rest.coeff(first)
                rest = sp.expand(rest - share * form + share * name)
        return None if rest.has(*self.noises) else rest

    def covariances(self, known: Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]) -> Covariance:
        """Of the variables and the combinations."""
        rows = {a: {a: sp.S.One} for a in self.noises}
        rows |= {name: {a: form.coeff(a) for a in self.noises if form.has(a)} for form, name in self.names.items()}
        return dict(known) | {
            (u, v): sp.expand(sp.Add(*(p * q * known[a, b] for a, p in rows[u].items() for b, q in rows[v].items())))
            for u in rows
            for v in rows
            if (u, v) not in known
        }

    def _form(self, expr: sp.Expr) -> sp.Expr | None:
        """The first combination of several variables in it."""
        for node in sp.preorder_traversal(expr):
            if isinstance(node, sp.Add) and sum(map(node.has, self.noises)) > 1 and node.is_polynomial(*self.noises):
                poly = sp.Poly(node, *self.noises)
                if poly.total_degree() == 1:
                    parts = {a: poly.coeff_monomial(a) for a in self.noises}
                    first = next(c for c in parts.values() if c != 0)
                    return sp.Add(*(a * sp.cancel(c / first) for a, c in parts.items()))
        return None

    def _named(self, expr: sp.Expr, form: sp.Expr) -> sp.Expr | None:
        used = [a for a in self.noises if form.has(a)]
        name = self.names.get(form, sp.Dummy("u", real=True))
        moved = expr.xreplace({used[0]: name - form + used[0]})
        for said in (moved, sp.expand(moved, power_exp=False)):
            if not said.has(*self.noises):
                self.names[form] = name
                return said
        return None


def _factored(expr: sp.Expr) -> sp.Expr:
    """Denominators that were multiplied out as products of functions of one variable each."""
    below = {p: sp.factor_terms(p.base) ** p.exp for p in expr.atoms(sp.Pow) if p.exp.is_negative and p.base.is_Add}
    return expr.xreplace({power: said for power, said in below.items() if said != power})


def _split(expr: sp.Expr, noises: Sequence[sp.Symbol]) -> sp.Expr:
    """Maxima, minima and choices between several variables as sums of products."""
    if isinstance(expr, Binding) or sum(map(expr.has, noises)) < 2:
        return expr
    said = expr.func(*(_split(a, noises) if isinstance(a, sp.Expr) else a for a in expr.args))
    if isinstance(said, sp.Abs | sp.sign):
        return sp.Mul(*map(said.func, sp.Mul.make_args(sp.factor_terms(said.args[0]))))
    if isinstance(said, sp.Max | sp.Min) and sum(any(a.has(z) for z in noises) for a in said.args) > 2:
        raise DerivationError(
            f"the {'largest' if isinstance(said, sp.Max) else 'smallest'} of more than two Gaussian variables has no rule for its mean; take that of two"
        )
    if isinstance(said, sp.Max | sp.Min) and len(said.args) == 2:
        first, second = said.args
        choice = next((a for a in said.args if isinstance(a, sp.Piecewise)), None)
        if choice is not None:  # as the larger of A and relu(B): the choice comes first
            other = second if choice is first else first
            cases = ((said.func(other, value), condition) for value, condition in choice.args)
            return _split(sp.Piecewise(*cases, evaluate=False), noises)
        sign = 1 if isinstance(said, sp.Max) else -1
        return second + sign * _positive_part(sign * (first - second))
    if isinstance(said, sp.Piecewise) and len(said.args) <= _MOST:
        left, parts = sp.S.One, []
        for value, condition in said.args:
            holds = _indicator(condition)
            if holds is None:
                return said
            parts.append(left * holds * _split(value, noises))
            left *= 1 - holds
        return sp.Add(*parts)
    return said


def _positive_part(u: sp.Expr) -> sp.Expr:
    return sp.Piecewise((0, u <= 0), (u, True))


def _indicator(condition: sp.Basic) -> sp.Expr | None:
    """1 where a condition holds, 0 elsewhere: comparisons, and what and, or, not make of them."""
    if condition in (sp.true, sp.false):
        return sp.S.One if condition == sp.true else sp.S.Zero
    if isinstance(condition, Relational):
        side = sp.factor_terms(condition.lhs - condition.rhs)
        if side.is_Mul and isinstance(
            condition, sp.StrictGreaterThan | sp.GreaterThan | sp.StrictLessThan | sp.LessThan
        ):
            return _sign_of_product(condition.func, side)
        return sp.Piecewise((1, condition.func(side, 0)), (0, True))
    if isinstance(condition, sp.And | sp.Or | sp.Not):
        parts = [holds for part in condition.args if (holds := _indicator(part)) is not None]
        if len(parts) < len(condition.args):
            return None
        if isinstance(condition, sp.And):
            return sp.Mul(*parts)
        both = reduce(lambda a, b: a * b, (1 - part for part in parts))
        return both if isinstance(condition, sp.Not) else 1 - both
    return None


def _sign_of_product(comparison: type[Relational], side: sp.Expr) -> sp.Expr:
    """1 where a product is larger or smaller than 0: what its factors are, but where one of them is 0."""
    least = comparison in (sp.GreaterThan, sp.StrictGreaterThan)
    signs = sp.Mul(*(sp.Piecewise((1, a > 0), (-1, True)) for a in side.args if not a.is_positive))
    return (1 + (signs if least else -signs)) / 2


def opened(
    expr: sp.Expr, noises: Sequence[sp.Symbol], covariance: Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]
) -> tuple[sp.Expr, Covariance] | None:
    """A mean over the variables of means of functions of them as one over all variables; None where there are no such means.

    Examples
    --------
    >>> from derivations.gaussian import GaussianExpectation
    >>> a, z, s = sp.Symbol("a", real=True), sp.Symbol("z", real=True), sp.Symbol("s", positive=True)
    >>> inner = GaussianExpectation(sp.Lambda(z, sp.tanh(a + z) ** 2), sp.S.Zero, s)
    >>> found, table = opened(a * inner, [a], {(a, a): s})
    >>> len(found.free_symbols), sorted(map(str, table.values()))
    (2, ['0', '0', 's', 's'])
    """
    if not any(mean.has(*noises) for mean in expr.atoms(*_MEANS)):
        return None
    table, total = dict(covariance), list[sp.Expr]()
    for term in sp.Add.make_args(expr):
        factors: list[sp.Expr] = []
        for factor in sp.Mul.make_args(term):
            base, power = factor.as_base_exp()
            if not isinstance(base, _MEANS) or not base.has(*noises):
                factors.append(factor)
                continue
            laws = [arg for arg in base.args if not isinstance(arg, sp.Lambda)]
            if not (power.is_Integer and power.is_positive) or any(law.has(*noises) for law in laws):
                return None
            for _ in range(int(power)):
                factors.append(_at_fresh_variables(base, table))
        total.append(sp.Mul(*factors))
    used = {u for u, _ in table}
    table |= {(u, v): sp.S.Zero for u in used for v in used if (u, v) not in table}
    return sp.Add(*total), table


def mean_over_all(
    expr: sp.Expr, noises: Sequence[sp.Symbol], covariance: Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]
) -> sp.Expr | None:
    """The unevaluated mean of a smooth function, over all variables and those of means in it; None where it is not seen to exist.

    Examples
    --------
    >>> a, b, s = sp.Symbol("a", real=True), sp.Symbol("b", real=True), sp.Symbol("s", positive=True)
    >>> table = {(a, a): s, (b, b): 1, (a, b): 0, (b, a): 0}
    >>> mean_over_all(sp.tanh(a * b) ** 2, (a, b), table)
    E[tanh(z1*z2)**2, (z1, z2) ~ N(0, [[s, 0], [0, 1]])]
    >>> mean_over_all(sp.exp(a * b), (a, b), table)
    """
    expr, others, blocks = unnested(expr, noises)
    if any(block.has(*noises) for block in blocks):
        return None
    own = sp.diag(sp.Matrix(len(noises), len(noises), lambda i, j: covariance[noises[i], noises[j]]), *blocks)
    known = list(enumerate([*noises, *others]))
    table = {(u, v): own[i, j] for i, u in known for j, v in known}
    whole, table = opened(expr, noises, table) or (expr, table)
    names = list(dict.fromkeys(u for u, _ in table))
    if not grows_moderately(whole, names):
        return None
    return joint_mean(whole, names, sp.Matrix(len(names), len(names), lambda i, j: table[names[i], names[j]]))


def unnested(body: sp.Expr, variables: Sequence[sp.Symbol]) -> tuple[sp.Expr, list[sp.Symbol], list[sp.Matrix]]:
    """What means of functions of other scores, among the factors, are of, with the variables of these and their covariances.

    Scores of several matrices are independent given what they read, so that a mean over the ones of a mean over the others is one over all.
    """
    factors: list[sp.Expr] = []
    others: list[sp.Symbol] = []
    blocks: list[sp.Matrix] = []
    for factor in sp.Mul.make_args(body):
        if not isinstance(factor, GaussianJointExpectation) or not factor.function.expr.has(*variables):
            factors.append(factor)
            continue
        fresh = [sp.Dummy(z.name, real=True) for z in factor.function.variables]
        factors.append(factor.function(*fresh))
        others += fresh
        blocks.append(factor.covariance)
    return (sp.Mul(*factors), others, blocks) if others else (body, [], [])


def nests(expr: sp.Expr) -> bool:
    """Whether a formula holds a mean of another mean that depends on its variables: values of such take long."""
    return any(
        inner.has(*f.variables)
        for mean in expr.atoms(GaussianMean)
        for f in mean.functions
        for inner in f.expr.atoms(GaussianMean)
    )


def _at_fresh_variables(mean: GaussianExpectation | GaussianPairExpectation, table: Covariance) -> sp.Expr:
    """What a mean is of, at variables whose covariance goes into the table."""
    if isinstance(mean, GaussianExpectation):
        function, middle, variance = mean.args
        z = sp.Dummy("z", real=True)
        table[z, z] = variance
        return function(middle + z)
    first, second, *entries = mean.args
    u, v = sp.Dummy("u", real=True), sp.Dummy("v", real=True)
    table |= dict(zip(((u, u), (u, v), (v, v)), entries, strict=True))
    table[v, u] = table[u, v]
    return first(u) * second(v)
