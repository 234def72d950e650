r"""The Lamperti form of a one-dimensional diffusion, and its potential.

On an interval where :math:`\varphi = \sqrt{a} > 0`, :math:`z = \int \mathrm{d}x/\varphi` turns
:math:`\mathrm{d}X = \mu\,\mathrm{d}t + \varphi\,\mathrm{d}B` into :math:`\mathrm{d}Z = \beta\,\mathrm{d}t + \mathrm{d}B` with
:math:`\beta = \mu/\varphi - \tfrac12\varphi'`. With :math:`D = \varphi\,\mathrm{d}/\mathrm{d}x = \mathrm{d}/\mathrm{d}z` the potential

.. math:: U = \beta^2 + D\beta

decides solvability: :math:`u'' = U u` for :math:`\beta = (\log u)'`, and the transition density of Z is
:math:`u(z')/u(z)` times the kernel of :math:`\tfrac12\partial_z^2 - \tfrac12 U`. Everything here is a
function of x, so U is known even where z has no closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import sympy as sp

from derivations.calculus.assumptions import is_nonnegative, sign_of
from derivations.calculus.quadratic import Quadratic
from derivations.calculus.size import (
    as_read_back,
    expanded,
    factored,
    is_moderate,
    nested_functions,
    with_constants_named,
    written_size,
)
from derivations.diffusion import Diffusion
from derivations.errors import DependsOnParameter, DerivationError, NoClosedForm, brief
from derivations.piecewise import IsolatedRoot, Piece, analyse, between, in_order, pieces, zeros
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.terms import Unknown, is_zero
from derivations.special import fold_constants

_MOST_WRITTEN = 250  # operations of a scale whose potential is written out
_MOST_NESTED = 12  # functions inside one another, each of which a derivative multiplies by a formula of its own
_MOST_POTENTIAL = 300  # terms of a potential that is written out
_MOST_SHOWN = 1000  # operations of one, bodies of means with it, that is shown


@dataclass(frozen=True)
class LampertiForm:
    r"""A scalar diffusion on one interval between zeros of its noise, seen through :math:`z = \int \mathrm{d}x/\varphi`.

    Parameters
    ----------
    state : Symbol
        The coordinate x.
    interval : tuple of Expr
        The ends of the open x-interval.
    drift, scale : Expr
        :math:`\mu` and :math:`\varphi > 0` on the interval, functions of x.
    assuming : tuple of Relational
        What is known of the parameters beyond their own assumptions, such as ``b**2 < 4*c``.
    """

    state: sp.Symbol
    interval: tuple[sp.Expr, sp.Expr]
    drift: sp.Expr
    scale: sp.Expr
    assuming: tuple[sp.Basic, ...] = ()

    def __post_init__(self) -> None:
        for name in ("drift", "scale"):
            object.__setattr__(self, name, as_read_back(sp.sympify(getattr(self, name))))

    def sign(self, expr: sp.Expr) -> int:
        """The sign of a constant, under what is assumed of the parameters: −1, 0 or 1."""
        return sign_of(expr, self.assuming)

    def at_least_zero(self, expr: sp.Expr) -> bool:
        """Whether a constant is at least 0; it need not be known whether it is 0."""
        return is_nonnegative(expr, self.assuming)

    def derive(self, function: sp.Expr) -> sp.Expr:
        r"""The derivative along z, :math:`D = \varphi\,\mathrm{d}/\mathrm{d}x`."""
        return tidy(self.scale * sp.diff(function, self.state))

    @property
    def beta(self) -> sp.Expr:
        r"""Drift of Z, :math:`\beta = \mu/\varphi - \tfrac12\varphi'`, as a function of x."""
        return tidy(self.drift / self.scale - sp.diff(self.scale, self.state) / 2)

    @property
    def potential(self) -> sp.Expr:
        r"""The potential :math:`U = \beta^2 + D\beta`, as a function of x."""
        return tidy(self.beta**2 + self.derive(self.beta))

    @property
    def root_of_potential(self) -> sp.Expr:
        r""":math:`\sqrt U`; of a quadratic noise without drift :math:`U = \tfrac14\Delta`."""
        quadratic = Quadratic.of(sp.expand(self.scale), self.state) if self.drift == 0 else None
        return sp.sqrt(sp.factor(self.potential)) if quadratic is None else quadratic.root_of_discriminant / 2

    @property
    def is_writable(self) -> bool:
        """Whether the potential can be written out, or is a formula of thousands of characters."""
        given = (self.scale, self.drift)
        if max(map(written_size, given)) > _MOST_WRITTEN or max(map(nested_functions, given)) > _MOST_NESTED:
            return False
        beta = self.drift / self.scale - sp.diff(self.scale, self.state) / 2
        return is_moderate(beta**2 + self.scale * sp.diff(beta, self.state), _MOST_POTENTIAL)

    @property
    def written_potential(self) -> sp.Expr | None:
        """The potential, unless it is longer than a page."""
        potential = self.potential if self.is_writable else None
        return None if potential is None or written_size(potential) > _MOST_SHOWN else potential

    @property
    def on_interval(self) -> tuple[sp.Symbol, sp.Expr]:
        """A symbol with the assumptions of the interval, and x written in it: x = left + p or right − p with p > 0.

        An end that is known by a bracket only gives no formula, and is not shifted to.
        """
        left, right = self.interval
        p = sp.Dummy("p", positive=True)
        if left != -sp.oo and not left.has(IsolatedRoot):
            return p, left + p
        if right != sp.oo and not right.has(IsolatedRoot):
            return p, right - p
        q = sp.Dummy("q", real=True)
        return q, q


def back_from(inside: sp.Expr, p: sp.Symbol, x: sp.Expr) -> sp.Expr:
    """The coordinate of :attr:`LampertiForm.on_interval` of a point, x being linear in it."""
    return (x - inside.subs(p, 0)) / inside.coeff(p)


_MOST_JOINED = 200  # operations of a formula that is expanded and whose powers are joined first


def _cancelled(expr: sp.Expr) -> sp.Expr:
    return sp.cancel(expr) if is_moderate(expr) else expr


@lru_cache(maxsize=1024)
def tidy(expr: sp.Expr) -> sp.Expr:
    """Bring a coefficient to lowest terms; powers with symbolic exponents are joined first. What is too large stays as it is."""
    if not is_moderate(expr):
        return expr
    plain = expr.is_rational_function() or written_size(expr) > _MOST_JOINED
    joined = expr if plain else sp.powsimp(sp.expand(expr), deep=True)
    for written in (joined, expr):  # joining powers can make more generators than there were
        if is_moderate(written):
            try:
                return sp.factor_terms(with_constants_named(_cancelled, written))
            except sp.PolynomialError:
                return joined
    return expr


def split(process: Diffusion, assuming: Sequence[sp.Basic] = ()) -> tuple[LampertiForm | Piece, ...]:
    r"""Cut the line at the kinks and zeros of the noise.

    Parameters
    ----------
    process : Diffusion
        Scalar, with coefficients that do not depend on time.
    assuming : sequence of Relational
        What is known of the parameters beyond their own assumptions, such as ``b**2 < 4*c``.

    Returns
    -------
    tuple
        From left to right: a :class:`LampertiForm` for each interval in which the process moves, a
        :class:`~derivations.piecewise.Piece` with expression 0 for each in which it is frozen.

    Raises
    ------
    NoClosedForm
        If a kink lies where the noise does not vanish (the process crosses it), if a part without
        noise has drift, or if the zeros of the noise cannot be found.
    """
    if len(process.states) != 1:
        raise DerivationError(f"the Lamperti form needs a scalar diffusion, got {len(process.states)} states")
    (x,), (mu,), (a,) = process.states, process.drift, process.covariance
    if process.time in (mu.free_symbols | a.free_symbols):
        raise DerivationError("the Lamperti form needs coefficients that do not depend on time")
    tag, a = sp.Dummy("tag"), factored(a)
    low, high = process.domain.inf, process.domain.sup
    found: list[LampertiForm | Piece] = []
    for part in pieces(a + tag * mu, x):
        left, right = sp.Max(part.left, low), sp.Min(part.right, high)
        if _is_empty(left, right, assuming):
            continue
        variance, drift = part.expr.xreplace({tag: sp.S.Zero}), expanded(sp.diff(part.expr, tag))
        if choice := next(iter(variance.atoms(sp.Piecewise)), None):
            condition = next(condition for _, condition in choice.args if condition != sp.true)
            raise DependsOnParameter(
                f"the noise depends on whether {condition}, which is not known; give the parameters a sign"
            )
        front, _ = variance.as_independent(x, as_Add=False)
        if front.free_symbols:  # a noise that may be absent: says what to assume
            sign_of(front, assuming)
        _refuse_crossing(variance, x, left, right, low, high)
        if variance == 0:
            if drift != 0:
                raise NoClosedForm(f"on ({left}, {right}) there is drift {brief(drift)} but no noise")
            found.append(Piece(left, right, sp.S.Zero))
            continue
        _refuse_unreal(variance, x, left, right)
        squared = quadratic_root(variance, x)
        if squared is not None and (squared.has_parameters or not zeros_are_rational(variance, x)):
            found += _quadratic_forms(squared, x, left, right, drift, tuple(assuming))
            continue
        cuts = (left, *zeros_inside(variance, x, left, right), right)
        _refuse_singular(a, x, left, right)
        found += [
            LampertiForm(x, (start, end), drift, positive_root(variance, x, start, end), tuple(assuming))
            for start, end in pairwise(cuts)
        ]
    return tuple(found)


def _is_empty(left: sp.Expr, right: sp.Expr, assuming: Sequence[sp.Basic]) -> bool:
    """Whether an interval has no length, by what is assumed where its ends have parameters."""
    empty = left >= right
    return bool(empty) if empty in (sp.true, sp.false) else sign_of(right - left, assuming) <= 0


def zeros_are_rational(a: sp.Expr, x: sp.Symbol) -> bool:
    """Whether plain factoring shows the zeros of a, so that nothing special is needed."""
    return all(sp.degree(base, x) <= 1 for base, _ in _factors(a, x)[1])


def _factors(polynomial: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, list[tuple[sp.Expr, int]]]:
    """As SymPy's ``factor_list``, exponentials of numbers being symbols."""

    def listed(named: sp.Expr) -> sp.Tuple:
        constant, factors = sp.factor_list(named, x)
        return sp.Tuple(constant, *(sp.Tuple(*factor) for factor in factors))

    constant, *factors = with_constants_named(listed, polynomial)
    return constant, [(base, int(power)) for base, power in factors]


def quadratic_root(variance: sp.Expr, x: sp.Symbol) -> Quadratic | None:
    """The quadratic polynomial that the variance is the square of, with positive first coefficient; else None."""
    if not variance.is_polynomial(x) or sp.degree(variance, x) != 4:
        return None
    constant, factors = _factors(variance, x)
    if any(power % 2 for base, power in factors if base.has(x)):
        return None
    root = sp.sqrt(constant) * sp.Mul(*(base ** sp.Rational(power, 2) for base, power in factors))
    return Quadratic.of(root.replace(sp.Abs, lambda inside: inside), x)


def _quadratic_forms(
    q: Quadratic, x: sp.Symbol, left: sp.Expr, right: sp.Expr, drift: sp.Expr, assuming: tuple[sp.Basic, ...]
) -> list[LampertiForm]:
    """The intervals between the zeros of a quadratic noise, whose number the discriminant's sign decides."""
    kind = sign_of(q.discriminant, assuming)
    roots = [] if kind < 0 else [-q.b / (2 * q.a)] if kind == 0 else list(q.roots)
    if roots and (left, right) != (-sp.oo, sp.oo):
        roots = [r for r in roots if sign_of(r - left, assuming) > 0 > sign_of(r - right, assuming)]
    cuts = (left, *roots, right)
    found = []
    for start, end in pairwise(cuts):
        between = kind > 0 and (start, end) == q.roots
        found.append(LampertiForm(x, (start, end), drift, -q.expr if between else q.expr, assuming))
    return found


def _refuse_singular(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> None:
    """Within one formula too, the noise must be smooth where it does not vanish: no pole, no kink as of |atan(1/x)|."""
    if a.is_polynomial(x) or a.free_symbols != {x} or not (left.is_number and right.is_number):
        return
    known = analyse(a, x)
    zeros_of_a = {point.value for point in known.zeros}
    for name, points in (("pole", known.poles), ("jump", known.jumps), ("kink", known.kinks)):
        for point in sorted(points, key=lambda p: abs(float(p))):
            if point.value not in zeros_of_a and between(point.value, left, right):
                raise NoClosedForm(
                    f"the process crosses a {name} of its noise at {x} = {point.value}, where no kernel is known"
                )


def _refuse_unreal(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> None:
    """A squared noise must be a nonnegative number; asked at a point inside, with parameters left out of it."""
    point = Piece(left, right, a).interior()
    value = a.subs(x, point) if point.is_number else sp.S.One
    if value.is_finite and (value.is_extended_real is False or value.is_extended_negative):
        raise DerivationError(
            f"the squared noise {a} is {value} at {x} = {point}, expected a number ≥ 0; give the diffusion the interval "
            f"in which it lives as its domain, or write |{x}| where {x} may be negative"
        )
    negative = sp.Dummy("m", negative=True)
    if (
        left == -sp.oo
        and right == sp.oo
        and any(p.base == negative and p.exp.is_integer is None for p in a.subs(x, negative).atoms(sp.Pow))
    ):
        raise DerivationError(
            f"the squared noise {a} is no real number for every {x} < 0; give the diffusion the interval in which it "
            f"lives as its domain, or write |{x}|"
        )


def _refuse_crossing(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, low: sp.Expr, high: sp.Expr) -> None:
    """The noise, as the formula between two kinks, must vanish towards both, except at the ends of the domain."""
    for end, side in ((left, 1), (right, -1)):
        if end.is_finite and end not in (low, high) and not _vanishes_towards(a, x, end, side):
            raise NoClosedForm(
                f"the process crosses a kink of its noise at {x} = {end}, or a jump, or one of its drift, where no kernel is known; solve the "
                "Fokker–Planck equation numerically or simulate"
            )


def _vanishes_towards(a: sp.Expr, x: sp.Symbol, end: sp.Expr, side: int) -> bool:
    value = fold_constants(a.subs(x, end))
    if value.is_finite is not False and not value.has(sp.nan):
        return is_zero(value) if value.is_number else value == 0
    try:  # only a limit, or none
        expansion = expansion_at(a, x, end, side)
        return not expansion.terms or (not expansion.growth and expansion.leading[0] > 0)
    except Unknown:
        return False


def zeros_inside(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> tuple[sp.Expr, ...]:
    """Zeros of the noise in an open interval, in increasing order.

    Raises
    ------
    NoClosedForm
        If there are infinitely many, or they cannot be found exactly.
    """
    if a.free_symbols <= {x} and left.is_number and right.is_number:
        found = zeros(factored(a), x, left, right, partly=False)
        if found.doubt:
            raise NoClosedForm(f"the zeros of the noise on ({left}, {right}) are not all known: {found.doubt}")
        return found.zeros
    factors = [base for base, _ in (f.as_base_exp() for f in sp.Mul.make_args(factored(a))) if base.has(x)]
    roots: set[sp.Expr] = set()
    for factor in factors:
        if factor.is_positive or isinstance(factor, sp.exp):
            continue
        solved = sp.solveset(factor, x, sp.Interval.open(left, right))
        if solved == sp.S.EmptySet:
            continue
        if not isinstance(solved, sp.FiniteSet):
            raise NoClosedForm(
                f"the zeros of the noise, {factor} = 0 on ({left}, {right}), are not finitely many known points"
            )
        roots |= {root for root in solved if _vanishes(factor.subs(x, root))}
    return in_order(roots)


def _vanishes(value: sp.Expr) -> bool:
    """Whether a root that was found by inverting functions is one: atan x = −2 has none, though x = −tan 2 solves it formally."""
    number = sp.N(value, 30) if value.is_number else sp.S.Zero
    return not (number.is_number and abs(number) > sp.Rational(1, 10**15))


def positive_factors(a: sp.Expr, at: Mapping[sp.Symbol, sp.Expr]) -> list[sp.Expr]:
    r"""Factors of a nonnegative function, each positive where it has a sign that is known, so that the root of each is real.

    Factoring writes :math:`x(1 - x)` as :math:`-x(x - 1)`, whose parts have imaginary roots on (0, 1). A factor that is negative
    at a point of an interval without zeros is negative on all of it, and is turned; what is left of the sign goes
    to the constant. Factors of a sign that is not known stay together.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> positive_factors(x * (1 - x), {x: sp.Rational(1, 2)})
    [x, 1 - x]
    """
    known: list[sp.Expr] = []
    rest: list[sp.Expr] = []
    for factor in sp.Mul.make_args(factored(a)):
        base, power = factor.as_base_exp()
        value = base.subs(at)
        if factor.is_number or not base.has(*at) or isinstance(factor, sp.exp):
            rest.append(factor) if factor.is_number else known.append(factor)
        elif power.is_even or value.is_positive:
            known.append(factor)
        elif value.is_negative and power.is_odd:
            rest.append(sp.S.NegativeOne)
            known.append((-base) ** power)
        else:
            rest.append(factor)
    left_over = sp.Mul(*rest)
    return known if left_over == 1 else [left_over, *known]


def positive_root(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    r"""The positive square root of a on an interval, with absolute values resolved by a point inside."""
    squares, a = _squares(factored(a), {x: Piece(left, right, a).interior()})
    if a == 1:
        return tidy(squares)
    p, inside = LampertiForm(x, (left, right), sp.S.Zero, sp.S.One).on_interval
    point = Piece(left, right, a).interior()
    at = {p: back_from(inside, p, point)}
    # the coefficients are real on the interval, so an exponential is positive and its root is plain
    factors = [
        sp.exp(f.args[0] / 2) if isinstance(f, sp.exp) else sp.sqrt(f)
        for f in positive_factors(sp.powsimp(a.subs(x, inside)), at)
    ]
    root = sp.powdenest(sp.expand_power_base(sp.Mul(*factors)))

    def resolve(node: sp.Expr) -> sp.Expr:
        sign = node.args[0].subs(at)
        return node.args[0] if sign.is_positive else -node.args[0] if sign.is_negative else node

    root = root.replace(lambda node: isinstance(node, sp.Abs), resolve)
    return tidy(squares * root.subs(p, back_from(inside, p, x)))


def _squares(a: sp.Expr, at: Mapping[sp.Symbol, sp.Expr]) -> tuple[sp.Expr, sp.Expr]:
    """The root of the even powers among the factors of a, positive at a point, and the other factors."""
    root, rest = sp.S.One, []
    for factor in sp.Mul.make_args(a):
        base, power = factor.as_base_exp()
        value = base.subs(at)
        if power.is_Integer and power.is_even and (value.is_positive or value.is_negative):
            root *= (base if value.is_positive else -base) ** (power / 2)
        else:
            rest.append(factor)
    return root, sp.Mul(*rest)
