"""Parameters chosen so that a network's norm or correlation has a wanted value."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    AttentionBlock,
    GatedBlock,
    MLPBlock,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    epsilon,
    gelu,
    relu,
    silu,
    symbols,
    tanh,
)
from numerics import choose, simulate_network
from numerics.targets import Question

A, B = Weights("A"), Weights("B", out=12)
a, g = sp.symbols("a g", positive=True)
c = sp.Symbol("c", real=True)


def block(width):
    return Network(lambda x: x + epsilon * g * A(relu(B(x))), width=width, parameters=(g,))


@pytest.mark.slow
def test_the_size_of_a_branch_from_a_closed_law():
    found = choose(block(3), g, norm=2, bounds=(0.1, 3))
    assert abs(found.value - np.sqrt(2 * np.log(2))) < 1e-6  # E V = exp(g²t/2)
    # log V ~ N((½ − 1/n)σ²t, 2σ²t/n), σ = g: the 10 % quantile is 3/4
    low = choose(block(3), g, norm=0.75, quantile=0.1, bounds=(0.05, 1.5))
    z = -1.2815515655446004
    assert abs((0.5 - 1 / 3) * low.value**2 + z * np.sqrt(2 / 3) * low.value - np.log(0.75)) < 1e-6
    assert low.network.parameters == ()


def test_a_search_over_paths_shows_how_far_it_is():
    seen = []
    net = Network(lambda x: x + epsilon * g * A(tanh(B(x))), width=4, parameters=(g,))
    found = choose(
        net, g, correlation=0.55, correlation0=0.6, bounds=(0.5, 2), samples=200, progress=lambda *now: seen.append(now)
    )
    assert abs(found.attained - 0.55) < 4 * found.error + 0.05
    done, expected = np.array(seen).T
    assert len(seen) > 9  # one at least for each place that is looked at
    assert (np.diff(done) > 0).all()
    assert (done <= expected).all()
    assert done[-1] > expected[-1] / 4


@pytest.mark.parametrize(
    ("sign", "expected"),
    [("nonnegative", 1), *(pytest.param(sign, -1, marks=pytest.mark.slow) for sign in ("negative", "real"))],
)
def test_a_parameter_keeps_the_sign_that_it_is_declared_with(sign, expected):
    size = sp.Symbol("k", **{sign: True})
    net = Network(lambda x: x + epsilon * size * A(relu(B(x))), width=sp.oo, parameters=(size,))
    assert abs(choose(net, size, norm=2).value - expected * np.sqrt(2 * np.log(2))) < 1e-6  # E V = exp(k²t/2)
    if sign != "real":
        with pytest.raises(ValueError, match="bounds must be two numbers in order that k can have"):
            choose(net, size, norm=2, bounds=(-3.0, 3.0))


def test_whole_numbers_are_not_sought():
    blocks = sp.Symbol("k", integer=True)
    net = Network(lambda x: x + epsilon * blocks * A(relu(B(x))), width=sp.oo, parameters=(blocks,))
    with pytest.raises(ValueError, match="real numbers are sought, and k is declared as a whole number"):
        choose(net, blocks, norm=2)


@pytest.mark.slow
def test_the_size_of_a_branch_at_infinite_width():
    found = choose(block(sp.oo), g, norm=3, t=2, bounds=(0.1, 3))
    assert abs(found.value - np.sqrt(np.log(3))) < 1e-7
    pair = choose(block(sp.oo), g, correlation=0.5, correlation0=0.2, bounds=(0.1, 3))
    flow = choose(
        Network(lambda x: x + epsilon * A(relu(B(x))), width=sp.oo), symbols.time, correlation=0.5, correlation0=0.2
    )
    assert abs(pair.value**2 - flow.value) < 1e-5  # the clock of the flow is g²t


@pytest.mark.slow
def test_values_that_are_reached_between_the_points_of_the_grid():
    """K(1) = exp(c²(2 − c)²/2) rises to √e at c = 1 and falls to 1 at c = 2, where nothing moves."""

    def bump(width):
        return Network(lambda x: x + epsilon * g * (2 - g) * A(relu(B(x))), width=width, parameters=(g,))

    found = choose(bump(sp.oo), g, norm=1.648, bounds=(0.6, 2.0))
    assert abs(found.value - (1 - np.sqrt(1 - np.sqrt(2 * np.log(1.648))))) < 1e-5
    assert abs(found.value + found.others[0] - 2) < 1e-5
    with pytest.raises(ValueError, match=r"goes only from 1 to 1\.649 .*1\.65 is not reached"):
        choose(bump(sp.oo), g, norm=1.65, bounds=(0.6, 2.0))
    still = Question(bump(3), g, 2.0, None, None, None, None, 1.3, 0.0, 100, 0)
    assert still.value(2.0) == (pytest.approx(1.3), 0.0)  # no noise: it stays


@pytest.mark.slow
@pytest.mark.parametrize("width", [sp.oo, 3])
def test_a_narrow_bump_between_the_points_of_the_grid_has_both_its_sides(width):
    """The branch is 1 but for a bump up to 2 of 1/200 of the bounds; E V = exp(branch²/2)."""
    branch = 1 + sp.exp(-(((g - sp.Rational(37, 100)) / sp.Rational(4, 1000)) ** 2))
    net = Network(lambda x: x + epsilon * branch * A(relu(B(x))), width=width, parameters=(g,))
    found = choose(net, g, norm=3, bounds=(0.1, 1))
    half = 0.004 * np.sqrt(-np.log(np.sqrt(2 * np.log(3)) - 1))
    assert (found.value, *found.others) == pytest.approx([0.37 - half, 0.37 + half], rel=1e-6)
    assert "so it is at 0.373416" in str(found)
    if width == 3:
        x = simulate_network(found.network, 200, 4000, x0=1.0, seed=3)
        norms = (x[:, :, 0] ** 2).mean(axis=1)
        error = norms.std() / np.sqrt(len(norms))
        assert (
            abs(norms.mean() - 3) < 4 * error + 3 * np.log(3) ** 2 / 200
        )  # a layer is 1 + log 3/200, not its exponential
        assert abs(norms.mean() - np.exp(0.5)) > 4 * error  # without the bump


@pytest.mark.slow
def test_what_a_layer_adds_may_turn_too_often():
    net = Network(lambda x: x + epsilon * sp.sin(500 * g) * A(relu(B(x))), width=sp.oo, parameters=(g,))
    with pytest.raises(ValueError, match=r"turns \d\d\d times .* narrower bounds"):
        choose(net, g, norm=1.2, bounds=(0.1, 1))


@pytest.mark.slow
def test_a_zoom():
    found = choose(ShapedMLP(tanh, width=100, a=a), a, norm=0.83, quantile=0.5, depth=20, bounds=(1.0, 4.0))
    assert found.attained == pytest.approx(0.83, abs=1e-6)
    assert "after 20 layers" in str(found)


@pytest.mark.slow
def test_slopes_by_networks():
    """The shaping is of size n^(-1/2), so that networks differ from the limit by a/√n + b/n: two widths take a/√n off."""
    start, few = [[1.0, 0.0], [0.3, np.sqrt(0.91)]], 50

    @cache
    def chosen(width):
        net = ShapedMLP(relu, width=width, inputs=2, c_plus=0, c_minus=c)
        return choose(net, c, correlation=0.42, correlation0=0.3, depth=width // 2, bounds=(-4, -0.5))

    def mean(width, factor):
        net = ShapedMLP(relu, width=width, inputs=2, c_plus=0, c_minus=factor * sp.Rational(chosen(width).value))
        v = simulate_network(net, width // 2, 4000, inputs=start, record="gram", seed=width)
        rho = v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1])
        return rho.mean(), rho.std() / np.sqrt(4000)

    def extrapolated(factor):
        (one, error), (other, smaller) = mean(few, factor), mean(4 * few, factor)
        first_order = 2 * (
            one - other
        )  # a/√n at the smaller width; its square, as a share, is the order of what is left
        return 2 * other - one, np.hypot(error, 2 * smaller), first_order**2 / (0.42 - 0.3)

    value, error, left = extrapolated(1)
    assert abs(value - 0.42) < 4 * error + left
    wrong, error, left = extrapolated(2)
    assert abs(wrong - 0.42) > 4 * error + left


@pytest.mark.slow
def test_a_correlation_that_is_no_process_by_itself_is_drawn():
    net = Network(lambda x: x + epsilon * g * A(relu(B(x))), width=3, parameters=(g,))
    found = choose(net, g, correlation=0.35, correlation0=0.2, bounds=(0.5, 3), samples=8000)
    assert found.error > 0
    x = simulate_network(replace(found.network, inputs=2), 200, 8000, x0=_pair(), seed=1)
    rho = (x[:, :, 0] * x[:, :, 1]).sum(1) / np.sqrt((x[:, :, 0] ** 2).sum(1) * (x[:, :, 1] ** 2).sum(1))
    error = np.hypot(found.error, rho.std() / np.sqrt(len(rho)))
    assert abs(rho.mean() - 0.35) < 4 * error + 0.01  # 200 layers are off by a share of 1/200


def _two_branches(x):
    return x + epsilon * g * A(relu(Weights("B")(x))) + epsilon * Weights("C")(x)


def _with_drift(x):
    return x - epsilon**2 * g * x + epsilon * A(relu(Weights("B", out=10)(x)))


def _of_absolute_values(x):
    return x + epsilon * g * A(sp.Abs(Weights("B", out=6)(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "width", "wanted", "bounds"),
    [
        (_two_branches, 4, {"norm": 4}, (0.1, 3)),
        (_with_drift, 5, {"norm": 0.7}, (0.1, 3)),
        (_of_absolute_values, 3, {"norm": 0.8, "quantile": 0.1}, (0.05, 0.9)),
    ],
)
def test_sizes_of_typed_layers_by_networks(layer, width, wanted, bounds):
    """Depths L and 4L take the share a/L of what layers are too long by off."""
    count, layers = 10_000, 100
    net = Network(layer, width=width, parameters=(g,))
    found = choose(net, g, bounds=bounds, **wanted)
    start = np.random.default_rng(1).standard_normal((count, width))
    start *= np.sqrt(width / (start**2).sum(1, keepdims=True))
    at = wanted.get("quantile")

    def statistic(factor, depth):
        drawn = net.xreplace({g: sp.Rational(factor * found.value)})
        norms = (simulate_network(drawn, depth, count, x0=start, seed=depth) ** 2).mean(axis=1)
        if at is None:
            return norms.mean(), norms.std() / np.sqrt(count)
        beside = np.quantile(norms, at + np.array([-1, 1]) * np.sqrt(at * (1 - at) / count))
        return np.quantile(norms, at), np.diff(beside)[0] / 2

    def apart(factor):
        (one, error), (other, smaller) = statistic(factor, layers), statistic(factor, 4 * layers)
        return ((4 * other - one) / 3 - wanted["norm"]) / (np.hypot(4 * smaller, error) / 3)

    assert abs(apart(1)) < 4
    assert abs(apart(1.5)) > 8


def _pair():
    """Two inputs of width 3, mean square 1 and correlation 0.2."""
    first, other = np.array([1.0, 1.0, 1.0]), np.array([1.0, -1.0, 0.0]) * np.sqrt(1.5)
    return np.stack([first, 0.2 * first + np.sqrt(0.96) * other], axis=1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: choose(block(3), g), "one of norm and correlation"),
        (lambda: choose(block(3), g, norm=1, correlation=0.5), "one of norm and correlation"),
        (lambda: choose(relu, g, norm=1), "choose expects a network"),
        (lambda: choose(block(3), g, norm=-1), "norm must be a positive number"),
        (lambda: choose(block(3), g, correlation=2), "from -1 to 1"),
        (lambda: choose(block(3), g, norm=1, quantile=1), "between 0 and 1"),
        (lambda: choose(block(3), g, norm=1, norm0=0), "must start at a positive norm0"),
        (lambda: choose(block(symbols.width), g, norm=1), "must be a number or oo"),
        (lambda: choose(block(3), a, norm=2), "the network has no parameter a; it has g"),
        (lambda: choose(block(3), g, norm=2, depth=5), "time of all layers is free"),
        (lambda: choose(block(3), symbols.depth, norm=2), "ask for symbols.time"),
        (lambda: choose(block(3), symbols.time, norm=2, t=1), "leave both out"),
        (lambda: choose(block(3), symbols.time, norm=2), "the parameters g are left free"),
        (lambda: choose(block(sp.oo), g, norm=2, quantile=0.5), "have no quantiles"),
        (lambda: choose(block(3), g, norm=2, bounds=(3, 1)), "bounds must be two numbers in order"),
        (lambda: choose(block(3), g, norm=2, bounds=(0.1, 0.2)), "goes only from 1.005 to 1.02 for g from 0.1 to 0.2"),
        (lambda: choose(ShapedMLP(tanh, width=50, inputs=2, a=a), a, correlation=0.5, depth=9), "does not depend on a"),
        (lambda: choose(ShapedMLP(gelu, width=50, inputs=2, a=a), a, correlation=0.5), "give depth="),
        (lambda: choose(ResNet(relu, width=4, weight_variance=g), g, norm=2), "no process by itself"),
        (lambda: choose(MLPBlock(relu, width=4, norm="rms", place="post"), symbols.time, norm=2), "norm"),
        (lambda: choose(MLP(relu, width=50), symbols.depth, correlation=0.5), "tends to 1 where depth and width"),
        (lambda: choose(MLP(tanh, width=50), symbols.depth, correlation=0.5), "has no joint limit"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_the_norm_of_a_network_with_positions():
    """Linear attention behind a norm adds the square of the Gram matrix of normed positions, (1 + ρ²) in its entries; by Euler's steps."""
    found = choose(
        AttentionBlock(width=sp.oo, kind="linear", norm="rms", weight_variance=g),
        g,
        norm=2,
        correlation0=0.3,
        bounds=(0.3, 2),
    )

    def reached(value):
        v, r = 1.0, 0.3
        for _ in range(4000):
            rho = r / v
            added = value**4 / 4000 * (2 + 2 * rho**2)  # ‖S‖² of queries and keys, values and outputs of this variance
            v, r = v + added, r + added * rho
        return v

    assert reached(found.value) == pytest.approx(2, rel=2e-3)
    assert reached(1.1 * found.value) > 2.2
    with pytest.raises(ValueError, match="every layer fixes the norm of this network"):
        choose(MLPBlock(relu, width=sp.oo, norm="rms", place="post", weight_variance=g), g, norm=2)


def test_coefficients_that_are_means_without_closed_form():
    """Behind a norm the branch adds the same in each layer: g³ E[(z sigmoid(z√g))²]-like means, by Gauss's rule."""
    found = choose(GatedBlock(silu, width=sp.oo, norm="rms", weight_variance=g), g, norm=2, bounds=(0.1, 4))
    z, w = np.polynomial.hermite_e.hermegauss(60)

    def added(value):
        u = np.sqrt(value) * z
        return value**2 * np.sum(w * (u / (1 + np.exp(-u))) ** 2) / w.sum()

    assert added(found.value) == pytest.approx(1, rel=1e-6)
    assert added(1.1 * found.value) > 1.2


def test_a_mean_that_is_infinite_points_to_quantiles():
    with pytest.raises(ValueError, match="networks run away; ask for a quantile over them"):
        choose(GatedBlock(relu, width=4, weight_variance=g), g, norm=2, t=0.3, bounds=(0.1, 3))


@pytest.mark.slow
def test_a_correlation_at_finite_width_where_means_have_no_closed_form():
    """x + ε c A tanh(B x) at width 8, correlation 0.52 from 0.6, against weights drawn here."""
    net = Network(lambda x: x + epsilon * g * A(tanh(Weights("B")(x))), width=8, parameters=(g,))
    found = choose(net, g, correlation=0.52, correlation0=0.6, bounds=(1, 3))

    def drawn(value, layers=100, samples=6000):
        rng = np.random.default_rng(5)
        start = np.linalg.qr(rng.standard_normal((8, 2)))[0] * np.sqrt(8) @ np.linalg.cholesky([[1, 0.6], [0.6, 1]]).T
        x = np.broadcast_to(start, (samples, 8, 2))
        for _ in range(layers):
            one, other = rng.standard_normal((2, samples, 8, 8)) / np.sqrt(8)
            x = x + value / np.sqrt(layers) * one @ np.tanh(other @ x)
        v = x.swapaxes(1, 2) @ x
        values = v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1])
        return values.mean(), values.std() / np.sqrt(samples)

    mean, error = drawn(found.value)
    assert abs(mean - 0.52) < 4 * np.hypot(error, found.error)
    mean, error = drawn(1.3 * found.value)
    assert abs(mean - 0.52) > 4 * np.hypot(error, found.error)
