"""One door to the distribution of a scalar limit: closed, or solved; each agrees with the other where both are."""

import time

import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from derivations import Network, ResNet, depth_limit, derive, parse_activation, recognise, relu, sine, tanh, width_limit
from derivations.activations import ACTIVATIONS
from derivations.diffusion import Diffusion
from numerics import (
    compile_expression,
    compile_law,
    distribution,
    simulate_sde,
    solve_flow,
    solve_fokker_planck,
    validate,
)
from numerics.densities import FrozenDistribution
from numerics.fokker_planck import SolvedDistribution
from numerics.limit_distribution import has_distribution

x = sp.Symbol("x", real=True)


def test_a_known_law_is_closed_and_an_unknown_one_is_solved():
    known, unknown = distribution(derive(ResNet(relu, width=1))), distribution(derive(ResNet(tanh, width=1)))
    assert type(known) is FrozenDistribution
    assert known.error == 0
    assert isinstance(unknown, SolvedDistribution)
    assert 0 < unknown.error <= 1e-6


def test_derivation_diffusion_and_law_give_the_same():
    d = derive(ResNet(relu, width=1))
    q = np.linspace(0.05, 0.95, 19)
    values = [distribution(of, x0=2.0, t=0.5).ppf(q) for of in (d, d.limit, d.law)]
    np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-12)


def test_solved_and_closed_agree_where_both_are():
    process = Diffusion((x,), [-x], [[1]])
    closed, solved = compile_law(recognise(process), x0=1.0, t=0.7), solve_fokker_planck(process, 1.0, t=0.7)
    points = closed.ppf(np.linspace(0.01, 0.99, 50))
    assert np.abs(closed.cdf(points) - solved.cdf(points)).max() < 1e-6
    assert np.abs(compile_law(recognise(process), x0=1.0, t=0.72).cdf(points) - solved.cdf(points)).max() > 1e-5


def test_a_sine_moves_between_its_zeros():
    d = distribution(derive(ResNet(sine, width=1)), x0=4.0, t=1.0)
    assert d.support() == pytest.approx((np.pi, 2 * np.pi))
    assert d.mean() == pytest.approx(4.0, abs=1e-6)  # a bounded martingale
    assert distribution(derive(ResNet(sine, width=1)), x0=0.0, t=1.0).atoms == ((0.0, 1.0),)


@pytest.mark.parametrize(
    ("of", "match"),
    [
        (lambda: derive(ResNet(relu, width=3)), "expected a scalar diffusion"),
        (lambda: width_limit(ResNet(relu, width=sp.oo)), "expected a scalar diffusion"),
        (lambda: depth_limit(ResNet(relu, width=2)), "expected a scalar diffusion"),
        (lambda: None, "expected a Derivation"),
    ],
    ids=["width 3", "flow", "neurons", "nothing"],
)
def test_other_limits_are_refused(of, match):
    thing = of()
    with pytest.raises(ValueError, match=match):
        distribution(thing)


def test_who_has_a_distribution():
    time = sp.Symbol("t", positive=True)
    assert has_distribution(depth_limit(ResNet(tanh, width=1)))
    assert has_distribution(Diffusion((x,), [0], [[1 + time]]))  # in a clock of its own
    assert not has_distribution(Diffusion((x,), [0], [[1 + time * x**2]]))
    assert not has_distribution(depth_limit(ResNet(tanh, width=2)))


def test_flows_are_solved_from_the_front_door():
    assert solve_flow(width_limit(ResNet(relu, width=sp.oo)), [1.0])(1.0)[0] == pytest.approx(np.exp(0.5))


def cpu(action):
    """What an action returns, and the processor time that it takes."""
    start = time.process_time()
    return action(), time.process_time() - start


@pytest.mark.slow
def test_every_named_activation_has_its_distribution_within_a_second():
    # in units of a loop of a million products in this process: 0.04 s on the machine on which this was written, and longer
    # where the tests themselves take longer
    distribution(derive(ResNet(tanh, width=1)))  # what is loaded once
    late, texts = (
        {},
        ("exp(-x**2)", "sin(x)/x", "x+sin(x)**2", "x/(1+abs(x))", "log(cosh(x))", "x*tanh(x)", "sqrt(abs(x))"),
    )
    named = {**ACTIVATIONS, **{text: parse_activation(text) for text in texts}}
    for name, activation in named.items():
        _, unit = cpu(lambda: sum(k * k for k in range(10**6)))
        d = derive(ResNet(activation, width=1))
        found, spent = cpu(lambda d=d: distribution(d, x0=0.7, t=1.0))
        assert found.error <= 1e-6
        if spent > 25 * unit:
            late[name] = spent / unit
    assert not late


@pytest.mark.slow
def test_networks_that_overflow_are_counted_and_do_not_stop_the_table():
    table = validate(derive(ResNet(1 + x**2, width=1)), x0=0.3, t=1.0, samples=4000, depth=32)
    assert len(table.rows) >= 4
    assert all(np.isfinite(row.test.statistic) for row in table.rows)


@pytest.mark.slow
def test_networks_are_validated_against_the_solved_law():
    table = validate(derive(ResNet(tanh, width=1)), t=0.5, seed=0)
    assert table, str(table)
    assert any("Fokker–Planck solution" in row.claim for row in table.rows)
    assert all(row.control_rejected for row in table.rows)


def test_numbers_that_could_be_swapped_are_given_by_name():
    from derivations import MLP, PreNormResNet, ShapedMLP, recognise
    from numerics import compile_law

    process = derive(ResNet(relu, width=1))
    for call in (
        lambda: compile_law(process.law, 1.0, 0.5),
        lambda: distribution(process, 1.0, 0.5),
        lambda: solve_fokker_planck(process.limit, 1.0, 0.5),
    ):
        with pytest.raises(TypeError, match="positional"):
            call()
    assert recognise(process.limit).name == process.law.name
    for kind in (ResNet, MLP, PreNormResNet, ShapedMLP):
        with pytest.raises(TypeError, match="positional"):
            kind(relu, 4)
    assert {kind(relu, width=4).width for kind in (ResNet, MLP, PreNormResNet)} == {4}
    assert ShapedMLP(relu, width=4, c_plus=1, c_minus=0).width == 4


def test_pieces_of_a_noise_keep_their_zeros():
    # from the right of -1 the jump at -13/10 is never met: 1 + X is a geometric Brownian motion
    t, start = 0.5, 1.3
    X = distribution(derive(ResNet("3*where(x >= -1.3, x + 1, x - 1)", width=1)), x0=0.3, t=t)
    near = -1 + start * np.exp(3 * np.sqrt(t) * np.array([-2.5, -1.0, 0.0, 1.5]) - 4.5 * t)
    np.testing.assert_allclose(X.cdf(near), stats.norm.cdf([-2.5, -1.0, 0.0, 1.5]), atol=1e-6)
    assert abs(X.cdf(near[1] + 0.01) - stats.norm.cdf(-1)) > 1e-3


#: The noise of Stratonovich's equation dX = (2 + sin X) ∘ dB: ∫ dx/(2 + sin x) is a Brownian motion.
OSCILLATING = 2 + sp.sin(x)
STRATONOVICH = Diffusion((x,), [OSCILLATING * sp.cos(x) / 2], [[OSCILLATING**2]])


def test_oscillations_far_out_do_not_hide_that_growth_is_linear():
    X = solve_fokker_planck(STRATONOVICH, 0.3, t=0.5)
    assert {end.ground for end in X.ends} == {"linear growth"}
    chart = lambda at: integrate.quad(lambda u: 1 / (2 + np.sin(u)), 0.3, at)[0]  # noqa: E731
    places = np.array([-3.0, -0.5, 0.3, 2.0, 7.0])
    exact = stats.norm.cdf([chart(at) / np.sqrt(0.5) for at in places])
    np.testing.assert_allclose(X.cdf(places), exact, atol=1e-6)
    assert abs(stats.norm.cdf(chart(2.1) / np.sqrt(0.5)) - exact[3]) > 1e-3
    with pytest.raises(ValueError, match="it is not decided what the process does at -oo"):
        solve_fokker_planck(Diffusion((x,), [x**2 * OSCILLATING], [[OSCILLATING**2]]), 0.3, t=0.5)


@pytest.mark.slow
def test_a_known_law_whose_coordinate_has_no_inverse_is_solved():
    law = recognise(STRATONOVICH)
    with pytest.raises(ValueError, match="has no inverse in closed form"):
        compile_law(law, x0=0.3, t=0.5)
    X = distribution(STRATONOVICH, x0=0.3, t=0.5)
    assert float(X.cdf(0.3)) == pytest.approx(0.5, abs=1e-6)


def test_means_over_several_variables_are_simulated_instead():
    d = derive(Network("x + eps*C(tanh(A(x)*B(x)))", width=1, inputs=1))
    with pytest.raises(ValueError, match=r"means over several Gaussian variables, .* simulate paths with simulate_sde"):
        distribution(d)
    known = distribution(derive(Network("x + eps*C(tanh(A(x)))", width=1, inputs=1)), t=0.1)
    assert abs(known.mean() - 1) < 1e-6  # the control
    paths = simulate_sde(d.limit, 1.0, t=0.02, steps=4, samples=4000, seed=1)
    variance = 0.02 * float(compile_expression(d.limit.states, d.limit.covariance[0])(1.0))  # in a short time
    error = 4.5 * np.sqrt(2 / 4000)
    assert abs(paths.var() / variance - 1) < error < abs(paths.var() / variance - 1.3)
