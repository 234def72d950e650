r"""The laws of what a layer's statements draw; of matrices that are not Gaussian, exactly in the numbers of neurons.

With i.i.d. entries a neuron is a sum of independent numbers, so its cumulants are averages over what the matrix reads, and polynomials
have a mean. Rows of an orthogonal matrix lie uniformly on a sphere, each in the complement of the others: a Gaussian vector is
such a row times an independent length, so homogeneous functions have Gaussian means up to a factor.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import singledispatch
from itertools import product

import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from derivations.errors import DerivationError, NotClosed, brief, kind_of
from derivations.gaussian.node import GaussianMean
from derivations.limits.elimination.attention_laws import AttentionLaw, HeadsLaw
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.draws import (
    AttentionDraw,
    Coins,
    Draw,
    EntriesDraw,
    Fluctuations,
    HeadsDraw,
    JoinedDraw,
    OrthogonalDraw,
)
from derivations.limits.elimination.expectation import CoinLaw, FluctuationLaw, GaussianLaw, Law
from derivations.limits.elimination.held import released
from derivations.limits.elimination.homogeneous import NotHomogeneous, homogeneous_parts
from derivations.limits.elimination.wick import gaussian_mean
from derivations.piecewise import pieces


class EntriesLaw(GaussianLaw):
    """Of what a matrix with i.i.d. entries puts out."""

    isotropic = False

    def __init__(self, draw: EntriesDraw) -> None:
        super().__init__(draw)
        self.cumulant, self.symmetric = draw.cumulant, draw.symmetric

    def own_mean(self, body: sp.Expr) -> sp.Expr:
        """Of a polynomial: over all ways to split a product into blocks, the product of their cumulants.

        Under a symmetric law a function of one variable has the mean of its even part, as ReLU's square half of that of the square.
        """
        body = released(body)
        used = [v for v in self.variables if body.has(v)]
        if self.symmetric and len(used) == 1 and not body.is_polynomial(*used):
            body = _even_part(body, used[0])
        if not body.is_polynomial(*used):
            raise NotClosed(
                f"the mean of {brief(body)} has no closed form for entries that are not Gaussian: only polynomials are known by the moments of "
                "the entries; take the width to infinity, or Gaussian entries"
            )
        total = sp.S.Zero
        for powers, coefficient in sp.Poly(body, *used).terms() if used else [((), body)]:
            factors = [self.variables.index(v) for v, power in zip(used, powers, strict=True) for _ in range(power)]
            total += coefficient * self._moment(factors)
        return total

    def _moment(self, factors: list[int]) -> sp.Expr:
        if not factors:
            return sp.S.One
        total = sp.S.Zero
        for blocks in multiset_partitions(list(range(len(factors)))):
            if all(len(block) > 1 for block in blocks):
                total += sp.Mul(*(self._joint_cumulant(tuple(factors[i] for i in block)) for block in blocks))
        return total

    def _joint_cumulant(self, places: tuple[int, ...]) -> sp.Expr:
        if len(places) == 2:
            return self.entry(self.variables[places[0]], self.variables[places[1]])
        return self._placeholder(self.cumulant(tuple(sorted(places))))


class JoinedLaw(GaussianLaw):
    """Of what several matrices put out: of all together, or else of one after the other."""

    def __init__(self, draw: JoinedDraw, evaluate: bool = True) -> None:
        super().__init__(draw, evaluate)
        self.parts = [GaussianLaw(part, evaluate, keeps=False) for part in draw.parts]
        for law in self.parts:
            law.names, law.zeros = self.names, self.zeros

    def with_coefficients(
        self, coefficients: Coefficients, moving: Collection[sp.Symbol], neurons: Collection[sp.Symbol]
    ) -> None:
        """As for one matrix."""
        super().with_coefficients(coefficients, moving, neurons)
        for law in self.parts:
            law.with_coefficients(coefficients, moving, neurons)

    def by_rule(self, body: sp.Expr) -> sp.Expr:
        """By one for functions of all, such as a maximum; what has none may have a mean over one matrix."""
        try:
            return super().by_rule(body)
        except NotClosed as error:
            try:
                found = self._one_after_the_other(body)
            except NotClosed:
                raise error from None
            if found is None:
                raise
            return found

    def _one_after_the_other(self, body: sp.Expr) -> sp.Expr | None:
        """None where that would nest means, whose values take long, and one over all variables can stand for them."""
        whole = self.unevaluated(body) is not None
        if whole and not _of_exponentials(body):
            return None
        for law in reversed(self.parts):
            body = law.mean(body)
            if whole and any(mean.has(*self.variables) for mean in body.atoms(GaussianMean)):
                return None
        return body


def _of_exponentials(body: sp.Expr) -> bool:
    """Whether a mean over some variables is likely to leave what has a mean over the others."""
    return all(isinstance(f, sp.exp | sp.sin | sp.cos) for f in body.atoms(sp.Function)) and not any(
        power.base.is_Add and power.exp.is_negative for power in body.atoms(sp.Pow)
    )


class OrthogonalLaw(GaussianLaw):
    """Of what an orthogonal matrix puts out."""

    independent = False
    isotropic = False

    def __init__(self, draw: OrthogonalDraw) -> None:
        super().__init__(draw)
        self.size = draw.dimension

    @property
    def dimension(self) -> sp.Expr:
        """N of the N × N matrix whose rows or columns these are."""
        if self.size.has(sp.Max):
            raise NotClosed(
                f"an orthogonal matrix here lives in dimension {self.size}, and which number is larger is not known; give numbers"
            )
        return self.size

    def own_mean(self, body: sp.Expr) -> sp.Expr:
        """Of a function of one row: a Gaussian mean over the mean of the length's power, degree by degree."""
        total = sp.S.Zero
        for degree, part in self._parts(body):
            gaussian = super().own_mean(part)
            total += gaussian if gaussian == 0 else self._share(degree, 0) * gaussian
        return total

    def _share(self, degree: int, before: int) -> sp.Expr:
        r""":math:`N^{d/2}/\mathbb{E}R^d` with R the length of N standard normal numbers, in the complement of earlier rows."""
        if degree in (0, 2):
            return sp.S.One
        free, half = self.dimension - before, sp.Rational(degree, 2)
        if degree % 2 == 0:
            return sp.Mul(*(free / (free + 2 * k) for k in range(degree // 2)))
        return (free / 2) ** half * sp.gamma(free / 2) / sp.gamma(free / 2 + half)

    def _parts(self, body: sp.Expr) -> list[tuple[int, sp.Expr]]:
        try:
            return homogeneous_parts(body, self.variables)
        except NotHomogeneous as error:
            raise NotClosed(
                f"the mean of {brief(error.factor)} over a row of an orthogonal matrix has no closed form: only functions are known that "
                "scale with their argument, such as relu; take the width to infinity, or Gaussian entries"
            ) from error

    def joint(self, bodies: Sequence[sp.Expr]) -> list[tuple[sp.Expr, list[sp.Expr]]]:
        """Rows one after the other, each uniform in the complement of those before."""
        if len(bodies) < 2:
            return super().joint(bodies)
        split = []
        for body in bodies:
            terms = sp.Add.make_args(sp.expand(body))
            split.append([term.as_independent(*self.variables, as_Add=False) for term in terms])
        return [(self._rows([own for _, own in chosen]), [rest for rest, _ in chosen]) for chosen in product(*split)]

    def _rows(self, functions: list[sp.Expr]) -> sp.Expr:
        """The mean of a product of functions of different rows, of which one at most is no polynomial."""
        functions = [f for f in map(released, functions) if f != 1]
        functions.sort(key=lambda f: bool(f.is_polynomial(*self.variables)))
        if len(functions) < 2:
            return self.own_mean(functions[0]) if functions else sp.S.One
        if not functions[1].is_polynomial(*self.variables):
            raise NotClosed(
                f"no rule is known for the mean of {functions[0]} times {functions[1]} at two rows of an orthogonal matrix, which "
                "depend on each other; take the width to infinity, or Gaussian entries"
            )
        rows = [{v: sp.Dummy(v.name, real=True) for v in self.variables} for _ in functions[1:]]
        after = sp.S.One
        for place in range(len(functions) - 1, 0, -1):
            row, before = rows[place - 1], [{v: v for v in self.variables}, *rows[: place - 1]]
            body = sp.expand(functions[place].xreplace(row) * after)
            own = [v for v in row.values() if body.has(v)]
            after = sp.S.Zero
            for powers, coefficient in sp.Poly(body, *own).terms() if own else [((), body)]:
                if sum(powers) % 2:
                    continue
                if sum(powers) and (self.dimension - place).is_nonpositive:
                    return sp.S.Zero  # there are not so many rows
                used = [v for v in self.variables if row[v] in own and sum(powers)]
                table = {
                    (row[a], row[b]): (self.dimension * self.entry(a, b) - sp.Add(*(q[a] * q[b] for q in before)))
                    / (self.dimension - place)
                    for a in used
                    for b in used
                }
                monomial = sp.Mul(*(v**p for v, p in zip(own, powers, strict=True)))
                after += coefficient * self._share(sum(powers), place) * gaussian_mean(monomial, table)
        return self.mean(functions[0] * after)


def _even_part(body: sp.Expr, u: sp.Symbol) -> sp.Expr:
    """(f(u) + f(−u))/2 where that is a polynomial, at 0 too, else the function itself."""
    parts = pieces(body, u)
    if not {end for p in parts for end in (p.left, p.right)} <= {sp.S.Zero, sp.oo, -sp.oo}:
        return body
    even = sp.expand((parts[-1].expr + parts[0].expr.xreplace({u: -u})) / 2)
    still = even.is_polynomial(u) and sp.expand(even - even.xreplace({u: -u})) == 0
    return even if still and sp.expand(even.subs(u, 0) - body.subs(u, 0)) == 0 else body


@singledispatch
def law_of(random: object, evaluate: bool = True) -> Law:
    """The law of what a statement draws; without ``evaluate`` a Gaussian's means are left as nodes, for a closed form later."""
    raise DerivationError(f"no law is known of {kind_of(random)}")


@law_of.register
def _(random: Draw, evaluate: bool = True) -> Law:
    return GaussianLaw(random, evaluate)


@law_of.register
def _(random: JoinedDraw, evaluate: bool = True) -> Law:
    return JoinedLaw(random, evaluate)


@law_of.register
def _(random: Coins, evaluate: bool = True) -> Law:
    return CoinLaw(random)


@law_of.register
def _(random: EntriesDraw, evaluate: bool = True) -> Law:
    return EntriesLaw(random)


@law_of.register
def _(random: OrthogonalDraw, evaluate: bool = True) -> Law:
    return OrthogonalLaw(random)


@law_of.register
def _(random: Fluctuations, evaluate: bool = True) -> Law:
    return FluctuationLaw(random, evaluate)


@law_of.register
def _(random: AttentionDraw, evaluate: bool = True) -> Law:
    return AttentionLaw(random)


@law_of.register
def _(random: HeadsDraw, evaluate: bool = True) -> Law:
    return HeadsLaw(random)
