"""Values and derivatives where exponentials overflow and at removable points, on every target, in both precisions of JAX."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp

from numerics.backends import BACKENDS, JAX, MPMATH
from numerics.backends.removable import removable_points
from numerics.compile import compile_expression

x, y = sp.Symbol("x", real=True), sp.Symbol("y", real=True)
e = sp.exp

#: Formulas whose values are numbers everywhere on the line.
FORMULAS = {
    "silu": x / (1 + e(-x)),
    "silu, other form": x * e(x) / (1 + e(x)),
    "sigmoid": 1 / (1 + e(-x)),
    "sigmoid, another base": 1 / (2 + 3 * e(-2 * x)),
    "quick gelu": x / (1 + e(-sp.Rational(1702, 1000) * x)),
    "log cosh": sp.log(sp.cosh(x)),
    "log of exponentials": sp.log(2 * e(2 * x) + 3 * e(-x) + 1),
    "softplus": sp.log(1 + e(x)),
    "logsigmoid": sp.log(1 / (1 + e(-x))),
    "mish": x * sp.tanh(sp.log(1 + e(x))),
    "tanh of exponentials": (e(x) - e(-x)) / (e(x) + e(-x)),
    "tanh of one exponential": (e(2 * x) - 1) / (e(2 * x) + 1),
    "tanhshrink": x - sp.tanh(x),
    "gelu": x * (1 + sp.erf(x / sp.sqrt(2))) / 2,
    "sech squared": 1 / sp.cosh(x) ** 2,
    "gaussian": e(-(x**2)),
    "gompertz": e(-e(-x)),
    "langevin": sp.coth(x) - 1 / x,
    "bernoulli": x / (e(x) - 1),
    "x over sinh": x / sp.sinh(x),
    "sinc": sp.sin(x) / x,
    "one minus cosine": (1 - sp.cos(x)) / x**2,
    "log quotient": sp.log(1 + x**2) / x**2,
    "shifted": (x**3 - 1) / (x - 1) / (1 + x**2),
}
POINTS = [-800.0, -90.0, -2.0, 0.0, 1e-9, 1e-3, 1.0, 90.0, 800.0]
FAST = ("log cosh", "sinc")


def exact(expr, points):
    """Values in enough digits for what cancels, at a removable point beside it."""
    function = sp.lambdify(x, expr, "mpmath")
    with mpmath.workdps(800):
        nudge = mpmath.mpf(10) ** -60
        return np.array([float(mpmath.re(function(mpmath.mpf(p) + nudge))) for p in points])


def off(found, expected):
    return np.max(np.abs(np.asarray(found, dtype=float) - expected) / np.maximum(1.0, np.abs(expected)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", [b for b in BACKENDS if b not in (JAX, MPMATH)], ids=lambda b: b.name)
def test_values_are_numbers_where_exponentials_overflow(backend):
    names = FAST if backend.name == "numba" else FORMULAS
    for name in names:
        found = compile_expression(x, FORMULAS[name], backend)(np.array(POINTS))
        assert off(found, exact(FORMULAS[name], POINTS)) < 1e-13, name


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.name in ("numpy", "numba")], ids=lambda b: b.name)
@pytest.mark.parametrize("formula", [1 / (1 + e(-x)), x / (1 + e(-x)), x**2 * e(2 * x) / (1 + e(x)) ** 2], ids=str)
def test_values_below_the_normal_doubles_are_not_zero(backend, formula):
    points = np.array([-370.0, -709.5, -712.0, -720.0])
    found = compile_expression((x,), formula, backend.name)(points)
    with mpmath.workdps(30):
        exact = [float(formula.subs(x, sp.Rational(float(p))).n(30)) for p in points]
    np.testing.assert_allclose(
        found, exact, rtol=1e-9, atol=5e-324 * 740**2
    )  # of the last of few digits, times the square


def test_the_parts_of_a_formula_of_several_variables():
    found = compile_expression((x, y), y**2 * sp.sin(x) / x + sp.log(sp.cosh(y)))
    assert found(0.0, 800.0) == pytest.approx(640_000 + 800 - np.log(2), rel=1e-15)


def test_what_is_no_removable_point_is_left_alone():
    for expr in (1 / x, sp.cos(x) / x, sp.Abs(x) / x, sp.sqrt(x**2) / x, sp.sin(x) / (x**2 + 1)):
        assert removable_points(expr) == expr
    with np.errstate(all="ignore"):
        assert np.isinf(compile_expression(x, sp.cos(x) / x)(0.0))


@pytest.mark.slow
def test_taylor_s_polynomial_meets_the_formula_where_it_ends():
    for expr in (sp.sin(x) / x, sp.tanh(50 * x) / x, sp.log(1 + x) / x, (sp.exp(x) - 1 - x) / x**2):
        near = 2.0 ** -np.arange(1.0, 40.0)
        assert off(compile_expression(x, expr)(near), exact(expr, near)) < 4e-14


def derivatives(function, order):
    jax = pytest.importorskip("jax")
    for _ in range(order):
        function = jax.grad(function)
    return jax.vmap(function)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in FORMULAS])
def test_traced_derivatives_are_numbers_in_double_precision(name):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        function = compile_expression(x, FORMULAS[name], JAX)
        for order in (0, 1, 2):
            found = derivatives(function, order)(jax.numpy.array(POINTS))
            assert off(found, exact(sp.diff(FORMULAS[name], x, order), POINTS)) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAST)) for n in FORMULAS])
def test_traced_derivatives_are_numbers_in_single_precision(name):
    jax = pytest.importorskip("jax")
    points = [-800.0, -90.0, -2.0, 0.0, 0.5, 90.0, 800.0]
    with jax.enable_x64(False):
        function = compile_expression(x, FORMULAS[name], JAX)
        for order in (0, 1, 2):
            found = derivatives(function, order)(jax.numpy.array(points, dtype=np.float32))
            assert off(found, exact(sp.diff(FORMULAS[name], x, order), points)) < 2e-3


def tensor_derivatives(function, order):
    torch = pytest.importorskip("torch")

    def at(point):
        argument = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        value = function(argument)
        for _ in range(order):
            (value,) = torch.autograd.grad(value, argument, create_graph=True)
        return value.item()

    return np.array([at(point) for point in POINTS])


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_of_tensors_are_numbers(name):
    pytest.importorskip("torch")
    function = compile_expression(x, FORMULAS[name], "torch")
    for order in (0, 1, 2):
        found = tensor_derivatives(function, order)
        assert off(found, exact(sp.diff(FORMULAS[name], x, order), POINTS)) < 1e-13, order


def test_the_control_in_tensors_is_not_a_number():
    torch = pytest.importorskip("torch")
    argument = torch.tensor(-800.0, requires_grad=True)
    (slope,) = torch.autograd.grad(argument / (1 + torch.exp(-argument)), argument)
    assert torch.isnan(slope)


def test_the_control_without_the_rewriting_is_not_a_number():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        assert np.isnan(jax.grad(lambda v: v / (1 + jax.numpy.exp(-v)))(-800.0))
        assert np.isnan(jax.grad(lambda v: jax.numpy.log(jax.numpy.cosh(v)))(800.0))


z = sp.Symbol("z", real=True)
CHOICE = sp.ITE(x > 0, y > 0, z > 0)
CONDITIONS = {"a choice": CHOICE, "with another": sp.And(CHOICE, x + y < z), "or another": sp.Or(sp.Not(CHOICE), x < y)}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("backend", [b for b in BACKENDS if b is not MPMATH], ids=lambda b: b.name)
def test_conditions_that_choose_between_conditions(backend, name):
    """As SymPy folds cases into the conditions of others: truth values, also where numbers leave the range of doubles."""
    formula = sp.Piecewise((x**2 * y**2 * z**2 + 1, CONDITIONS[name]), (-sp.sqrt(x**2 + y**2), True))
    found = compile_expression([x, y, z], formula, backend=backend)
    tiny = 1e-25 if backend is JAX else 1e-200  # whose square underflows
    points = np.array(
        [[1, 2, 4], [1, -1, 3], [-1, 2, 3], [-1, 5, -2], [2, 3, 1], [tiny, tiny, 1], [-tiny, 1, -1], [tiny, -1, 1]]
    )
    wanted = [float(formula.subs(dict(zip((x, y, z), map(sp.Rational, map(float, p)), strict=True)))) for p in points]
    assert {np.sign(value) for value in wanted} == {-1, 1}
    for p, value in zip(points, wanted, strict=True):
        assert float(found(*p)) == pytest.approx(value, rel=1e-6)
    assert np.asarray(found(*points.T)) == pytest.approx(wanted, rel=1e-6)
