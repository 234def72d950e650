"""Gaussian means: every rule against independent quadrature and against the literature, each with a wrong twin."""

import time

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from derivations.errors import DerivationError
from derivations.gaussian import (
    GaussianExpectation,
    GaussianPairExpectation,
    dual,
    expect,
    expect_pair,
    hermite_pair,
)
from derivations.piecewise import breakpoints
from derivations.symbols import correlation
from numerics import quadrature

x = sp.Symbol("x", real=True)
s, k11, k22 = sp.symbols("s k_11 k_22", positive=True)
m, k12 = sp.symbols("m k_12", real=True)
rho = correlation

relu = sp.Max(x, 0)
gelu = x * (1 + sp.erf(x / sp.sqrt(2))) / 2
elu = sp.Piecewise((x, x > 0), (sp.exp(x) - 1, True))
third = sp.Rational(1, 3)

CLOSED = {
    "polynomial": x**5 - 2 * x**4 + x,
    "relu": relu,
    "relu^3": relu**3,
    "abs": abs(x) * x**2,
    "step": sp.Heaviside(x - third),
    "two kinks": sp.Piecewise((x**2, x < -third), (1 + x, x < 2), (3 * x**3 - x, True)),
    "hat": sp.Max(1 - abs(x), 0),
    "elu": elu,
    "exp": x**2 * sp.exp(x / 2),
    "bump": x**2 * sp.exp(-(x**2) + x),
    "growing": sp.exp(x**2 / 60),
    "half bump": relu * sp.exp(-(x**2)),
    "erf": x**3 * sp.erf(2 * x - 1),
    "erfc": sp.erfc(x / 3) * sp.exp(x / 3),
    "gelu": gelu,
    "gelu'": sp.diff(gelu, x),
    "sin": sp.sin(2 * x + 1),
    "x cos": x * sp.cos(x) ** 2,
    "sin exp": sp.sin(x) * sp.exp(-(x**2)),
    "snake": x + sp.sin(x) ** 2,
    "cosh": sp.cosh(x / 2),
}
CENTRED = {
    "gelu^2": gelu**2,
    "gelu'^2": sp.diff(gelu, x) ** 2,
    "erf^2": sp.erf(x) ** 2,
    "erf^3": x * sp.erf(x) ** 3,
    "relu erf": relu * sp.erf(x / 2),
    "sin erf": sp.sin(x) * sp.erf(x),
    "half sin": sp.Heaviside(x) * sp.sin(x),
}
LAWS = [  # variance, mean
    (sp.S.One, sp.S.Zero),
    (sp.Rational(1, 4), sp.Rational(3, 2)),
    (sp.S(7), -sp.S.One),
    (sp.Rational(1, 100), -third),
]


def numeric(f):
    """A NumPy function of the variable, constants included."""
    function = sp.lambdify(x, f, ["scipy", "numpy"])
    return lambda z: function(z) + 0 * z


def kinks(f):
    return [float(point) for point in breakpoints(f, x)]


def by_quadrature(f, variance, mean=0):
    return quadrature.expect(numeric(f), float(variance), float(mean), kinks(f))


def close(value, reference, digits=12, scale=1.0):
    """Equal to the number of digits, relative to the reference or, where that vanishes, to its terms."""
    return abs(float(value) - reference) <= 10.0**-digits * max(abs(reference), scale)


def assert_right_and_wrong_seen(closed, reference, size):
    """The value passes, and 5% or an offset of 1e-9 away from it does not."""
    assert close(closed, reference, scale=size)
    assert not close(float(closed) * 1.05 + 1e-9 * size, reference, scale=size)


@pytest.mark.parametrize("name", CLOSED)
def test_mean_is_closed_and_right(name):
    f, closed = CLOSED[name], expect(CLOSED[name], x, s, m)
    assert not closed.has(GaussianExpectation)
    for variance, mean in LAWS:
        value = closed.subs({s: variance, m: mean}).evalf(25)
        assert_right_and_wrong_seen(value, by_quadrature(f, variance, mean), by_quadrature(f**2, variance, mean) ** 0.5)


@pytest.mark.parametrize("name", CENTRED)
def test_centred_mean_is_closed_and_right(name):
    f, closed = CENTRED[name], expect(CENTRED[name], x, s)
    assert not closed.has(GaussianExpectation)
    for variance in (sp.S.One, third**2, sp.S(6)):
        value = closed.subs(s, variance).evalf(25)
        assert_right_and_wrong_seen(value, by_quadrature(f, variance), by_quadrature(f**2, variance) ** 0.5)


def test_known_means():
    assert expect(x**6, x, s) == 15 * s**3
    assert expect(relu, x) == 1 / sp.sqrt(2 * sp.pi)
    assert expect(relu**4, x) == sp.Rational(3, 2)
    assert expect(sp.exp(m * x), x, s) == sp.exp(m**2 * s / 2)
    assert expect(sp.exp(-m * x**2), x, s) == 1 / sp.sqrt(1 + 2 * m * s)
    assert expect(sp.sin(x), x, s, m) == sp.exp(-s / 2) * sp.sin(m)
    assert expect(sp.erf(x), x, s, m) == sp.erf(m / sp.sqrt(1 + 2 * s))
    assert expect(x * sp.erf(x), x, s) == 2 * s / sp.sqrt(sp.pi) / sp.sqrt(1 + 2 * s)
    assert expect(relu, x, 0, -3) == 0


def test_any_symbol_serves_as_variable_and_parameters_stay():
    y, a = sp.Symbol("y"), sp.Symbol("a")
    assert expect(a * sp.Max(y, 0), y, a**2) == expect(a * relu, x, a**2)
    with pytest.raises(DerivationError, match="both signs"):
        expect(x, sp.Symbol("p", positive=True))


def test_divergence_is_refused_and_says_when_finite():
    with pytest.raises(DerivationError, match=r"1 - 2\*c\*variance > 0"):
        expect(sp.exp(x**2), x, 1)
    with pytest.raises(DerivationError, match="diverges"):
        expect(sp.exp(x**2 / 2), x, 1)
    with pytest.raises(DerivationError, match="diverges"):
        expect(relu * sp.exp(x**2), x, 1)
    with pytest.raises(DerivationError, match="positive definite"):
        expect_pair(sp.exp(x**2), sp.exp(x**2), x, [[1, rho], [rho, 1]])
    assert expect(sp.exp(x**2 / 4), x, 1) == sp.sqrt(2)
    bounded = sp.Piecewise((sp.exp(x**2), sp.And(x > -1, x < 1)), (0, True))
    reference = quadrature.expect(lambda z: np.exp(np.minimum(z * z, 1.0)) * (abs(z) < 1), kinks=[-1.0, 1.0])
    assert close(expect(bounded, x).evalf(15), reference)


def test_bad_laws_are_refused():
    for bad in (-1, sp.Symbol("n", negative=True)):
        with pytest.raises(DerivationError, match="nonnegative"):
            expect(x, x, bad)
    with pytest.raises(DerivationError, match="symmetric"):
        expect_pair(x, x, x, [[1, 0], [rho, 1]])
    with pytest.raises(DerivationError, match="semidefinite"):
        expect_pair(x, x, x, [[1, 2], [2, 1]])
    with pytest.raises(DerivationError, match="must be"):
        expect_pair(x, x, x, 3)


# ---------------------------------------------------------------------------------------------- pairs

PAIRS = {
    "polynomials": (x**3 - x, 2 * x**3 + x**2),
    "relu relu": (relu, relu),
    "leaky abs": (relu - relu.subs(x, -x) / 5, abs(x)),
    "relu^2 relu^3": (relu**2, relu**3),
    "step step": (sp.Heaviside(x), sp.Heaviside(x)),
    "kink, polynomial": (sp.Max(x - third, 0), x**3 + 1),
    "kink, exp": (sp.Max(x - third, 0), sp.exp(x / 3)),
    "erf erf": (sp.erf(x), sp.erf(x / 2)),
    "gelu gelu": (gelu, gelu),
    "gelu' gelu'": (sp.diff(gelu, x), sp.diff(gelu, x)),
    "relu gelu": (relu, gelu),
    "sin sin": (sp.sin(x), sp.sin(x)),
    "x sin, cos": (x * sp.sin(x), sp.cos(2 * x + 1)),
    "sin erf": (sp.sin(x), sp.erf(x)),
    "exp exp": (sp.exp(x / 2), x * sp.exp(-x / 3)),
    "bumps": (sp.exp(-(x**2)), x**2 * sp.exp(-(x**2) / 3)),
    "growth tamed": (sp.exp(x**2 / 40), sp.exp(-(x**2)) * (1 + x)),
    "half bump": (relu * sp.exp(-(x**2)), relu),
}
COVARIANCES = [  # variances, correlation
    ("2", "1/3", "-3/5"),
    ("1/2", "5", "9999/10000"),
    ("3", "1", "0"),
    ("1", "4", "-9999/10000"),
    ("1", "1", "1/2"),
]


def at(law):
    a, b, r = map(sp.Rational, law)
    return {k11: a, k22: b, k12: r * sp.sqrt(a * b)}


def pair_by_quadrature(f, g, values):
    covariance = [[float(values[a]) for a in row] for row in ((k11, k12), (k12, k22))]
    return quadrature.expect_pair(numeric(f), numeric(g), covariance, kinks(f), kinks(g))


@pytest.mark.parametrize("laws", [COVARIANCES[:3], pytest.param(COVARIANCES[3:], marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PAIRS)
def test_pair_is_closed_and_right(name, laws):
    f, g = PAIRS[name]
    closed = expect_pair(f, g, x, [[k11, k12], [k12, k22]])
    assert not closed.has(GaussianPairExpectation, GaussianExpectation)
    for values in map(at, laws):
        size = (by_quadrature(f**2, values[k11]) * by_quadrature(g**2, values[k22])) ** 0.5
        assert_right_and_wrong_seen(closed.subs(values).evalf(25), pair_by_quadrature(f, g, values), size)


@pytest.mark.parametrize("name", ["relu relu", "gelu gelu"])
@pytest.mark.parametrize("law", COVARIANCES, ids=str)
def test_numeric_covariance_gives_the_symbolic_value(name, law):
    f, g = PAIRS[name]
    values = at(law)
    general = expect_pair(f, g, x, [[k11, k12], [k12, k22]]).subs(values)
    special = expect_pair(f, g, x, sp.Matrix([[values[k11], values[k12]], [values[k12], values[k22]]]))
    assert close((general - special).evalf(25, chop=True), 0.0, digits=20)


@pytest.mark.parametrize("name", PAIRS)
def test_full_correlation_is_one_variable(name):
    f, g = PAIRS[name]
    assert expect_pair(f, g, x, [[s, s], [s, s]]) == expect(f * g, x, s)
    assert expect_pair(f, g, x, [[2, -4], [-4, 8]]) == expect(f * g.subs(x, -2 * x), x, 2)


def test_arc_cosine_kernels():
    """Cho & Saul (2009), Eq. 4: J_n over π, twice the product of half-line monomials, at cos θ = ρ."""
    theta = sp.acos(rho)
    sine = sp.sqrt(1 - rho**2)
    kernels = [
        sp.pi - theta,
        sine + (sp.pi - theta) * rho,
        3 * sine * rho + (sp.pi - theta) * (1 + 2 * rho**2),
    ]
    for order, kernel in enumerate(kernels):
        closed = dual(sp.Heaviside(x) * x**order, x)
        difference = sp.expand((closed - kernel / (2 * sp.pi)).subs(theta, sp.pi / 2 - sp.asin(rho)))
        assert difference == 0
        assert sp.expand(difference + closed / 20) != 0


def test_erf_kernel():
    """Williams (1997), with weights of unit covariance and variances k."""
    expected = 2 / sp.pi * sp.asin(2 * k12 / sp.sqrt((1 + 2 * k11) * (1 + 2 * k22)))
    assert sp.expand(expect_pair(sp.erf(x), sp.erf(x), x, [[k11, k12], [k12, k22]]) - expected) == 0


def test_gelu_kernel():
    """Tsuchida et al. (2021): E gelu gelu at unit variances."""
    expected = rho / 4 + (rho * sp.asin(rho / 2) + 1 / sp.sqrt(4 - rho**2)) / (2 * sp.pi)
    assert sp.expand(dual(gelu, x) - expected) == 0


def test_trigonometric_kernels():
    covariance = [[k11, k12], [k12, k22]]
    envelope = sp.exp(-(k11 + k22) / 2)
    for f, hyperbolic in ((sp.sin, sp.sinh), (sp.cos, sp.cosh)):
        expected = envelope * hyperbolic(k12).rewrite(sp.exp)
        assert sp.expand(expect_pair(f(x), f(x), x, covariance) - expected, power_exp=True) == 0
    assert expect_pair(sp.exp(x), sp.exp(x), x, covariance) == sp.exp(k11 / 2 + k12 + k22 / 2)


def test_variances_and_correlation_are_another_way_to_give_a_covariance():
    one = expect_pair(relu, relu, x, ((k11, k22), rho))
    two = expect_pair(relu, relu, x, [[k11, k12], [k12, k22]]).subs(k12, rho * sp.sqrt(k11 * k22))
    assert sp.expand((one - two).subs({k11: 2, k22: 3})).equals(0)
    assert sp.expand(expect_pair(relu, relu, x, [[s, s * rho], [s * rho, s]]) - s * dual(relu, x)) == 0


def test_price():
    """The derivative in the covariance is the mean of the derivatives, for closed forms and for nodes."""
    covariance = [[k11, k12], [k12, k22]]
    for f in (x**3, relu**2, gelu, sp.sin(x)):
        slope = sp.diff(expect_pair(f, f, x, covariance), k12)
        mean = expect_pair(sp.diff(f, x), sp.diff(f, x), x, covariance)
        for law in COVARIANCES[:3]:
            assert close((slope - mean).subs(at(law)).evalf(25), 0.0, digits=18)
    node = dual(sp.tanh(x), x)
    assert sp.diff(node, rho) == expect_pair(1 - sp.tanh(x) ** 2, 1 - sp.tanh(x) ** 2, x, [[1, rho], [rho, 1]])


# ---------------------------------------------------------------------------------- what is not closed

silu = x / (1 + sp.exp(-x))


@pytest.mark.slow
@pytest.mark.parametrize("f", [silu, sp.tanh(x) ** 2, sp.log(1 + sp.exp(x)), abs(x) * sp.tanh(x - 1)], ids=str)
def test_node_evaluates_and_differentiates(f):
    node = expect(f, x, s, m)
    assert isinstance(node, GaussianExpectation)
    assert node.free_symbols == {s, m}
    assert node.is_real
    point = {s: sp.Rational(3, 2), m: sp.Rational(1, 5)}
    assert close(node.subs(point).evalf(15), by_quadrature(f, point[s], point[m]))
    h = sp.Rational(1, 10**10)
    for symbol in (s, m):
        slope = sp.diff(node, symbol).subs(point).evalf(15)
        ahead, behind = (node.subs({**point, symbol: point[symbol] + d}).evalf(40) for d in (h, -h))
        assert close(slope, float((ahead - behind) / (2 * h)))
    assert r"\mathbb{E}_{z \sim N(m, s)}" in sp.latex(node)


def test_node_of_an_odd_function_is_zero():
    assert abs(expect(sp.tanh(x), x, 3).evalf(15)) < 1e-15


def test_node_becomes_closed_after_a_substitution():
    a = sp.Symbol("a", real=True)
    node = expect(a * sp.tanh(x) + x**2, x, s)
    assert node.subs(a, 0).doit() == s
    assert sp.diff(node, a) == expect(sp.tanh(x), x, s)
    # the bound variable is out of reach of a substitution, and of no consequence
    assert node.subs(x, 3) == node
    assert node.subs(s, x).free_symbols == {a, x}
    z = sp.Symbol("z", real=True)
    assert expect(a * sp.tanh(z) + z**2, z, s) == node


NODES = {
    "tanh": (sp.tanh(x), sp.tanh(x)),
    "silu relu": (silu, relu),
    "elu": (elu, elu),
    "shifted": (sp.Max(x - third, 0), sp.Heaviside(x - 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == "silu relu" else []) for n in NODES])
def test_pair_node_evaluates(name):
    f, g = NODES[name]
    node = expect_pair(f, g, x, [[k11, k12], [k12, k22]])
    assert isinstance(node, GaussianPairExpectation)
    assert node.free_symbols == {k11, k12, k22}
    values = {k11: sp.S(1), k12: sp.Rational(3, 5), k22: sp.Rational(1, 2)}
    reference = pair_by_quadrature(f, g, values)
    assert close(node.subs(values).evalf(15), reference)
    assert not close(node.subs(values).evalf(15) * sp.Rational(21, 20), reference)
    assert r"\mathbb{E}_{(u, v)" in sp.latex(node)


@pytest.mark.slow
def test_pair_nodes_of_the_same_mean_are_one():
    first, mixed, second = sp.symbols("k_1 c k_2", positive=True)
    there, back = (
        expect_pair(f, g, x, [[a, mixed], [mixed, b]])
        for f, g, a, b in ((sp.tanh(x), sp.atan(x), first, second), (sp.atan(x), sp.tanh(x), second, first))
    )
    at = {first: 1, mixed: sp.S.Half, second: 2}
    assert there == back
    assert there.subs(at) == back.subs(at)
    turned = expect_pair(sp.atan(x), sp.tanh(x), x, [[first, mixed], [mixed, second]])
    assert turned != there  # the control: the variances stayed where they were
    assert abs(turned.subs(at).evalf() - there.subs(at).evalf()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("symbol", [k11, k12, k22], ids=str)
def test_pair_node_differentiates_through_kinks(symbol):
    f, g = NODES["shifted"]
    node = expect_pair(f, g, x, [[k11, k12], [k12, k22]])
    point = {k11: sp.S(1), k12: sp.Rational(3, 5), k22: sp.S(1)}
    h = sp.Rational(1, 10**5)
    values = [float(node.subs({**point, symbol: point[symbol] + d}).evalf(20)) for d in (h, -h)]
    slope = float(sp.diff(node, symbol).subs(point).evalf(15))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * float(h)), rel=1e-8)


@pytest.mark.parametrize(("f", "g"), [(sp.sign(x), sp.sign(x)), (relu, gelu), (sp.exp(x / 2), relu)], ids=str)
def test_hermite_series_is_within_its_bound(f, g):
    series, bound = hermite_pair(f, g, x, 6)
    closed = expect_pair(f, g, x, [[1, rho], [rho, 1]])
    for value in (-0.9, -0.2, 0.5, 0.99):
        error, limit = (float(abs(e.subs(rho, value).evalf(25))) for e in (closed - series, bound))
        assert error <= limit
    # at |rho| = 1 and f = g the tail is the bound; a series 5% off leaves it
    if f == g:
        at_one = {rho: 1}
        assert close((closed - series).subs(at_one).evalf(20), float(bound.subs(at_one).evalf(20)))
        assert abs(float((closed - series * sp.Rational(21, 20)).subs(rho, sp.Rational(1, 2)))) > float(
            bound.subs(rho, sp.Rational(1, 2))
        )


@pytest.mark.slow
def test_hermite_series_of_a_function_without_closed_form():
    series, bound = hermite_pair(sp.tanh(x), sp.tanh(x), x, 5)
    value = series.subs(rho, sp.Rational(1, 4)).evalf(15)
    reference = pair_by_quadrature(sp.tanh(x), sp.tanh(x), at(("1", "1", "1/4")))
    assert 1e-9 < abs(float(value) - reference) <= float(bound.subs(rho, sp.Rational(1, 4)).evalf(15))


# --------------------------------------------------------------------------------------------- random

coefficients = st.lists(st.fractions(-3, 3, max_denominator=7).map(sp.Rational), min_size=1, max_size=4)
polynomials = coefficients.map(lambda q: sum((c * x**i for i, c in enumerate(q)), sp.S.Zero))
rationals = st.fractions(-2, 2, max_denominator=9).map(sp.Rational)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(polynomials, polynomials, rationals, st.sampled_from(LAWS))
def test_random_piecewise_polynomials(left, right, kink, law):
    f = sp.Piecewise((left, x < kink), (right, True))
    size = by_quadrature(f**2, *law) ** 0.5
    assert close(expect(f, x, *law).evalf(25), by_quadrature(f, *law), scale=max(size, 1e-3))


@settings(max_examples=6, deadline=None, derandomize=True)
@given(polynomials, polynomials, polynomials, polynomials, st.sampled_from(COVARIANCES))
@pytest.mark.slow
def test_random_pairs_with_a_kink_at_zero(a, b, c, d, law):
    f, g = sp.Piecewise((a, x < 0), (b, True)), sp.Piecewise((c, x < 0), (d, True))
    closed = expect_pair(f, g, x, [[k11, k12], [k12, k22]])
    assert not closed.has(GaussianPairExpectation)
    values = at(law)
    size = (by_quadrature(f**2, values[k11]) * by_quadrature(g**2, values[k22])) ** 0.5
    assert close(closed.subs(values).evalf(30), pair_by_quadrature(f, g, values), scale=max(size, 1e-3))


def test_dual_of_relu_is_quick():
    start = time.process_time()
    closed = dual(relu, x)
    assert time.process_time() - start < 0.5
    assert closed.subs(rho, 1) == sp.S.Half
