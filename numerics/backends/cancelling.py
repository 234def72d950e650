r"""Terms that nearly cancel, as one function, for targets of fixed precision.

============================== ======================================= ====================
formula                        rewritten                                 near
============================== ======================================= ====================
:math:`a e^u - a`              :math:`a\,\mathrm{expm1}\,u`              :math:`u \to 0`
:math:`a \pm a \operatorname{erf} u`  :math:`a \operatorname{erfc}(\mp u)`  :math:`u \to \mp\infty`
:math:`e^a \operatorname{erfc} u`       :math:`e^{a - u^2} \operatorname{erfcx} u` :math:`u \to \infty`
:math:`a - a \tanh^2 u`         :math:`a / \cosh^2 u`                     :math:`|u| \to \infty`
:math:`a \pm a \tanh u`         :math:`2a / (1 + e^{\mp 2u})`              :math:`u \to \mp\infty`
:math:`a/(1 + e^u) - a`         :math:`-a/(1 + e^{-u})`                 :math:`u \to -\infty`
:math:`\pi a/2 - a \arctan u`  :math:`a\,\mathrm{atan2}(1, u)`          :math:`u \to \infty`
============================== ======================================= ====================
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import sympy as sp
from sympy.codegen.cfunctions import expm1

from numerics.backends.variables import variables

_FAR = sp.Integer(2) ** 60
_Bases = frozenset[tuple[sp.Expr, sp.Expr]]


class ErrorTail(sp.Function):
    """The function erfc, but erfc(-x) stays as it is: SymPy would write 2 - erfc(x), which cancels again."""

    nargs = 1


class ExponentialTail(sp.Function):
    r"""The product :math:`e^a \operatorname{erfc} u`, of a, u and :math:`a - u^2`; its factors may be no doubles."""

    nargs = 3


def cancelling_sums(expr: sp.Expr) -> sp.Expr:
    r"""Replace a term and its product with a function that nearly cancel by one function.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> cancelling_sums(1 + sp.erf(x)), cancelling_sums(sp.Rational(1, 2) - sp.exp(-2 * x) / 2)
    (ErrorTail(-x), -expm1(-2*x)/2)
    """
    return expr.replace(lambda node: isinstance(node, sp.Add) and bool(variables(node)), joined_terms)


def joined_terms(total: sp.Add) -> sp.Expr:
    """Each term c f(u) of one sum that another, a multiple of c, nearly cancels, joined with it."""
    joined, left = _tails_together(list(total.args))
    while pair := _first_pair(left):
        together, *both = pair
        joined.append(together)
        left = [term for term in left if term not in both]
    return sp.Add(*joined, *left) if joined else total


def _tails_together(terms: list[sp.Expr]) -> tuple[list[sp.Expr], list[sp.Expr]]:
    r"""Several error functions times one exponential, which cancel together: as their tails; and the other terms.

    Where :math:`c + \sum_i n_i s_i = 0` with the signs s of the arguments far out, :math:`c + \sum_i n_i \operatorname{erf} u_i` is
    :math:`-\sum_i n_i s_i \operatorname{erfc}(s_i u_i)`.
    """
    groups: dict[sp.Expr, list[tuple[sp.Expr, sp.Expr, sp.Expr | None]]] = {}
    for term in terms:
        factors = sp.Mul.make_args(term)
        found = next((f for f in factors if isinstance(f, sp.erf)), None)
        grown = [f for f in factors if isinstance(f, sp.exp) and variables(f)]
        if grown:
            front = sp.Mul(*(f for f in factors if f != found and f not in grown))
            groups.setdefault(sp.Mul(*grown), []).append((term, front, None if found is None else found.args[0]))
    joined, left = list[sp.Expr](), list(terms)
    for exponential, members in groups.items():
        functions = [(front, u) for _, front, u in members if u is not None]
        constant = sp.Add(*(front for _, front, u in members if u is None))
        for signs in _orientations([u for _, u in functions]) if len(functions) > 1 else ():
            if sp.expand(constant + sp.Add(*(front * s for (front, _), s in zip(functions, signs, strict=True)))) == 0:
                joined += [
                    -front * s * exponential * ErrorTail(s * u) for (front, u), s in zip(functions, signs, strict=True)
                ]
                left = [term for term in left if term not in {term for term, *_ in members}]
                break
    return joined, left


def _orientations(arguments: list[sp.Expr]) -> Iterator[list[sp.Expr]]:
    """Signs that the arguments may have far out: of one variable those at both ends, else one of a formula and its negative is positive."""
    found = set[sp.Symbol]().union(*map(variables, arguments))
    bounded = not any(u.has(sp.exp) for u in arguments)  # no number of SymPy's is as large as an exponential far out
    for end in (_FAR, -_FAR) if len(found) == 1 and bounded else ():
        signs = [sp.sign(u.xreplace(dict.fromkeys(found, end)).evalf()) for u in arguments]
        if all(s in (1, -1) for s in signs):
            yield signs
    yield list(map(_sign, arguments))


def _sign(u: sp.Expr) -> sp.Expr:
    """One of a formula and its negative has 1, the other -1."""
    number, bases = _multiple(sp.Mul.make_args(u))
    rest = sp.Mul(*(base**power for base, power in bases))
    return -sp.sign(number) if rest.could_extract_minus_sign() else sp.sign(number)


def _first_pair(terms: list[sp.Expr]) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """The first two terms that may cancel: as one, and themselves; exponentials last, which may be what two others have in common."""
    alike = dict[_Bases, list[tuple[sp.Expr, sp.Expr]]]()
    for term in terms:
        number, bases = _multiple(sp.Mul.make_args(term))
        alike.setdefault(bases, []).append((term, number))
    for plain, term in itertools.product((False, True), terms):
        factors = sp.Mul.make_args(term)
        for place, function in enumerate(factors):
            if isinstance(function, sp.exp) != plain or not _may_cancel(function):
                continue
            beside = factors[:place] + factors[place + 1 :]
            times, bases = _multiple(beside)
            for other, number in alike.get(bases, ()):
                if other != term and (joined := _joined(function, number / times)) is not None:
                    return sp.Mul(*beside) * joined, term, other
    return None


def _may_cancel(function: sp.Expr) -> bool:
    return isinstance(function, _SATURATING | sp.Add) or _square_of_tanh(function) or _logistic(function)


def _multiple(factors: Iterable[sp.Expr]) -> tuple[sp.Expr, _Bases]:
    """The number of a product, and what it is a multiple of; 1 - x, x - 1 and 2*x - 2 are multiples of each other."""
    number, powers = sp.S.One, dict[sp.Expr, sp.Expr]()
    for factor in factors:
        if not variables(factor):
            number *= factor
            continue
        base, power = factor.as_base_exp()
        if not power.is_Rational:
            base, power = factor, sp.S.One
        if base.is_Add and power.is_Integer:
            content, base = base.primitive()
            if base.could_extract_minus_sign():
                content, base = -content, -base
            number *= content**power
        powers[base] = powers.get(base, sp.S.Zero) + power
    return number, frozenset(powers.items())


def _over(term: sp.Expr, other: sp.Expr) -> sp.Expr:
    """A quotient, out of which what both are products of is left: SymPy keeps an exponential of a sum beside its inverse."""
    above, below = list(sp.Mul.make_args(term)), list[sp.Expr]()
    for factor in sp.Mul.make_args(other):
        if factor in above:
            above.remove(factor)
        else:
            below.append(factor)
    return sp.Mul(*above) / sp.Mul(*below)


_SATURATING = sp.exp | sp.erf | sp.erfc | ErrorTail | sp.tanh | sp.atan


def _square_of_tanh(function: sp.Expr) -> bool:
    return bool(function.is_Pow and function.exp == 2 and isinstance(function.base, sp.tanh))


def _logistic(function: sp.Expr) -> bool:
    """1/(1 + e^u)."""
    if not function.is_Pow or function.exp != -1:
        return False
    constant, rest = function.base.as_coeff_Add()
    return constant == 1 and isinstance(rest, sp.exp)


def _joined(function: sp.Expr, number: sp.Expr) -> sp.Expr | None:
    """One function for f(u) + a, where these may cancel."""
    if isinstance(function, sp.Add):
        found = joined_terms(total) if isinstance(total := function + number, sp.Add) else total
        return None if found == total and isinstance(total, sp.Add) else found
    if isinstance(function, sp.atan):
        sign = 2 * number / sp.pi
        return sign * sp.atan2(1, -sign * function.args[0]) if sign in (1, -1) else None
    if number == -2 and isinstance(function, ErrorTail | sp.erfc):
        return -ErrorTail(-function.args[0])
    if (
        number not in (1, -1)
        or isinstance(function, ErrorTail)
        or (number == 1 and not isinstance(function, sp.erf | sp.tanh))
    ):
        return None
    if _square_of_tanh(function):
        return -1 / sp.cosh(function.base.args[0]) ** 2
    if _logistic(function):
        return -1 / (1 + sp.exp(-(function.base - 1).args[0]))
    (u,) = function.args
    if isinstance(function, sp.exp):
        return expm1(u)
    if isinstance(function, sp.erfc):
        return -sp.erf(u)
    if isinstance(function, sp.tanh):
        return 2 * number / (1 + sp.exp(-2 * number * u))
    return number * ErrorTail(-number * u)


def exponential_tails(expr: sp.Expr) -> sp.Expr:
    r"""Products of an exponential and a tail that decays like one over it, as Gaussian means of exponentials hold them.

    Examples
    --------
    >>> x = sp.Symbol("x", positive=True)
    >>> exponential_tails(sp.exp(x / 2) * sp.erfc(sp.sqrt(x / 2)))
    ExponentialTail(x/2, sqrt(2)*sqrt(x)/2, 0)
    >>> exponential_tails(sp.exp(x) * sp.erfc(sp.sqrt(x / 2)))
    exp(x)*erfc(sqrt(2)*sqrt(x)/2)
    """
    return expr.replace(lambda node: isinstance(node, sp.Mul), _with_tail)


def _with_tail(product: sp.Mul) -> sp.Expr:
    grown = [factor for factor in product.args if isinstance(factor, sp.exp)]
    tails = [factor for factor in product.args if isinstance(factor, ErrorTail | sp.erfc)]
    if len(grown) != 1 or len(tails) != 1:
        return product
    (exponential,), (tail,) = grown, tails
    exponent, u = sp.expand(exponential.args[0]), tail.args[0]
    rest = sp.expand(exponent - u**2)
    moving = {term.as_coeff_Mul()[1] for term in sp.Add.make_args(exponent) if variables(term)}
    if not moving or any(term.as_coeff_Mul()[1] in moving for term in sp.Add.make_args(rest)):
        return product
    return _over(product, exponential * tail) * ExponentialTail(exponential.args[0], u, rest)
