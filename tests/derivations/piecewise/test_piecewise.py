"""The analysis of functions of one variable, against sampled sign changes and values worked out by hand."""

import pickle
from itertools import pairwise

import mpmath
import pytest
import sympy as sp

from derivations.activations import gelu
from derivations.calculus.size import is_moderate, written_size
from derivations.errors import DerivationError
from derivations.limits.elimination.averages import layer_average
from derivations.piecewise import Found, IsolatedRoot, analyse, breakpoints, pieces, zeros
from derivations.piecewise.cuts import side
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.terms import LOG, Unknown, is_zero

x = sp.Symbol("x", real=True)
R = sp.Rational


def sampled_sign_changes(expr, low=-8, high=8, cells=500):
    """Cells of a grid on which the signs at both ends differ; the grid misses every simple number."""
    f = sp.lambdify(x, expr, "mpmath")
    start = mpmath.mpf(low) + mpmath.mpf(1) / 9973
    ends = [start + (high - low) * mpmath.mpf(k) / cells for k in range(cells)]
    values = [mpmath.re(f(e)) for e in ends]
    return [(a, b) for (a, b), (u, v) in zip(pairwise(ends), pairwise(values), strict=True) if u * v < 0]


def agrees_with_sampling(points, changes):
    """Whether zeros of odd order lie one in each cell in which the sign changes."""
    pairs = zip(points, changes, strict=False)
    return len(points) == len(changes) and all(a < float(p) < b for p, (a, b) in pairs)


SMOOTH = [
    x - sp.tanh(x) - R(1, 5),
    sp.cos(x) - x / 5,
    x * sp.exp(x) + R(1, 3),
    sp.exp(x) - x**2,
    x**5 - x - 1,
    x**3 - 3 * x + 1 + sp.exp(-(x**2)),
    x + sp.sin(x) ** 2,
    sp.erf(x) * x - R(1, 2),
    sp.log(1 + x**2) - x / 2,
    sp.sin(x) - x / 3,
    sp.diff(x / (1 + sp.exp(-x)), x),
    x * sp.tanh(sp.log(1 + sp.exp(x))) + R(1, 4),
    sp.atan(x) - x / 2,
    x / (1 + sp.exp(-R(851, 500) * x)) + R(1, 10),
]


@pytest.mark.parametrize("expr", SMOOTH, ids=str)
def test_zeros_are_the_sign_changes(expr):
    found = analyse(expr, x).zeros
    odd = [p for p in found if p.order % 2 and -8 < float(p) < 7.9]
    changes = sampled_sign_changes(expr)
    assert changes
    assert agrees_with_sampling(odd, changes)
    assert not agrees_with_sampling(odd[:-1], changes)  # the control


@pytest.mark.parametrize("expr", SMOOTH, ids=str)
def test_brackets_hold_the_zero(expr):
    f = sp.lambdify(x, expr, "mpmath")
    with mpmath.workdps(40):
        for p in analyse(expr, x).zeros:
            if p.order == 1:
                width = mpmath.mpf(2) ** -50
                low, high = (mpmath.mpf(e.p) / e.q for e in (p.low, p.high))
                assert f(low - width) * f(high + width) < 0


def at(points):
    return [p.value for p in points]


def test_kinks_at_roots_of_nonlinear_conditions():
    assert breakpoints(sp.Max(x**2 - 1, 0), x) == (-1, 1)
    assert breakpoints(sp.Max(sp.tanh(x), 0), x) == (0,)
    elu = pieces(sp.Max(x, 0) + sp.Min(sp.exp(x) - 1, 0), x)
    assert [(p.left, p.right, p.expr) for p in elu] == [(-sp.oo, 0, sp.exp(x) - 1), (0, sp.oo, x)]
    assert breakpoints(100 * sp.Max(sp.exp(x) - R(11, 10), 0), x) == (-sp.log(10) + sp.log(11),)
    assert breakpoints(sp.Max(sp.Max(x, 0) ** 2 - 1, 0), x) == (1,)
    assert breakpoints(sp.Max(sp.exp(x), -1), x) == ()
    assert breakpoints(sp.sign(1 / x), x) == (0,)  # at a pole
    (kink,) = breakpoints(sp.Max(sp.cos(x) - x, 0), x)
    assert abs(kink.evalf(40) - sp.Float("0.7390851332151606416553120876738734040134", 40)) < sp.Float("1e-39", 40)
    assert len(breakpoints(sp.Max(x - sp.tanh(x), sp.sin(x) / (1 + x**2)), x)) == 3


def test_infinitely_many_kinks_are_refused_or_listed_in_a_window():
    with pytest.raises(DerivationError, match="not all points are known"):
        pieces(sp.Max(sp.sin(x), 0), x)
    a = analyse(sp.Max(sp.sin(x), 0), x)
    assert at(a.kinks) == [k * sp.pi for k in range(-10, 11)]
    assert not a.complete
    assert "beyond [-32, 32]" in a.reason
    assert a.growth(sp.oo).exponent is None


def test_singular_points_are_distinguished():
    a = analyse(sp.sin(x) / x, x)
    assert [(p.value, p.limit) for p in a.removable] == [(0, 1)]
    assert a.intervals == ((-sp.oo, sp.oo),)
    assert not a.kinks
    assert a.parity == "even"
    a = analyse(1 / (x - 1), x)
    assert [(p.value, p.limits, p.order) for p in a.poles] == [(1, (-sp.oo, sp.oo), -1)]
    assert a.intervals == ((-sp.oo, 1), (1, sp.oo))
    a = analyse(sp.sign(x) * x + sp.Heaviside(x - 2), x)
    assert at(a.kinks) == [0]
    assert [(p.value, p.limits) for p in a.jumps] == [(2, (2, 3))]
    a = analyse(sp.exp(1 / x), x)
    assert [p.limits for p in a.poles] == [(0, sp.oo)]
    a = analyse(sp.sqrt(x), x)
    assert a.intervals == ((0, sp.oo),)
    assert [(p.value, p.orders) for p in a.zeros] == [(0, (None, R(1, 2)))]
    assert analyse(sp.log(x**2 - 1), x).intervals == ((-sp.oo, -1), (1, sp.oo))


REMOVABLE = {
    x / (sp.exp(x) - 1): 1,
    (1 - sp.cos(x)) / x**2: R(1, 2),
    sp.tanh(x) / x: 1,
    x * sp.coth(x): 1,
    (sp.exp(x) - 1) / x: 1,
    (x - sp.sin(x)) / x**3: R(1, 6),
    (sp.cos(x) - 1 + x**2 / 2 - x**4 / 24 + x**6 / 720) / x**8: R(1, 40320),
    sp.log(1 + x) / x: 1,
    sp.atan(3 * x) / x: 3,
    (sp.sqrt(1 + x) - 1) / x: R(1, 2),
    x * sp.log(abs(x)): 0,
    sp.tanh(sp.sin(x) / x): sp.tanh(1),
    sp.exp(-1 / x**2): 0,
}


@pytest.mark.parametrize(
    "expr", [pytest.param(e, marks=[pytest.mark.slow] if e.has(x**6) else []) for e in REMOVABLE], ids=str
)
def test_limits_at_removable_points(expr):
    found = {p.value: p.limit for p in analyse(expr, x).removable}
    assert found[sp.S.Zero] == REMOVABLE[expr]


@pytest.mark.parametrize(
    ("expr", "orders"),
    [
        (sp.sqrt(abs(x)), (R(1, 2), R(1, 2))),
        (abs(x) ** R(1, 4), (R(1, 4), R(1, 4))),
        (x**2 * sp.tanh(x), (3, 3)),
        (1 - sp.cos(x), (2, 2)),
        (sp.Max(x, 0) ** 2, (sp.oo, 2)),
        (x * sp.log(abs(x)), (1, 1)),
        (sp.log(sp.cosh(x)), (2, 2)),
        (x - sp.sin(x), (3, 3)),
        (sp.exp(x) - 1 - x, (2, 2)),
        ((sp.exp(x) - 1) ** 3 * sp.sqrt(abs(x)), (R(7, 2), R(7, 2))),
    ],
    ids=str,
)
def test_local_orders(expr, orders):
    assert {p.value: p.orders for p in analyse(expr, x).zeros}[sp.S.Zero] == orders


@pytest.mark.parametrize(
    ("expr", "orders"),
    [
        (sp.atan(x**2 - 2) ** 2, [2, 2]),
        ((x**2 - 2) ** 3 * sp.tanh(x - sp.sqrt(2)) / sp.cosh(x), [3, 4]),
        ((1 - sp.cos(x**2 - 2)) * (x**2 - 2), [3, 3]),
        (sp.sqrt((x**2 - 2) ** 2 * (x**2 + 1)) * (x**2 - 2), [2, 2]),
    ],
    ids=str,
)
def test_orders_at_irrational_zeros_add_up_over_factors(expr, orders):
    assert [p.order for p in analyse(expr, x).zeros] == orders


def test_a_square_of_what_is_flat_is_flat():
    a = analyse(sp.log(1 + sp.exp(1 / x)) ** 2, x)
    assert [(p.value, p.limits) for p in a.poles] == [(0, (0, sp.oo))]


def test_zeros_that_a_conjugate_rules_out():
    assert zeros(x + sp.sqrt(x**2 + 4), x) == Found(())
    assert zeros(x - 3 + sp.sqrt(x**2 + 4), x).zeros == (R(5, 6),)


@pytest.mark.parametrize("bend", [sp.erf(x / 2 + R(3, 5)), sp.tanh(x / 2 + x**3 / 20)])
def test_zeros_where_a_product_was_multiplied_out(bend):
    # at -1e18 rounding of the two large terms is larger than their sum, which is small
    step = sp.expand((x / 2 + R(3, 5)) * (1 + bend))
    (root,) = zeros(step - sp.exp(2), x).zeros
    assert abs(step.subs(x, root.n(30)).n(25) - sp.exp(2).n(25)) < R(1, 10**20)
    assert zeros(step - sp.exp(2), x).doubt == ""
    assert zeros(step + 1, x) == Found(())  # it is above -1 everywhere


GROWTHS = [
    (sp.log(1 + sp.exp(x)), (-sp.oo, 0), (1, sp.oo)),
    (x / (1 + sp.exp(-x)), (-sp.oo, 0), (1, sp.oo)),
    (x / 2 * (1 + sp.erf(x / sp.sqrt(2))), (-sp.oo, 0), (1, sp.oo)),
    (sp.log(sp.cosh(x)), (1, sp.oo), (1, sp.oo)),
    (x / (1 + abs(x)), (0, -1), (0, 1)),
    (sp.atan(x) * x, (1, sp.oo), (1, sp.oo)),
    (sp.log(1 + x**2), (0, sp.oo), (0, sp.oo)),
    (sp.sqrt(1 + x**2) - x, (1, sp.oo), (-1, 0)),
    (sp.exp(x), (-sp.oo, 0), (sp.oo, sp.oo)),
    (x**3 / (1 + x**2), (1, -sp.oo), (1, sp.oo)),
]


@pytest.mark.parametrize(("expr", "left", "right"), GROWTHS, ids=str)
def test_growth(expr, left, right):
    a = analyse(expr, x)
    for end, expected in ((-sp.oo, left), (sp.oo, right)):
        growth = a.growth(end)
        assert (growth.exponent, growth.limit) == expected
        if growth.exponent.is_finite:  # the coefficient against the value far out
            far = sp.Integer(10) ** 30 * sp.sign(end)
            leading = growth.coefficient.subs(LOG, -sp.log(abs(far))) * abs(far) ** growth.exponent
            assert abs((expr.subs(x, far) / leading).evalf(20, maxn=400) - 1) < R(1, 10**6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expr", "end"),
    [
        (sp.log(1 + sp.exp(x)), -sp.oo),
        (sp.sqrt(sp.exp(1 / (1 + sp.exp(-x))) - 1), -sp.oo),
        (sp.log(1 + sp.exp(x)) - x, sp.oo),
        (x * sp.tanh(x) - x, sp.oo),
        (1 - sp.erf(x), sp.oo),
        (sp.cos(sp.exp(x)) - 1, -sp.oo),
        (sp.pi / 2 - sp.atan(sp.exp(x)), sp.oo),
        (sp.atan(sp.exp(x)), -sp.oo),
        (sp.log(sp.log(1 + sp.exp(x))), -sp.oo),
        (x * (1 + sp.tanh(x + x**3)), -sp.oo),
    ],
    ids=str,
)
def test_what_powers_do_not_see_is_expanded_too(expr, end):
    """The leading term with its exponential against the value far out, where it is exponentially small beside 1."""
    found = expansion_at(expr, x, end, 1)
    power, coefficient = found.leading
    t = sp.Symbol("t", positive=True)
    leading = sp.lambdify(t, coefficient * t**power * sp.exp(sum(c * t**p for p, c in found.growth.items())), "mpmath")
    value = sp.lambdify(x, expr, "mpmath")
    with mpmath.workdps(13000):  # the exponentials are as small as that beside 1
        missed = [abs(value(int(sp.sign(end)) * far) / leading(mpmath.mpf(1) / far) - 1) for far in (12, 24)]
    assert missed[1] < 1e-3
    assert missed[1] <= missed[0] + mpmath.mpf(10) ** -100


def test_what_cancels_to_first_order_is_smaller_than_every_power():
    found = expansion_at(sp.exp(sp.exp(x)) - 1 - sp.exp(x), x, -sp.oo, 1)
    assert not found.terms
    assert not found.growth


@pytest.mark.parametrize(
    ("expr", "parity"),
    [
        (sp.tanh(x), "odd"),
        (abs(x), "even"),
        (x / (1 + abs(x)), "odd"),
        (sp.Max(x, 0), None),
        (x * sp.tanh(x), "even"),
        (sp.sign(x), "odd"),
        (sp.exp(x) + x, None),
        (sp.Min(sp.Max(x, -1), 1), "odd"),
    ],
    ids=str,
)
def test_parity(expr, parity):
    assert analyse(expr, x).parity == parity


def test_a_function_needs_numbers_and_a_domain():
    with pytest.raises(DerivationError, match="needs numbers for the parameters c"):
        analyse(sp.Symbol("c") * x, x)
    with pytest.raises(DerivationError, match="a real number nowhere"):
        analyse(sp.log(-1 - x**2), x)
    with pytest.raises(DerivationError, match="at oo or -oo"):
        analyse(x, x).growth(sp.S.Zero)
    with pytest.raises(DerivationError, match="not defined towards -oo"):
        analyse(sp.log(x), x).growth(-sp.oo)


def test_isolated_root_is_a_number():
    (r,) = zeros(sp.cos(x) - x, x).zeros
    with mpmath.workdps(60):
        dottie = mpmath.findroot(lambda t: mpmath.cos(t) - t, mpmath.mpf("0.739"))
        assert abs(r.evalf(60)._to_mpmath(220) - dottie) < mpmath.mpf(10) ** -58
    assert r.is_real
    assert r.is_number
    assert r.is_positive
    assert not r.free_symbols
    assert not r.is_rational
    assert (r > R(73, 100)) == sp.true
    assert (r < R(73, 100)) == sp.false
    assert (r - 1).is_negative
    assert r == zeros(sp.cos(x) - x, x, sp.S.Zero, sp.S(2)).zeros[0]  # the same bracket, however it was found
    assert pickle.loads(pickle.dumps(r)) == r
    assert hash(pickle.loads(pickle.dumps(r))) == hash(r)
    assert sp.diff(r * x, x) == r
    assert (r + x).subs(x, 3) == r + 3
    assert (r * x).xreplace({x: 2 * x}) == 2 * r * x
    assert sp.lambdify(x, r * x, "numpy")(1.0) == float(r) == sp.lambdify(x, r * x, "math")(1.0)
    with mpmath.workdps(50):
        assert abs(sp.lambdify(x, r, "mpmath")(0) - dottie) < mpmath.mpf(10) ** -48
    assert "0.739085133215" in sp.latex(r)
    with pytest.raises(ValueError, match="does not change its sign"):
        IsolatedRoot(x**2 + 1, x, sp.S.Zero, sp.S.One).evalf()


def test_what_has_no_expansion_says_so():
    with pytest.raises(Unknown, match="does not tend to a limit"):
        expansion_at(sp.sin(x), x, sp.oo, 1)
    with pytest.raises(Unknown, match="exponential of an exponential"):
        expansion_at(sp.exp(sp.exp(x)), x, sp.oo, 1)


@pytest.mark.slow
def test_a_search_without_end_stops_and_says_so():
    found = zeros(sp.sin(x) + sp.sin(sp.sqrt(2) * x) / 2, x)
    assert found.doubt
    double = zeros(
        (sp.cos(x) - sp.exp(-x / 7)) ** 2, x, sp.S.One, sp.S(8)
    )  # as a power, its zeros are those of the base
    assert len(double.zeros) == 2
    assert not double.doubt


def test_size_is_counted_before_algebra():
    assert is_moderate(sp.tanh(x) ** 2 / (1 + x))
    assert not is_moderate((x / (1 + sp.exp(-R(851, 500) * x))) ** 2)  # degree 1704 in exp(-x/500)
    tower = x
    for _ in range(10):
        tower = sp.sin(tower) + sp.atan(tower)
    assert written_size(tower) == 4 * 2**10 - 3
    assert not is_moderate((tower + sp.exp(x) + x) ** 64)


def test_a_condition_between_complex_numbers_is_refused_at_once():
    root = sp.sqrt(x)
    with pytest.raises(DerivationError, match="compares numbers that are not real"):
        pieces(sp.Max(root / (1 + sp.exp(-root)), 0), x)


def test_what_is_compared_has_values_though_its_difference_or_square_has():
    for condition in (sp.log(x) >= sp.log(x) - 1, sp.log(x) ** 2 >= 0, sp.log(x) > -1):  # log(-1)² is −π²
        with pytest.raises(DerivationError, match="compares numbers that are not real"):
            pieces(x * sp.Piecewise((1, condition), (0, True)), x)


@pytest.mark.parametrize(
    ("inside", "points", "values"),
    [
        (sp.Piecewise((x, sp.log(x) > -1), (0, True)), (-1, R(1, 5), 1, 3), (0, 0, 0, 3)),
        (sp.Abs(sp.log(x) - 1), (-1, R(1, 5), 2, 4), (0, 0, 1 - sp.log(2), sp.log(4) - 1)),
        (sp.Max(sp.sqrt(x - 1), x / 4), (-1, R(21, 20), 4, 20), (0, R(21, 80), sp.sqrt(3), 5)),
    ],
)
def test_branches_need_values_only_where_they_are_chosen(inside, points, values):
    parts = pieces(sp.Piecewise((inside, x > 1), (0, True)), x)
    for point, value in zip(points, values, strict=True):
        (part,) = (p for p in parts if p.left < point <= p.right)
        assert part.expr.subs(x, point) == value


@pytest.mark.parametrize(
    ("expr", "points", "values"),
    [
        (sp.Min(1, sp.sqrt(sp.Abs(x))), (-9, -R(1, 4), R(1, 9), 4), (1, R(1, 2), R(1, 3), 1)),
        (sp.Max(sp.log(1 + sp.Abs(x)), x), (-1, 3), (sp.log(2), 3)),
        (sp.Heaviside(sp.Abs(x) ** 3 - sp.Abs(x)) * x, (-2, -R(1, 2), 2), (-2, 0, 2)),
    ],
)
def test_kinks_inside_kinks_are_decided_innermost_first(expr, points, values):
    parts = pieces(expr, x)
    assert parts[0].left == -sp.oo
    assert parts[-1].right == sp.oo
    for point, value in zip(points, values, strict=True):
        (here,) = (part.expr for part in parts if part.left < point < part.right)
        assert here.subs(x, point) == value


@pytest.mark.parametrize(
    "expr", [1 / sp.Max(x, 0), sp.Heaviside(1 / sp.Max(-x, 0)), sp.Min(6, 1 / sp.Max(sp.Abs(x) - 1, 0))]
)
def test_a_function_without_value_on_an_interval_is_refused(expr):
    with pytest.raises(DerivationError, match=r"no real number on .*: it (divides by 0|compares numbers)"):
        pieces(expr, x)


def test_a_condition_without_the_variable_is_refused_and_ends():
    average = layer_average(sp.Max(x, 0), (x,), 0)
    u = sp.Symbol("u", real=True)
    assert not average.free_symbols
    with pytest.raises(DerivationError, match="true or not whatever u is"):
        pieces(sp.Max(0, u + average / 2) ** 2, u)


def test_where_the_sign_of_an_exponent_is_not_known_nothing_is_said_of_the_end():
    """exp(c x) was said to grow for every real c."""
    c, falling = sp.Symbol("c", real=True), sp.Symbol("c", negative=True)
    assert side(sp.exp(c * x), x, sp.oo, -1).limit is None
    assert side(sp.exp(falling * x), x, sp.oo, -1).limit == 0  # the control


def test_functions_that_tend_to_the_same_limit_together_do_not_hide_what_is_beside_them():
    # multiplied out, the four terms of gelu(gelu(x)) cancel to 0 from -∞: at -10^18 each is larger than the logarithm
    twice = gelu(gelu(x))
    found = analyse(sp.expand(sp.log(1 + x**2) - twice), x)
    assert found.complete
    with mpmath.workdps(30):
        phi = lambda u: u * mpmath.ncdf(u)  # noqa: E731
        f = lambda u: mpmath.log(1 + u * u) - phi(phi(u))  # noqa: E731
        expected = [mpmath.findroot(f, guess) for guess in (0.47, 1.12)]
        seen = sorted(float(z.value) for z in found.zeros if z.value > sp.Rational(1, 10))
        assert len(found.zeros) == 3
        assert seen == [pytest.approx(float(z), rel=1e-12) for z in expected]
        assert seen != [pytest.approx(float(z) * (1 + 1e-9), rel=1e-12) for z in expected]
        steps = [f(mpmath.mpf(k) / 50) for k in (*range(-400, 0), *range(1, 400))]  # and changes of sign, counted
    assert sum(a * b < 0 for a, b in pairwise(steps)) == 3


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (
            x * sp.exp(-x) - sp.Rational(1, 10**30),
            lambda mp: [-mp.lambertw(-(mp.mpf(10) ** -30), k).real for k in (0, -1)],
        ),
        (sp.atan(x) - sp.pi / 2 + sp.Rational(1, 10**6), lambda mp: [mp.cot(mp.mpf(10) ** -6)]),
        (sp.log(1 + x**2) - 40, lambda mp: [sign * mp.sqrt(mp.expm1(40)) for sign in (-1, 1)]),
    ],
    ids=["73", "a million", "half a billion"],
)
def test_zeros_far_out_are_found(expr, expected):
    with mpmath.workdps(40):
        wanted = expected(mpmath)
        seen = [zero.value.evalf(30) for zero in analyse(expr, x).zeros]
        assert len(seen) == len(wanted)
        assert all(abs(a / b - 1) < 1e-25 for a, b in zip(map(mpmath.mpf, map(str, seen)), wanted, strict=True))


def test_a_zero_close_to_an_end_is_found():
    (zero,) = analyse(sp.log(x) + 20 + sp.tanh(x), x).zeros
    with mpmath.workdps(30):
        wanted = mpmath.mpf(0)
        for _ in range(8):  # the slope at the fixed point is its own size, 2e-9
            wanted = mpmath.exp(-20 - mpmath.tanh(wanted))
    assert float(zero.value) == pytest.approx(float(wanted), rel=1e-14)


def test_many_zeros_are_listed():
    # a cosine beside a line: a sign changes between neighbouring points once for each zero
    values = [mpmath.cos(mpmath.mpf(k) / 64) + mpmath.mpf(k) / 1280 for k in range(-1600, 1600)]
    found = analyse(sp.cos(x) + x / 20, x)
    assert found.complete
    assert len(found.zeros) == sum(a * b < 0 for a, b in pairwise(values)) == 13


def test_a_tiny_number_that_sympy_does_not_see_to_be_real_is_no_zero():
    """SymPy compares log(erf(8.41)) with 0 where its cache holds no answer: a TypeError in place of the law of log(softplus(min(2.9, x))*erf(x²))."""
    e, f, u = (
        sp.exp(sp.Rational(707281, 5000)),
        sp.log(sp.log(1 + sp.exp(sp.Rational(29, 10)))),
        sp.erf(sp.Rational(841, 100)),
    )
    number = 3364 / (
        25 * sp.pi * e * sp.log(u) ** 2 * u**2 + 50 * sp.pi * e * f * sp.log(u) * u**2 + 25 * sp.pi * e * f**2 * u**2
    )
    assert not is_zero(number)
    assert is_zero(sp.log(u**2) - 2 * sp.log(u))
