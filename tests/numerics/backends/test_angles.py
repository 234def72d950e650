"""Means of products over a pair far below the size of both mean squares, against many digits: opposite neurons, and independent ones."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module

import numpy as np
import pytest
import sympy as sp
from mpmath import mp

from derivations import Network, derive, parse_activation
from derivations.kernels.means import PAIR, means_of
from numerics.backends.angles import small_angles
from numerics.backends.sides import X
from numerics.compile import compile_expression

#: E f(U) f(V) written out here, from the angle of the pair: Cho and Saul's J_n, and products of means of one neuron.
VARIANCES = ((1.0, 1.0), (0.7, 1.9), (1e-6, 3e-6), (1e4, 1e4))
OPPOSITE = (-0.99, -1 + 1e-6, -1 + 1e-10)
SMALL = (1e-3, 1e-8, -1e-12)


def arc_cosine(power):
    """E max(U, 0)^p max(V, 0)^p: J_p(π - θ)/2π times the deviations, for the angle θ from the opposite direction."""

    def mean(a, c, b):
        size = mp.sqrt(a * b)
        theta = mp.atan2(mp.sqrt(a * b - c * c), -c)
        sine, cosine = mp.sin(theta), -mp.cos(theta)
        kinds = {
            1: sine + theta * cosine,
            2: 3 * sine * cosine + theta * (1 + 2 * cosine**2),
            3: 15 * sine - 11 * sine**3 + theta * (9 * cosine + 6 * cosine**3),
        }
        return size**power * kinds[power] / (2 * mp.pi)

    return mean


def shifted_size(a, c, b):
    """E (|U| - m)(|V| - m) with m² = 2/π."""
    m, angle = mp.sqrt(2 / mp.pi), mp.atan2(c, mp.sqrt(a * b - c * c))
    return 2 / mp.pi * (c * angle + mp.sqrt(a * b - c * c)) - m * m * (mp.sqrt(a) + mp.sqrt(b)) + m * m


OWN = {
    "relu(x)": (arc_cosine(1), OPPOSITE),
    "max(x,0)**2": (arc_cosine(2), OPPOSITE),
    "max(x,0)**3": (arc_cosine(3), OPPOSITE),
    "abs(x)-sqrt(2/pi)": (shifted_size, SMALL),
    "x**2-1": (lambda a, c, b: 2 * c * c + (a - 1) * (b - 1), SMALL),
    "x**3-3*x": (lambda a, c, b: 6 * c**3 + 9 * c * (a - 1) * (b - 1), SMALL),
}


def doubles(target):
    """JAX computes in doubles only where it is told to."""
    return import_module("jax").enable_x64(True) if target == "jax" else nullcontext()


def missed(text, function):
    """The largest error as a share of what one unit in the last place of an entry does, and of that of the mean."""
    true, correlations = OWN[text]
    found = []
    for a, b in VARIANCES:
        for rho in correlations:
            c = rho * np.sqrt(a * b)
            with np.errstate(all="ignore"):
                value = float(function(a, c, b))
            with mp.workdps(80):
                entries = [mp.mpf(v) for v in (a, c, b)]
                exact = true(*entries)
                moved = max(
                    abs(true(*(e * (1 + mp.mpf(2) ** -52 * (i == k)) for i, e in enumerate(entries))) - exact)
                    for k in range(3)
                )
                found.append(float(abs(value - exact) / (moved + mp.mpf(2) ** -52 * abs(exact))))
    return max(found)


@pytest.mark.parametrize("text", OWN)
def test_no_more_is_lost_than_by_rounding_the_entries(text):
    mean = means_of(parse_activation(text)).product
    assert missed(text, compile_expression(PAIR, mean)) < 30
    plain = sp.lambdify(PAIR, sp.expand(mean), "numpy")
    assert missed(text, plain) > 1e4  # the control


@pytest.mark.slow
@pytest.mark.parametrize("text", ["relu(x)", "abs(x)-sqrt(2/pi)"])
def test_machine_code_keeps_them_too(text):
    assert missed(text, compile_expression(PAIR, means_of(parse_activation(text)).product, "numba")) < 30


@pytest.mark.parametrize("text", ["relu(x)", "max(x,0)**3", "abs(x)-sqrt(2/pi)"])
@pytest.mark.parametrize("target", ["jax", "torch"])
def test_targets_with_derivatives_keep_them(text, target):
    pytest.importorskip(target)
    found = compile_expression(PAIR, means_of(parse_activation(text)).product, target)
    with doubles(target):
        assert missed(text, found) < 30


def test_derivatives_near_the_ends_are_those_of_the_angle():
    jax = pytest.importorskip("jax")
    found = compile_expression(PAIR, means_of(parse_activation("relu(x)")).product, "jax")
    with doubles("jax"):
        for rho in (-1.0, -1 + 2.0**-30, -0.9, 0.0, 0.9, 1 - 2.0**-30, 1.0):
            slope = float(jax.grad(found, argnums=1)(1.0, rho, 1.0))
            # E 1[U > 0] 1[V > 0] by the angle from the opposite direction
            assert slope == pytest.approx(np.arctan2(np.sqrt((1 - rho) * (1 + rho)), -rho) / (2 * np.pi), rel=1e-9)


def test_only_what_cancels_changes():
    a, b, c = (sp.Symbol(name, real=True) for name in "abc")
    root = sp.sqrt(sp.Max(0, a * b - c**2))
    for formula in (sp.atan2(c, root) / (2 * sp.pi) + sp.Rational(1, 4), sp.atan2(c, root) + sp.atan2(a, b), c + root):
        assert small_angles(formula) == formula
    moved = c * sp.atan2(c, root) + c * sp.pi / 2 + root * (1 + sp.sqrt(a + b + c))
    assert small_angles(moved) == moved  # another function of all three


def test_two_negative_numbers_are_no_variances():
    x, y, z = sp.symbols("x y z", real=True)
    formula = z * sp.asin(z / sp.sqrt(x * y)) / (2 * sp.pi) + z / 4 + sp.sqrt(x * y - z**2) / (2 * sp.pi)
    value = compile_expression((x, y, z), formula)
    assert value(-1.0, -1.0, -0.99) == pytest.approx(float(value(1.0, 1.0, -0.99)), rel=1e-10)


#: First functions, whose covariances are what the angle is of.
FIRST = {
    "leaky_relu(x, 1/2)": lambda x: np.where(x > 0, x, x / 2),
    "max(x, x**2)": lambda x: np.maximum(x, x**2),
    "relu(x)": lambda x: np.maximum(x, 0),
    "sign(x)": np.sign,
    "where(x > 1/4, x, 1)": lambda x: np.where(x > 0.25, x, 1.0),
    "tanh(x)": np.tanh,
    "x*average(abs(x))": lambda x: x * np.abs(x).mean(axis=1, keepdims=True),
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("target", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_angles_of_bent_functions_keep_their_conditions(first, target):
    """E relu(U) relu(V) of U, V = B f(x), by hand; at equal inputs the angle is 0, and no rounding of it is no number."""
    limit = derive(Network(f"x + eps*A(relu(B({first}, variance=2)))", width=3, inputs=2)).limit.explicit
    value = compile_expression(limit.states, limit.covariance[0, 1], backend=target)
    rng = np.random.default_rng(5)
    for pair in (*rng.normal(size=(8, 2, 3)), *(np.stack([x, x]) for x in rng.normal(size=(20, 3)))):
        psi = FIRST[first](pair)
        (a, c), (_, b) = 2 * psi @ psi.T / 3
        angle = np.arctan2(np.sqrt(max(a * b - c * c, 0)), c)
        right = np.sqrt(a * b) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        assert value(*pair.T.ravel()) == pytest.approx(right, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("first", ["x", "tanh(x)", "gelu(x)"])
@pytest.mark.parametrize("target", ["numpy", "numba"])
def test_two_numbers_of_one_neuron_have_the_angle_0_or_pi(first, target):
    """E |U||V| of U, V = b f(x) is |f(x) f(y)|, also where one is 0, where the correlation is 0/0."""
    limit = derive(Network(f"x + eps*A(abs(B({first})))", width=1, inputs=2)).limit
    value = compile_expression(limit.states, limit.covariance[0, 1], backend=target)
    own = compile_expression(X, parse_activation(first)(X) if first != "x" else X)
    for pair in ((0.0, 0.0), (0.0, 1.0), (1.0, -1.0), (-2.0, -3.0), (0.3, 1e-160)):
        assert value(*pair) == pytest.approx(abs(own(pair[0]) * own(pair[1])), rel=1e-14)


def test_a_rounding_beyond_one_is_no_angle_that_does_not_exist():
    limit = derive(Network("x + eps*A(abs(B(leaky_relu(x))))", width=1, inputs=2)).limit
    value = compile_expression(limit.states, limit.covariance[0, 1])
    x, y = np.random.default_rng(0).normal(size=(2, 20_000))  # 1364 of them were no number
    own = abs(np.where(x > 0, x, x / 100) * np.where(y > 0, y, y / 100))
    np.testing.assert_allclose(value(x, y), own, rtol=1e-14)
    beyond = compile_expression((*limit.states,), sp.asin(limit.states[0] * limit.states[1]))
    with np.errstate(invalid="ignore"):
        assert np.isnan(beyond(2.0, 3.0))  # which no rounding explains


@pytest.mark.parametrize("target", ["numpy", "numba"])
def test_an_angle_of_angles_is_0_at_equal_inputs(target):
    """Each ReLU halves the mean square, and at correlation 1 the covariance is the mean square."""
    layer = "x + eps*A(relu(B(relu(C(x, bias_variance=1/2)))))"
    limit = derive(Network(layer, width=sp.oo, inputs=2)).limit
    value = compile_expression(limit.states, limit.drift[1], backend=target)
    for K in (0.0, 0.7, 1.0, 3.0):
        assert value(K, K, K) == pytest.approx((K + 0.5) / 4, rel=1e-14)
        near = K * (1 - 1e-12)  # the determinant of the first two is 1e-12, and the angle of the next ones 1e-6
        assert value(K, near, K) == pytest.approx((near + 0.5) / 4, rel=1e-11)
