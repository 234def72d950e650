"""Compiled formulas at points at which they have only a limit, and networks that start there."""

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from numerics import compile_expression, simulate_network
from numerics.backends import removable

x = sp.Symbol("x", real=True)
#: A formula, a point, the limit there.
LIMITS = [
    (x * sp.log(abs(x)), 0, 0),
    (sp.exp(-1 / x**2), 0, 0),
    (sp.sin(abs(x)) / abs(x), 0, 1),
    (sp.Max(x, 0) ** 2 / x, 0, 0),
    (sp.tanh(x - 1) / (x - 1), 1, 1),
    ((1 - sp.cos(x)) / x**2, 0, sp.Rational(1, 2)),
    (x * sp.coth(x), 0, 1),
    (x * sp.csc(2 * x), 0, sp.Rational(1, 2)),
    (sp.diff((1 - sp.cos(x)) / x**2, x), 0, 0),  # beside which 60 digits of (1 − cos x)/x³ cancel
]


@pytest.mark.parametrize("backend", ["numpy", "mpmath"])
@pytest.mark.parametrize(("expr", "at", "limit"), LIMITS, ids=str)
@pytest.mark.slow
def test_values_at_removable_points_are_limits(expr, at, limit, backend):
    f = compile_expression((x,), expr, backend)
    assert float(f(float(at))) == float(limit)
    for near in (at + 1e-7, at - 0.25):
        with mpmath.workdps(60):
            exact = sp.lambdify(x, expr, "mpmath")(mpmath.mpf(near))
        assert abs(float(f(near)) - float(exact)) <= 1e-13 * max(1, abs(float(exact)))


#: A formula without a value at a point, the point, and the mean of its limits from both sides.
BETWEEN = [
    (sp.diff(sp.tanh(x) ** 2 / abs(x), x), 0, 0),
    (sp.diff(sp.Max(0, sp.tanh(x)) ** 2 / x, x), 0, sp.Rational(1, 2)),
    (sp.diff((2 + x) * sp.tanh(x - 1) ** 2 / abs(x - 1), x), 1, 0),
]


@pytest.mark.parametrize(("expr", "at", "middle"), BETWEEN, ids=str)
def test_values_between_two_limits_are_their_mean_as_that_of_a_sign(expr, at, middle):
    for backend in ("numpy", "mpmath"):
        f = compile_expression((x,), expr, backend)
        assert float(f(float(at))) == float(middle)
        sides = [float(f(at + side * 1e-6)) for side in (1, -1)]
        assert abs(sides[0] - sides[1]) > 0.5
        assert np.mean(sides) == pytest.approx(float(middle), abs=1e-5)


def test_jumps_without_a_sign_in_them_and_infinite_limits_have_no_value():
    for expr in (abs(x) / x, sp.sin(x) / abs(x), 1 / abs(x) - 1 / sp.tanh(x), sp.diff(sp.sqrt(abs(x)), x)):
        with np.errstate(all="ignore"):
            assert not np.isfinite(compile_expression((x,), expr)(0.0))


def test_a_formula_of_which_all_terms_cancel_is_nothing():
    softplus = lambda u: sp.log(1 + sp.exp(u))  # noqa: E731
    whole = (softplus(x) - softplus(-x)) / x  # 1
    near = np.array([0.0, 1e-9, -1e-4, 0.4])
    assert (compile_expression(x, sp.diff(whole, x))(near) == 0).all()
    assert compile_expression(x, sp.diff(whole + x, x))(near) == pytest.approx(1, abs=1e-15)
    plain = sp.lambdify(x, sp.diff(whole, x), "numpy")
    assert abs(plain(1e-9)) > 1  # the control: digits that cancel


def test_many_digits_close_to_a_removable_point():
    f = compile_expression((x,), (1 - sp.cos(x)) / x**2, "mpmath")
    with mpmath.workdps(50):
        for near in (mpmath.mpf(10) ** -40, mpmath.mpf(2) ** -21, mpmath.mpf(2) ** -19):
            series = sum((-1) ** k * near ** (2 * k) / mpmath.factorial(2 * k + 2) for k in range(12))
            assert abs(f(near) - series) < mpmath.mpf(10) ** -45


@pytest.fixture
def tried(monkeypatch):
    """The circles that are summed over."""
    tried, series = [], removable._taylor

    def counted(*arguments):
        tried.append(arguments)
        return series(*arguments)

    monkeypatch.setattr(removable, "_taylor", counted)
    return tried


def test_around_an_essential_singularity_no_smaller_circles_are_tried(tried):
    """The drift of x + eps*A(relu(x + average(hardswish(x)))) has erf(x erf(3/√2x)): values near 0 are too long to be taken."""
    assert not removable.removable_points(sp.erf(sp.exp(1 / x))).has(removable.Where)
    assert len(tried) == 1  # the largest one
    assert removable.removable_points(sp.sin(3 * x) / x * sp.exp(1 / (x - 2))).has(removable.Where)


def test_a_root_of_the_variable_has_no_series_in_it(tried):
    assert not removable.removable_points(sp.sin(sp.sqrt(7 * x)) / x**2 * x).has(removable.Where)  # like 1/√x
    assert not removable.removable_points(sp.sin(7 * x) / (x + x * sp.sqrt(x))).has(removable.Where)
    assert not tried  # its imaginary part on one side says so, and no circle is summed over
    even = sp.sin(sp.sqrt(7 * x)) / sp.sqrt(x)  # the control: a series in x
    assert removable.removable_points(even).has(removable.Where)
    assert tried


@pytest.mark.parametrize("expr", [sp.cos(x) / x, sp.coth(x), sp.cot(x)])
def test_poles_are_no_removable_points(expr):
    f = compile_expression((x,), expr, "mpmath")
    with pytest.raises(ZeroDivisionError):
        f(0)


def test_activations_have_their_limits_as_values():
    assert parse_activation("sin(x)/x")(0) == 1
    assert parse_activation("x/(exp(x)-1)")(0) == 1
    assert parse_activation("1/x")(0) == sp.zoo


def test_a_network_starts_at_a_removable_point():
    network = ResNet(parse_activation("sin(x)/x"), width=1)
    ends = np.ravel(simulate_network(network, x0=0, depth=100, samples=4000, seed=2))
    assert np.isfinite(ends).all()
    # 1 − x²/3 ≤ φ² ≤ 1 and Var ≤ t, so that t − t²/6 ≤ Var ≤ t; four standard errors of a variance of 4000 samples are 0.09
    assert 5 / 6 - 0.09 < ends.var() < 1 + 0.09
    assert "Matrix([[sin(x)**2/x**2]])" in str(derive(network).limit.covariance)
