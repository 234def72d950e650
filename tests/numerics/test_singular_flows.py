"""Kernel flows from covariances that are singular: equal, parallel and opposite inputs, and inputs of norm 0."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from derivations import Network, ResNet, Weights, dropout, epsilon, parse_activation, relu, rms_norm
from derivations.gaussian import expect_pair
from derivations.kernels import nngp, ntk
from numerics import kernel_matrix, solve_flow

A, B = Weights("A"), Weights("B")
STEP = parse_activation("heaviside(x)")


def at_end(flow, start, t=0.5, rtol=1e-9):
    return solve_flow(flow, start, t=t, rtol=rtol)(t)


@pytest.mark.slow
@pytest.mark.parametrize("across", [1.0, 1.0 + 2.0**-52, 1.0 - 2.0**-53], ids=["one", "above", "below"])
@pytest.mark.parametrize("activation", [relu, STEP, parse_activation("max(x, 0)**2")], ids=str)
def test_equal_inputs_stay_equal(activation, across):
    first, cross, second = at_end(nngp(ResNet(activation, width=sp.oo, inputs=2)), [1.0, across, 1.0])
    assert first == cross == second
    (alone,) = at_end(nngp(ResNet(activation, width=sp.oo)), [1.0])
    assert abs(first - alone) < 1e-8 * alone


@pytest.mark.slow
def test_masks_and_borders_tell_equal_inputs_apart():
    wet = nngp(Network(lambda x: x + epsilon * A(dropout(relu(B(x)), 0.5)), width=sp.oo, inputs=2))
    first, cross, _ = at_end(wet, [1.0, 1.0, 1.0])
    assert cross < 0.9 * first
    line = Network(lambda x: x + epsilon * Weights("W", filter=3, padding="zeros")(relu(x)), width=sp.oo, positions=5)
    flow = nngp(line)
    path = solve_flow(flow, np.ones(len(flow.states)), t=0.5, rtol=1e-8)
    K = {s.name: path.of(s, 0.5) for s in flow.states}
    assert K["K_22"] < K["K_33"] - 1e-3  # both start with equal neighbours, whose neighbours differ
    assert abs(K["K_22"] - K["K_44"]) < 1e-7


def test_parallel_inputs_of_homogeneous_networks_stay_parallel():
    path = at_end(ntk(ResNet(relu, width=sp.oo, inputs=2)), [1.0, 2.0, 4.0, 1.0, 2.0, 4.0])
    alone = at_end(ntk(ResNet(relu, width=sp.oo)), [1.0, 1.0])
    expected = np.concatenate([alone[0] * np.array([1, 2, 4]), alone[1] * np.array([1, 2, 4])])
    assert np.allclose(path, expected, rtol=1e-7, atol=0)


OFF_CENTRE = pytest.param("max(x - 1, 0)", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["relu(x)", "sqrt(abs(x))", "tanh(x)", OFF_CENTRE])
def test_an_input_of_norm_0_stays_so_where_the_function_vanishes(name):
    found = at_end(nngp(ResNet(parse_activation(name), width=sp.oo, inputs=2)), [0.0, 0.0, 1.0], rtol=1e-6)
    assert found[0] == 0.0
    assert abs(found[1]) < 1e-30
    assert found[2] > 1.0


@pytest.mark.parametrize(
    "start",
    [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 2.0, 4.0], [0.0, 0.0, 1.0]],
    ids=["equal", "opposite", "parallel", "zero"],
)
@pytest.mark.parametrize("name", ["softplus(x)", "relu(x)", "heaviside(x)", OFF_CENTRE])
def test_flows_and_kernel_matrices_agree_on_the_border(name, start):
    network = ResNet(parse_activation(name), width=sp.oo, inputs=2)
    inputs = np.array([[np.sqrt(start[0])], [np.sign(start[1]) * np.sqrt(start[2]) or np.sqrt(start[2])]])
    matrix = kernel_matrix(network, inputs, t=0.5)
    found = at_end(nngp(network), start, rtol=1e-8)
    assert np.allclose(found, matrix[np.triu_indices(2)], rtol=1e-6, atol=1e-9)


def test_equal_inputs_on_the_sphere_of_a_norm():
    flow = ntk(Network(lambda x: rms_norm(x + epsilon * A(relu(x))), width=sp.oo, inputs=3))
    found = dict(zip(map(str, flow.states), at_end(flow, [1, 0.5, 0.5, 1, 1, 0.5, 1, 0.5, 1]), strict=True))
    assert found["K_12"] == 1.0
    assert found["K_13"] == found["K_23"]
    assert found["Theta_12"] == found["Theta_11"]


def test_an_input_of_norm_0_behind_a_norm_is_refused():
    flow = nngp(Network(lambda x: x + epsilon * A(relu(rms_norm(x))), width=sp.oo, inputs=2))
    with pytest.raises(ValueError, match="not finite at the start"):
        solve_flow(flow, [0.0, 0.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh(x)", "silu(x)", "softplus(x)", "heaviside(x)*silu(x)", "sqrt(abs(x))"])
def test_pair_means_of_singular_covariances(name):
    f = parse_activation(name)
    x = f.variable
    a, c, b = sp.symbols("a c b", real=True)
    node = expect_pair(f.expr, f.expr, x, ((a, c), (c, b)))
    value = sp.lambdify(x, f.expr, "mpmath")

    def integral(variance, slope):
        density = lambda z: mp.npdf(z) * value(mp.sqrt(variance) * z) * value(slope * mp.sqrt(variance) * z)  # noqa: E731
        return mp.quad(density, [-12, -3, -1, 0, 1, 3, 12])

    for entries in ((0.3, 0.3, 0.3), (0.3, -0.3, 0.3), (0.1, 0.2, 0.4), (0.3, 0.3 + 2.0**-54, 0.3), (1, 2, 4)):
        found = float(node.xreplace(dict(zip((a, c, b), map(sp.sympify, entries), strict=True))).evalf(15))
        assert abs(found - float(integral(entries[0], entries[1] / entries[0]))) < 1e-12
    zero = node.xreplace({a: sp.S.Zero, c: sp.S.Zero, b: sp.S.One}).evalf(15)
    assert abs(float(zero) - float(value(mp.mpf(0)) * mp.quad(lambda z: mp.npdf(z) * value(z), [-12, 0, 12]))) < 1e-12
    assert node.xreplace({a: sp.S.One, c: sp.Integer(2), b: sp.S.One}).evalf(15) is sp.nan
