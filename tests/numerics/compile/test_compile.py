"""The bridge: every function agrees with fifty digits, on arrays of every shape, without a warning."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from derivations.activations import ACTIVATIONS, gelu, leaky_relu, ornstein_uhlenbeck, parse_activation, relu, softplus
from derivations.architectures import ResNet
from derivations.gaussian import GaussianExpectation
from derivations.kernels import slope_of
from derivations.laws import LAWS
from derivations.laws.transformed import TransformedGaussian
from derivations.limits import depth_limit
from derivations.piecewise import IsolatedRoot
from derivations.special import LogNormalCdf, ScaledBesselI
from derivations.sums import coordinate_sum
from derivations.symbols import initial, state, time
from numerics.backends import BACKENDS, JAX, MPMATH, NUMPY, find_backend
from numerics.backends.kinks import guarded_branches
from numerics.compile import compile_expression, compile_sums

x, y = sp.symbols("x y", real=True)
POINTS = np.array([-300.0, -30, -2.5, -1, -0.5, -1e-3, -1e-20, 0, 1e-20, 1e-3, 0.5, 1, 2.5, 30, 300])


def relative(fast: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors relative to the exact values, which may be beyond double precision."""
    with np.errstate(over="ignore"):
        exact = np.array([float(v) for v in np.ravel(exact)])
    fast = np.ravel(fast)
    same = fast == exact
    return np.abs(np.where(same, 0.0, fast - np.where(same, 0.0, exact)) / np.where(same | (exact == 0), 1.0, exact))


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=str)
def test_backends_agree_on_activations_and_their_derivatives(activation):
    for expr in (activation.expr, activation.derivative()):
        fast, exact = (compile_expression(activation.variable, expr, b) for b in (NUMPY, MPMATH))
        inside = POINTS
        if activation.name.endswith("ornstein_uhlenbeck"):  # exp(± z²) loses the digits of z² itself
            inside = POINTS[np.abs(POINTS) < 0.85]
        if activation.name == "tanhshrink":  # x - tanh x itself cancels near 0
            inside = POINTS[np.abs(POINTS) > 0.3]
        if activation.name == "mish":  # log(1 + exp(-300)) has no digits in the reference
            inside = POINTS[np.abs(POINTS) < 50]
        assert relative(fast(inside), exact(inside)).max() < 100 * NUMPY.tolerance


def test_rewriting_is_what_makes_the_tails_right():
    point = np.array([-30.0])
    plain = sp.lambdify(gelu.variable, gelu.expr, ["scipy", "numpy"])(point)
    assert plain == 0  # the control: 1 + erf cancels
    exact = compile_expression(gelu.variable, gelu.expr, MPMATH)(point)
    assert relative(compile_expression(gelu.variable, gelu.expr)(point), exact) < NUMPY.tolerance
    assert compile_expression(softplus.variable, softplus.expr)(np.array([-700.0, 1000.0]))[1] == 1000


@pytest.mark.parametrize("name", ["silu", "gelu_tanh", "quick_gelu", "mish", "softplus", "sigmoid", "logsigmoid"])
def test_derivatives_are_numbers_where_exponentials_overflow(name):
    derivative = ACTIVATIONS[name].derivative()
    left, right = compile_expression(ACTIVATIONS[name].variable, derivative)(np.array([-800.0, 800.0]))
    ends = {"sigmoid": (0, 0), "logsigmoid": (1, 0)}.get(name, (0, 1))
    assert (left, right) == ends
    with np.errstate(all="ignore"):
        plain = sp.lambdify(ACTIVATIONS[name].variable, derivative, "numpy")(np.array([-800.0, 800.0]))
    assert np.isnan(plain).any()  # the control: infinity over infinity


@pytest.mark.parametrize("family", LAWS, ids=lambda c: c.__name__)
def test_backends_agree_on_laws(family):
    law = family.example()
    left, right = law.diffusion.domain.inf, law.diffusion.domain.sup
    xs = np.array([v for v in (-3.0, -1.0, 0.25, 1.0, 2.0, 40.0) if left < v < right])
    start = 1.5 if right > 2 else -1.5
    pairs = [law.cdf(state), *([law.pdf(state), law.logpdf(state)] if isinstance(law, TransformedGaussian) else [])]
    for expr in pairs:
        if expr.has(sp.Integral):  # known by quadrature alone: tests/numerics/densities/test_kernel_densities.py
            continue
        fast, exact = (compile_expression((state, time, initial), expr, b) for b in (NUMPY, MPMATH))
        # the exponent of a density of size 1e-400 is known to 400 times the rounding error
        assert relative(fast(xs, 0.75, start), exact(xs, 0.75, start)).max() < 1e3 * NUMPY.tolerance


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
def test_every_backend_knows_the_special_nodes(backend):
    if backend is JAX:
        pytest.skip("at double precision in test_jax.py")
    if backend.name == "torch":  # which has no imaginary error function
        with pytest.raises(ValueError, match="the torch backend cannot compute"):
            compile_expression(x, sp.erfi(x), backend)
        return
    expr = ScaledBesselI(1, x) + LogNormalCdf(-x) + sp.erfi(x) + sp.erfc(x) + sp.erfinv(x / 4)
    expected = expr.subs(x, 2).evalf(30)
    assert abs(sp.Float(str(compile_expression(x, expr, backend)(2.0)), 30) / expected - 1) < 1e-14


def test_mpmath_gives_fifty_digits_and_leaves_the_callers_precision_alone():
    import mpmath

    before = mpmath.mp.prec
    value = compile_expression((), sp.pi**10, MPMATH)()
    assert mpmath.mp.prec == before
    with mpmath.workdps(50):
        assert abs(value - mpmath.pi**10) / value < MPMATH.tolerance


def test_a_gaussian_mean_is_evaluated_where_it_barely_exists():
    # E exp(cZ²) = (1 - 2cs)^(-1/2) at c = 1, just below the s = 1/2 at which it diverges
    node = GaussianExpectation(sp.Lambda(x, sp.exp(x**2)), sp.S.Zero, sp.Rational(499, 1000))
    assert abs(float(compile_expression((), node, MPMATH)()) / 500**0.5 - 1) < 1e-14


def test_symbols_that_look_alike_stay_apart():
    names = [sp.Symbol(n, real=True) for n in ("a", "alpha", "lambda", "x_1", "a0", "_Dummy_1", "where")]
    f = compile_expression(names, sum(k * s for k, s in enumerate(names, 1)))
    assert f(1, 10, 100, 1000, 10**4, 10**5, 10**6) == 7654321
    same = sp.Symbol("a", real=True), sp.Symbol("a", positive=True), sp.Dummy("a")
    assert compile_expression(same, same[0] + 10 * same[1] + 100 * same[2])(1, 2, 3) == 321


def test_argument_order_is_the_one_given():
    assert compile_expression((y, x), x - y)(1.0, 5.0) == 4
    assert compile_expression((x, y), x - y)(1.0, 5.0) == -4


@pytest.mark.parametrize(
    "expr",
    [
        sp.Piecewise((sp.log(x), x > 0), (0, True)),
        sp.Piecewise((sp.sqrt(x - 2), x > 2), (sp.log(-x), x < -1), (x**2, True)),
        sp.Piecewise((1 / x, x > 0), (sp.exp(x), True)),
        sp.Piecewise((x ** sp.Rational(1, 3), x >= 1), (sp.Piecewise((sp.log(1 - x), x < 0), (7, True)), True)),
        sp.Heaviside(x, sp.Rational(1, 2)) * sp.Abs(x) + sp.Max(x, -x, 3) + sp.Min(x, 2) + sp.sign(x),
    ],
    ids=str,
)
def test_kinks_give_no_nan_and_no_warning(expr):
    fast, exact = (compile_expression(x, expr, b) for b in (NUMPY, MPMATH))
    assert relative(fast(POINTS), exact(POINTS)).max() < NUMPY.tolerance


def test_without_the_guard_the_kink_does_warn():
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        sp.lambdify(x, sp.Piecewise((sp.log(x), x > 0), (0, True)), "numpy")(POINTS)
    assert guarded_branches(relu.expr) != relu.expr


def test_shapes_broadcast_and_constants_take_them():
    rows, columns = np.arange(3.0)[:, None], np.arange(4.0)
    f = compile_expression((x, y), (sp.Integer(7), x, x + y))
    assert [v.shape for v in f(rows, columns)] == [(3, 4)] * 3
    m = compile_expression((x, y), sp.Matrix([[1, x], [y, x * y]]))(rows, columns)
    assert m.shape == (3, 4, 2, 2)
    assert m[2, 3].tolist() == [[1, 2], [3, 6]]
    assert compile_expression((x,), sp.Integer(7))(np.zeros((2, 0))).shape == (2, 0)
    assert np.ndim(compile_expression((x,), x**2)(3)) == 0
    echoed = f(rows, columns)[1]
    echoed[:] = -1  # a result never shares memory with an argument
    assert rows.max() == 2


def test_identity_does_not_hand_the_argument_back():
    here = np.arange(3.0)
    out = compile_expression(x, x)(here)
    out += 1
    assert here.tolist() == [0, 1, 2]


def test_entries_that_are_there_twice_are_computed_once_and_are_arrays_of_their_own():
    entry = x**2 * sp.exp(y)
    first, other, second = compile_expression((x, y), (entry, y + 1, entry))([1.0, 2.0], 0.0)
    np.testing.assert_array_equal(first, [1.0, 4.0])
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(other, [1.0, 1.0])
    second += 1
    np.testing.assert_array_equal(first, [1.0, 4.0])
    square = compile_expression((x, y), sp.Matrix([[x, entry], [entry, y]]))(2.0, 0.0)
    np.testing.assert_array_equal(square, [[2.0, 4.0], [4.0, 0.0]])
    matrix, alone = compile_expression((x, y), (sp.Matrix([[x, entry]]), entry))(2.0, 0.0)
    np.testing.assert_array_equal(matrix, [[2.0, 4.0]])
    assert alone == 4.0


def test_free_symbols_are_named():
    with pytest.raises(ValueError, match="free symbols beta, gamma"):
        compile_expression(x, x + sp.Symbol("gamma") + sp.Symbol("beta"))
    with pytest.raises(ValueError, match="sums over the neurons"):
        compile_expression(x, coordinate_sum(x**2, (x,), sp.Symbol("n", integer=True, positive=True)))
    with pytest.raises(ValueError, match="cannot compute"):
        compile_expression(x, sp.Function("mystery")(x))
    with pytest.raises(ValueError, match="cannot compute"):
        compile_expression(x, sp.Integral(sp.exp(-(y**2)), (y, 0, x)))
    with pytest.raises(ValueError, match="different symbols"):
        compile_expression((x, x), x)
    with pytest.raises(ValueError, match="unknown backend 'fortran'"):
        find_backend("fortran")
    with pytest.raises(ValueError, match=r"unknown backend 'numpi'.*numpy"):
        find_backend("numpi")
    with pytest.raises(TypeError, match="expected 1 arguments"):
        compile_expression(x, x)(1, 2)


def test_compiled_functions_pickle():
    f = pickle.loads(pickle.dumps(compile_expression((x, y), (x / y, sp.Matrix([x])))))
    assert f(1.0, 4.0)[0] == 0.25
    g = compile_sums((x,), coordinate_sum(relu(x) ** 2, (x,), sp.Integer(4)) * x)
    layer = np.ones((2, 4, 1))
    assert np.all(pickle.loads(pickle.dumps(g))(layer) == g(layer))


@pytest.mark.parametrize(
    "activation",
    [relu, leaky_relu(sp.Rational(1, 10)), pytest.param(gelu, marks=pytest.mark.slow), ornstein_uhlenbeck],
    ids=str,
)
def test_sums_over_a_layer_are_those_of_the_written_out_diffusion(activation):
    limit = depth_limit(ResNet(activation, width=3, inputs=2))
    layer = np.random.default_rng(0).uniform(-0.8, 0.8, (5, 3, 2))
    shared = compile_sums(limit.neuron, limit.neuron_covariance)
    drift = compile_sums(limit.neuron, limit.neuron_drift)
    assert (shared.per_neuron, shared(layer).shape) == (False, (5, 2, 2))
    explicit = compile_expression(limit.states, limit.covariance)(*np.moveaxis(layer.reshape(5, 6), -1, 0))
    for neuron in range(3):
        block = explicit[:, 2 * neuron : 2 * neuron + 2, 2 * neuron : 2 * neuron + 2]
        np.testing.assert_allclose(shared(layer), block, rtol=1e-13)
    assert np.all(drift(layer) == 0)


def test_a_function_of_a_neuron_and_of_sums():
    f = compile_sums((x,), sp.Matrix([x * coordinate_sum(x**2, (x,), sp.Integer(3)) * time]), (time,))
    layer = np.array([[[1.0], [2.0], [3.0]]])
    assert f.per_neuron
    assert f(layer, 0.5)[0, :, 0, 0].tolist() == [7, 14, 21]
    with pytest.raises(ValueError, match="free symbols n"):
        compile_sums((x,), coordinate_sum(x**2, (x,), sp.Symbol("n", integer=True, positive=True)) / sp.Symbol("n"))


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy():
    code = "import numerics, sys; assert not {'sympy', 'scipy', 'numpy'} & set(sys.modules); numerics.compile_law"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
    import numerics

    assert all(callable(getattr(numerics, name)) for name in ("compile_law", "compile_expression", "simulate_sde"))
    with pytest.raises(AttributeError, match="no attribute"):
        numerics.nothing  # noqa: B018


def test_sums_inside_sums_are_computed_before():
    size = sp.Integer(4)
    mean = coordinate_sum(x, (x,), size) / 4
    function = compile_sums((x,), x * mean + coordinate_sum(sp.Max(x - mean, 0) ** 2, (x,), size))
    state = np.random.default_rng(0).normal(size=(5, 4, 1))
    centred = state[..., 0] - state[..., 0].mean(axis=1, keepdims=True)
    wanted = state[..., 0] * state[..., 0].mean(axis=1, keepdims=True) + (np.maximum(centred, 0) ** 2).sum(
        axis=1, keepdims=True
    )
    assert np.allclose(function(state), wanted, rtol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "mpmath", pytest.param("numba", marks=pytest.mark.slow)])
def test_slopes_with_a_kink_that_only_brackets_know_are_compiled(backend):
    """The condition holds the root of tanh x = exp(-(8x/5 + 3)^2), which no target but the kernels' printed."""
    slope = slope_of(parse_activation("max(exp(-(8*x/5 + 3)**2), tanh(x))"))
    assert slope.expr.atoms(IsolatedRoot)
    found = compile_expression((slope.variable,), slope.expr, backend=backend)
    for at in (0.0001, 0.0002):  # the root is at 0.000123
        before, after = -16 / 5 * (8 * at / 5 + 3) * math.exp(-((8 * at / 5 + 3) ** 2)), 1 - math.tanh(at) ** 2
        assert math.isclose(float(found(at)), before if at < 0.00012326 else after, rel_tol=1e-12)
