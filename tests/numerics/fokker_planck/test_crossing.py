"""Zeros of the noise that the process crosses, because 1/φ² is integrable on both sides, and zeros that it does not cross."""

import numpy as np
import pytest
import sympy as sp
from scipy import special, stats

from derivations import ResNet, derive, parse_activation
from derivations.calculus.intervals import crossed_zeros, kinks_inside, moving_interval
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.laws import recognise
from numerics import compile_law, distribution, solve_fokker_planck
from numerics.compile import compile_sampler
from numerics.networks import simulate_network

x = sp.Symbol("x", real=True)
A, R = sp.Abs, sp.Rational


def driftless(variance):
    return Diffusion((x,), [0], [[variance]])


def two_sided(q, below, above):
    """φ = above·x^q for x > 0 and below·|x|^q for x < 0."""
    return driftless(sp.Piecewise((above**2 * A(x) ** (2 * q), x > 0), (below**2 * A(x) ** (2 * q), True)))


def kernels(q, y, y0, t):
    """Densities of y = |x|^{1−q}/(1−q) for φ = |x|^q, reflected and absorbed at 0: Bessel's, of order ν = 1/(2 − 2q)."""
    nu = 1 / (2 - 2 * q)
    front = y / t * (y / y0) ** -nu * np.exp(-((y - y0) ** 2) / (2 * t))
    return front * special.ive(-nu, y * y0 / t), front * special.ive(nu, y * y0 / t)


def crossing_density(q, points, x0, t):
    """½(reflected + absorbed) on the start's side, ½(reflected − absorbed) on the other, per unit of x."""
    y, y0 = (np.abs(v) ** (1 - q) / (1 - q) for v in (points, x0))
    reflected, absorbed = kernels(q, y, y0, t)
    return (reflected + np.sign(points * x0) * absorbed) / 2 * np.abs(points) ** -q


POINTS = np.array([-2.0, -0.7, -0.1, -1e-3, 1e-3, 0.1, 0.5, 1.5, 3.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("q", "x0", "t"),
    [
        (R(1, 4), 0.5, 1.0),
        pytest.param(R(1, 10), -0.8, 0.5, marks=pytest.mark.slow),
        pytest.param(R(2, 5), 0.5, 1.0, marks=pytest.mark.slow),
    ],
)
def test_the_density_is_that_of_two_bessel_kernels(q, x0, t):
    X = solve_fokker_planck(driftless(A(x) ** (2 * q)), x0, t=t)
    assert X.atoms == ()
    assert X.error < 1e-6
    y = np.linspace(-12.0, 12.0, 40_000)  # of even length, so that 0 is no point
    states = np.sign(y) * ((1 - float(q)) * np.abs(y)) ** (1 / (1 - float(q)))
    off = np.abs(X.pdf(states) - crossing_density(float(q), states, x0, t)) * np.abs(states) ** float(q)
    assert np.sum(off) * (y[1] - y[0]) < 2e-6  # L¹ in y: the tolerance of X, and the rule's
    # beside 0 the density is interpolated between nodes
    np.testing.assert_allclose(X.pdf(POINTS), crossing_density(float(q), POINTS, x0, t), rtol=2e-4)
    assert np.abs(X.pdf(POINTS) / crossing_density(float(q), POINTS, x0, 1.01 * t) - 1).max() > 1e-3  # control
    assert X.mean() == pytest.approx(x0, abs=1e-6)  # a martingale
    assert X.expectation(lambda s: np.ones_like(s)) == pytest.approx(1.0, abs=1e-9)
    probabilities = np.array([0.05, 0.3, 0.7, 0.95])
    np.testing.assert_allclose(X.cdf(X.ppf(probabilities)), probabilities, atol=1e-9)
    assert X.pdf(0.0) == np.inf


def test_a_fourth_root_from_the_front_door():
    d = derive(ResNet(parse_activation("abs(x)**(1/4)"), width=1))
    X = distribution(d, x0=0.5, t=1.0)
    assert float(X.cdf(0.0)) == pytest.approx(0.27323, abs=1e-5)
    assert X.error == 0.0
    assert X.atoms == ()
    assert "Engelbert and Schmidt" in "".join(map(str, d.law.description))


@pytest.mark.slow
def test_the_text_says_that_the_equation_alone_does_not_decide():
    d = derive(ResNet(parse_activation("abs(x)**(1/4)"), width=1))
    assert "The equation alone does not decide this (Engelbert and Schmidt)" in " ".join(str(d).split())


@pytest.mark.slow
def test_sides_of_different_size():
    # coming from 0 at radius y the process is on a side with probability ∝ 1/c there, for x = ±c^{1/(1−q)} (…) in natural scale
    q, below, above, x0, t = 0.25, 2.0, 1.0, 0.5, 1.0
    X = solve_fokker_planck(two_sided(R(1, 4), sp.Integer(2), sp.Integer(1)), x0, t=t)
    size = {side: c ** (1 / (1 - q)) for side, c in ((-1, below), (1, above))}  # x = ±size·((1−q) y)^{1/(1−q)}
    share = {side: (1 / size[side]) / (1 / size[-1] + 1 / size[1]) for side in size}
    y0 = x0 ** (1 - q) / (1 - q) / above
    y = np.where(
        POINTS > 0, np.abs(POINTS) ** (1 - q) / (above * (1 - q)), np.abs(POINTS) ** (1 - q) / (below * (1 - q))
    )
    reflected, absorbed = kernels(q, y, y0, t)
    noise = np.where(POINTS > 0, above, below) * np.abs(POINTS) ** q
    expected = (
        np.where(POINTS > 0, absorbed + share[1] * (reflected - absorbed), share[-1] * (reflected - absorbed)) / noise
    )
    np.testing.assert_allclose(X.pdf(POINTS), expected, rtol=5e-5)
    assert np.abs(X.pdf(POINTS) / crossing_density(q, POINTS, x0, t) - 1).max() > 0.05  # control: equal sides


@pytest.mark.slow
@pytest.mark.parametrize(
    ("below", "above", "drift", "x0", "t"),
    [
        (1, 2, 0, -0.3, 0.2),
        pytest.param(1, 1, 0, 0.5, 1.0, marks=pytest.mark.slow),
        pytest.param(3, 1, -1, 2.5, 0.3, marks=pytest.mark.slow),
    ],
)
def test_the_closed_law_is_solved_and_drawn(below, above, drift, x0, t):
    process = Diffusion((x,), [drift * x], [[two_sided(R(1, 5), sp.Integer(below), sp.Integer(above)).covariance[0]]])
    law = recognise(process)
    X, solved = compile_law(law, x0=x0, t=t), solve_fokker_planck(process, x0, t=t)
    np.testing.assert_allclose(X.cdf(POINTS), solved.cdf(POINTS), atol=2e-6)
    assert np.abs(compile_law(law, x0=1.01 * x0, t=t).cdf(POINTS) - solved.cdf(POINTS)).max() > 1e-4  # control
    assert X.mean() == pytest.approx(x0 * np.exp(drift * t), rel=1e-13)
    assert X.expect(lambda s: s) == pytest.approx(X.mean(), rel=1e-12)
    assert X.pdf(0.0) == np.inf
    np.testing.assert_allclose(X.cdf(POINTS) + X.sf(POINTS), 1.0, atol=1e-12)
    drawn = compile_sampler(law)(np.full(20_000, x0), t, np.random.default_rng(1))
    assert stats.ks_1samp(drawn, X.cdf).pvalue > 1e-3
    assert stats.ks_1samp(1.1 * drawn, X.cdf).pvalue < 1e-3  # control


def test_the_closed_law_is_that_of_two_bessel_kernels_at_extreme_starts():
    law = recognise(driftless(sp.sqrt(A(x))))
    for x0, t in ((1e-12, 1e-12), (1e-9, 2.0), (-1e6, 1e3), (0.5, 1e-12), (-30.0, 1e3)):
        X = compile_law(law, x0=x0, t=t)
        states = X.ppf(np.array([1e-6, 0.03, 0.4, 0.6, 0.97]))
        states = states[states != 0]
        expected = crossing_density(0.25, states, x0, t)
        expected = np.where(
            np.isnan(expected), X.pdf(states), expected
        )  # beyond the arguments of SciPy's Bessel functions
        # both forms of the density lose the same digits of a difference of radii
        np.testing.assert_allclose(X.pdf(states), expected, rtol=1e-6)
        cdf = X.cdf(np.sort(np.concatenate([states, [0.0]])))
        assert (np.diff(cdf) >= 0).all()
        np.testing.assert_allclose(X.cdf(states) + X.sf(states), 1.0, atol=1e-12)


def test_which_zeros_are_crossed():
    assert [float(z) for z in crossed_zeros(driftless(sp.sqrt(A(x)) * A(x - 1) ** R(2, 5) * A(x + 1)))] == [0.0, 1.0]
    # order ½ of the noise and above, one-sided zeros, and an exit on the other side: reached, and not left
    for variance in (
        A(x),
        A(x) ** R(3, 2),
        sp.Piecewise((sp.sqrt(A(x)), x > 0), (0, True)),
        sp.Piecewise((sp.sqrt(A(x)), x > 0), (A(x) ** R(3, 2), True)),
    ):
        assert crossed_zeros(driftless(variance)) == ()
        assert moving_interval(driftless(variance), sp.S.One) == (0, sp.oo)
    assert moving_interval(driftless(sp.sqrt(A(x))), sp.S.One) == (-sp.oo, sp.oo)
    # a drift without bound at the zero decides for itself
    assert crossed_zeros(Diffusion((x,), [1 / x], [[sp.sqrt(A(x))]])) == ()
    assert len(crossed_zeros(Diffusion((x,), [1], [[sp.sqrt(A(x))]]))) == 1
    beta = sp.Symbol("beta", positive=True)
    assert crossed_zeros(driftless(A(x) ** beta)) == ()  # with parameters nothing is decided
    assert kinks_inside(Diffusion((x,), [A(x - 3)], [[1 + A(x)]]), 0) == (3, 0)


@pytest.mark.parametrize("side", [0, A(x) ** R(3, 2)])
def test_a_zero_of_one_side_absorbs(side):
    X = solve_fokker_planck(driftless(sp.Piecewise((sp.sqrt(A(x)), x > 0), (side, True))), 0.5, t=1.0, tol=1e-5)
    ((place, mass),) = X.atoms
    # P(absorbed) = Γ(ν, y₀²/2t)/Γ(ν), ν = 2/3
    assert place == 0.0
    assert mass == pytest.approx(special.gammaincc(2 / 3, (4 * 0.5**0.75 / 3) ** 2 / 2), abs=1e-5)
    assert mass != pytest.approx(special.gammaincc(2 / 3, (4 * 0.51**0.75 / 3) ** 2 / 2), abs=1e-3)  # control


@pytest.mark.slow
@pytest.mark.parametrize(
    "variance",
    [
        A(x) ** R(1, 4) * A(x - 1) ** R(1, 2),
        sp.Piecewise((sp.sqrt(A(x)), x > 0), (A(x) ** R(1, 4), True)),
        A(x - 1) ** R(1, 2),
    ],
)
def test_other_crossings_are_martingales(variance):
    X = solve_fokker_planck(driftless(variance), 0.3, t=0.7)
    assert X.atoms == ()
    assert X.mean() == pytest.approx(0.3, abs=1e-6)
    # Itô: Var X_t = ∫ E φ², so its slope at t is E φ(X_t)²
    later, earlier = (solve_fokker_planck(driftless(variance), 0.3, t=t).var() for t in (0.71, 0.69))
    phi = sp.lambdify(x, variance, "numpy")
    slope = X.expectation(lambda s: phi(s), kinks=(0.0, 1.0))
    assert (later - earlier) / 0.02 == pytest.approx(slope, rel=2e-3)
    assert (later - earlier) / 0.02 != pytest.approx(1.02 * slope, rel=2e-3)  # control


@pytest.mark.slow
def test_networks_cross():
    X = solve_fokker_planck(driftless(sp.sqrt(A(x))), 0.5, t=1.0)
    drawn = simulate_network(ResNet(parse_activation("abs(x)**(1/4)"), width=1), 2000, 30_000, x0=0.5, seed=2)[:, 0, 0]
    share, expected = np.mean(drawn < -0.05), float(X.cdf(-0.05))
    spread = np.sqrt(expected * (1 - expected) / drawn.size)
    assert abs(share - expected) < 4 * spread + 0.006  # of this depth, where the step at 0 is L^{-2/3}
    # controls: absorbed at 0 nothing would be there; with noise larger by a fifth more would
    wrong = float(solve_fokker_planck(driftless(R(36, 25) * sp.sqrt(A(x))), 0.5, t=1.0, tol=1e-4).cdf(-0.05))
    assert abs(share - wrong) > 4 * spread + 0.006
    assert share > 0.1


@pytest.mark.slow
def test_a_removable_point_is_no_end():
    # sin(x)/x at 0: the networks' own law, by simulation with weights of this test
    X = distribution(derive(ResNet(parse_activation("sin(x)/x"), width=1)), x0=0.7, t=1.0)
    assert X.atoms == ()
    generator, states = np.random.default_rng(0), np.full(40_000, 0.7)
    for _ in range(200):
        states = states + np.sinc(states / np.pi) * generator.standard_normal(states.size) / np.sqrt(200)
    assert X.cdf(0.0) == pytest.approx(0.218, abs=0.004)
    assert X.var() == pytest.approx(0.765, abs=0.004)
    assert stats.ks_1samp(states, X.cdf).pvalue > 1e-3
    assert stats.ks_1samp(1.03 * states, X.cdf).pvalue < 1e-3  # control


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variance", "x0"),
    [
        (9 * A(x - 1) ** R(4, 5), 0.9),
        pytest.param(A(x - 1) ** R(4, 5), 0.5, marks=pytest.mark.slow),
        pytest.param(A(x - R(1, 3)) ** R(9, 10), 0.5, marks=pytest.mark.slow),
        pytest.param(sp.sqrt(A(x + 1000)), -999.5, marks=pytest.mark.slow),
        pytest.param(A(x) ** R(9, 10), 0.5, marks=pytest.mark.slow),
        pytest.param(A(x + 3) ** R(9, 10), -2.1, marks=pytest.mark.slow),
    ],
)
def test_a_zero_away_from_0_is_crossed_to_the_stated_error(variance, x0):
    process = driftless(variance)
    (zero,) = map(float, crossed_zeros(process))
    found, law = solve_fokker_planck(process, x0), recognise(process)
    places = zero + np.array([-2, -0.3, -1e-3, 1e-3, 0.05, 0.3, 2])
    assert np.abs(found.cdf(places) - compile_law(law, x0=x0, t=1.0).cdf(places)).max() < found.error
    assert np.abs(found.cdf(places) - compile_law(law, x0=x0, t=1.01).cdf(places)).max() > 1e-4  # control
    np.testing.assert_allclose(found.pdf(places), compile_law(law, x0=x0, t=1.0).pdf(places), rtol=2e-5)


@pytest.mark.slow
def test_two_zeros_agree_when_they_change_places():
    one = solve_fokker_planck(driftless(A(x) ** R(4, 5) * A(x - 1) ** R(1, 2)), 0.5)
    two = solve_fokker_planck(driftless(A(x) ** R(1, 2) * A(x - 1) ** R(4, 5)), 0.5)
    places = np.array([-0.5, 0.1, 0.2, 0.7, 0.95, 1.4])
    np.testing.assert_allclose(one.cdf(places), two.sf(1 - places), atol=one.error + two.error)
    assert np.abs(one.cdf(places) - two.cdf(places)).max() > 0.01  # control


def oscillating(points, x0, t, below, above):
    """Density of dX = σ(X) dB, σ = above for x > 0 and below for x < 0, from x0 > 0 (Keilson and Wellner)."""
    gauss = np.exp(-((points - x0) ** 2) / (2 * above**2 * t))
    mirrored = np.exp(-((points + x0) ** 2) / (2 * above**2 * t)) * (below - above) / (below + above)
    across = 2 * above / (below * (below + above)) * np.exp(-((x0 / above - points / below) ** 2) / (2 * t))
    return np.where(points > 0, (gauss + mirrored) / above, across) / np.sqrt(2 * np.pi * t)


@pytest.mark.parametrize(
    ("place", "x0", "noise"),
    [
        (0, 0.5, sp.Piecewise((4, x > 0), (1, True))),
        pytest.param(R(3, 10), 1.0, (1 + sp.Heaviside(x - R(3, 10))) ** 2, marks=pytest.mark.slow),
        (0, 1e-3, sp.Piecewise((4, x > 0), (1, True))),  # so close to the jump that it is between nodes
    ],
)
def test_a_jump_of_the_noise_is_crossed_to_the_stated_error(place, x0, noise):
    close = x0 < 0.01
    found = solve_fokker_planck(driftless(noise), x0, tol=1e-4 if close else 1e-6)
    y = np.linspace(-8, 14, 44_000) + 1e-7
    exact = oscillating(y, x0 - float(place), 1.0, 1.0, 2.0)
    assert np.sum(np.abs(found.pdf(y + float(place)) - exact)) * (y[1] - y[0]) < found.error + 1e-6
    assert (
        np.sum(np.abs(found.pdf(y + float(place)) - oscillating(y, x0 - float(place), 1.0, 1.0, 2.01))) > 1
    )  # control
    assert found.mean() == pytest.approx(x0, abs=found.error * 10)
    assert np.isfinite(found.pdf(float(place)))


@pytest.mark.slow
def test_a_noise_that_is_0_at_one_point_only_is_crossed():
    found = solve_fokker_planck(driftless((sp.sign(x) + x / 2) ** 2), 0.5)
    smooth = solve_fokker_planck(driftless((1 + A(x) / 2) ** 2), 0.5)
    places = np.array([-2.0, -0.1, 0.1, 1.0])
    np.testing.assert_allclose(found.cdf(places), smooth.cdf(places), atol=2e-6)
    assert np.isfinite(found.pdf(0.0))


@pytest.mark.slow
def test_poles_inside_that_are_crossed():
    # E X_t and Itô: Var X_t grows by E φ², which is finite
    X = solve_fokker_planck(driftless(1 / sp.sqrt(A(x))), 0.5)
    assert X.mean() == pytest.approx(0.5, abs=1e-6)
    later, earlier = (solve_fokker_planck(driftless(1 / sp.sqrt(A(x))), 0.5, t=t).var() for t in (1.01, 0.99))
    slope = X.expectation(lambda s: np.abs(s) ** -0.5, kinks=(0.0,))
    assert (later - earlier) / 0.02 == pytest.approx(slope, rel=1e-3)
    assert X.pdf(0.0) == 0.0


@pytest.mark.slow
def test_poles_that_are_no_limit_of_layers():
    for variance, nearest in ((sp.tan(x) ** 2, "pi/2"), (1 / A(x - 1), "1")):
        with pytest.raises(NoClosedForm, match=rf"pole at x = {nearest} at which its square is not integrable"):
            solve_fokker_planck(driftless(variance), 0.7)


@pytest.mark.slow
def test_steep_zeros_that_are_refused():
    with pytest.raises(ValueError, match=r"at most one may have q > 0\.35"):
        solve_fokker_planck(driftless(A(x**2 - 1) ** R(4, 5)), 0.5)
    with pytest.raises(ValueError, match="no power of the distance close to x = 1"):
        solve_fokker_planck(driftless(sp.sqrt(A(x - 1)) * sp.log(A(x - 1)) ** 2), 0.5)


def test_refusals():
    with pytest.raises(ValueError, match=r"q = 0\.49"):
        solve_fokker_planck(driftless(A(x) ** R(49, 50)), 0.5, t=1.0)
    with pytest.raises(NoClosedForm, match=r"crosses the zero of its noise at x = 0.*no powers of the same radius"):
        recognise(driftless(sp.Piecewise((sp.sqrt(A(x)), x > 0), (A(x) ** R(1, 4), True))))


@pytest.mark.slow
def test_infinitely_many_zeros_are_crossed_where_the_process_gets():
    X = solve_fokker_planck(driftless(A(sp.sin(x)) ** R(2, 3)), 0.5, t=1.0)
    assert X.mean() == pytest.approx(0.5, abs=1e-6)
    assert 0.2 < X.cdf(0.0) < 0.3
    with pytest.raises(ValueError, match="more zeros"):
        solve_fokker_planck(driftless(A(sp.sin(x)) ** R(2, 3)), 0.5, t=400.0, tol=1e-3)


@pytest.mark.slow
def test_zeros_that_are_not_known_exactly_end_the_interval():
    # x − tanh x has a zero of order 3 at 0; |x − cos x|^{1/2} one at 0.739085 that is reached
    natural = solve_fokker_planck(driftless((x - sp.tanh(x)) ** 2), 0.7, t=1.0)
    assert natural.atoms == ()
    assert natural.support()[0] == 0.0
    reached = solve_fokker_planck(driftless(A(x - sp.cos(x))), 1.0, t=1.0, tol=1e-5)
    ((place, mass),) = reached.atoms
    assert place == pytest.approx(0.7390851332151607, abs=1e-12)
    assert 0.1 < mass < 0.9
    assert reached.mean() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("power", ["1/4", *(pytest.param(q, marks=pytest.mark.slow) for q in ("1/10", "2/5"))])
def test_networks_are_stopped_at_a_one_sided_zero(power):
    # max(x, 0)^q has one solution, which 0 absorbs; layers overshoot it once and stay
    q, samples = float(sp.Rational(power)), 8000
    X = distribution(derive(ResNet(parse_activation(f"max(x,0)**({power})"), width=1)), x0=0.5, t=1.0)
    ((place, stopped),) = X.atoms
    assert place == 0.0
    states = {}
    for depth in (400, 1600):
        rng, v = np.random.default_rng(depth), np.full(samples, 0.5)
        for _ in range(depth):
            v = v + np.sqrt(1 / depth) * rng.standard_normal(samples) * np.maximum(v, 0) ** q
        states[depth] = v
    assert states[1600].min() > -0.2
    error = 0.5 / np.sqrt(samples)
    for level, expected in ((0.0, stopped), (1.0, float(X.cdf(1.0)))):
        shallow, deep = ((states[depth] <= level).mean() for depth in (400, 1600))
        assert (
            abs(2 * deep - shallow - expected) < 4 * np.sqrt(5) * error
        )  # what few layers add falls with the root of their number
    crossed = distribution(derive(ResNet(parse_activation(f"abs(x)**({power})"), width=1)), x0=0.5, t=1.0)
    assert (
        abs(2 * (states[1600] <= 0).mean() - (states[400] <= 0).mean() - float(crossed.cdf(0.0)))
        > 8 * np.sqrt(5) * error
    )


CUSPS = {
    "a fourth root": R(1, 10) + A(x) ** R(1, 4),
    "a square root": R(1, 10) + sp.sqrt(A(x)),
    "an eighth root": 1 + A(x) ** R(1, 8),
    "a logarithm": sp.log(A(x)),
}


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k != "an eighth root")) for k in CUSPS])
def test_cusps_of_the_noise_reach_the_default_tolerance(name):
    found = solve_fokker_planck(driftless(CUSPS[name] ** 2), 0.5)
    assert found.error < 1e-6
    assert found.order == pytest.approx(2, abs=0.01)  # 1.3 for a fourth root where cells know nothing of the cusp
    assert found.mean() == pytest.approx(0.5, abs=1e-6)
