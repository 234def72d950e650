"""Flows and moment equations, integrated."""

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, Flow, Network, ResNet, Weights, attention, derive, epsilon, relu, width_limit
from derivations.calculus.moment_closures import LogNormal, ZeroCumulant
from derivations.calculus.moments import moment_equations
from derivations.diffusion import Diffusion
from derivations.symbols import time
from numerics.flows import solve_flow, solve_moments
from numerics.paths import simulate_sde

x, y = sp.symbols("x y", real=True)
v = sp.Symbol("V", positive=True)


def test_dense_output_at_any_time():
    turn = Flow((x, y), sp.ImmutableMatrix([y, -x]))
    path = solve_flow(turn, [0.0, 1.0], t=7.0)
    times = np.linspace(0, 7, 50).reshape(5, 10)
    assert path(times).shape == (5, 10, 2)
    np.testing.assert_allclose(path.of(x, times), np.sin(times), atol=1e-9)
    with pytest.raises(ValueError, match="from 0 to 7"):
        path(8.0)


def test_time_dependent_velocity_and_order_of_states():
    path = solve_flow(Flow((y, x), sp.ImmutableMatrix([2 * time, y])), [0.0, 0.0], t=2.0)
    np.testing.assert_allclose(path(2.0), [4.0, 8.0 / 3.0], rtol=1e-10)


def test_kernel_flow_of_relu():
    path = solve_flow(width_limit(ResNet(relu, width=sp.oo)), 3.0, t=2.0)
    np.testing.assert_allclose(path(2.0), [3.0 * np.e], rtol=1e-9)


def test_explosion_is_reported():
    path = solve_flow(Flow((x,), sp.ImmutableMatrix([x**2])), 1.0, t=2.0)
    assert path.exploded
    assert path.end == pytest.approx(1.0, abs=1e-6)
    assert not solve_flow(Flow((x,), sp.ImmutableMatrix([-(x**2)])), 1.0, t=2.0).exploded


def test_an_explosion_that_doubles_end_before_the_bound_is_one():
    # x = (1 - 2t)^(-1/2) is 1e8 at the last double before t = 1/2
    path = solve_flow(Flow((x,), sp.ImmutableMatrix([x**3])), 1.0, t=1.0)
    assert path.exploded
    assert path.end == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(ValueError, match="could not be integrated"):  # a root that ends at 0 is none
        solve_flow(Flow((x,), sp.ImmutableMatrix([-1 / x])), 1.0, t=1.0)


def test_masked_linear_attention_over_two_texts_explodes_with_its_first_token():
    flow = derive(AttentionBlock(width=sp.oo, positions=2, inputs=2, kind="linear", masked=True)).limit
    z = np.random.default_rng(0).normal(size=(4, 40))
    gram = z @ z.T / 40
    values = [gram[a, b] for a in range(4) for b in range(a, 4)]
    path = solve_flow(flow, values, t=3.0)
    assert path.exploded
    # the first token of a text sees itself alone: K' = K³
    assert path.end < 0.5 / max(gram[0, 0], gram[2, 2]) ** 2 + 1e-9
    assert np.all(np.isfinite(path(path.end)))


def test_exact_moments_agree_with_their_solution():
    process = Diffusion((x,), [-x], [[1]])
    equations = moment_equations(process, 4)
    exact = equations.solve({x: sp.Integer(2)})
    path = solve_moments(equations, {x: 2.0}, t=1.5)
    for index, symbol in zip(equations.indices, equations.symbols, strict=True):
        assert path.of(symbol, 1.5) == pytest.approx(float(exact[index].subs(time, sp.Rational(3, 2))), rel=1e-9)


@pytest.mark.slow
def test_named_closures_against_paths():
    # dV = −2V(V − 1)dt + √(V²/5) dB: skewed and positive; three cumulants or log-normal come close, and a wrong noise does not
    def process(noise):
        return Diffusion((v,), [-2 * v * (v - 1)], [[noise * v**2]], sp.Interval.open(0, sp.oo))

    drawn = simulate_sde(process(sp.Rational(1, 5)), x0=1.0, t=1.0, steps=400, samples=40_000, seed=0)[:, 0]
    error = drawn.std() / np.sqrt(len(drawn))
    for closure in (ZeroCumulant(3), LogNormal()):
        equations = moment_equations(process(sp.Rational(1, 5)), 2, closure)
        mean = solve_moments(equations, {v: 1.0}).of(equations.symbols[0], 1.0)
        assert abs(mean - drawn.mean()) < 4 * error + 2e-3
        wrong = moment_equations(process(sp.Rational(2, 5)), 2, closure)
        control = solve_moments(wrong, {v: 1.0}).of(wrong.symbols[0], 1.0)
        assert abs(control - drawn.mean()) > 4 * error + 2e-3


@pytest.mark.parametrize(
    ("flow", "start", "t", "message"),
    [
        (
            Diffusion((x,), [0], [[1]]),
            1.0,
            1.0,
            "expected a limit without noise .a Flow., got the equation of one state or a few",
        ),
        (Flow((x,), sp.ImmutableMatrix([x * y])), 1.0, 1.0, "parameters y"),
        (Flow((x,), sp.ImmutableMatrix([x])), [1.0, 2.0], 1.0, "1 finite numbers"),
        (Flow((x,), sp.ImmutableMatrix([x])), 1.0, 0.0, "positive finite"),
        (Flow((x,), sp.ImmutableMatrix([1 / x])), 0.0, 1.0, "not finite at the start"),
    ],
)
def test_bad_input(flow, start, t, message):
    with pytest.raises(ValueError, match=message):
        solve_flow(flow, start, t)


@pytest.mark.slow
def test_a_flow_of_softmax_means_says_what_they_err_by():
    """Three positions in six dimensions of scores: sets of points differ, and the exact mean of two positions does not."""
    net = Network(
        lambda x: x + epsilon * attention(Weights("Q")(x), Weights("K")(x), Weights("V")(x)), width=sp.oo, positions=3
    )
    path = solve_flow(width_limit(net), [1.0, 0.2, 0.1, 1.0, -0.2, 0.5], t=0.2, rtol=1e-3)
    error = path.error(0.2)
    assert np.all((error > 1e-9) & (error < 1e-3))
    assert path.error([0.0, 0.2]).shape == (2, 6)
    assert not solve_flow(width_limit(ResNet(relu, width=sp.oo)), [1.0]).error(1.0).any()
