r"""Which exponents have a limit: the faces of a polyhedron.

With sizes :math:`s_k = \sigma_k L^{-p_k}` and a layer that takes :math:`1/L` of time, a monomial :math:`\prod_k s_k^{j_k}` of one layer's mean or
covariance adds :math:`L^{1 - j\cdot p}` times its coefficient in all layers. So a limit exists where :math:`j\cdot p \ge 1` for every
monomial that occurs, it is not trivial where equality holds for one, and the monomials with equality are what survives: the regimes are the
faces of the polyhedron :math:`\{p : j\cdot p \ge 1\}` apart from those on which the signs of the exponents alone are the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import sympy as sp

from derivations.exponents.polyhedron import Constraint, Face, Polyhedron, Vector
from derivations.exponents.terms import Powers, Terms

#: The exponent of the width: the depth to the power q is the number of neurons.
width_exponent = sp.Symbol("q", real=True)


@dataclass(frozen=True)
class ScalingRegime:
    """Exponents with the same surviving terms.

    Parameters
    ----------
    drift, noise : tuple of Powers
        The monomials that survive in the mean and in the covariance.
    conditions : tuple of Relational
        On the exponents.
    example : dict
        Exponents that fulfil them.
    faces : tuple of Face
    """

    drift: tuple[Powers, ...]
    noise: tuple[Powers, ...]
    conditions: tuple[sp.Rel, ...]
    example: dict[sp.Symbol, sp.Rational]
    faces: tuple[Face, ...]

    @property
    def kind(self) -> str:
        """``"drift only"``, ``"noise only"`` or ``"drift and noise"``."""
        if not self.noise:
            return "drift only"
        return "drift and noise" if self.drift else "noise only"

    @property
    def surviving(self) -> frozenset[Powers]:
        """All monomials that survive."""
        return frozenset((*self.drift, *self.noise))


@dataclass(frozen=True)
class Exponents:
    """The polyhedron of a layer's exponents.

    Parameters
    ----------
    symbols : tuple of Symbol
        The exponents.
    signs : tuple of int
        1 for an exponent that is at least 0, -1 for one that is at most 0.
    terms : Terms
    moving : frozenset of Symbol
        Exponents that are not 0: of the width, and of branches, all powers of which are of one size at 0.
    """

    symbols: tuple[sp.Symbol, ...]
    signs: tuple[int, ...]
    terms: Terms
    moving: frozenset[sp.Symbol] = frozenset()

    @cached_property
    def monomials(self) -> tuple[Powers, ...]:
        """All that occur."""
        return tuple(dict.fromkeys((*self.terms.drift, *self.terms.noise)))

    def _signs(self) -> list[Constraint]:
        size = len(self.symbols)
        return [
            Constraint(tuple(Fraction(sign * (j == k)) for j in range(size)), Fraction(0))
            for k, sign in enumerate(self.signs)
        ]

    @cached_property
    def _strict(self) -> list[Constraint]:
        """The signs of exponents that are not 0."""
        return [sign for symbol, sign in zip(self.symbols, self._signs(), strict=True) if symbol in self.moving]

    def _is_strict(self, one: Constraint) -> bool:
        return one.bound != 0 or one in self._strict

    def _bound(self, powers: Powers) -> Constraint:
        return Constraint(_fractions(powers), Fraction(1))

    @cached_property
    def _needed(self) -> list[Constraint]:
        """The bounds of monomials without those that others imply."""
        kept = [self._bound(m) for m in self.monomials]
        for one in list(kept):
            rest = [c for c in kept if c != one]
            if rest and Polyhedron((*rest, *self._signs())).implies(one):
                kept = rest
        return kept

    @cached_property
    def polyhedron(self) -> Polyhedron:
        """Where a limit exists."""
        return Polyhedron((*self._needed, *self._signs()))

    def tight(self, point: Vector) -> frozenset[Powers]:
        """The monomials that survive at exponents."""
        return frozenset(m for m in self.monomials if self._bound(m).excess(point) == 0)

    @cached_property
    def regimes(self) -> tuple[ScalingRegime, ...]:
        """All with a limit that is not trivial; those with more surviving terms first."""
        if not self.monomials or self.polyhedron.is_empty:
            return ()
        groups: dict[frozenset[Powers], list[Face]] = {}
        for face in self.polyhedron.faces:
            if alive := self.tight(face.inside):
                groups.setdefault(alive, []).append(face)
        found = [self._regime(alive, faces) for alive, faces in groups.items()]
        return tuple(
            sorted(found, key=lambda r: (-len(r.surviving), sp.default_sort_key(sp.Tuple(*r.example.values()))))
        )

    def _regime(self, alive: frozenset[Powers], faces: list[Face]) -> ScalingRegime:
        order = {m: k for k, m in enumerate(self.monomials)}
        drift = tuple(sorted((m for m in self.terms.drift if m in alive), key=order.__getitem__))
        noise = tuple(sorted((m for m in self.terms.noise if m in alive), key=order.__getitem__))
        points = [c for face in faces for c in face.corners if self.tight(c) == alive]
        points = [c for c in points if all(one.excess(c) for one in self._strict)]
        inside = max((face.inside for face in faces), key=lambda c: sum(one.excess(c) > 0 for one in self._strict))
        point = min(points, key=lambda c: (sum(v.denominator for v in c), c)) if points else inside
        example = {s: sp.Rational(v.numerator, v.denominator) for s, v in zip(self.symbols, point, strict=True)}
        return ScalingRegime(drift, noise, self._conditions(alive), example, tuple(faces))

    def _conditions(self, alive: frozenset[Powers]) -> tuple[sp.Rel, ...]:
        """Equalities of what survives, solved, and the bounds of all else that they do not imply."""
        equal = [Constraint(c.slope, c.bound) for m in alive for c in (self._bound(m),)]
        opposite = [Constraint(tuple(-a for a in c.slope), -c.bound) for c in equal]
        rest = [c for c in (*self._needed, *self._signs()) if c not in equal]
        for one in list(rest):
            others = [c for c in rest if c != one]
            face = Polyhedron((*equal, *opposite, *others, *self._signs()))
            if not face.is_empty and face.implies(one) and not self._touches(face, one):
                rest = others
        unknown = list(self.symbols)
        solved = sp.solve([self._left(c) - _rational(c.bound) for c in equal], unknown, dict=True)[0]
        relations: list[sp.Rel] = [sp.Eq(s, solved[s]) for s in unknown if s in solved]
        for c in rest:
            left = sp.expand(self._left(c).xreplace(solved) - _rational(c.bound))
            if not left.free_symbols:
                continue
            relations.append(_above(left, self._is_strict(c)))
        return tuple(dict.fromkeys(relations))

    def _touches(self, face: Polyhedron, one: Constraint) -> bool:
        """Whether a bound that is implied holds with equality somewhere, where it must be kept as a strict one."""
        return self._is_strict(one) and any(one.excess(c) == 0 for c in face.whole.corners)

    def _left(self, constraint: Constraint) -> sp.Expr:
        return sp.Add(*(_rational(a) * s for a, s in zip(constraint.slope, self.symbols, strict=True)))

    def size(self, at: Mapping[sp.Symbol, object], powers: Powers) -> sp.Expr:
        """The exponent of the depth in what a monomial adds in all layers."""
        total = sp.Add(*(j * sp.sympify(at[s]) for j, s in zip(powers, self.symbols, strict=True)))
        return sp.expand(1 - total)


def _above(left: sp.Expr, strict: bool) -> sp.Rel:
    """``left > 0`` or ``left >= 0``, solved for its only symbol where it has one."""
    symbols = sorted(left.free_symbols, key=str)
    relation = sp.StrictGreaterThan if strict else sp.GreaterThan
    if len(symbols) == 1:
        (s,) = symbols
        slope = left.coeff(s)
        value = -left.coeff(s, 0) / slope
        if slope.is_negative:
            relation = sp.StrictLessThan if strict else sp.LessThan
        return relation(s, value, evaluate=False)
    positive = sp.Add(*(t for t in left.as_ordered_terms() if not t.is_number))
    return relation(positive, -(left - positive), evaluate=False)


def _fractions(powers: Powers) -> Vector:
    return tuple(Fraction(int(p.p), int(p.q)) for p in powers)


def _rational(value: Fraction) -> sp.Rational:
    return sp.Rational(value.numerator, value.denominator)
