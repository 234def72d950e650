r"""Lamperti coordinates of a quadratic noise :math:`\varphi = a x^2 + b x + c`, by the sign of its discriminant."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.calculus.size import factored


@dataclass(frozen=True)
class Quadratic:
    r"""The polynomial :math:`a x^2 + b x + c`, :math:`a \ne 0`, with :math:`\Delta = b^2 - 4ac`."""

    a: sp.Expr
    b: sp.Expr
    c: sp.Expr
    x: sp.Symbol

    @classmethod
    def of(cls, expr: sp.Expr, x: sp.Symbol) -> Quadratic | None:
        """Read the coefficients off an expression; None if it is no quadratic."""
        if not expr.is_polynomial(x) or sp.degree(expr, x) != 2:
            return None
        a, b, c = sp.Poly(expr, x).all_coeffs()
        return cls(sp.factor(a), sp.factor(b), sp.factor(c), x)

    @property
    def expr(self) -> sp.Expr:
        """The polynomial."""
        return self.a * self.x**2 + self.b * self.x + self.c

    @property
    def has_parameters(self) -> bool:
        """Whether a coefficient is no number."""
        return any(not k.is_number for k in (self.a, self.b, self.c))

    @property
    def discriminant(self) -> sp.Expr:
        r""":math:`\Delta`, factored."""
        return sp.factor(self.b**2 - 4 * self.a * self.c)

    @property
    def root_of_discriminant(self) -> sp.Expr:
        r""":math:`\sqrt\Delta = |a(r_2 - r_1)|`, without a root of a root where the zeros of a polynomial of numbers are seen."""
        if not self.has_parameters:
            linear = [base for base in map(_base, sp.Mul.make_args(factored(self.expr))) if base.has(self.x)]
            if len(linear) == 2 and all(sp.degree(base, self.x) == 1 for base in linear):
                ends = (-base.subs(self.x, 0) / base.coeff(self.x) for base in map(sp.expand, linear))
                root = sp.expand(self.a * sp.Add(*(sign * end for sign, end in zip((1, -1), ends, strict=True))))
                return -root if root.is_negative else root
        return sp.sqrtdenest(sp.sqrt(self.discriminant))

    @property
    def roots(self) -> tuple[sp.Expr, sp.Expr]:
        r"""The zeros :math:`(-b \mp \sqrt\Delta)/2a`, in order for a > 0."""
        root = self.root_of_discriminant
        return (-self.b - root) / (2 * self.a), (-self.b + root) / (2 * self.a)

    def without_zeros(self) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
        r"""For :math:`\Delta < 0`: the distances of z from its left and right end, the length, and x as a function of the first.

        :math:`\int \mathrm{d}x/\varphi = \tfrac{2}{q}\arctan\tfrac{2ax + b}{q}`, :math:`q = \sqrt{-\Delta}`, between :math:`\mp\pi/q`; the
        distances are written with the two-argument arctangent, which does not cancel:
        :math:`\tfrac\pi2 - \arctan y = \operatorname{atan2}(1, y)`.
        """
        q = sp.sqrt(-self.discriminant)
        y = (2 * self.a * self.x + self.b) / q
        d = sp.Dummy("d", positive=True)
        back = (-q * sp.cot(q * d / 2) - self.b) / (2 * self.a)
        return (2 / q) * sp.atan2(1, -y), (2 / q) * sp.atan2(1, y), 2 * sp.pi / q, sp.Lambda(d, back)

    def double_zero(self) -> tuple[sp.Expr, sp.Expr]:
        r"""For :math:`\Delta = 0`, right of the zero: the distance of z from its right end, :math:`1/(a(x - r))`, and x of it.

        Left of the zero the distance from the left end is minus this.
        """
        d = sp.Dummy("d", real=True)
        r = -self.b / (2 * self.a)
        return 1 / (self.a * (self.x - r)), sp.Lambda(d, r + 1 / (self.a * d))

    def beyond(self, right: bool) -> tuple[sp.Expr, sp.Expr]:
        r"""For :math:`\Delta > 0` and beyond the zeros: the distance of z from its finite end, at infinite x, and x of it.

        Right of both zeros, with :math:`w = \sqrt\Delta/a` their distance apart,
        :math:`\int_x^\infty \mathrm{d}x/\varphi = \tfrac{1}{\sqrt\Delta}\log\bigl(1 + \tfrac{w}{x - r_2}\bigr)`; left of both likewise.
        """
        s = self.root_of_discriminant
        w, (low, high) = s / self.a, self.roots
        d = sp.Dummy("d", positive=True)
        if right:
            return sp.log(1 + w / (self.x - high)) / s, sp.Lambda(d, high + w / (sp.exp(s * d) - 1))
        return sp.log(1 + w / (low - self.x)) / s, sp.Lambda(d, low - w / (sp.exp(s * d) - 1))

    def between(self) -> tuple[sp.Expr, sp.Expr]:
        r"""For :math:`\Delta > 0`, between the zeros, with noise :math:`-\varphi`: a coordinate on the line, and x of it."""
        s = self.root_of_discriminant
        low, high = self.roots
        z = sp.Dummy("z", real=True)
        # x is written as its distance from a zero, from 0 if that is one: so it keeps its digits there
        near_low = low + (high - low) / (1 + sp.exp(-s * z))
        back = high - (high - low) / (1 + sp.exp(s * z)) if high == 0 else near_low
        return (sp.log(self.x - low) - sp.log(high - self.x)) / s, sp.Lambda(z, back)


def _base(factor: sp.Expr) -> sp.Expr:
    return factor.as_base_exp()[0]
