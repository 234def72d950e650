"""The forward equation on a grid against every closed form, its order, its ends, and the angle of two neurons."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
from scipy import stats
from scipy.linalg import expm

from derivations import ResNet, depth_limit, derive, leaky_relu, recognise, relu, sine, tanh
from derivations.architectures.perceptron import ShapedMLP
from derivations.calculus.angle import angle_diffusion
from derivations.calculus.gram import pair_correlation
from derivations.calculus.moments import moment_equations
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.laws import LAWS
from derivations.laws.frozen import FrozenLaw
from derivations.limits import joint_limit
from numerics.compile import compile_law
from numerics.fokker_planck import GridMeasure, StartingDensity, solve_fokker_planck
from numerics.fokker_planck.chain import Chain, Grid
from numerics.fokker_planck.coefficients import Coefficients
from numerics.fokker_planck.coordinate import Coordinate
from numerics.fokker_planck.semigroup import propagated, stepped
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.statistics import Estimate
from tests.benchmarks.bench_laws import cases

x = sp.Symbol("x", real=True)
p = sp.Symbol("p", positive=True)
half_line = sp.Interval.open(0, sp.oo)


def on_half_line(drift, variance):
    return Diffusion((p,), [drift], [[variance]], half_line)


def distance(solved, density):
    """L¹ distance of the densities, by the trapezoidal rule in the Lamperti coordinate."""
    (grid,) = (part for part in solved.parts if isinstance(part, GridMeasure))
    z = np.linspace(*grid.ends, 20_001)[1:-1]
    numbers, _ = grid.coordinate.backward(z)
    coefficients = grid.coordinate.coefficients
    states, scale = coefficients.chart.state(numbers), coefficients.scale(numbers)
    return float(np.sum(np.abs(solved.pdf(states) - density(states)) * scale) * (z[1] - z[0]))


RECOGNISED = {
    "BM": lambda: (Diffusion((x,), [0], [[1]]), 0.3, 1.0),
    "OU": lambda: (Diffusion((x,), [-x], [[1]]), 2.0, 1.0),
    "unstable OU": lambda: (Diffusion((x,), [x], [[1]]), 0.5, 1.0),
    "GBM with drift": lambda: (on_half_line(p / 3, p**2), 1.0, 1.0),
    "leaky ReLU": lambda: (depth_limit(ResNet(leaky_relu(sp.Rational(1, 5)), width=1)), -1.0, 2.0),
    "GBM": lambda: (on_half_line(0, p**2), 2.0, 4.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECOGNISED)
def test_agrees_with_closed_forms_to_the_tolerance(name):
    process, x0, t = RECOGNISED[name]()
    solved = solve_fokker_planck(process, x0, t=t, tol=1e-6)
    law = compile_law(recognise(process), x0=x0, t=t)
    assert distance(solved, law.pdf) < 1e-6
    assert solved.error <= 1e-6
    # the estimate is an upper bound
    assert distance(solved, law.pdf) < solved.error + 1e-8
    # control: another time is rejected
    assert distance(solved, compile_law(recognise(process), x0=x0, t=1.001 * t).pdf) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", [kind for kind in LAWS if kind is not FrozenLaw], ids=lambda kind: kind.__name__)
def test_agrees_with_every_law(family):
    law = family.example()
    domain = law.diffusion.domain
    x0 = float(domain.inf) + 1.3 if domain.inf.is_finite else 0.4
    solved = solve_fokker_planck(law.diffusion, x0, t=0.7)
    assert distance(solved, compile_law(law, x0=x0, t=0.7).pdf) < 1e-6
    assert distance(solved, compile_law(law, x0=x0, t=0.701).pdf) > 1e-5  # control


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_agrees_with_every_example_and_its_atoms(case):
    solved, law = (
        solve_fokker_planck(case.process, case.x0, t=case.t),
        compile_law(recognise(case.process), x0=case.x0, t=case.t),
    )
    assert distance(solved, law.pdf) < 1e-6
    assert [place for place, _ in solved.atoms] == [place for place, _ in law.atoms]
    for (_, mass), (_, expected) in zip(solved.atoms, law.atoms, strict=True):
        assert abs(mass - expected) < 1e-6
    later = compile_law(recognise(case.process), x0=case.x0, t=1.001 * case.t)
    assert distance(solved, later.pdf) > 1e-5  # control


def square_root_process(mean, x0, t):
    """dX = (mean − X)dt + √X dB: a scaled noncentral χ² with 4·mean degrees of freedom."""
    decay = np.exp(-t)
    return stats.ncx2(4 * mean, 4 * x0 * decay / (1 - decay), scale=(1 - decay) / 4)


@pytest.mark.parametrize("mean", [2.0, 0.5, pytest.param(0.4, marks=pytest.mark.slow)])
def test_end_that_reflects_or_is_not_reached(mean):
    exact = sp.nsimplify(mean)
    solved = solve_fokker_planck(on_half_line(exact - p, p), 0.6, t=0.7)
    assert solved.atoms == ()
    assert distance(solved, square_root_process(mean, 0.6, 0.7).pdf) < 1e-6
    assert solved.mean() == pytest.approx(mean + (0.6 - mean) * np.exp(-0.7), abs=1e-6)


@pytest.mark.slow
def test_absorbed_probability_is_an_atom():
    # Feller's branching diffusion dX = √X dB: E exp(−λX_t) = exp(−λx₀/(1 + λt/2)), so P(X_t = 0) = exp(−2x₀/t)
    x0, t = 0.4, 0.8
    solved = solve_fokker_planck(on_half_line(0, p), x0, t=t)
    ((place, mass),) = solved.atoms
    assert place == 0.0
    assert mass == pytest.approx(np.exp(-2 * x0 / t), abs=1e-6)
    assert mass != pytest.approx(np.exp(-2 * x0 / (1.001 * t)), abs=1e-6)  # control
    for rate in (0.5, 3.0):
        assert solved.expectation(lambda s, r=rate: np.exp(-r * s)) == pytest.approx(
            np.exp(-rate * x0 / (1 + rate * t / 2)), abs=1e-6
        )
    assert solved.cdf(0.0) == pytest.approx(mass)
    assert solved.mean() == pytest.approx(x0, abs=1e-6)


def test_brownian_motion_between_absorbing_ends():
    # images: the density on (0, 1) from x₀, absorbed at both ends
    x0, t = 0.3, 0.2
    process = Diffusion((x,), [0], [[1]], sp.Interval.open(0, 1))
    solved = solve_fokker_planck(process, x0, t=t)

    def absorbed(s):
        return sum(stats.norm.pdf(s, x0 + 2 * k, t**0.5) - stats.norm.pdf(s, -x0 + 2 * k, t**0.5) for k in range(-8, 9))

    assert distance(solved, absorbed) < 1e-6
    assert sum(m for _, m in solved.atoms) + solved.parts[1].mass == pytest.approx(1.0, abs=1e-14)
    assert solved.mean() == pytest.approx(x0, abs=1e-6)  # a bounded martingale
    (_, left), (_, right) = solved.atoms
    assert left > right


def test_entrance_end_lets_nothing_out():
    # φ = x²: X = 1/R with R a Bessel process of dimension 3; a strict local martingale of mass 1
    x0, t = 1.0, 0.5
    solved = solve_fokker_planck(on_half_line(0, p**4), x0, t=t)
    assert solved.atoms == ()
    r0 = 1 / x0

    def inverse_bessel(s):
        r = 1 / s
        return r**2 * (r / r0) * (stats.norm.pdf(r, r0, t**0.5) - stats.norm.pdf(r, -r0, t**0.5))

    assert distance(solved, inverse_bessel) < 1e-6
    assert solved.mean() < x0 - 0.05


@pytest.mark.slow
def test_explosive_process_loses_mass_to_infinity():
    # dV = V(V − 1)dt + √2 V dB explodes; 1/V is linear, so P(alive) can be seen from V's own scale: as t → ∞, S(0,x)/S(0,∞)
    solved = solve_fokker_planck(on_half_line(p * (p - 1), 2 * p**2), 1.0, t=12.0, tol=1e-4)
    ((place, mass),) = solved.atoms
    # s = exp(−∫(V−1)/V) = V e^{−V}: P(explode) = ∫₀¹ s/∫₀^∞ s = 1 − 2/e
    assert place == np.inf
    assert mass == pytest.approx(1 - 2 / np.e, abs=2e-3)


def test_second_order_from_a_point_start():
    c = Coefficients(lambda s: -s, lambda s: np.ones_like(s), -np.inf, np.inf)
    coordinate = Coordinate(c, 0.7, (9.0, 9.0))
    exact = stats.norm(0.7 * np.exp(-1), ((1 - np.exp(-2)) / 2) ** 0.5)
    off, grid = [], Grid.of(-8.0, 8.0, 60)
    for _ in range(4):
        chain = Chain(coordinate, grid, (False, False))
        probabilities = chain.run(chain.start(None), 1.0, 1e-10)
        z, w = grid.nodes
        off.append(float(np.sum(np.abs(chain.density(probabilities) - exact.pdf(z + 0.7)) * w)))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-11)  # conservative
        assert probabilities.min() > -1e-13  # positive to rounding
        grid = grid.refined()
    orders = np.log(np.array(off[:-1]) / off[1:]) / np.log(3)
    np.testing.assert_allclose(orders[1:], 2.0, atol=0.1)


def test_speed_measure_is_stationary_on_every_grid():
    c = Coefficients(lambda s: s - s**3, lambda s: np.ones_like(s), -np.inf, np.inf)
    chain = Chain(Coordinate(c, 0.2, (4.0, 4.0)), Grid.of(-3.0, 3.0, 40), (False, False))
    up, down = chain.rates
    energy, speed, _, _ = chain._halves
    weights = speed * np.exp(energy)
    np.testing.assert_allclose(weights[:-1] * up[1:-2], weights[1:] * down[2:-1], rtol=1e-10)
    assert np.all(up[1:-2] > 0)
    assert np.all(down[2:-1] > 0)


@pytest.mark.slow
def test_without_a_closed_form():
    process = depth_limit(ResNet(tanh, width=1))
    solved = solve_fokker_planck(process, 1.0, t=1.0)
    assert solved.mean() == pytest.approx(1.0, abs=1e-6)  # a martingale
    networks = simulate_network(ResNet(tanh, width=1), depth=400, samples=40_000, x0=1.0, seed=0)[:, 0, 0]
    test = stats.ks_1samp(networks, solved.cdf)
    assert test.pvalue > 1e-3
    wrong = Diffusion(process.states, process.drift, process.covariance * sp.Rational(11, 10), process.domain)
    assert stats.ks_1samp(networks, solve_fokker_planck(wrong, 1.0, t=1.0, tol=1e-4).cdf).pvalue < 1e-6


def test_double_well_against_its_stationary_law():
    process = Diffusion((x,), [x - x**3], [[1]])
    solved = solve_fokker_planck(process, 0.5, t=40.0, tol=1e-5)
    s = np.linspace(-5, 5, 20_001)
    weight = np.exp(s**2 - s**4 / 2)
    weight /= weight.sum() * (s[1] - s[0])
    np.testing.assert_allclose(solved.pdf(s), weight, atol=1e-4)


@pytest.mark.slow
def test_it_is_a_frozen_distribution():
    solved = solve_fokker_planck(on_half_line(0, p), 0.4, t=0.8)
    q = np.array([0.2, 0.5, 0.9])
    atom = solved.cdf(0.0)
    inside = q > atom
    np.testing.assert_allclose(solved.cdf(solved.ppf(q))[inside], q[inside], atol=1e-9)
    assert np.all(solved.ppf(q)[~inside] == 0.0)
    drawn = solved.rvs(20_000, random_state=0)
    assert np.mean(drawn == 0) == pytest.approx(atom, abs=0.02)
    assert drawn.mean() == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(solved.cdf(q) + solved.sf(q), 1.0, atol=1e-12)
    assert solved.pdf(-1.0) == 0.0


def test_moments_agree_with_the_hierarchy():
    process = on_half_line(sp.Rational(2) - p, p)
    solved = solve_fokker_planck(process, 1.0, t=0.7)
    exact = moment_equations(process, 3).solve({p: sp.Integer(1)})
    for order in (1, 2, 3):
        expected = float(exact[(order,)].subs(process.time, sp.Rational(7, 10)))
        assert solved.moment(order) == pytest.approx(expected, rel=1e-6)


def test_frozen_parts_and_degenerate_starts():
    solved = solve_fokker_planck(depth_limit(ResNet(relu, width=1)), -0.5, t=1.0)
    assert solved.atoms == ((-0.5, 1.0),)
    assert solve_fokker_planck(depth_limit(ResNet(sine, width=1)), 0.0, t=1.0).atoms == ((0.0, 1.0),)
    with pytest.raises(ValueError, match="degenerate at the start"):
        solve_fokker_planck(Diffusion((x,), [1], [[x**2]]), 0.0, t=1.0)


@pytest.mark.parametrize(
    ("process", "x0", "t", "message"),
    [
        (Diffusion((x,), [0], [[1]]), 0.0, 0.0, "must be positive"),
        (Diffusion((x,), [0], [[1]]), 0.0, -1.0, "must be positive"),
        (Diffusion((x,), [0], [[1]]), np.nan, 1.0, "finite number"),
        (Diffusion((x,), [0], [[p]]), 0.0, 1.0, "parameters p"),
        (Diffusion((x, p), [0, 0], [[1, 0], [0, 1]]), 0.0, 1.0, "must be two numbers"),
        (on_half_line(0, p**2), -1.0, 1.0, "outside the domain"),
    ],
)
def test_bad_input(process, x0, t, message):
    with pytest.raises(ValueError, match=message):
        solve_fokker_planck(process, x0, t=t)


def test_more_bad_input():
    t = sp.Symbol("t", positive=True)
    with pytest.raises(DerivationError, match="do not depend on t"):
        solve_fokker_planck(Diffusion((x,), [0], [[t]]), 0.0, t=1.0)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        solve_fokker_planck(Diffusion((x,), [0], [[1]]), 0.0, t=1.0, tol=0.0)
    with pytest.raises(ValueError, match="raise points or tol"):
        solve_fokker_planck(Diffusion((x,), [-x], [[1]]), 4.0, t=1.0, tol=1e-9, points=600)
    start = StartingDensity(lambda s: np.full(s.shape, 0.5), 0.5)
    with pytest.raises(ValueError, match="mass 1"):
        solve_fokker_planck(Diffusion((x,), [0], [[1]], sp.Interval.open(0, 1)), start, t=1.0)


# --- the angle of two neurons: E N and E log‖φ‖ without sampling ---

UNIFORM = StartingDensity(lambda s: np.full(s.shape, 2 / (3 * np.pi)), np.pi / 4)  # Gaussian start, given ‖φ(X₀)‖ > 0


@cache
def theta():
    return angle_diffusion(depth_limit(ResNet(relu, width=2)).explicit)


def active(t, process=None, tol=1e-5):
    """E N(X_t): one neuron, or two where both coordinates are positive."""
    solved = solve_fokker_planck(process or theta(), UNIFORM, t=t, tol=tol)
    return 1.0 + float(solved.cdf(np.pi / 2) - solved.cdf(0.0))


def log_growth(t, process=None):
    """E log‖φ(X_t)‖ − E log‖φ(X_0)‖ = ∫ (E N/2 − 1)/2 ds, by Gauss–Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(4)
    return sum(w / 2 * t * (active(t * (1 + s) / 2, process) / 2 - 1) / 2 for s, w in zip(nodes, weights, strict=True))


@pytest.mark.slow
def test_number_of_active_neurons_starts_at_four_thirds_and_falls_to_one():
    assert active(1e-4, tol=1e-6) == pytest.approx(4 / 3, abs=1e-5)
    early, late = active(1.0), active(60.0)
    assert early == pytest.approx(1.306265, abs=2e-5)
    assert 1.0 < late < 1.02


@pytest.mark.slow
def test_angle_against_networks():
    t = 2.0
    expected, growth = active(t), log_growth(t)

    def record(states):
        norm = (np.maximum(states, 0) ** 2).sum((1, 2))
        return np.stack([(states > 0).sum((1, 2)), 0.5 * np.log(np.maximum(norm, 1e-300))], axis=1)

    depth = 300
    drawn = simulate_network(
        ResNet(relu, width=2), depth, 160_000, inputs=[[1.0, 1.0]], t=t, at=[0, depth], record=record, seed=1
    )
    alive = drawn[0, :, 0] > 0
    counts, change = drawn[1, alive, 0], drawn[1, alive, 1] - drawn[0, alive, 1]
    bias = 1.0 / depth  # of a network of this depth, in either number
    assert abs(Estimate.of(counts).value - expected) < 4 * Estimate.of(counts).error + bias
    assert abs(Estimate.of(change).value - growth) < 4 * Estimate.of(change).error + bias
    # control: weights with a variance that is 20 % too large turn the angle, and move the logarithm, 6/5 times as fast
    right = theta()
    wrong = Diffusion(right.states, right.drift, right.covariance * sp.Rational(6, 5), right.domain)
    assert abs(Estimate.of(counts).value - active(t, wrong)) > 4 * Estimate.of(counts).error + bias
    assert abs(Estimate.of(change).value - 1.2 * log_growth(t, wrong)) > 4 * Estimate.of(change).error + bias


# --- the correlation of two inputs of a shaped perceptron ---


@pytest.mark.slow
def test_correlation_of_shaped_relu_against_paths():
    """dρ = (ν(ρ) − ρ(1 − ρ²)/2)dt + (1 − ρ²)dB with ν from c₊ = 0, c₋ = −1, written out here."""
    limit = joint_limit(ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1))
    process = pair_correlation(limit, limit.states).process()
    solved = solve_fokker_planck(process, x0=0.3, t=0.5)
    assert [(end.kind, end.ground) for end in solved.ends] == [
        ("entrance", "local exponents"),
        ("natural", "local exponents"),
    ]

    def drawn(gain, seed):
        generator, rho, step = np.random.default_rng(seed), np.full(40_000, 0.3), 0.5 / 400
        for _ in range(400):
            off = np.sqrt(1 - rho**2)
            nu = gain * (off - rho * np.arccos(rho)) / (2 * np.pi)
            noise = generator.standard_normal(rho.size)
            milstein = (1 - rho**2) * (-2 * rho) * (noise**2 - 1) / 2
            rho = rho + (nu - rho * (1 - rho**2) / 2 + milstein) * step + (1 - rho**2) * noise * np.sqrt(step)
            rho = np.clip(rho, -1, 1)
        return rho

    assert stats.ks_1samp(drawn(1.0, 1), solved.cdf).pvalue > 1e-3
    assert stats.ks_1samp(drawn(1.5, 1), solved.cdf).pvalue < 1e-6  # control


@pytest.mark.slow
def test_a_drift_over_many_standard_deviations():
    # rounding spoils a contour integral there, and the time is stepped
    solved = solve_fokker_planck(Diffusion((x,), [-x], [[1]]), 10.0, t=0.1)
    exact = stats.norm(10 * np.exp(-0.1), ((1 - np.exp(-0.2)) / 2) ** 0.5)
    points = exact.ppf([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    np.testing.assert_allclose(solved.cdf(points), exact.cdf(points), atol=1e-6)
    assert abs(solved.cdf(points) - stats.norm(10 * np.exp(-0.1001), exact.std()).cdf(points)).max() > 1e-4  # control


def test_contour_and_steps_are_the_exponential_of_the_rates():
    generator = np.random.default_rng(0)
    up, down = generator.uniform(0.5, 3.0, 7), generator.uniform(0.5, 3.0, 7)
    up[-1] = down[0] = 0.0
    rates = np.diag(up[:-1], -1) + np.diag(down[1:], 1) - np.diag(up + down)
    start = np.eye(7)[2]
    for time in (0.01, 1.0, 40.0):
        exact = expm(time * rates) @ start
        np.testing.assert_allclose(propagated(up, down, start, time), exact, atol=1e-13)
        np.testing.assert_allclose(stepped(up, down, start, time, 1e-10, time), exact, atol=1e-9)
    assert np.abs(propagated(up, down, start, 1.001) - expm(rates) @ start).max() > 1e-6  # control


@pytest.mark.slow
def test_what_changes_within_one_cell_is_refused():
    narrow = sp.Piecewise(
        (1000, (x > 1) & (x < sp.Rational(1001, 1000))), (1, True)
    )  # the mean was off by 3e-4, with an error of 5e-7
    with pytest.raises(ValueError, match="change twice within"):
        solve_fokker_planck(Diffusion((x,), [0], [[narrow]]), 0.5)
    kinked = solve_fokker_planck(Diffusion((x,), [0], [[(1 + sp.Abs(x - 1)) ** 2]]), 0.5)
    assert kinked.mean() == pytest.approx(0.5, abs=2 * kinked.error)


@pytest.mark.slow
@pytest.mark.parametrize("t", [4.0, 4.6, 5.0, 8.0])
def test_the_correlation_of_shaped_relu_keeps_its_mean_while_mass_gathers_at_one(t):
    # E ρ grows from 0.3 to 1: the density of speed leaves the range of numbers before the probability gathers at the end
    process = derive(ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1)).correlation.process()
    found = solve_fokker_planck(process, 0.3, t=t)
    paths = simulate_sde(process, 0.3, t, steps=int(60 * t), samples=2000, seed=1)[:, 0]
    assert abs(found.mean() - paths.mean()) < 4 * paths.std() / np.sqrt(2000) + 1 / 60


@pytest.mark.slow
def test_a_drift_outwards_over_a_long_time():
    r"""At t = 1.7 of :math:`\mathrm dX = X\,\mathrm dt + \mathrm dB` the state is normal, of deviation 3.8: wide cells hide what gets to the edges."""
    x = sp.Symbol("x", real=True)
    process = Diffusion((x,), (x,), sp.ImmutableMatrix([[1]]), domain=sp.Reals)
    found = solve_fokker_planck(process, 0.5, t=1.7, tol=1e-5)
    exact = stats.norm(0.5 * np.exp(1.7), np.sqrt(np.expm1(3.4) / 2))
    states = exact.ppf([1e-4, 0.1, 0.5, 0.9, 0.9999])
    assert np.abs(found.cdf(states) - exact.cdf(states)).max() < found.error <= 1e-5
    assert np.abs(found.cdf(states) - exact.cdf(states * 1.001)).max() > found.error
