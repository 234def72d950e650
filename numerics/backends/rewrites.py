r"""Equal formulas that lose fewer digits, for targets of fixed precision.

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
:math:`\log(1 + e^u)`          :math:`\mathrm{logaddexp}(0, u)`          :math:`|u| \to \infty`
:math:`\log(1 + u)`            :math:`\mathrm{log1p}\,u`                 :math:`u \to 0`
:math:`e^{mu}(1 + e^u)^{-k}`   :math:`(1 + e^{-u})^{-m}(1 + e^u)^{m-k}`  :math:`u \to \infty`
:math:`\arcsin(c/\sqrt{ab})`   :math:`\mathrm{atan2}(c, \sqrt{ab - c^2})`   :math:`c^2 \to ab`
:math:`e^u - e^v`               :math:`2e^{(u+v)/2}\sinh\frac{u-v}2`         :math:`u \to v`
:math:`\sqrt{a + b^2} - b`      :math:`a/(\sqrt{a + b^2} + b)`            :math:`a \ll b^2`
============================== ======================================= ====================
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p
from sympy.codegen.numpy_nodes import logaddexp

from derivations.binding import bound_symbol
from numerics.backends.kinks import Where
from numerics.backends.variables import variables


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
    return expr.replace(lambda node: isinstance(node, sp.Add) and bool(variables(node)), _join)


def _join(total: sp.Add) -> sp.Expr:
    """Each term c f(u) that another, a multiple of c, nearly cancels, joined with it."""
    joined, left = _tails_together(list(total.args))
    while pair := _first_pair(left):
        together, *both = pair
        joined.append(together)
        left = [term for term in left if term not in both]
    return sp.Add(*joined, *left) if joined else total


def _tails_together(terms: list[sp.Expr]) -> tuple[list[sp.Expr], list[sp.Expr]]:
    r"""Several error functions times one exponential, which cancel together: as their tails; and the other terms.

    Where :math:`c + \sum_i n_i s_i = 0` with the signs s of the arguments, :math:`c + \sum_i n_i \operatorname{erf} u_i` is
    :math:`-\sum_i n_i s_i \operatorname{erfc}(s_i u_i)`.
    """
    groups: dict[sp.Expr, list[tuple[sp.Expr, sp.Expr, sp.Expr | None]]] = {}
    for term in terms:
        found = next((f for f in sp.Mul.make_args(term) if isinstance(f, sp.erf)), None)
        number, factor = (term if found is None else _over(term, found)).as_coeff_Mul()
        if factor.has(sp.exp):
            groups.setdefault(factor, []).append((term, number, None if found is None else found.args[0]))
    joined, left = list[sp.Expr](), list(terms)
    for factor, members in groups.items():
        functions = [(number, u, _sign(u)) for _, number, u in members if u is not None]
        constant = sp.Add(*(number for _, number, u in members if u is None))
        if len(functions) > 1 and constant + sp.Add(*(number * sign for number, _, sign in functions)) == 0:
            joined += [-number * sign * factor * ErrorTail(sign * u) for number, u, sign in functions]
            left = [term for term in left if term not in {term for term, *_ in members}]
    return joined, left


def _sign(u: sp.Expr) -> sp.Expr:
    """One of a formula and its negative has 1, the other -1."""
    sign, rest = _signed(u)
    return -sign if rest.could_extract_minus_sign() else sign


def _first_pair(terms: list[sp.Expr]) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """The first two terms that may cancel: as one, and themselves; exponentials last, which may be what two others have in common."""
    for plain, term in itertools.product((False, True), terms):
        for function in sp.Mul.make_args(term):
            if isinstance(function, sp.exp) != plain:
                continue
            if (
                not isinstance(function, _SATURATING | sp.Add)
                and not _square_of_tanh(function)
                and not _logistic(function)
            ):
                continue
            factor = _over(term, function)
            for other in terms:
                number = _multiple(other, factor)
                if other != term and number.is_number and (joined := _joined(function, number)) is not None:
                    return factor * joined, term, other
    return None


def _multiple(term: sp.Expr, other: sp.Expr) -> sp.Expr:
    """Of two products, in which 1 - x and x - 1 are multiples of each other."""
    found = _over(term, other)
    if found.is_number:
        return found
    (sign, above), (turned, below) = map(_signed, (term, other))
    return sign * turned * _over(above, below)


def _over(term: sp.Expr, other: sp.Expr) -> sp.Expr:
    """A quotient, out of which what both are products of is left: SymPy keeps an exponential of a sum beside its inverse."""
    above, below = list(sp.Mul.make_args(term)), list[sp.Expr]()
    for factor in sp.Mul.make_args(other):
        if factor in above:
            above.remove(factor)
        else:
            below.append(factor)
    return sp.Mul(*above) / sp.Mul(*below)


def _signed(term: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A sign, and the rest with one sign of each sum among the factors."""
    sign, factors = sp.S.One, []
    for factor in sp.Mul.make_args(term):
        base, power = factor.as_base_exp()
        if base.is_Add and power.is_Integer and base.could_extract_minus_sign():
            sign, factor = sign * (-1) ** power, (-base) ** power
        factors.append(factor)
    return sign, sp.Mul(*factors)


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
        found = _join(total) if isinstance(total := function + number, sp.Add) else total
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


def correlation_angles(expr: sp.Expr) -> sp.Expr:
    r"""Write the angle of a correlation and roots of its determinant by one root, whose rounding then cancels between them.

    In the mean of a product of kinked functions :math:`\arcsin(c/\sqrt{ab})` and :math:`\sqrt{ab - c^2}` cancel up to
    :math:`(1 - \rho)^{3/2}`. At a singular covariance the determinant is 0 however it is rounded.

    Examples
    --------
    >>> a, b = sp.symbols("a b", positive=True)
    >>> c = sp.Symbol("c", real=True)
    >>> correlation_angles(c * sp.asin(c / (sp.sqrt(a) * sp.sqrt(b))) + sp.sqrt(a * b - c**2))
    c*atan2(c, sqrt(Max(0, a*b - c**2))) + sqrt(Max(0, a*b - c**2))
    """
    if not expr.has(sp.asin):
        return expr
    names: dict[sp.Expr, sp.Symbol] = {}
    plain = _algebraic(expr, names)
    written: list[dict[sp.Expr, sp.Expr]] = []
    # an angle inside another one is a number of that one's covariance
    while inner := [angle for angle in plain.atoms(sp.asin) if not angle.args[0].has(sp.asin)]:
        angles, roots = _by_one_root(inner, plain)
        turned = {angle: bound_symbol(f"angle{len(written)}", k, real=True) for k, angle in enumerate(angles, 1)}
        written.append({name: angles[angle] for angle, name in turned.items()})
        plain = plain.xreplace(turned | roots)
    for formulas in reversed(written):
        plain = plain.xreplace(formulas)
    inside = {name: node.func(*map(correlation_angles, node.args)) for node, name in names.items() if node.has(sp.asin)}
    return plain.xreplace({name: node for node, name in names.items()} | inside)


def _by_one_root(angles: list[sp.Expr], expr: sp.Expr) -> tuple[dict[sp.Expr, sp.Expr], dict[sp.Expr, sp.Expr]]:
    """Angles by their determinants' roots, and the roots of multiples of these in an expression by the same ones."""
    read = {angle: _determinant(angle.args[0]) for angle in angles}
    known = {determinant: product for _, determinant, product in filter(None, read.values())}
    halves = [p for p in expr.atoms(sp.Pow) if p.exp.is_Rational and p.exp.q == 2 and p.base.is_Add]
    roots = {p: found for p in halves if not p.has(sp.asin) and (found := _rooted(p, known)) is not None}
    cancel = {determinant for determinant, _ in roots.values()} | {d for d in known if _can_vanish(d)}
    return {a: _by_root(a, found, cancel) for a, found in read.items()}, {p: root for p, (_, root) in roots.items()}


def _by_root(angle: sp.Expr, found: tuple[sp.Expr, sp.Expr, sp.Expr] | None, cancel: set[sp.Expr]) -> sp.Expr:
    if found is None or found[1] not in cancel:
        return sp.asin(_in_bounds(angle.args[0])) if len(variables(angle)) > 1 else angle
    covariance, determinant, _ = found
    return sp.sign(covariance) * sp.pi / 2 if determinant == 0 else sp.atan2(covariance, sp.sqrt(_floored(determinant)))


def _in_bounds(correlation: sp.Expr) -> sp.Expr:
    """A correlation that rounding takes beyond ±1, as that of two numbers of one neuron, is ±1."""
    beyond = sp.And(sp.Gt(sp.Abs(correlation), 1), sp.Lt(sp.Abs(correlation), 1 + sp.Rational(1, 2**40)))
    return Where(beyond, sp.sign(correlation), correlation)


def _algebraic(expr: sp.Expr, names: dict[sp.Expr, sp.Symbol]) -> sp.Expr:
    """The formula in symbols that stand for all functions but arcsines and sizes: a covariance of any activations is a number like another."""
    if expr.is_Atom:
        return expr
    if isinstance(expr, sp.asin):
        expr = sp.asin(_piece_by_piece(expr.args[0]))
    if expr.is_Add or expr.is_Mul or isinstance(expr, sp.asin | sp.Abs) or (expr.is_Pow and expr.exp.is_Rational):
        return expr.func(*(_algebraic(arg, names) for arg in expr.args))
    return names.setdefault(expr, bound_symbol("f", len(names) + 1, real=True))


def _piece_by_piece(product: sp.Expr) -> sp.Expr:
    """A product of functions with the same pieces, such as a number and one over its size, multiplied in each."""
    pieces: dict[tuple[sp.Basic, ...], list[sp.Expr]] = {}
    rest: list[sp.Expr] = []
    for factor in sp.Mul.make_args(product):
        alike = pieces.setdefault(tuple(arg.cond for arg in factor.args), []) if factor.is_Piecewise else rest
        alike.append(factor)
    joined = [
        sp.Piecewise(*((sp.Mul(*(f.args[k].expr for f in alike)), holds) for k, holds in enumerate(conditions)))
        for conditions, alike in pieces.items()
    ]
    return sp.Mul(*rest, *joined)


def _rooted(power: sp.Pow, determinants: dict[sp.Expr, sp.Expr]) -> tuple[sp.Expr, sp.Expr] | None:
    """A determinant, and by its root that of a multiple of it, perhaps over the variances."""
    for determinant, product in determinants.items():
        if power.base.free_symbols == determinant.free_symbols:  # else it is no multiple
            found = _rooted_by(power, determinant, product)
            if found is not None:
                return determinant, found
    return None


@lru_cache(maxsize=4096)
def _rooted_by(power: sp.Pow, determinant: sp.Expr, product: sp.Expr) -> sp.Expr | None:
    above, below = sp.fraction(sp.together(power.base))
    times = sp.cancel(above / determinant)
    if times.is_number and (below.is_number or sp.cancel(below / product).is_number):
        return (times / below) ** power.exp * _floored(determinant) ** power.exp
    return None


@lru_cache(maxsize=4096)  # SymPy factors both sides to compare them
def _floored(determinant: sp.Expr) -> sp.Expr:
    return sp.Max(0, determinant)


@lru_cache(maxsize=4096)  # the entries of a covariance share their angles
def _determinant(correlation: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """A covariance, the determinant and the product of the variances, if these are under roots."""
    above, below = correlation.as_numer_denom()
    if not below.has(sp.Pow, sp.Abs) or below.is_polynomial():
        return None
    content, above = above.as_content_primitive()
    product = below**2 / content**2
    return (above, product - above**2, product) if product.is_polynomial(*product.free_symbols) else None


def _can_vanish(determinant: sp.Expr) -> bool:
    return bool(determinant.xreplace(dict.fromkeys(determinant.free_symbols, sp.S.Zero)) == 0)
