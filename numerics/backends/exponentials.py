r"""Equal formulas in which no exponential overflows where the value itself is a number.

===================================== ==========================================================
formula                               rewritten
===================================== ==========================================================
:math:`e^u \pm e^{-u}`                :math:`2\cosh u,\ 2\sinh u`
:math:`\sinh u / \cosh u`             :math:`\tanh u`
:math:`(e^u - 1)/(e^u + 1)`           :math:`\tanh(u/2)`
:math:`e^v / (\sum_i c_i e^{u_i})^k`  :math:`(\sum_i c_i e^{u_i - v/k})^{-k}`
:math:`e^{u/s} e^{v/s}`               :math:`e^{u/s + v/s}` for a sum s, which may be close to 0
:math:`\log\cosh u,\ \log\sinh u`     functions of their own, :math:`|u| - \log 2` far out
:math:`\log\sum_i c_i e^{u_i}`        :math:`\mathrm{logaddexp}` of :math:`u_i + \log c_i`
===================================== ==========================================================
"""

from __future__ import annotations

from functools import reduce

import sympy as sp
from sympy.codegen.cfunctions import expm1
from sympy.codegen.numpy_nodes import logaddexp


class LogCosh(sp.Function):
    """The logarithm of the hyperbolic cosine; the targets have it under ``log_cosh``."""

    nargs = 1


class Logistic(sp.Function):
    """One over one plus the exponential of the negative argument; the targets have it under ``logistic``."""

    nargs = 1


class ReciprocalSinh(sp.Function):
    """One over the hyperbolic sine."""

    nargs = 1


class ReciprocalExpm1(sp.Function):
    """One over an exponential minus one."""

    nargs = 1


_GROWING = (sp.cosh, sp.sinh, expm1)


def bounded_quotients(expr: sp.Expr) -> sp.Expr:
    """Quotients of sums of exponentials without infinity over infinity.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> bounded_quotients((sp.exp(x) - sp.exp(-x)) / (sp.exp(x) + sp.exp(-x)))
    tanh(x)
    >>> bounded_quotients(sp.exp(3 * x) / (1 + 2 * sp.exp(2 * x) + sp.exp(3 * x)))
    1/(1 + 2*exp(-x) + exp(-3*x))
    """
    for function, same in ((sp.coth, sp.tanh), (sp.sech, sp.cosh), (sp.csch, sp.sinh)):
        expr = expr.replace(function, lambda u, same=same: 1 / same(u))
    expr = expr.replace(lambda node: isinstance(node, sp.Mul) and node.has(sp.exp), _joined)
    expr = expr.replace(lambda node: isinstance(node, sp.Add) and node.has(sp.exp), _pairs)
    return expr.replace(lambda node: isinstance(node, sp.Mul) and node.has(sp.exp, sp.cosh, sp.sinh), _divided)


def bounded_logarithms(expr: sp.Expr) -> sp.Expr:
    """Logarithms of sums of exponentials, and of their products and powers, without a logarithm of infinity.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> bounded_logarithms(sp.log(sp.cosh(x))), bounded_logarithms(sp.log(1 / (2 + sp.exp(-x))))
    (LogCosh(x), -logaddexp(-x, log(2)))
    """
    grows = sp.exp, sp.cosh, sp.sinh
    return expr.replace(lambda node: isinstance(node, sp.log) and node.free_symbols and node.has(*grows), _logarithm)


def decaying_powers(expr: sp.Expr) -> sp.Expr:
    r"""One over what overflows as a function of which every derivative is a number, for targets that differentiate.

    :math:`(\sum_i c_i e^{u_i})^{-k}` is :math:`e^{-kL}` with L the logarithm of the sum, whose derivatives are weights in [0, 1].

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> decaying_powers(x / (1 + sp.exp(-x))), decaying_powers(1 / sp.cosh(x) ** 2)
    (x*exp(-logaddexp(0, -x)), exp(-2*LogCosh(x)))
    """
    return expr.replace(
        lambda node: node.is_Pow and node.exp.is_negative is True and node.has(sp.exp, *_GROWING), _decay
    )


def logistic_powers(expr: sp.Expr) -> sp.Expr:
    """Powers of one over one plus an exponential by a function of their own, which is a number where that overflows.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> logistic_powers(x / (1 + sp.exp(-x)) ** 2)
    x*Logistic(x)**2
    """

    def is_logistic(node: sp.Basic) -> bool:
        if not (node.is_Pow and node.exp.is_Integer and node.exp < 0 and node.base.is_Add):
            return False
        constant, rest = node.base.as_coeff_Add()
        return bool(constant == 1 and isinstance(rest, sp.exp) and rest.free_symbols)  # a number has its value already

    return expr.replace(is_logistic, lambda node: Logistic(-(node.base - 1).args[0]) ** -node.exp)


def _decay(power: sp.Pow) -> sp.Expr:
    base, k = power.base, -power.exp
    for growing, inverse in ((sp.sinh, ReciprocalSinh), (expm1, ReciprocalExpm1)):
        if isinstance(base, growing):
            return inverse(base.args[0]) ** k
    logarithm = _single(base, sp.S.One) if isinstance(base, sp.cosh) or base.is_Add else None
    return power if logarithm is None or logarithm == sp.log(base) else sp.exp(-k * logarithm)


def _terms(total: sp.Expr) -> list[tuple[sp.Expr, sp.Expr]] | None:
    """Coefficients and exponents of a sum of exponentials; None for anything else, a constant alone included."""
    found = []
    for term in sp.Add.make_args(total):
        coefficient, rest = term.as_coeff_Mul()
        numbers = [f for f in sp.Mul.make_args(rest) if f.is_number]
        others = [f for f in sp.Mul.make_args(rest) if not f.is_number]
        if not all(isinstance(f, sp.exp) for f in others):
            return None
        found.append((coefficient * sp.Mul(*numbers), sp.Add(*(f.args[0] for f in others))))
    return found if any(exponent != 0 for _, exponent in found) else None


def _pairs(total: sp.Add) -> sp.Expr:
    """Two opposite exponentials with coefficients of one size as a hyperbolic function."""
    left, made = list(total.args), []
    while left:
        term = left.pop()
        (here,) = _terms(term) or [(None, None)]
        for other in left if here[0] is not None else ():
            (there,) = _terms(other) or [(None, None)]
            if there[0] is not None and here[1] == -there[1] and here[0] in (there[0], -there[0]):
                left.remove(other)
                made.append(2 * here[0] * (sp.cosh if here[0] == there[0] else sp.sinh)(here[1]))
                break
        else:
            made.append(term)
    return sp.Add(*made) if len(made) < len(total.args) else total


def _joined(product: sp.Mul) -> sp.Expr:
    r"""Exponentials of quotients over sums as one: :math:`e^{-a^2/s}e^{2ab/s}e^{-b^2/s}` is a number where s is close to 0."""
    large = [f for f in product.args if isinstance(f, sp.exp) and any(map(_is_over_a_sum, f.args[0].atoms(sp.Pow)))]
    if len(large) < 2:
        return product
    rest = (f for f in product.args if f not in large)
    return sp.Mul(*rest, sp.exp(sp.Add(*(f.args[0] for f in large))))


def _is_over_a_sum(power: sp.Pow) -> bool:
    return bool(power.base.is_Add and power.base.free_symbols and power.exp.is_negative)


def _divided(product: sp.Mul) -> sp.Expr:
    powers: dict[sp.Expr, sp.Expr] = {}
    for factor in product.args:
        base, exponent = factor.as_base_exp() if not isinstance(factor, sp.exp) else (factor, sp.S.One)
        powers[base] = powers.get(base, sp.S.Zero) + exponent
    changed = _hyperbolic(powers) | _tangent(powers)
    for base, exponent in list(powers.items()):
        terms = _terms(base) if isinstance(base, sp.Add) else None
        if terms is None or not (exponent.is_Integer and exponent < 0) or not all(c.is_positive for c, _ in terms):
            continue
        shift = sp.Add(*(b.args[0] for b in powers if isinstance(b, sp.exp)))
        if shift == 0 or not any(sp.expand(u + shift / exponent) != u for _, u in terms):
            continue
        for b in [b for b in powers if isinstance(b, sp.exp)]:
            del powers[b]
        del powers[base]
        inside = sp.Add(*(c * sp.exp(sp.expand(u + shift / exponent)) for c, u in terms))
        powers[inside] = powers.get(inside, sp.S.Zero) + exponent
        changed = True
    return sp.Mul(*(b**e for b, e in powers.items())) if changed else product


def _hyperbolic(powers: dict[sp.Expr, sp.Expr]) -> bool:
    """Sines over cosines become tangents."""
    changed = False
    for base in [b for b in powers if isinstance(b, sp.sinh)]:
        cosine, a = sp.cosh(base.args[0]), powers[base]
        b = powers.get(cosine, sp.S.Zero)
        if not (a.is_Integer and b.is_Integer and a * b < 0):
            continue
        shared = min(abs(a), abs(b)) * sp.sign(a)
        powers[base], powers[cosine] = a - shared, b + shared
        tangent = sp.tanh(base.args[0])
        powers[tangent] = powers.get(tangent, sp.S.Zero) + shared
        changed = True
    return changed


def _tangent(powers: dict[sp.Expr, sp.Expr]) -> bool:
    """The quotient of an exponential minus one and the same plus one is a tangent."""
    for base in [b for b in powers if isinstance(b, sp.Add) and powers[b] == 1]:
        difference = dict((u, c) for c, u in _terms(base) or ())
        for under in [b for b in powers if isinstance(b, sp.Add) and powers[b] == -1]:
            total = dict((u, c) for c, u in _terms(under) or ())
            if len(difference) != 2 or len(total) != 2 or difference.keys() != total.keys() or 0 not in total:
                continue
            (exponent,) = total.keys() - {sp.S.Zero}
            if difference[0] == -difference[exponent] and total[0] == total[exponent]:
                del powers[base], powers[under]
                factor = difference[exponent] / total[exponent] * sp.tanh(exponent / 2)
                powers[factor] = powers.get(factor, sp.S.Zero) + 1
                return True
    return False


def _logarithm(node: sp.log) -> sp.Expr:
    factors = [f.as_base_exp() if not isinstance(f, sp.exp) else (f, sp.S.One) for f in sp.Mul.make_args(node.args[0])]
    if len(factors) > 1 and not all(base.is_positive for base, _ in factors):
        return node
    parts = [_single(base, exponent) for base, exponent in factors]
    return sp.Add(*parts) if len(parts) > 1 or parts[0] != node else node


def _single(base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
    """The logarithm of a power, of a base that is positive wherever the logarithm is real or alone."""
    if isinstance(base, sp.exp):
        return exponent * base.args[0]
    if isinstance(base, sp.cosh) and base.args[0].is_extended_real is not False:
        return exponent * LogCosh(base.args[0])
    if isinstance(base, sp.sinh) and exponent == 1:
        u = base.args[0]
        return u - sp.log(2) + sp.log(-expm1(-2 * u))
    if base.is_Add and base.is_positive:
        terms = _terms(base)
        if terms is not None and all(c.is_positive for c, _ in terms):
            logarithms = [u + sp.log(c) for c, u in sorted(terms, key=sp.default_sort_key)]
            return exponent * reduce(logaddexp, logarithms)
    return sp.log(base**exponent)
