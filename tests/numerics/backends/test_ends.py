"""Formulas whose parts overflow, underflow or cancel, against 30 digits from 1e-308 to 1e308."""

from __future__ import annotations

import time

import mpmath
import numpy as np
import pytest
import sympy as sp
from mpmath import mp

from derivations import Network, derive, parse_activation
from numerics.backends.numpy import _NAIVE
from numerics.compile import compile_expression

x = sp.Symbol("x", real=True)

#: Formulas, each a kind; those that are even slower to check are in _MORE.
_FORMULAS = (
    "x**2/(1+x**2)",
    "x/sqrt(1+x**2)",
    "(3*x**8-2*x**5+x)/(x**8+7*x**3+x**2+2)",
    "sqrt(1+x**2)-x",
    "log(1+x**2)/x",
    "x**3*exp(-x**2)",
    "x**4-x**5",
    "max(x,0)**2/(1+x**2)",
)
_MORE = (
    "sqrt(abs(x)+sqrt(x**2+1))",
    "sqrt(sqrt(1+x**4)-x**2)",
    "log(1+x**2)",
    "x**2*exp(-abs(x))",
    "(1+x**2)**(1/3)/(1+abs(x))**(2/3)",
    "abs(x)**(1/3)/(1+abs(x)**(5/2))",
    "x*tanh(x**3)/(1+x**2)",
    "exp(-x**2/2)*(2-x**2)",
    "x*atan(x**2)/(1+x**2)",
    "silu(x)**2/(1+x**2)",
    "sin(x)*x**2/(1+x**2)",
    "x**2*cos(x)**2/(1+x**2)",
    "gelu(x)**2",
    "sqrt(x**2+x**4)/x",
    "asinh(x**2)",
    "1-cos(x)",
    "x*exp(-x**2)+x**3/(1+x**2)",
    "x**2/(1+x**2)+x**4/(2+x**4)*atan(x)",
    "(x**8-1)/(x**7+x+5)",
    "sqrt(1+sqrt(1+x**2))/(1+x**2)**(1/4)",
    "log(1+x**4)/log(2+x**2)",
    "(atan(x)-x+x**3/3-x**5/5)/x**7",
    "tanh(sin(x)*x**2/(1+x**2))",
    "sqrt(1+(heaviside(x)*x)**2)",
    "sqrt(1+(abs(2*x)**8)**2)",
    "((heaviside(x+0.5)*x)/(1+(abs(abs(x)**2-2))**2))**8",
)
_POINTS = np.array([s * m * 10.0**k for k in (*range(-307, 308, 31), -2, 0, 2, 20) for m in (1, 3.7) for s in (1, -1)])


def _true(formula: sp.Expr, points: np.ndarray) -> list[mpmath.mpf]:
    """At 2800 digits, or at those at which the number does not change any more."""
    function, found = sp.lambdify(x, formula, "mpmath"), []
    for point in points:
        value = mp.inf
        for digits in (60, 700, 1400, 2800):
            with mp.workdps(digits):
                before, value = value, function(mp.mpf(float(point)))
                if value != 0 and abs(value - before) <= mp.mpf(10) ** -30 * abs(value):
                    break
        found.append(value)
    return found


def _wrong(values: np.ndarray, true: list[mpmath.mpf], share: float, largest: float, least: float) -> list[int]:
    """Points at which a double is not the number, infinite where that is too large, nearly 0 where it is too small."""
    found = []
    for index, (value, number) in enumerate(zip(np.asarray(values, dtype=float), true, strict=True)):
        beyond = value * float(mp.sign(number)) >= largest * (1 - share)
        if not (beyond if abs(number) >= largest else abs(value - number) <= share * abs(number) + least):
            found.append(index)
    return found


def _check(text: str, backend: str) -> None:
    formula = parse_activation(text)(x)
    compiled, true = compile_expression((x,), formula, backend), _true(formula, _POINTS)
    with np.errstate(all="ignore"):  # of branches that are not used
        wrong = _wrong(compiled(_POINTS), true, 1e-9, 1.79e308, 1e-307)
    assert not wrong, (text, _POINTS[wrong[:3]])


@pytest.mark.slow
@pytest.mark.parametrize("text", _FORMULAS)
def test_formulas_keep_their_value_at_the_ends_of_the_double_range(text: str) -> None:
    _check(text, "numpy")


@pytest.mark.slow
@pytest.mark.parametrize("text", _MORE)
def test_more_formulas_keep_their_value(text: str) -> None:
    _check(text, "numpy")


@pytest.mark.slow
@pytest.mark.parametrize("text", [*_FORMULAS, *_MORE[:8]])
def test_machine_code_keeps_the_value_too(text: str) -> None:
    pytest.importorskip("numba")
    _check(text, "numba")


#: What is left where a number cancels a function that tends to it: points, and the value by other arithmetic.
_LEFT = {
    "sqrt(expm1(sigmoid(x)))": ((-800, -710, -60), lambda u: mp.sqrt(mp.expm1(1 / (1 + mp.exp(-u))))),
    "log(softplus(x))": ((-1e300, -800, -50), lambda u: mp.log(mp.log1p(mp.exp(u))) if u > -1e4 else u),
    "x*tanh(x)-x": ((20, 100, 300), lambda u: u * (mp.tanh(u) - 1)),
    "gelu(x)-x": ((8, 20, 30), lambda u: -u * mp.erfc(u / mp.sqrt(2)) / 2),
    "silu(x)-x": ((30, 300, 700), lambda u: -u / (1 + mp.exp(u))),
    "pi/2-atan(exp(x))": ((20, 100, 700), lambda u: mp.atan(mp.exp(-u))),
    "asinh(expm1(x))+x**3": ((700, 710, 800, 1e20), lambda u: u**3 + u + mp.log(2)),
    "max(x,(x>2*x)*x*expm1(x))": ((3, 710, 1e100), lambda u: u),
    "erf(max(max(gelu(1/3),x),1/1000))": (
        (-5, 2),
        lambda u: mp.erf(mp.mpf(max(u, mp.mpf(1) / 3 * mp.ncdf(mp.mpf(1) / 3)))),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", _LEFT)
def test_what_is_left_of_a_difference_keeps_its_digits(text: str) -> None:
    points, value = _LEFT[text]
    compiled = compile_expression((x,), parse_activation(text)(x))(np.array(points, dtype=float))
    with mp.workdps(1000):
        true = [value(mp.mpf(float(point))) for point in points]
    assert not _wrong(compiled, true, 1e-9, 1.79e308, 1e-307)


def test_a_wave_of_an_exponential_is_compiled_at_once() -> None:
    """Its angle has a billion digits far out; from where no double holds it it is not a number."""
    start = time.process_time()
    compiled = compile_expression((x,), sp.cos(sp.exp(x)))
    with np.errstate(invalid="ignore"):
        values = compiled(np.array([-30.0, 2.0, 800.0]))
    assert time.process_time() - start < 5
    assert values[:2] == pytest.approx([1, np.cos(np.exp(2))], rel=1e-13)
    assert np.isnan(values[2])


def test_a_singular_condition_is_compiled() -> None:
    formula = parse_activation("where(sinh(where(x > 0, 1/x, cosh(x))) > 0, x, 3.5)")(x)
    with np.errstate(all="ignore"):  # of branches that are not used
        assert list(compile_expression((x,), formula)(np.array([-1.0, 0.0, 2.0]))) == [-1, 0, 2]


def test_the_naive_formula_fails_on_this_grid() -> None:
    """The control: without the expansions every one of these is wrong somewhere."""
    for text in _FORMULAS[:5]:
        formula = parse_activation(text)(x)
        plain = sp.lambdify(x, _NAIVE.written(formula), ["scipy", "numpy"])
        with np.errstate(all="ignore"):
            assert _wrong(plain(_POINTS), _true(formula, _POINTS), 1e-9, 1.79e308, 1e-307), text


@pytest.mark.slow
def test_single_precision_and_derivatives_in_jax() -> None:
    jax = pytest.importorskip("jax")
    points = np.array([s * m * 10.0**k for k in range(-36, 37, 6) for m in (1, 3.7) for s in (1, -1)])
    for text in _FORMULAS[:2]:
        formula = parse_activation(text)(x)
        compiled = compile_expression((x,), formula, "jax")
        slope = jax.vmap(jax.grad(compiled))(jax.numpy.asarray(points, dtype="float32"))
        for values, form in ((compiled(points.astype("float32")), formula), (slope, formula.diff(x))):
            assert not _wrong(values, _true(form, points.astype("float32")), 1e-5, 3.4e38, 1e-37)


def test_a_side_without_an_expansion_that_fails_is_not_a_number() -> None:
    """A power that is no rational number has no expansion here: nan, not a number, from where it overflows."""
    formula = x**2 / (1 + sp.Abs(x) ** sp.pi) * (sp.sin(x) + 2)
    values = compile_expression((x,), formula)(np.array([1e3, 1e200, 1e300]))
    with mp.workdps(30):
        assert values[0] == pytest.approx(float((mp.sin(1000) + 2) * 1000**2 / (1 + mp.mpf(1000) ** mp.pi)), rel=1e-12)
    assert all(np.isnan(v) or abs(v) < 1e-200 for v in values[1:])


@pytest.mark.slow
def test_what_is_mended_far_out_keeps_its_digits_near_zero() -> None:
    """The square of a wave is no number far out; close to 0 the logarithm still sees it beside 1."""
    formula = sp.log(1 + (sp.sin(x**2) * sp.exp(-((x - 1) ** 2))) ** 2)
    with np.errstate(all="ignore"):  # of branches that are not used
        (value,) = compile_expression((x,), formula)(np.array([1e-60]))
    assert value == pytest.approx(1e-240 * np.exp(-2), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "value"),
    [
        # logarithms of 2 pile up in its expansion at 0, which is given up beyond a size
        ("x**8/(1+softplus(2*x)**2)-abs(abs(x)**2-1)", 0.5**8 / (1 + np.log1p(np.e) ** 2) - 0.75),
        # the inverse of a logarithm has no expansion
        ("x**2/(1+atan(log(1+x**2))**2)", 0.25 / (1 + np.arctan(np.log(1.25)) ** 2)),
        # kinks without end, at which SymPy does not know that a root is real
        ("heaviside(abs(cos(x-1)/(1+abs(x)))**(1/2))*x/(1+x**2)", 0.4),
    ],
)
def test_what_has_no_expansion_does_not_take_long(text: str, value: float) -> None:
    formula = parse_activation(text)(x)
    start = time.process_time()
    compiled = compile_expression((x,), formula)
    assert time.process_time() - start < 5
    with np.errstate(all="ignore"):  # of branches that are not used
        assert compiled(np.array([0.5])) == pytest.approx(value, rel=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "at", "value"),
    [
        ("heaviside(max(log(1+4*x**2),0))", [1e-170, -1e-250, 1e300], [1, 1, 1]),
        ("heaviside(gelu(2*x))*2*x/(1+(x+1/2)**2)", [1.5e-200, -1.5e-200], [2.4e-200, 0]),
        ("relu(x-tanh(x))", [1e-5, 1e-80, -1e-5], [1e-15 / 3, 1e-240 / 3, 0]),
        ("sqrt(sigmoid(x))", [-720.0, -1400.0], [np.exp(-360.0), np.exp(-700.0)]),
        ("sqrt(sigmoid(-x**2))", [33.0, -33.0], [np.exp(-544.5)] * 2),
    ],
)
def test_kinks_and_roots_of_exponentials_keep_their_value(text: str, at: list[float], value: list[float]) -> None:
    formula = parse_activation(text)(x)
    np.testing.assert_allclose(compile_expression((x,), formula)(at), value, rtol=1e-9)


@pytest.mark.parametrize("shift", [1, 3, 10, 1000])
def test_a_formula_keeps_its_values_up_to_the_end_of_its_domain(shift):
    # beyond it the value in many digits is complex, which is no reason to call the formula wrong before
    points = np.array([-shift + 0.3, -shift + 1e-6, -0.5, 0.5, shift - 0.3])
    for formula, exact in (
        ((x + shift) ** sp.Rational(3, 4), (points + shift) ** 0.75),
        (sp.sqrt(shift - x), np.sqrt(shift - points)),
        (sp.log(x + shift), np.log(points + shift)),
        (sp.asin(x / shift), np.arcsin(points / shift)),
    ):
        np.testing.assert_allclose(compile_expression((x,), formula)(points), exact, rtol=1e-10)


def test_terms_of_one_end_do_not_count_at_the_other() -> None:
    # x² + 1/(1 + e^{-x}), squared and brought to lowest terms: x⁴ + 2x² + 1 far to the right and x⁴ far to the left
    formula = (x**2 * sp.exp(x) + x**2 + sp.exp(x)) ** 2 / (sp.exp(x) + 1) ** 2
    points = np.array([s * size for s in (1, -1) for size in (20.0, 40.0, 390.0, 1e3, 1e9)])
    exact = [float((mpmath.mpf(v) ** 2 + 1 / (1 + mpmath.exp(-v))) ** 2) for v in points]
    np.testing.assert_allclose(compile_expression(x, formula)(points), exact, rtol=1e-12)
    with np.errstate(all="ignore"):
        assert np.isnan(_NAIVE(formula.xreplace({x: sp.Symbol("x", real=True)}))(points)).any()


@pytest.mark.slow
def test_roots_of_sums_of_powers_have_real_values():
    """mpmath makes complex numbers of them where a state is negative; E max(u + 1, w)² over u of variance 1, w of variance K³, by a grid."""
    said = "x + eps*A(max(B(layer_norm(x), bias_mean=1), C(x*average(x**2))))"
    limit = derive(Network(said, width=sp.oo)).limit
    field = compile_expression(list(limit.states), tuple(limit.drift))
    u = np.linspace(-9, 9, 2001)
    p = np.exp(-(u**2) / 2)
    p /= p.sum()
    for k in (0.01, 1.1, 3.0):
        met = p @ np.maximum(u[:, None] + 1, u * k**1.5) ** 2 @ p
        (found,) = field(k)
        assert found == pytest.approx(met, rel=1e-6)
        assert found != pytest.approx(p @ np.maximum(u + 1, 0) ** 2, rel=1e-4) or k < 0.1  # as if C put out nothing
