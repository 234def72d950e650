r"""The law of the tangent kernel of one output: forward and backward norms as one process, where the Gram matrix closes.

For the output :math:`g\cdot x_T` with :math:`g \sim N(0, I/n)` the kernel of one input is :math:`\int \tau(V_s)\,|G_s|^2\,\mathrm{d}s`: each layer adds
what its own parameters move, along the gradient G in the layer. Of G three numbers matter: :math:`c = G\cdot x` and the part P of
:math:`|G|^2` that is orthogonal to the state. V moves forward with the depth, and c, P move backward from the output, driven by the same weights.

*Derivation.* For a tangent v with :math:`w = x\cdot v/n`, :math:`u = |v|^2/n` the number :math:`G\cdot v` is the same in every layer. Given c and P
its moments are polynomials :math:`D_k(V, w, u; c, P)`, by the invariance under rotations of the neurons. So the generator of (V, w, u) on
:math:`D_k` is the generator of (c, P) on it, and its coefficients are compared; noise shared with V is found in the same way. All
:math:`D_k` up to the fourth must agree, which is more equations than unknowns. Forward and backward weights are the same; nothing is taken as
independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import sympy as sp

from derivations.backward.tangents import TangentGram
from derivations.equations import DT
from derivations.errors import NotClosed, brief
from derivations.gaussian.node import GaussianMean
from derivations.gaussian.tidy import tidy
from derivations.notation.nodes import DifferentialOf, Rate, Variation, expected, letter
from derivations.notation.printed import Shown
from derivations.notation.steps import Line, Term, equation
from derivations.symbols import mean_square, time

#: Mean square of a neuron; output along the state; squared norm of the rest of the gradient.
SQUARE, ALONG, ACROSS = mean_square, sp.Symbol("c", real=True), sp.Symbol("P", positive=True)
_W, _U, _R = sp.symbols("w u R", real=True)  # of a tangent: along the state, its square, and the square of the rest
_SHARE = sp.Dummy("iota", positive=True)  # 1/n


@dataclass(frozen=True, repr=False)
class KernelLaw(Shown):
    r"""The tangent kernel of one output as :math:`\int_0^t \texttt{rate}\,\mathrm{d}s` along a forward and a backward process.

    Parameters
    ----------
    gram : TangentGram

    Notes
    -----
    The backward equations are Itô's in the direction from the output: ``backward_drift`` and ``backward_covariance`` are of what
    :math:`(c, P)` gain in a layer on the way back, and ``shared`` is the covariance of that with what V gains in the same layer on the way forward. At the
    output :math:`c \sim N(0, V_t)` given V, and :math:`P` is :math:`1 - 1/n` in the mean, with the law of :math:`\chi^2_{n-1}/n`.
    """

    gram: TangentGram

    @cached_property
    def _forward(self) -> tuple[tuple[sp.Expr, ...], sp.Matrix]:
        """Drift and covariance of (V, w, u), with w, R and 1/n as letters."""
        pairs, m = ((0, 0), (0, 1), (1, 1)), self.gram.matrix
        names = {m[0, 0]: SQUARE, m[0, 1]: _W, m[1, 1]: _R + _W**2 / SQUARE}

        def named(expr: sp.Expr) -> sp.Expr:
            return (
                expr.xreplace(names).subs(1 / self.gram.share, 1 / _SHARE)
                if self._share is _SHARE
                else expr.xreplace(names)
            )

        drift = tuple(named(self.gram.drift_of(*p)) for p in pairs)
        return drift, sp.Matrix(3, 3, lambda i, j: named(self.gram.noise_of(*sorted((pairs[i], pairs[j])))))

    @cached_property
    def _held(self) -> tuple[tuple[sp.Expr, ...], sp.Matrix, dict[sp.Basic, sp.Expr]]:
        """The same as polynomials in w and R, with a letter for each coefficient, and what the letters stand for."""
        drift, noise = self._forward
        letters = _Letters()
        return tuple(map(letters, drift)), noise.applyfunc(letters), letters.back

    @property
    def drift(self) -> sp.Expr:
        """Of V."""
        return self._at_size(self._forward[0][0])

    @property
    def covariance(self) -> sp.Expr:
        """Of V."""
        return self._at_size(self._forward[1][0, 0])

    def _at_size(self, expr: sp.Expr) -> sp.Expr:
        """With n again, and the means."""
        found = expr.xreplace({_SHARE: self.gram.share})
        if found.has(GaussianMean):
            return sp.factor_terms(found)
        return sp.factor_terms(tidy(found)) if _has_functions(found) else sp.factor(found)

    def _shown(self, expr: sp.Expr) -> sp.Expr:
        """A coefficient of the backward process with functions in the place of their letters."""
        back = self._held[2]
        if not any(map(_has_functions, back.values())):
            return self._at_size(expr.xreplace(back))
        terms = sp.collect(sp.expand(expr), (ALONG, ACROSS), evaluate=False)
        return sp.Add(*(m * self._at_size(e.xreplace(back)) for m, e in terms.items()))

    @property
    def _share(self) -> sp.Expr:
        """1/n, as a letter where n is one, so that all is polynomial in it."""
        return _SHARE if self.gram.share.free_symbols else self.gram.share

    def _moment(self, k: int) -> sp.Expr:
        return _moment(k, self._share)

    def _generated(self, k: int) -> tuple[sp.Expr, sp.Expr]:
        """The generator on a moment, and the noise that it shares with V."""
        (drift, noise, _), f = self._held, self._moment(k)
        letters = (SQUARE, _W, _U)
        first = [sp.diff(f, s) for s in letters]
        moved = sp.Add(*(b * _apart(d) for b, d in zip(drift, first, strict=True)))
        for i, d in enumerate(first):
            moved += sp.Add(*(noise[i, j] * _apart(sp.diff(d, s)) for j, s in enumerate(letters))) / 2
        return sp.expand(moved), sp.expand(sp.Add(*(noise[0, j] * _apart(d) for j, d in enumerate(first))))

    @cached_property
    def _backward(self) -> tuple[sp.ImmutableMatrix, sp.ImmutableMatrix, sp.ImmutableMatrix]:
        """Drift, covariance, and the noise shared with V, of c and P."""
        self.gram.require_whole()
        if self.gram.share == 1:
            raise NotClosed(
                "of one neuron the gradient has no part across the state; its tangent kernel is that of the state itself"
            )
        rates = [self._generated(k) for k in (1, 2, 3, 4)]
        left = 1 - self._share
        one = SQUARE * rates[0][0].coeff(_W, 1).coeff(_R, 0)
        two = SQUARE**2 * rates[1][0].coeff(_W, 2).coeff(_R, 0) / left
        rest = rates[1][0].coeff(_W, 0).coeff(_R, 1)
        mixed = SQUARE * rates[2][0].coeff(_W, 1).coeff(_R, 1) / 3
        last = rates[3][0].coeff(_W, 0).coeff(_R, 2) / 3
        shared = [SQUARE * rates[0][1].coeff(_W, 1).coeff(_R, 0), rates[1][1].coeff(_W, 0).coeff(_R, 1)]
        both = [two - 2 * ALONG * one, mixed - ALONG * rest - ACROSS * one, last - 2 * ACROSS * rest]
        a, q, s = (sp.Matrix([sp.cancel(e) for e in es]) for es in ([one, rest], both, shared))
        covariance = sp.Matrix([[q[0], q[1]], [q[1], q[2]]])
        _require_dual([self._moment(k) for k in (1, 2, 3, 4)], rates, a, covariance, s, self._held[2])
        a, covariance, s = (m.applyfunc(self._shown) for m in (a, covariance, s))
        return sp.ImmutableMatrix(a), sp.ImmutableMatrix(covariance), sp.ImmutableMatrix(s)

    @property
    def backward_drift(self) -> sp.ImmutableMatrix:
        """Of c and P, from the output on, shape (2, 1)."""
        return self._backward[0]

    @property
    def backward_covariance(self) -> sp.ImmutableMatrix:
        """Of c and P, shape (2, 2)."""
        return self._backward[1]

    @property
    def shared(self) -> sp.ImmutableMatrix:
        """Covariance of c and P on their way back with V on its way forward, shape (2, 1)."""
        return self._backward[2]

    @property
    def lines(self) -> tuple[Line, ...]:
        """V along the depth; c and P on their way back, marked with an arrow; the kernel's rate."""
        names, (drift, covariance, shared) = (ALONG, ACROSS), self._backward
        back = {s: sp.Symbol(f"{s}^b", real=True) for s in names}
        lines = [Line(expected(DifferentialOf(SQUARE), SQUARE), (Term(self.drift, DT),))]
        lines += [Line(Variation(SQUARE, SQUARE, time), (Term(self.covariance, DT),))]
        lines += [
            Line(expected(DifferentialOf(back[s]), SQUARE, *names), (Term(b, DT),))
            for s, b in zip(names, drift, strict=True)
        ]
        pairs = [
            (back[a], back[b], covariance[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i <= j
        ]
        pairs += [(back[s], SQUARE, e) for s, e in zip(names, shared, strict=True)]
        lines += [Line(Variation(a, b, time), (Term(e, DT),)) for a, b, e in pairs if e != 0]
        return (*lines, equation(Rate(letter("Theta"), time), self.rate))

    @property
    def squared(self) -> sp.Expr:
        r"""The gradient's squared norm :math:`|G|^2 = P + c^2/(nV)`."""
        return ACROSS + self.gram.share * ALONG**2 / SQUARE

    @cached_property
    def rate(self) -> sp.Expr:
        r"""What a unit of time adds to the kernel: :math:`\tau(V)\,|G|^2`."""
        return sp.factor(self.gram.source().xreplace({self.gram.matrix[0, 0]: SQUARE}) * self.squared)


class _Letters:
    """Names for functions of V and 1/n that stand before powers of w and R, so that moments are compared as short polynomials."""

    def __init__(self) -> None:
        self._names: dict[sp.Expr, sp.Dummy] = {}

    @property
    def back(self) -> dict[sp.Basic, sp.Expr]:
        """What stands behind the names."""
        return {name: value for value, name in self._names.items()}

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """A polynomial in w and R by names."""
        means = {e: sp.Dummy("E", real=True) for e in sp.preorder_traversal(expr) if isinstance(e, GaussianMean)}
        back = {name: e for e, name in means.items()}
        if any(e.free_symbols & {_W, _R} for e in means):
            raise NotClosed(
                f"tangents move by {brief(next(iter(means)))}, which is no polynomial in them; simulate the networks"
            )
        found = _polynomial(expr.xreplace(means))
        return sp.Add(*(self._named(tidy(value).xreplace(back)) * m for m, value in found.items()))

    def _named(self, value: sp.Expr) -> sp.Expr:
        return value if value.is_Rational else self._names.setdefault(value, sp.Dummy("C", real=True))


def _polynomial(expr: sp.Expr) -> dict[sp.Expr, sp.Expr]:
    """The coefficient of each monomial in w and R."""
    if not expr.has(_W, _R):
        return {sp.S.One: expr}
    if expr in (_W, _R):
        return {expr: sp.S.One}
    if expr.is_Add:
        total: dict[sp.Expr, sp.Expr] = {}
        for term in expr.args:
            for m, value in _polynomial(term).items():
                total[m] = total.get(m, sp.S.Zero) + value
        return total
    if expr.is_Mul:
        made = {sp.S.One: sp.S.One}
        for factor in expr.args:
            inner, outer, made = _polynomial(factor), made, {}
            for (m, x), (k, y) in product(outer.items(), inner.items()):
                made[m * k] = made.get(m * k, sp.S.Zero) + x * y
        return made
    if expr.is_Pow and expr.exp.is_Integer and expr.exp.is_positive:
        return _polynomial(sp.Mul(*[expr.base] * int(expr.exp), evaluate=False))
    raise NotClosed(f"tangents move by {brief(expr)}, which is no polynomial in them; simulate the networks")


def _apart(expr: sp.Expr) -> sp.Expr:
    return expr.xreplace({_U: _R + _W**2 / SQUARE})


def _moment(k: int, share: sp.Expr) -> sp.Expr:
    r""":math:`\mathbb{E}(G\cdot v)^k` given the norms, in V, w, u, c and P, times a power of :math:`1 \pm 1/n`.

    The parts orthogonal to the state have uniformly distributed directions in n − 1 dimensions, whose product has the second moment
    :math:`1/(n-1)` and the fourth :math:`3/((n-1)(n+1))`.
    """
    along, across = ALONG * _W / SQUARE, ACROSS * (_U - _W**2 / SQUARE)
    low, high = sp.sympify(1 - share), sp.sympify(1 + share)
    total, common = sp.S.Zero, {1: sp.S.One, 2: low, 3: low, 4: low * high}[k]
    for j, even in {0: sp.S.One, 2: across / low, 4: 3 * across**2 / (low * high)}.items():
        if j <= k:
            total += sp.binomial(k, j) * along ** (k - j) * sp.cancel(even * common)
    return sp.expand(total)


def _require_dual(
    moments: list[sp.Expr],
    rates: list[tuple[sp.Expr, sp.Expr]],
    drift: sp.Matrix,
    covariance: sp.Matrix,
    shared: sp.Matrix,
    values: dict[sp.Basic, sp.Expr],
) -> None:
    """All coefficients of all moments agree, not only those from which the backward process was read."""
    names = (ALONG, ACROSS)
    for moment, (moved, common) in zip(moments, rates, strict=True):
        f = _apart(moment)
        back = sp.Add(*(b * sp.diff(f, s) for b, s in zip(drift, names, strict=True)))
        back += (
            sp.Add(*(covariance[i, j] * sp.diff(f, a, b) for i, a in enumerate(names) for j, b in enumerate(names))) / 2
        )
        both = sp.Add(*(e * sp.diff(f, s) for e, s in zip(shared, names, strict=True)))
        if not all(_vanishes(e, values) for e in (back - moved, both - common)):
            raise NotClosed(
                "forward and backward norms are no process by themselves: gradients are read through more than their length and the output; "
                "simulate the networks"
            )


def _vanishes(expr: sp.Expr, values: dict[sp.Basic, sp.Expr]) -> bool:
    """Whether a polynomial in w, R, c and P is 0, with values in the place of letters where it is not 0 in these."""
    above = sp.numer(sp.cancel(sp.expand(expr)))
    return all(tidy(c.xreplace(values)) == 0 for c in sp.Poly(above, _W, _R, ALONG, ACROSS).coeffs())


def _has_functions(expr: sp.Expr) -> bool:
    """Whether it is more than a rational function."""
    return expr.has(sp.Function, GaussianMean) or any(not node.exp.is_Integer for node in expr.atoms(sp.Pow))
