"""Kernel matrices: against symbolic flows, finite wide networks, explosion depths; errors that say what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

from derivations import (
    Activation,
    ConvResNet,
    ResNet,
    ShrinkingResNet,
    erf,
    gelu,
    identity,
    leaky_relu,
    parse_activation,
    relu,
    silu,
    softplus,
    tanh,
)
from derivations.kernels import explosion_depth, ntk, slope_of
from numerics.compile import compile_expression
from numerics.kernels import kernel_matrices, kernel_matrix
from numerics.networks import simulate_network
from numerics.statistics import Estimate, richardson

HALF = sp.Rational(1, 2)
X = np.random.default_rng(0).normal(size=(5, 3))
NETWORKS = {
    "relu residual": ResNet(relu, width=sp.oo),
    "leaky relu": ResNet(leaky_relu(sp.Rational(1, 5)), width=sp.oo, weight_variance=2),
    "relu with bias": ShrinkingResNet(tanh, relu, width=sp.oo, bias_variance=HALF),
    "erf": ShrinkingResNet(tanh, erf, width=sp.oo, weight_variance=2),
    "gelu": ShrinkingResNet(erf, gelu, width=sp.oo, bias_variance=HALF),
    "swish around identity": ShrinkingResNet(
        silu, identity, width=sp.oo, bias_variance=HALF, weight_mean=HALF, bias_mean=1
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_pair_follows_the_symbolic_flow(network):
    found = kernel_matrices(network, X, t=1.0, tolerance=1e-10)
    flow = ntk(replace(network, inputs=2))
    velocity = compile_expression(flow.states, list(flow.drift))
    k0 = X @ X.T / 3
    for a, b in ((0, 1), (2, 4)):
        gram = np.array([k0[a, a], k0[a, b], k0[b, b]])
        start = np.concatenate([np.zeros(len(flow.states) - 6), gram, gram])
        end = solve_ivp(lambda _, y: np.array(velocity(*y)), (0, 1), start, method="Radau", rtol=1e-11, atol=1e-12).y[
            :, -1
        ]
        assert np.allclose(end[-6:-3], found.nngp[[a, a, b], [a, b, b]], rtol=1e-8, atol=1e-8)
        assert np.allclose(end[-3:], found.ntk[[a, a, b], [a, b, b]], rtol=1e-8, atol=1e-8)
        assert not np.allclose(end[-6:-3] * 1.000001, found.nngp[[a, a, b], [a, b, b]], rtol=1e-8)  # the control


@pytest.mark.parametrize("inner", [relu, erf, tanh, silu], ids=str)
@pytest.mark.parametrize("outer", [tanh, silu], ids=str)
@pytest.mark.slow
def test_one_position_is_the_dense_network(inner, outer):
    parameters = {"bias_variance": HALF, "weight_mean": HALF}
    dense = kernel_matrices(ShrinkingResNet(outer, inner, width=sp.oo, **parameters), X, t=0.7)
    grid = kernel_matrices(
        ConvResNet(outer, inner, width=sp.oo, positions=(1,), filter=(1,), **parameters), X[:, :, None], t=0.7
    )
    assert np.allclose(dense.nngp, grid.nngp, rtol=1e-8, atol=1e-9)
    assert np.allclose(dense.ntk, grid.ntk, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_the_hermite_series_agrees_with_the_closed_form():
    from numerics.kernels.means import compile_means

    closed = compile_means(gelu)
    series = replace(closed, closed_product=None, closed_square=None, closed_centred=None)
    variance, every = np.array([0.3, 1.0, 2.0]), slice(None)
    covariance = np.sqrt(np.outer(variance, variance)) * np.array([[1, 0.9, -0.5], [0.9, 1, 0.1], [-0.5, 0.1, 1]])
    off = ~np.eye(3, dtype=bool)
    one, two = (m.pairs(np.zeros(3), variance)(every, every, covariance) for m in (closed, series))
    assert np.allclose(one[off], two[off], atol=1e-12)
    assert np.allclose(closed.square(np.zeros(3), variance), series.square(np.zeros(3), variance), atol=1e-12)


@pytest.mark.parametrize("function", [relu, leaky_relu(sp.Rational(1, 5)), slope_of(relu)], ids=str)
@pytest.mark.parametrize("rho", [0.3, -0.9, 0.0, 0.9999])
def test_kinks_under_a_moving_mean_are_integrated_piece_by_piece(function, rho):
    from numerics import quadrature
    from numerics.kernels.means import compile_means

    compiled = compile_means(function)
    mean, variance = np.array([0.4, -0.7]), np.array([1.3, 0.6])
    covariance = rho * np.sqrt(variance.prod())
    found = compiled.pairs(mean, variance)(slice(0, 1), slice(1, 2), np.array([[covariance]]))[0, 0]
    shifted = [lambda z, m=m: compiled.function(z + m) for m in mean]
    gram = [[variance[0], covariance], [covariance, variance[1]]]
    exact = quadrature.expect_pair(*shifted, gram, [-mean[0]], [-mean[1]])
    assert abs(found - exact) < 1e-12
    assert abs(found * 1.0001 - exact) > 1e-12


def test_a_pair_whose_series_leaves_too_much_out_is_integrated():
    from numerics import quadrature
    from numerics.kernels.means import compile_means

    x = sp.Symbol("x", real=True)
    compiled = compile_means(Activation("half tanh", sp.tanh(x) * sp.Heaviside(x), x))
    variance, rho = np.array([1.3, 0.6]), 1 - 1e-7
    covariance = rho * np.sqrt(variance.prod())
    found = compiled.pairs(np.zeros(2), variance)(slice(0, 1), slice(1, 2), np.array([[covariance]]))[0, 0]
    gram = [[variance[0], covariance], [covariance, variance[1]]]
    exact = quadrature.expect_pair(compiled.function, compiled.function, gram, [0.0], [0.0])
    assert abs(found - exact) < 1e-12
    assert abs(found * (1 + 1e-9) - exact) > 1e-12  # the control


@pytest.mark.slow
def test_crossed_kernels_are_blocks_of_the_whole_one():
    for network in (NETWORKS["relu residual"], NETWORKS["erf"]):
        whole = kernel_matrix(network, X, kind="ntk")
        block = kernel_matrix(network, X[:2], kind="ntk", other=X[2:])
        assert np.allclose(whole[:2, 2:], block, rtol=1e-8)
    conv = ConvResNet(tanh, relu, width=sp.oo, positions=(2,), filter=(1,), bias_variance=HALF)
    images = np.random.default_rng(1).normal(size=(4, 3, 2))
    for pool in (False, True):
        whole = kernel_matrix(conv, images, pool=pool)
        assert np.allclose(whole[:1, 1:], kernel_matrix(conv, images[:1], other=images[1:], pool=pool), rtol=1e-7)


@pytest.mark.slow
def test_depth_zero_and_repeated_inputs():
    doubled = np.concatenate([X, X[:1]])
    for network in NETWORKS.values():
        assert np.allclose(kernel_matrix(network, X, t=0.0), X @ X.T / 3)
        k = kernel_matrix(network, doubled, kind="ntk")
        assert np.allclose(k[0, 5], k[0, 0], rtol=1e-7)
        assert np.allclose(k, k.T)
        assert np.all(np.linalg.eigvalsh(k) > -1e-7 * np.max(np.diag(k)))


@pytest.mark.parametrize("inner", [relu, erf, gelu, sp.Max(sp.Symbol("x", real=True) - 1, 0), softplus])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.slow
def test_an_input_of_norm_0_is_the_limit_of_small_ones(inner, kind):
    network = ShrinkingResNet(tanh, inner, width=sp.oo, bias_variance=HALF)

    def at(size):
        return kernel_matrix(network, [[1.0, 0.3], [-0.2, 0.8], [0.6 * size, -0.8 * size]], 0.3, kind)

    exact, near, nearer = at(0.0), at(1e-3), at(1e-5)
    assert np.abs(near - exact).max() < 2e-3
    assert np.abs(nearer - exact).max() < 0.02 * np.abs(near - exact).max()  # linear in the size
    assert np.abs(exact[2]).min() > 1e-2  # a control: the bias moves it, so that 0 would be wrong


def test_threads_change_nothing():
    inputs = np.random.default_rng(2).normal(size=(300, 4))
    network = NETWORKS["erf"]
    assert np.array_equal(kernel_matrix(network, inputs, t=0.3), kernel_matrix(network, inputs, t=0.3, workers=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu with bias", "swish around identity", "erf", "swish around relu"])
def test_wide_deep_networks_have_the_kernel_as_gram_matrix(name):
    network = {**NETWORKS, "swish around relu": ShrinkingResNet(silu, relu, width=sp.oo, weight_variance=4)}[name]
    off = sp.Rational(441, 400)  # all noise, of weights and biases, 5 % too large
    wrong_network = replace(
        network, weight_variance=network.weight_variance * off, bias_variance=network.bias_variance * off
    )
    derived, wrong = (kernel_matrix(net, X[:2], t=1.0) for net in (network, wrong_network))

    def gram(size, samples, seed):
        finite = replace(network, width=size, inputs=2)
        return simulate_network(finite, size, samples, inputs=X[:2], t=1.0, seed=seed)

    # error c/L + c'/n: one extrapolation of both at once
    coarse, fine = gram(32, 12_000, 1), gram(64, 6000, 2)
    for a, b in ((0, 0), (0, 1)):
        found = richardson(*(Estimate.of(np.mean(x[:, :, a] * x[:, :, b], axis=1)) for x in (coarse, fine)))
        assert found.test(derived[a, b]).p_value > 1e-3
        assert a != b or found.test(wrong[a, b]).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("pool", [False, True])
def test_convolutional_gram_matrix_of_many_channels(pool):
    conv = ConvResNet(
        tanh, relu, width=sp.oo, positions=(4,), filter=(3,), circular=False, bias_variance=sp.Rational(1, 8)
    )
    image = 2 * np.random.default_rng(3).normal(size=(1, 2, 4))
    derived, wrong = (
        kernel_matrix(replace(conv, weight_variance=f), image, t=0.5, pool=pool)[0, 0]
        for f in (sp.S.One, sp.Rational(441, 400))
    )

    def read(x):  # averaged over positions before the readout's weights, or with weights for each
        return np.mean(x.mean(axis=2) ** 2 if pool else np.mean(x**2, axis=2), axis=1)

    runs = [
        Estimate.of(read(simulate_network(replace(conv, width=n), n, samples, inputs=image, t=0.5, seed=n)))
        for n, samples in ((24, 16_000), (48, 8000))
    ]
    measured = richardson(*runs)
    assert measured.test(derived).p_value > 1e-3
    assert measured.test(wrong).p_value < 1e-3


@pytest.mark.slow
def test_the_explosion_is_where_the_closed_form_says():
    network = ShrinkingResNet(silu, identity, width=sp.oo)
    depth = float(explosion_depth(network).subs(sp.Symbol("K_0", positive=True), 4))
    assert np.isfinite(kernel_matrix(network, [[2.0]], t=0.99 * depth)).all()
    with pytest.raises(ValueError, match=f"explodes near depth t = {depth:.4f}"[:-2]):
        kernel_matrix(network, [[2.0]], t=1.05 * depth)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"kind": "both"}, "^unknown kind 'both'; known: nngp, ntk"),
        ({"t": -1.0}, "t must be"),
        ({"t": np.inf}, "t must be"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"other": np.zeros((2, 4))}, "one shape"),
        ({"X": [1.0, 2.0]}, "one input a row"),
        ({"X": [[np.nan]]}, "finite"),
        ({"architecture": ShrinkingResNet(silu, identity, width=sp.oo), "t": 20.0}, "explodes near depth"),
        ({"architecture": ResNet(relu, width=3)}, "infinitely wide"),
        (
            {"architecture": ResNet(relu, width=sp.oo, weight_variance=sp.Symbol("s", positive=True))},
            "substitute values",
        ),
        ({"architecture": ConvResNet(tanh, relu, width=sp.oo, positions=(2,), filter=(1,))}, "shape"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(arguments, says):
    with pytest.raises(ValueError, match=says):
        kernel_matrix(**{"architecture": ResNet(relu, width=sp.oo), "X": X, **arguments})


@pytest.mark.slow
def test_memory_is_that_of_a_few_matrices():
    import gc
    import tracemalloc

    def peak(m):
        inputs = np.random.default_rng(0).normal(size=(m, 4))
        tracemalloc.start()
        kernel_matrices(NETWORKS["erf"], inputs, t=0.1, tolerance=1e-6)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most / 8

    peak(3)  # derive and compile once
    thresholds = gc.get_threshold()
    gc.set_threshold(
        100, 2, 2
    )  # integrators are cyclic garbage: what waits to be collected is not what is being measured
    small, large = peak(600), peak(1800)
    gc.set_threshold(*thresholds)
    # two kernels, and blocks of pairs that are the same for every m
    assert large - small < 5 * (1800**2 - 600**2)


@pytest.mark.parametrize("inner", [relu, erf], ids=str)
@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.slow
def test_black_pixels_are_the_limit_of_dark_ones(inner, circular):
    network = ConvResNet(tanh, inner, width=sp.oo, positions=(6,), filter=(3,), circular=circular)
    images = np.zeros((2, 1, 6))
    images[0, 0, :2], images[1, 0, 1:] = 2.0, 1.0
    black, dark, grey = (kernel_matrix(network, images + level, kind="ntk") for level in (0.0, 1e-7, 1e-2))
    assert np.allclose(black, dark, rtol=1e-6)
    assert not np.allclose(black, grey, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "kind", "at", "exact"),
    [  # by collocation in depth over nested Gauss-Legendre integrals split at the kinks, which shares no code with the package
        ("log(1+abs(x))", "nngp", (0, 1), 0.10387738817),
        ("tanh(abs(x))", "nngp", (0, 1), 0.12087632097),
        ("tanh(max(x,0))", "nngp", (0, 1), 0.04618167021),
        ("sqrt(abs(x))", "nngp", (0, 1), 0.27783907),
        ("x/(1+abs(x))", "ntk", (0, 0), 0.70185442),
        ("atan(x)", "ntk", (0, 1), 0.03423789205),
    ],
)
def test_kinks_and_singular_points_cost_no_digits(formula, kind, at, exact):
    found = kernel_matrix(ResNet(parse_activation(formula), width=sp.oo), [[1.0, 0.3], [-0.2, 0.8]], 0.5, kind)[at]
    digits = len(str(exact)) - 2
    assert abs(found - exact) < 0.6 * 10.0**-digits
    assert abs(found + 1e-7 - exact) > 0.6 * 10.0**-digits  # the control


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("sqrt(abs(x))", "squared derivative diverges"),
        ("max(x,0)**(1/2)", "squared derivative diverges"),
        ("log(abs(x))", "squared derivative diverges"),
        ("heaviside(x)", "jumps at x = 0"),
        ("sign(x)", "jumps at x = 0"),
    ],
)
def test_an_infinite_tangent_kernel_is_refused_with_its_reason(formula, says):
    network = ResNet(parse_activation(formula), width=sp.oo)
    with pytest.raises(ValueError, match=says):
        kernel_matrix(network, X, kind="ntk")
    with pytest.raises(ValueError, match=says):
        ntk(replace(network, inputs=2))
    assert np.all(np.isfinite(kernel_matrix(network, X, 0.1)))


def test_jumps_have_a_kernel_also_for_an_input_and_its_negative():
    """sign: K = K_0 + ∫ (2/π) asin ρ; for x and -x that is -(K_0 + t), for x and 2x both signs agree at first."""
    found = kernel_matrix(ResNet(parse_activation("sign(x)"), width=sp.oo), [[0.6, 0.8], [-0.6, -0.8], [0.6, 0.8]], 0.5)
    assert np.allclose(found, np.outer([1, -1, 1], [1, -1, 1]) * (0.5 + 0.5), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("inner", [tanh, gelu, relu], ids=str)
def test_tiny_inputs_keep_their_scale(inner):
    directions = np.array([[0.6, 0.8], [1.0, -0.3]])
    network = ShrinkingResNet(identity, inner, width=sp.oo)
    for kind in ("nngp", "ntk"):
        small, tiny = (kernel_matrix(network, directions * size, 0.5, kind) / size**2 for size in (1e-6, 1e-100))
        assert np.allclose(tiny, small, rtol=1e-8)
        assert not np.allclose(tiny * 1.000001, small, rtol=1e-8)  # the control


@pytest.mark.parametrize(("jump", "of_zero"), [("sign(x)", 0.0), ("heaviside(x)", 0.25)])
@pytest.mark.parametrize("two", [False, True], ids=["one block", "two blocks"])
def test_an_input_of_zeros_is_what_networks_make_of_it(jump, of_zero, two):
    """sign(0) = 0 keeps a zero input at 0, though E sign(√K Z)² = 1 for every K > 0; a step of 1/2 at 0 leaves at once."""
    network = ResNet(parse_activation(jump), width=sp.oo)
    x = np.array([[1.0, 0.5], [0.0, 0.0]])
    matrix = kernel_matrix(network, x, t=0.5, other=x if two else None)
    assert matrix[1, 1] == pytest.approx(of_zero)
    assert (matrix[0, 1] == matrix[1, 1] == 0.0) == (jump == "sign(x)")
    assert matrix[0, 0] > 0.5
