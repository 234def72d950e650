"""First passage, changes of drift and of time, and the equation of Feynman and Kac; each identity with a wrong one beside it."""

import mpmath
import pytest
import sympy as sp
from mpmath import mp

from derivations.calculus.exits import hitting_probability
from derivations.calculus.girsanov import change_of_drift, time_change
from derivations.calculus.kolmogorov import feynman_kac
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws import LAWS, first_passage, recognise
from derivations.laws.kernel import KernelLaw
from derivations.laws.numbers import compiled, settled
from derivations.laws.radial import RadialOrnsteinUhlenbeckLaw
from derivations.symbols import initial, state, time
from tests.helpers import equal_by_sampling, equal_symbolically

x, t, x0 = state, time, initial
p = sp.Symbol("p", positive=True)
mu, level = sp.symbols("mu l", positive=True)
HALF = sp.Interval.open(0, sp.oo)
brownian = Diffusion((x,), [0], [[1]])


def over_all_times(density, start):
    f = compiled((t,), density.subs(x0, start))
    return settled(lambda s: f(s), mp.mpf(0), mp.inf)


# --- first passage ---


def test_brownian_motion_with_drift_is_inverse_gaussian():
    found = first_passage(Diffusion((x,), [-mu], [[1]]), sp.S.Zero)
    inverse_gaussian = p / sp.sqrt(2 * sp.pi * t**3) * sp.exp(-((p - mu * t) ** 2) / (2 * t))
    points = {p: ["1/2", 2], t: ["1/3", 3], mu: [1, "3/4"]}
    assert equal_by_sampling(found.density.subs(x0, p), inverse_gaussian, points, points=2)
    # away from the level it gets there only with probability e^{-2μp}
    away = first_passage(Diffusion((x,), [sp.Rational(1, 2)], [[1]]), sp.S.Zero)
    assert abs(over_all_times(away.density, sp.Integer(2)) - mp.exp(-2)) < 1e-10


@pytest.mark.slow
def test_an_ornstein_uhlenbeck_process_at_its_mean():
    # X_t = e^{-t}(x₀ + B_{(e^{2t}-1)/2}): reflection at the clock's time
    found = first_passage(Diffusion((x,), [-x], [[1]]), sp.S.Zero)
    clock = (sp.exp(2 * t) - 1) / 2
    assert equal_by_sampling(
        found.probability.subs(x0, p), sp.erfc(p / sp.sqrt(2 * clock)), {p: ["1/2", 2], t: ["1/3", 1]}, points=2
    )
    assert equal_by_sampling(found.density, sp.diff(found.probability, t), {x0: ["1/2", 2], t: ["1/3", 1]}, points=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "low", "high", "start"),
    [
        (Diffusion((x,), [0], [[1]], sp.Interval.open(0, 2)), 0, 2, sp.Rational(1, 2)),
        (Diffusion((x,), [sp.Rational(1, 2)], [[1]], sp.Interval.open(0, 2)), 0, 2, sp.Rational(1, 2)),
        (Diffusion((x,), [0], [[(1 + x**2) ** 2]], sp.Interval.open(-1, 1)), -1, 1, sp.Rational(1, 3)),
    ],
    ids=["Brownian", "with drift", "transformed"],
)
def test_the_flux_out_of_an_interval_adds_up_to_the_hitting_probability(process, low, high, start):
    up = first_passage(process, sp.Integer(high), above=False)
    down = first_passage(process, sp.Integer(low), above=True)
    expected = sp.N(hitting_probability(process, start, sp.Integer(low), sp.Integer(high)), 20)
    upward, downward = over_all_times(up.density, start), over_all_times(down.density, start)
    assert abs(upward - expected) < 1e-10
    assert abs(upward + downward - 1) < 1e-10
    assert abs(downward - expected) > 1e-3  # the control: the other end


@pytest.mark.slow
def test_the_flux_is_the_derivative_of_the_atom():
    found = first_passage(Diffusion((x,), [0], [[1]], sp.Interval.open(0, 1)), sp.S.Zero)
    mass, flux = (compiled((t,), e.subs(x0, sp.Rational(2, 5))) for e in (found.probability, found.density))
    with mp.workdps(30):
        assert abs(mp.diff(mass, mp.mpf("0.3")) / flux(mp.mpf("0.3")) - 1) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("above", [True, False])
def test_a_geometric_brownian_motion_at_a_symbolic_level(above):
    sigma = sp.Symbol("sigma", positive=True)
    found = first_passage(Diffusion((x,), [0], [[sigma**2 * x**2]], HALF), level, above)
    # log X is a Brownian motion with drift −σ²/2 and variance σ²
    far = sp.log(x0 / level)
    expected = sp.exp(-((-far + sigma**2 * t / 2) ** 2) / (2 * sigma**2 * t)) / (sigma * sp.sqrt(2 * sp.pi * t**3))
    starts = [2, 3] if above else ["1/3", "3/4"]
    points = {x0: starts, level: [1, "5/4"], t: ["1/2", 2], sigma: [1, "2/3"]}
    assert equal_by_sampling(found.density, (far if above else -far) * expected, points, points=2)


def test_an_end_that_reflects_is_reached_all_the_same():
    # a Bessel process of dimension δ < 2 is at 0 before t with probability Γ(1 − δ/2, x₀²/2t)/Γ(1 − δ/2) (Getoor)
    quarter, half = sp.Rational(1, 4), sp.S.Half
    bessel = first_passage(Diffusion((x,), [quarter / x], [[1]], HALF), sp.S.Zero)
    points = {x0: [1, "1/3"], t: ["1/2", 2]}
    assert equal_by_sampling(
        bessel.probability, sp.uppergamma(quarter, x0**2 / (2 * t)) / sp.gamma(quarter), points, points=2
    )
    # |B|² is at 0 when B is
    squared = first_passage(Diffusion((x,), [1], [[4 * x]], HALF), sp.S.Zero)
    assert equal_by_sampling(squared.probability, sp.erfc(sp.sqrt(x0 / (2 * t))), points, points=2)
    reflecting = first_passage(Diffusion((x,), [sp.Rational(1, 5) - x], [[x]], HALF), sp.S.Zero)
    assert abs(over_all_times(reflecting.density, half) - 1) < 1e-8  # surely


def test_levels_without_a_law_are_refused_and_ends_that_are_never_reached_say_so():
    assert first_passage(Diffusion((x,), [0], [[x**2]], HALF), sp.S.Zero).density == 0
    with pytest.raises(NoClosedForm):
        first_passage(Diffusion((x,), [-x], [[1]]), sp.S.One)
    with pytest.raises(DerivationError, match="not in the domain"):
        first_passage(Diffusion((x,), [0], [[x**2]], HALF), -sp.S.One)


# --- Girsanov, clocks, Feynman–Kac ---


@pytest.mark.parametrize(
    ("process", "drift"),
    [
        (brownian, sp.tanh(x)),
        (brownian, -x),
        (Diffusion((p,), [p / 3], [[p**2]], HALF), -p),
        (Diffusion((p,), [0], [[p]], HALF), 2 - p),
    ],
    ids=["tanh", "OU", "geometric", "square root"],
)
def test_the_density_of_another_drift_is_a_martingale(process, drift):
    # E[e^{G(X_t) − G(X_0) − ∫r}] = 1: e^G solves Feynman and Kac's equation
    change = change_of_drift(process, drift)
    (s,) = process.states
    residual = feynman_kac(process, sp.exp(change.gain), change.rate) / sp.exp(change.gain)
    assert equal_symbolically(residual, 0)
    wrong = feynman_kac(process, sp.exp(change.gain), change.rate * sp.Rational(101, 100)) / sp.exp(change.gain)
    assert abs(sp.N(wrong.subs(s, sp.Rational(2, 5)))) > 1e-4


def test_a_constant_rate_gives_the_law():
    # drift tanh x: e^G = cosh x and r = ½, so the density is Brownian motion's times cosh(x)/cosh(x₀) e^{-t/2}
    change = change_of_drift(brownian, sp.tanh(x))
    assert sp.cancel((change.rate - sp.S.Half).rewrite(sp.exp)) == 0
    known = recognise(brownian).pdf(x) * sp.exp(change.gain - change.gain.subs(x, x0) - t / 2)
    assert equal_by_sampling(
        recognise(Diffusion((x,), [sp.tanh(x)], [[1]])).pdf(x),
        known,
        {x: ["1/3", -1], x0: ["1/5", 1], t: ["1/2", 2]},
        points=2,
    )


def test_a_driftless_process_is_brownian_motion_by_another_clock():
    assert equal_symbolically(time_change(brownian, (1 + x**2) ** 2).covariance[0], (1 + x**2) ** 2)
    assert equal_symbolically(time_change(Diffusion((x,), [-x], [[1]]), 3).drift[0], -3 * x)
    with pytest.raises(DerivationError, match="run forward"):
        time_change(brownian, -1)


def test_the_pulled_radius_is_the_free_one_by_another_clock():
    # Y_t = e^{-at} R at the clock (e^{2at} − 1)/2a
    (pulled,) = recognise(Diffusion((x,), [sp.Rational(3, 2) / x - x / 2], [[1]], HALF)).parts
    (free,) = recognise(Diffusion((x,), [sp.Rational(3, 2) / x], [[1]], HALF)).parts
    assert isinstance(pulled, RadialOrnsteinUhlenbeckLaw)
    clock, growth = sp.exp(t) - 1, sp.exp(t / 2)
    transformed = growth * free.pdf(growth * x, clock)
    points = {x: ["1/3", 2], x0: ["3/4", "1/5"], t: ["1/2", 1]}
    assert equal_by_sampling(pulled.pdf(x), transformed, points, points=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", [k for k in LAWS if issubclass(k, KernelLaw)], ids=lambda kind: kind.__name__)
def test_kernels_solve_feynman_and_kacs_equation_for_half_the_potential(family):
    law = family.example()
    y0, y = sp.Rational(2, 5), sp.Symbol("y", positive=True)
    at = {y: sp.Rational(3, 4), t: sp.Rational(2, 3)}
    potential = law.form.potential.subs(law.form.state, law.chart.back(y))
    kernel = law.kernel(t, y0, y)
    time_slope = sp.diff(kernel, t)
    killed = sp.diff(kernel, y, 2) / 2 - potential * kernel / 2
    gap = sp.N(((time_slope - killed) / kernel).subs(at), 40)
    assert abs(gap) < 1e-30
    wrong = sp.N(((time_slope - killed - kernel / 100) / kernel).subs(at), 40)
    assert abs(wrong) > 1e-3
    assert mpmath.isfinite(mpmath.mpf(str(gap)))


def test_a_passage_on_a_bounded_coordinate_is_its_mirror_image():
    process = Diffusion((x,), [0], [[(1 + x**2) ** 2]])
    down = first_passage(process, -sp.S.One).density.subs({initial: sp.Rational(1, 5), time: sp.Rational(1, 3)})
    up = first_passage(process, sp.S.One, above=False).density.subs(
        {initial: -sp.Rational(1, 5), time: sp.Rational(1, 3)}
    )
    other = first_passage(process, sp.S.One, above=False).density.subs({initial: 0, time: sp.Rational(1, 3)})
    values = [sp.N(density, 15) for density in (down, up, other)]
    assert abs(values[0] - values[1]) < 1e-10 * abs(values[0])
    assert abs(values[2] - values[0]) > 1e-2 * abs(values[0])  # control
