"""JAX: the same formulas, in both precisions, with derivatives that stay finite at kinks and at vanishing noise."""

from __future__ import annotations

import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy as sp

jax = pytest.importorskip("jax", reason="the JAX backend needs the extra jax")
import jax.numpy as jnp  # noqa: E402

from derivations.activations import ACTIVATIONS, identity, parse_activation, relu  # noqa: E402
from derivations.architectures import ResNet  # noqa: E402
from derivations.diffusion import Diffusion, Flow  # noqa: E402
from derivations.laws import recognise  # noqa: E402
from derivations.limits import depth_limit  # noqa: E402
from derivations.special import ErfiInv, ScaledBesselI  # noqa: E402
from derivations.symbols import initial, state, time  # noqa: E402
from numerics.backends import JAX, MPMATH  # noqa: E402
from numerics.compile import compile_expression  # noqa: E402
from numerics.compile.jax_paths import compile_jax_paths  # noqa: E402
from numerics.paths import simulate_sde  # noqa: E402
from numerics.statistics import Estimate, ks_two_sample  # noqa: E402

x, v = sp.Symbol("x", real=True), sp.Symbol("v", positive=True)
POINTS = np.array([-20.0, -2.5, -1, -0.3, -1e-3, 1e-3, 0.3, 1, 2.5, 20])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def errors(fast, exact) -> np.ndarray:
    exact = np.array([float(e) for e in exact])
    return np.abs(np.asarray(fast) - exact) / np.where(exact == 0, 1, np.abs(exact))


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
@pytest.mark.parametrize("target", ["numpy", "mpmath"])
def test_what_jax_traces_needs_the_target_jax(target, transform):
    """The message of JAX has three lines and speaks of __array__."""
    at = jnp.ones(2) if transform is jax.vmap else 1.0
    with pytest.raises(TypeError, match=r'JAX traced an argument here .* compile it with backend="jax"') as refused:
        transform(compile_expression((x,), sp.tanh(x) ** 2, target))(at)
    assert "\n" not in str(refused.value)
    assert np.all(np.isfinite(transform(compile_expression((x,), sp.tanh(x) ** 2, "jax"))(at)))


# JAX traces each for a third of a second: those whose formulas are of a kind with another's are left to the slow run
_LIKE_OTHERS = [
    "prelu",
    "relu6",
    "hardtanh",
    "hardsigmoid",
    "sparse_sigmoid",
    "softshrink",
    "hardshrink",
    "celu",
    "selu",
    "hardswish",
    "relu_squared",
    "softsign",
    "sparse_plus",
    "quick_gelu",
    "sigmoid",
    "logsigmoid",
    "squareplus",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "activation",
    [pytest.param(a, id=n, marks=[pytest.mark.slow] * (n in _LIKE_OTHERS)) for n, a in ACTIVATIONS.items()],
)
def test_activations_and_their_traced_derivatives(activation):
    function = compile_expression(activation.variable, activation.expr, JAX)
    points = POINTS[np.abs(POINTS) < 0.85] if activation.name.endswith("ornstein_uhlenbeck") else POINTS
    if activation.name == "tanhshrink":  # x - tanh x itself cancels near 0
        points = points[np.abs(points) > 0.2]
    assert (
        errors(function(points), compile_expression(activation.variable, activation.expr, MPMATH)(points)).max() < 1e-12
    )
    traced = jax.vmap(jax.grad(function))(jnp.asarray(points))
    exact = compile_expression(activation.variable, activation.derivative(), MPMATH)(points)
    assert np.all(np.isfinite(traced))
    assert np.all(np.abs(np.asarray(traced) - np.array([float(e) for e in exact])) < 1e-10 * (1 + np.abs(traced)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "node", [sp.erfi(x), ErfiInv(x), sp.erfinv(x / 21), ScaledBesselI(1, x**2), sp.erfc(x)], ids=str
)
def test_special_functions_and_their_derivatives(node):
    points = POINTS
    for expr, function in (
        (node, compile_expression(x, node, JAX)),
        (sp.diff(node, x), jax.vmap(jax.grad(compile_expression(x, node, JAX)))),
    ):
        assert errors(function(jnp.asarray(points)), compile_expression(x, expr, MPMATH)(points)).max() < 2e-12


@pytest.mark.slow
def test_gradients_at_kinks_and_zeros_are_numbers():
    for expr in (
        sp.Piecewise((sp.log(x), x > 0), (0, True)),
        sp.Piecewise((sp.sqrt(x), x > 0), (0, True)),
        sp.sqrt(sp.Max(x, 0) ** 2),
    ):
        slope = jax.vmap(jax.grad(compile_expression(x, expr, JAX)))(jnp.array([-1.0, 0.0, 2.0]))
        assert np.all(np.isfinite(slope))
        assert slope[0] == 0
    assert np.isnan(
        jax.grad(lambda y: jnp.where(y > 0, jnp.log(jnp.where(y > 0, y, y)), 0.0))(-0.0)
    )  # the control: unguarded


@pytest.mark.slow
def test_a_density_and_its_gradient_in_a_parameter():
    law = recognise(depth_limit(ResNet(identity, width=1, weight_variance=v)))
    expr = law.pdf(state, time, initial)
    density = compile_expression((state, time, initial, v), expr, JAX)
    exact = compile_expression((state, time, initial, v), sp.diff(expr, v), MPMATH)
    at = (1.3, 0.7, 1.0, 0.5)
    assert float(jax.grad(density, argnums=3)(*at)) == pytest.approx(float(exact(*at)), rel=1e-11)


def test_both_precisions():
    function = compile_expression(x, sp.erfi(x), JAX)
    assert function(jnp.float64(1.0)).dtype == jnp.float64
    with jax.enable_x64(False):
        single = compile_expression(x, sp.erfi(x), JAX)(jnp.float32(1.0))
        assert single.dtype == jnp.float32
        assert float(single) == pytest.approx(1.6504257587975429, rel=1e-6)


LIMITS = {
    "layer": depth_limit(ResNet(relu, width=3)),
    "inputs": depth_limit(ResNet(relu, width=2, inputs=2)),
    "scalar": Diffusion((x,), [-x + time], [[1 + x**2]]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LIMITS)
def test_paths_have_the_law_of_the_array_paths(case):
    limit = LIMITS[case]
    ours = compile_jax_paths(limit)(jax.random.key(0), 0.8, steps=16, samples=8000).reshape(8000, -1)
    arrays = simulate_sde(limit, 0.8, steps=16, samples=8000, seed=1)
    for column in (0, -1):
        assert ks_two_sample(ours[:, column], arrays[:, column]).p_value > 1e-3
        wrong = 0.8 + 1.15 * (np.asarray(ours[:, column]) - 0.8)
        assert ks_two_sample(wrong, arrays[:, column]).p_value < 1e-3


@pytest.mark.slow
def test_gradients_of_paths_in_a_networks_parameter():
    # E X² = x0² exp(v t) in the limit, (1 + v h)^N on the grid: its derivative is h N (1 + v h)^(N-1)
    limit = depth_limit(ResNet(identity, width=1, weight_variance=v))
    paths = compile_jax_paths(limit, (v,))
    squares = lambda value, key: paths(key, 1.0, (value,), steps=8, samples=1)[0, 0] ** 2  # noqa: E731
    slopes = jax.vmap(jax.grad(squares), in_axes=(None, 0))(0.5, jax.random.split(jax.random.key(1), 100_000))
    estimate = Estimate.of(np.asarray(slopes))
    exact = (1 + 0.5 / 8) ** 7
    assert abs(estimate.test(exact).statistic) < 4
    assert abs(estimate.test(1.1 * exact).statistic) > 4  # the control


@pytest.mark.slow
def test_gradients_stay_finite_at_dead_layers_and_equal_inputs():
    limit = depth_limit(ResNet(relu, width=2, inputs=2))
    paths = compile_jax_paths(limit)
    for start in (np.full((2, 2), -1.0), np.full((2, 2), 1.0), np.array([[1.0, -1.0], [-1.0, 1.0]])):
        slope = jax.grad(lambda x0: paths(jax.random.key(2), x0, steps=5, samples=4).sum())(jnp.asarray(start))
        assert np.all(np.isfinite(slope))


def test_what_cannot_be_traced_is_refused(monkeypatch):
    from numerics import backends

    with pytest.raises(ValueError, match="parameters v left"):
        compile_jax_paths(depth_limit(ResNet(identity, width=1, weight_variance=v)))
    with pytest.raises(ValueError, match="expected a Diffusion"):
        compile_jax_paths(Flow((x,), sp.ImmutableMatrix([x])))
    with pytest.raises(ValueError, match="cannot compute"):
        compile_expression(x, ScaledBesselI(sp.Rational(1, 3), x), JAX)
    monkeypatch.setattr(backends, "BACKENDS", (backends.NUMPY,))
    with pytest.raises(ValueError, match=r"deeplimits\[jax\]"):
        compile_jax_paths(LIMITS["layer"])


@pytest.mark.slow
@pytest.mark.parametrize("text", ["x**8/(1+x+x**8)", "x**8/(1+x**2+x**8)", "x**4/(1+x**4)"])
def test_gradients_of_rational_formulas_are_numbers_where_powers_overflow_single_precision(text):
    formula = parse_activation(text)
    compiled = compile_expression((formula.variable,), formula.expr, "jax")
    points = np.array([1e3, -1e3, 1e5, -1e5, 1e10, -1e10, 1e30, -1e30], dtype=np.float32)
    slopes = np.asarray(jax.vmap(jax.grad(compiled))(jnp.asarray(points)))
    exact = sp.lambdify(formula.variable, sp.diff(formula.expr, formula.variable), "mpmath")
    with mpmath.workdps(300):
        expected = np.array([float(exact(mpmath.mpf(float(v)))) for v in points])
    np.testing.assert_allclose(slopes, expected, rtol=1e-4, atol=1e-37)


SHARED = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from derivations import ResNet, depth_limit, relu
from numerics.compile.jax_paths import compile_jax_paths

limit, devices = depth_limit(ResNet(relu, width=3, inputs=2)), jax.devices()
assert len(devices) == 8
start = np.random.default_rng(0).normal(size=(3, 2))
alone, shared = (compile_jax_paths(limit, devices=d) for d in (None, devices))
key = jax.random.key(1)
one, eight = (f(key, start, steps=20, samples=160) for f in (alone, shared))
assert len(one.sharding.device_set) == 1 and len(eight.sharding.device_set) == 8
assert [s.data.shape for s in eight.addressable_shards] == [(20, 3, 2)] * 8
np.testing.assert_allclose(eight, one, rtol=1e-12)
assert not np.allclose(shared(jax.random.key(2), start, steps=20, samples=160), one)  # the control: other numbers
for given, word in (({"samples": 30}, "take a multiple of 8"),):
    try:
        shared(key, start, steps=2, **given)
    except ValueError as error:
        assert word in str(error)
    else:
        raise AssertionError(word)
try:
    compile_jax_paths(limit, devices=["cpu"])
except ValueError as error:
    assert "some of jax.devices()" in str(error)
else:
    raise AssertionError
"""


@pytest.mark.slow
def test_paths_are_shared_out_over_eight_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", SHARED], env=os.environ | flags, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
