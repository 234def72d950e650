r"""Convex polyhedra of exponents, exactly: their corners and directions, and their faces.

A polyhedron :math:`\{p : a_r\cdot p \ge b_r\}` is the slice :math:`t = 1` of the cone :math:`\{(p, t) : a_r\cdot p - b_r t \ge 0,\ t \ge 0\}`. Its
extreme rays are found by solving every choice of as many constraints as determine a ray, which is quick for the handful of
exponents that a layer has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

from sympy import QQ
from sympy.polys.matrices import DomainMatrix

Vector: TypeAlias = tuple[Fraction, ...]


@dataclass(frozen=True)
class Constraint:
    r""":math:`a\cdot p \ge b`."""

    slope: Vector
    bound: Fraction

    def excess(self, point: Sequence[Fraction], scale: Fraction = Fraction(1)) -> Fraction:
        """The left side less the right side, at a point p/scale times the scale."""
        return sum((a * p for a, p in zip(self.slope, point, strict=True)), Fraction(0)) - self.bound * scale


@dataclass(frozen=True)
class Face:
    """A face by what spans it: corners, and directions in which it has no end."""

    corners: tuple[Vector, ...]
    directions: tuple[Vector, ...]

    @property
    def inside(self) -> Vector:
        """A point of its relative interior."""
        count, size = len(self.corners), len(self.corners[0])
        middle = [sum((c[i] for c in self.corners), Fraction(0)) / count for i in range(size)]
        return tuple(m + sum((d[i] for d in self.directions), Fraction(0)) for i, m in enumerate(middle))


@dataclass(frozen=True)
class Polyhedron:
    """All points that fulfil some constraints, in a pointed cone (each coordinate has a sign).

    Parameters
    ----------
    constraints : tuple of Constraint

    Examples
    --------
    >>> one, zero = Fraction(1), Fraction(0)
    >>> square = Polyhedron((Constraint((one, zero), one), Constraint((zero, one), one)))
    >>> square.whole.corners == ((1, 1),), len(square.faces)
    (True, 4)
    """

    constraints: tuple[Constraint, ...]

    @cached_property
    def _rays(self) -> tuple[tuple[Vector, Fraction], ...]:
        """Extreme rays (p, t) of the cone above, each scaled to t = 1 or to a largest entry of 1."""
        size = len(self.constraints[0].slope)
        rows = [(*c.slope, -c.bound) for c in self.constraints] + [(*[Fraction(0)] * size, Fraction(1))]
        found: dict[tuple[Vector, Fraction], None] = {}
        for chosen in combinations(rows, size):
            matrix = DomainMatrix(
                [[QQ(v.numerator, v.denominator) for v in row] for row in chosen], (size, size + 1), QQ
            )
            kernel = matrix.nullspace()
            if kernel.shape[0] != 1:
                continue
            ray = [Fraction(int(v.numerator), int(v.denominator)) for v in kernel.to_list_flat()]
            for sign in (1, -1):
                turned = [sign * v for v in ray]
                if all(sum(a * v for a, v in zip(row, turned, strict=True)) >= 0 for row in rows):
                    scale = turned[-1] or max(abs(v) for v in turned)
                    found[tuple(v / scale for v in turned[:-1]), Fraction(turned[-1] != 0)] = None
        return tuple(sorted(found))

    def _face(self, rays: frozenset[int]) -> Face:
        chosen = [self._rays[i] for i in sorted(rays)]
        return Face(tuple(p for p, t in chosen if t), tuple(p for p, t in chosen if not t))

    @property
    def whole(self) -> Face:
        """The polyhedron itself."""
        return self._face(frozenset(range(len(self._rays))))

    @property
    def is_empty(self) -> bool:
        """Whether no point fulfils all constraints."""
        return not any(t for _, t in self._rays)

    @cached_property
    def faces(self) -> tuple[Face, ...]:
        """All faces with a corner, the polyhedron itself first."""
        facets = [frozenset(i for i, (p, t) in enumerate(self._rays) if c.excess(p, t) == 0) for c in self.constraints]
        found = [frozenset(range(len(self._rays)))]
        for face in found:  # grows while it is read
            for facet in facets:
                if (cut := face & facet) not in found and any(self._rays[i][1] for i in cut):
                    found.append(cut)
        return tuple(map(self._face, found))

    def implies(self, constraint: Constraint) -> bool:
        """Whether every point fulfils one more constraint."""
        return all(constraint.excess(p, t) >= 0 for p, t in self._rays)
