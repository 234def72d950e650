r"""The law on the whole line, put together from one law per interval between zeros of the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sympy as sp

from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.laws.base import Atom, Check, Law, Proof, Words
from derivations.laws.constants import with_numbers
from derivations.laws.frozen import FrozenLaw
from derivations.laws.initial import Normal
from derivations.laws.kernel import KernelLaw
from derivations.notation.nodes import ProbabilityOf, TransitionDensity, equals, indexed
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, equation
from derivations.special import LogNormalCdf, ScaledBesselI
from derivations.symbols import initial, state, time

Start: TypeAlias = sp.Expr | Normal

_X = indexed("X", (time,))


def _readable(expr: sp.Expr) -> sp.Expr:
    """As people write it: arctangents of one argument, logarithms of ratios, a normal distribution function by erfc."""
    expr = expr.replace(
        lambda node: isinstance(node, sp.exp) and isinstance(node.args[0], LogNormalCdf),
        lambda node: sp.erfc(-node.args[0].args[0] / sp.sqrt(2)) / 2,
    )
    expr = expr.replace(
        lambda node: isinstance(node, sp.atan2) and node.args[0] == 1, lambda node: sp.pi / 2 - sp.atan(node.args[1])
    )
    return expr.replace(lambda node: isinstance(node, sp.Add), _log_of_ratio)


def _one_exponential(density: sp.Expr, domain: sp.Set) -> sp.Expr:
    """Scaled Bessel functions as they are usual, in a product with one exponential: their exponents are added."""
    symbols = {state, initial} if domain.is_subset(sp.Interval(0, sp.oo)) else set()
    positive = {s: sp.Dummy(s.name, positive=True) for s in symbols}

    def gathered(product: sp.Mul) -> sp.Expr:
        scaled = product.replace(ScaledBesselI, lambda order, z: sp.exp(-z) * sp.besseli(order, z))
        raised = [f for f in sp.Mul.make_args(scaled) if isinstance(f, sp.exp)]
        if scaled == product:
            return product
        exponent = sp.factor(sp.expand(sp.Add(*(f.args[0] for f in raised))))
        return sp.Mul(*(f for f in sp.Mul.make_args(scaled) if f not in raised)) * sp.exp(exponent)

    back = {new: old for old, new in positive.items()}
    return density.xreplace(positive).replace(lambda node: isinstance(node, sp.Mul), gathered).xreplace(back)


def _used(part: KernelLaw, density: sp.Expr) -> list[Line]:
    """What the density is written in; a letter that neither it nor the words about the law have is not defined."""
    seen = set(density.free_symbols).union(*(w.free_symbols for w in part.description if isinstance(w, sp.Basic)))
    found: list[Line] = []
    for left, right in reversed(part.definitions):
        if not isinstance(left, sp.Symbol) or left in seen:
            found.insert(0, equation(left, right))
            seen |= right.free_symbols
    return found


def _log_of_ratio(total: sp.Add) -> sp.Expr:
    """The difference of two logarithms as that of the ratio; both are real here, so both arguments are positive."""
    plus = [t for t in total.args if isinstance(t, sp.log)]
    minus = [-t for t in total.args if isinstance(-t, sp.log)]
    if len(plus) != 1 or len(minus) != 1:
        return total
    return total - plus[0] + minus[0] + sp.log(plus[0].args[0] / minus[0].args[0], evaluate=False)


@dataclass(frozen=True, repr=False)
class PiecewiseLaw(Shown, Law):
    r"""The law of a scalar diffusion on its whole domain, one part per interval that it never leaves.

    Every method takes a fixed start, a number or a symbol, or a :class:`Normal` one; a number picks its part,
    a symbol gives a ``Piecewise`` over the parts, a Gaussian start averages over them.

    Parameters
    ----------
    diffusion : Diffusion
        The diffusion on its whole domain.
    parts : tuple of Law
        From left to right, with disjoint domains.

    Examples
    --------
    >>> from derivations import derive, ResNet, relu
    >>> derive(ResNet(relu, width=1)).law.moment(2, x0=sp.Integer(3))
    9*exp(t)
    """

    diffusion: Diffusion
    parts: tuple[Law, ...]

    @property
    def name(self) -> str:
        """The parts' names, each once, frozen ones last."""
        names = list(
            dict.fromkeys(
                p.name
                for p in sorted(self.parts, key=lambda p: isinstance(p, FrozenLaw))
                if p.diffusion.domain.measure != 0
            )
        )
        return ", ".join(names)

    @property
    def description(self) -> Words:
        """The parts' descriptions with their domains."""
        if len(self.parts) == 1:
            return self.parts[0].description
        said: list[str | sp.Basic] = []
        for p in self.parts:
            if p.diffusion.domain.measure != 0:
                said += ["; "] * bool(said) + ["on ", p.diffusion.domain, ": ", *p.description]
        return tuple(said)

    @property
    def letters(self) -> dict[sp.Basic, sp.Basic]:
        """What the state, the process and its start are called where they are not a neuron's."""
        (x,) = self.diffusion.states
        names = {
            state: x,
            initial: indexed(x, (sp.S.Zero,)),
            _X: indexed(x, (time,)),
            sp.Symbol("X_t", real=True): indexed(x, (time,)),
        }
        return {} if x == state else names

    @property
    def lines(self) -> tuple[Line, ...]:
        """Atoms and densities, part by part, with the starts for which they hold."""
        lines: list[Line] = []
        for part in self.parts:
            domain = part.diffusion.domain
            if domain.measure == 0:
                continue
            where = sp.Contains(initial, domain, evaluate=False) if len(self.parts) > 1 else None
            for atom in part.atoms:
                lines.append(equation(ProbabilityOf(equals(_X, atom.location)), _readable(atom.mass), where=where))
            if not isinstance(part, FrozenLaw):
                density = TransitionDensity(time, state, initial)
                shown = _readable(_one_exponential(part.pdf(state), domain))
                lines.append(equation(density, shown, where=where))
                if isinstance(part, KernelLaw):
                    lines += [line for line in _used(part, shown) if line not in lines]
        return tuple(line.xreplace(self.letters) for line in lines)

    def part(self, x0: sp.Expr) -> Law:
        """The law for a start given as a number."""
        for part in self.parts:
            if part.diffusion.domain.contains(x0) == sp.true:
                return part
        if self.diffusion.domain.contains(x0) == sp.true:
            raise DerivationError(
                f"at the start x0 = {x0} the noise vanishes and the drift does not, and the law from there is not known; choose another start"
            )
        raise DerivationError(f"the start x0 = {x0} is outside the domain {self.diffusion.domain}")

    def _over(self, x0: Start, value: Callable[[Law, sp.Expr], sp.Expr]) -> sp.Expr:
        if isinstance(x0, Normal):
            inner = sp.Dummy("x0", real=True)
            wide = [p for p in self.parts if p.diffusion.domain.measure != 0]
            return sp.Add(*(x0.average(value(p, inner), inner, p.diffusion.domain) for p in wide))
        x0 = sp.sympify(x0)
        if len(self.parts) == 1:
            if x0.is_number:
                self.part(x0)
            return value(self.parts[0], x0)
        if x0.is_number:
            return value(self.part(x0), x0)
        values = [value(p, x0) for p in self.parts]
        if len(set(values)) == 1:
            return values[0]
        return sp.Piecewise(
            *((v, p.diffusion.domain.as_relational(x0)) for v, p in zip(values, self.parts, strict=True))
        )

    def pdf(self, x: sp.Expr, t: sp.Expr = time, x0: Start = initial) -> sp.Expr:
        """Density of the absolutely continuous part; 0 outside the interval of the start."""
        x, t = sp.sympify(x), sp.sympify(t)
        density = self._over(x0, lambda part, start: _within(lambda: part.pdf(x, t, start), part, x, sp.S.Zero))
        if isinstance(x0, Normal):  # frozen starts keep their own density
            frozen = [p for p in self.parts if isinstance(p, FrozenLaw) and p.diffusion.domain.measure != 0]
            density += sp.Add(*(_within(lambda: x0.density(x), p, x, sp.S.Zero) for p in frozen))
        return density

    def logpdf(self, x: sp.Expr, t: sp.Expr = time, x0: Start = initial) -> sp.Expr:
        """Logarithm of the density, minus infinity where it is 0."""
        x, t = sp.sympify(x), sp.sympify(t)
        if isinstance(x0, Normal):
            return sp.log(self.pdf(x, t, x0))
        return self._over(x0, lambda part, start: _within(lambda: part.logpdf(x, t, start), part, x, -sp.oo))

    def cdf(self, x: sp.Expr, t: sp.Expr = time, x0: Start = initial) -> sp.Expr:
        """Distribution function, atoms included."""
        x, t = sp.sympify(x), sp.sympify(t)
        return self._over(x0, lambda part, start: _clipped(lambda: part.cdf(x, t, start), part, x))

    def moment(self, k: int, t: sp.Expr = time, x0: Start = initial) -> sp.Expr:
        r"""The moment :math:`\mathbb{E}X_t^k`."""
        if not isinstance(k, int | sp.Integer) or k < 0:
            raise DerivationError(f"the order of a moment must be a whole number ≥ 0, got {k!r}")
        return self._over(x0, lambda part, start: part.moment(k, sp.sympify(t), start))

    def finite_until(self, k: sp.Expr) -> sp.Expr:
        """The earliest time at which the k-th absolute moment of some part becomes infinite."""
        return sp.Min(*(part.finite_until(sp.sympify(k)) for part in self.parts))

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """Atoms of all parts, each with the starts for which it is there."""
        return tuple(atom for part in self.parts for atom in part.atoms)

    def _without_start(self) -> list[sp.Set]:
        """Points between two parts from which no law is known, since the drift takes the process to a side."""
        (x,), (mu,) = self.diffusion.states, self.diffusion.drift
        ends = [part.diffusion.domain.inf for part in self.parts[1:]]
        return [sp.FiniteSet(end) for end in ends if end.is_finite and mu.subs(x, end) != 0]

    @property
    def stationary(self) -> sp.Expr | None:
        """That of the only part; for several parts ask ``part(x0)``."""
        if len(self.parts) != 1:
            raise DerivationError("where the process settles depends on the start; use law.part(x0).stationary")
        return self.parts[0].stationary

    @property
    def is_martingale(self) -> bool | None:
        """Whether it is one from every start; None with drift."""
        found = [part.is_martingale for part in self.parts]
        return None if None in found else all(found)

    def sampler(self) -> Any:
        """The recipe of the only part; for several parts ask ``part(x0)``."""
        if len(self.parts) != 1:
            raise DerivationError("the sampler depends on where the start is; use law.part(x0).sampler()")
        return self.parts[0].sampler()

    def prove(self) -> Proof:
        """The proofs of all parts, and that their domains make up the whole."""
        rows = []
        for part in with_numbers(self.parts, self.diffusion, 60):
            domain, found = part.diffusion.domain, part.prove().checks
            rows += [replace(c, domain=domain if len(self.parts) > 1 else None) for c in found]
            if not found:  # nothing checked is nothing proved
                rows.append(Check("checks of the law", sp.S.Zero, sp.S.One, True, False, domain))
        union = sp.Union(*(p.diffusion.domain for p in self.parts), *self._without_start())
        rows.append(
            Check(
                "the intervals of the parts make up the domain",
                union,
                self.diffusion.domain,
                True,
                union == self.diffusion.domain,
            )
        )
        return Proof(tuple(rows))


def _within(value: Callable[[], sp.Expr], part: Law, x: sp.Expr, outside: sp.Expr) -> sp.Expr:
    """A density on its domain; the formula is not even asked at a point where it does not hold."""
    domain = part.diffusion.domain
    if domain == sp.S.Reals:
        return value()
    inside = domain.contains(x)
    if inside in (sp.true, sp.false):
        return value() if inside == sp.true else outside
    return sp.Piecewise((value(), inside), (outside, True))


def _clipped(value: Callable[[], sp.Expr], part: Law, x: sp.Expr) -> sp.Expr:
    """A distribution function, 0 below the domain and 1 above it."""
    domain = part.diffusion.domain
    if domain == sp.S.Reals or isinstance(part, FrozenLaw):
        return value()
    if x.is_number:
        return sp.S.Zero if x <= domain.inf else sp.S.One if x >= domain.sup else value()
    cases = [(sp.S.Zero, x <= domain.inf)] if domain.inf.is_finite else []
    if domain.sup.is_finite:
        cases.append((sp.S.One, x >= domain.sup))
    return sp.Piecewise(*cases, (value(), True))
