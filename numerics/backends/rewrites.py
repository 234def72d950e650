r"""Equal formulas that lose fewer digits, for targets of fixed precision.

============================== ======================================= ====================
formula                        rewritten                                 near
============================== ======================================= ====================
:math:`\log(1 + e^u)`          :math:`\mathrm{logaddexp}(0, u)`          :math:`|u| \to \infty`
:math:`\log(1 + u)`            :math:`\mathrm{log1p}\,u`                 :math:`u \to 0`
:math:`e^{mu}(1 + e^u)^{-k}`   :math:`(1 + e^{-u})^{-m}(1 + e^u)^{m-k}`  :math:`u \to \infty`
:math:`e^u - e^v`               :math:`2e^{(u+v)/2}\sinh\frac{u-v}2`         :math:`u \to v`
:math:`\sqrt{a + b^2} - b`      :math:`a/(\sqrt{a + b^2} + b)`            :math:`a \ll b^2`
============================== ======================================= ====================

Terms that cancel with one of their own functions are joined in :mod:`numerics.backends.cancelling`, angles of correlations in
:mod:`numerics.backends.correlations`.
"""

from __future__ import annotations

import itertools

import sympy as sp
from sympy.codegen.cfunctions import log1p
from sympy.codegen.numpy_nodes import logaddexp

from numerics.backends.kinks import Where
from numerics.backends.variables import variables


def stable_logarithms(expr: sp.Expr) -> sp.Expr:
    """Replace the logarithm of one plus something by a function that is accurate however small that is.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> stable_logarithms(sp.log(1 + sp.exp(x))), stable_logarithms(sp.log(1 + x**2))
    (logaddexp(0, x), log1p(x**2))
    """

    def rewrite(node: sp.Expr) -> sp.Expr:
        constant, rest = node.args[0].as_coeff_Add()
        if constant != 1 or rest == 0:
            return node
        return logaddexp(sp.S.Zero, rest.args[0]) if isinstance(rest, sp.exp) else log1p(rest)

    return expr.replace(lambda node: isinstance(node, sp.log), rewrite)


def logistic_quotients(expr: sp.Expr) -> sp.Expr:
    """Write an exponential over a power of one plus itself so that no infinity is divided by another.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> logistic_quotients(sp.exp(x) / (1 + sp.exp(x)))
    1/(1 + exp(-x))
    >>> logistic_quotients(x * sp.exp(-x) / (1 + sp.exp(-x)) ** 2)
    x/((1 + exp(-x))*(exp(x) + 1))
    """
    return expr.replace(lambda node: isinstance(node, sp.Mul) and node.has(sp.exp), _quotient)


def _quotient(product: sp.Mul) -> sp.Expr:
    for power in product.args:
        if not (power.is_Pow and power.base.is_Add and power.exp.is_Integer and power.exp < 0):
            continue
        constant, rest = power.base.as_coeff_Add()
        if constant != 1 or not isinstance(rest, sp.exp):
            continue
        for factor in product.args:
            times = sp.cancel(factor.args[0] / rest.args[0]) if isinstance(factor, sp.exp) else sp.S.Zero
            if times.is_Integer and 0 < times <= -power.exp:
                others = sp.Mul(*(f for f in product.args if f not in (power, factor)))
                return others * (1 + sp.exp(-rest.args[0])) ** -times * power.base ** (times + power.exp)
    return product


def differences_of_several(expr: sp.Expr) -> sp.Expr:
    """Differences of exponentials and of roots in several variables without cancellation; the ends see to those in one.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> differences_of_several(sp.exp(x) - sp.exp(y))
    2*exp(x/2 + y/2)*sinh(x/2 - y/2)
    >>> differences_of_several(x * sp.exp(x - y) / 2 - x * sp.exp(-x - y) / 2)
    x*exp(-y)*sinh(x)
    >>> differences_of_several(sp.sqrt(x**2 + y**2) - sp.Abs(x))
    y**2/Where(sqrt(x**2 + y**2) + Abs(x) > 0, sqrt(x**2 + y**2) + Abs(x), 1)
    """
    return expr.replace(lambda node: isinstance(node, sp.Add) and len(variables(node)) > 1, _difference)


def _difference(total: sp.Add) -> sp.Expr:
    for term in total.args:
        power = next((p for p in sp.Mul.make_args(term) if p.is_Pow and p.exp == sp.S.Half), None)
        if power is not None and (found := _of_root(term, power, total - term)) is not None:
            return found
    return _of_exponentials(total)


def _of_exponentials(total: sp.Add) -> sp.Expr:
    """The same multiple of two exponentials with opposite signs, of which not both hold one variable: by a hyperbolic sine."""
    fronts: dict[sp.Expr, list[sp.Expr]] = {}
    for term in total.args:
        front, exponent = _front_and_exponent(term)
        fronts.setdefault(exponent, []).append(front)
    if len(fronts) < 2:
        return total
    multiples = {u: sp.expand(sp.Add(*terms)) for u, terms in fronts.items()}
    left, joined = dict(multiples), []
    for (u, front), (v, against) in itertools.combinations(multiples.items(), 2):
        if u in left and v in left and front + against == 0 and len(variables(front) | variables(u) | variables(v)) > 1:
            joined.append(2 * sp.Add(*fronts[u]) * sp.exp((u + v) / 2) * sp.sinh((u - v) / 2))
            del left[u], left[v]
    if not joined:
        return total
    return sp.Add(*joined, *(sp.Add(*fronts[u]) * sp.exp(u) for u in left))


def _front_and_exponent(term: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A product without its exponentials of variables, and the sum of what stands in these."""
    factors = sp.Mul.make_args(term)
    exponentials = [factor for factor in factors if isinstance(factor, sp.exp) and variables(factor)]
    return sp.Mul(*(f for f in factors if f not in exponentials)), sp.Add(*(f.args[0] for f in exponentials))


def _of_root(term: sp.Expr, root: sp.Expr, rest: sp.Expr) -> sp.Expr | None:
    """A multiple of a root and a rest, by the difference of their squares if that has fewer terms than both."""
    times = term / root
    if not (times.is_number and rest.xreplace({a: a.args[0] for a in rest.atoms(sp.Abs)}).is_polynomial()):
        return None
    squares = sp.expand(times**2 * root.base), sp.expand(rest**2)
    both = squares[0] - squares[1]
    if not both.is_polynomial() or len(sp.Add.make_args(both)) >= sum(len(sp.Add.make_args(s)) for s in squares) - 1:
        return None
    against = sp.sign(times) * rest
    negative = (-against).is_nonnegative
    size = sp.Abs(times) * root + (-against if negative else sp.Abs(rest))
    quotient = sp.sign(times) * both / Where(sp.Gt(size, 0, evaluate=False), size, 1)
    return quotient if negative else Where(sp.Lt(against, 0, evaluate=False), quotient, sp.sign(times) * size)
