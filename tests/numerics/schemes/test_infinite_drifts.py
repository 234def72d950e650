"""Paths near ends with an infinite drift: their means, which a step as long as the drift is large would carry away."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import Diffusion
from derivations.steps.domain import continued
from numerics import simulate_sde

x = sp.Symbol("x", real=True)
HALF = sp.Interval.open(0, sp.oo)
SCHEMES = ("euler_maruyama", "milstein", "weak_second", "two_point", "derivative_free")
SAMPLES = 10_000


def bessel(dimension, end=0, up=1):
    """The distance from an end is a Bessel process."""
    y = up * (x - end)
    return Diffusion(
        (x,), [up * sp.Rational(dimension - 1) / (2 * y)], [[1]], sp.Interval.open(*sorted((end, up * sp.oo)))
    )


def mean_of_bessel(dimension, x0):
    """Of a noncentral χ at t = 1."""
    half = mpmath.mpf(dimension) / 2
    return float(
        mpmath.sqrt(2) * mpmath.gamma(half + 0.5) / mpmath.gamma(half) * mpmath.hyp1f1(-0.5, half, -(x0**2) / 2)
    )


def off(values, wanted):
    return abs(values.mean() - wanted) / (values.std() / np.sqrt(len(values)))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dimension", [sp.Rational(11, 10), 2, 3])
def test_the_mean_of_a_bessel_process(scheme, dimension):
    """With the drift as it stands the means were 1.76 (Euler) and 64,000 (weak order 2) for 1.26 at dimension 2."""
    paths = simulate_sde(bessel(dimension), 0.1, steps=200, samples=SAMPLES, seed=1, scheme=scheme)[:, 0]
    assert paths.min() >= 0
    assert off(paths, mean_of_bessel(dimension, 0.1)) < 4
    assert off(paths, mean_of_bessel(dimension + 0.2, 0.1)) > 6
    exact = stats.ncx2(float(dimension), 0.01)
    assert stats.kstest(paths[:2_000] ** 2, exact.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("end", "up"), [(1, -1), (2, 1)])
@pytest.mark.parametrize("scheme", ["euler_maruyama", "weak_second"])
def test_other_ends_and_directions(scheme, end, up):
    paths = simulate_sde(bessel(2, end, up), end + up * 0.1, steps=200, samples=SAMPLES, seed=2, scheme=scheme)[:, 0]
    distance = up * (paths - end)
    assert distance.min() >= 0
    assert off(distance, mean_of_bessel(2, 0.1)) < 4


@pytest.mark.parametrize("strength", [1, 4])
def test_both_ends_of_an_interval(strength):
    """The angle of Brownian motion on a sphere: E cos θ falls by exp(-(strength + 1) t/2)."""
    angle = Diffusion((x,), [strength * sp.cot(x) / 2], [[1]], sp.Interval.open(0, sp.pi))
    paths = simulate_sde(angle, 0.3, steps=200, samples=SAMPLES, seed=3)[:, 0]
    assert 0 <= paths.min() < paths.max() <= np.pi
    assert off(np.cos(paths), np.cos(0.3) * np.exp(-(strength + 1) / 2)) < 4
    assert off(np.cos(paths), np.cos(0.3) * np.exp(-(strength + 3) / 2)) > 6


def test_a_drift_whose_value_at_the_end_is_a_limit():
    """The hyperbolic radius: E cosh r grows by exp(t)."""
    radius = Diffusion((x,), [sp.coth(x) / 2], [[1]], HALF)
    paths = simulate_sde(radius, 0.2, steps=100, samples=SAMPLES, seed=4)[:, 0]
    assert off(np.cosh(paths), np.cosh(0.2) * np.e) < 4


@pytest.mark.parametrize(
    ("drift", "noise", "entered"), [(1 / x**2, 1, x**3), (1 / sp.sqrt(x), 1, x**2), (1 / (2 * x), x, x**2)]
)
def test_powers_of_drift_and_noise(drift, noise, entered):
    """Fine and coarse grids agree; the coordinate is the first in which the drift has a value."""
    process = Diffusion((x,), [drift], [[noise]], HALF)
    assert continued(process).entered == entered
    fine, coarse = (
        simulate_sde(process, 0.5, steps=steps, samples=SAMPLES, seed=5)[:, 0].mean() for steps in (800, 100)
    )
    assert abs(fine - coarse) < 0.03 * fine


def test_a_drift_steeper_than_every_power_is_mirrored_as_before():
    steep = continued(Diffusion((x,), [sp.exp(1 / x)], [[1]], HALF))
    assert steep.entered == x
    assert steep.shown == abs(steep.process.states[0])


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_machine_code_and_jax(backend):
    pytest.importorskip(backend)
    if backend == "numba":
        paths = simulate_sde(bessel(2), 0.1, steps=100, samples=SAMPLES, backend="numba")[:, 0]
    else:
        import jax

        from numerics.compile.jax_paths import compile_jax_paths

        paths = np.asarray(compile_jax_paths(bessel(2))(jax.random.key(0), 0.1, steps=100, samples=SAMPLES))[:, 0]
    assert paths.min() >= 0
    assert off(paths, mean_of_bessel(2, 0.1)) < 4
