"""Laws made of kernels as distributions: mass, quantiles, moments, exact samples; against SciPy's where it has them."""

import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from derivations import ResNet, depth_limit, recognise
from derivations.activations import activation_from_potential
from derivations.diffusion import Diffusion
from derivations.symbols import state as x
from numerics import compile_law, sample_law
from numerics.densities import KernelMeasure
from tests.helpers import Made

HALF, z = sp.Interval.open(0, sp.oo), sp.Symbol("z", real=True)
#: name: process, start
CASES = Made(
    {
        "inverse Bessel": lambda: (Diffusion((x,), [0], [[x**4]], HALF), 1.0),
        "hyperbolic Bessel": lambda: (Diffusion((x,), [0], [[x**2 * (1 - x) ** 2]], sp.Interval.open(1, sp.oo)), 2.0),
        "stopped at a wall": lambda: (Diffusion((x,), [0], [[1]], HALF), 0.8),
        "stopped, with drift": lambda: (Diffusion((x,), [sp.Rational(1, 2)], [[1]], HALF), 0.8),
        "reflected": lambda: (Diffusion((x,), [1], [[4 * x]], HALF), 0.7),
        "theta series": lambda: (Diffusion((x,), [0], [[(1 + x**2) ** 2]]), 0.4),
        "two walls": lambda: (Diffusion((x,), [0], [[1]], sp.Interval.open(0, 2)), 0.7),
        "planar radius": lambda: (Diffusion((x,), [0], [[sp.exp(-2 * x)]]), 0.3),
        "absorbed power": lambda: (Diffusion((x,), [0], [[x]], HALF), 0.6),
        "power above one": lambda: (Diffusion((x,), [0], [[x**3]], HALF), 1.0),
        "CIR": lambda: (Diffusion((x,), [3 - 2 * x], [[x]], HALF), 1.0),
        "reflecting CIR": lambda: (Diffusion((x,), [sp.Rational(1, 5) - x], [[x]], HALF), 0.5),
        "parabolic cylinder": lambda: (depth_limit(ResNet(activation_from_potential(z**2 + 3, z), width=1)), 0.1),
    }
)
T = 0.6
every = pytest.mark.parametrize("name", CASES)


def frozen(name, t=T):
    process, x0 = CASES[name]
    return compile_law(recognise(process), x0=x0, t=t)


@every
def test_mass_is_one_with_the_atoms(name):
    d = frozen(name)
    assert d.cdf(np.inf) == pytest.approx(1.0, abs=1e-10)
    xs = d.ppf(np.array([0.2, 0.5, 0.9]) * (1 - sum(m for _, m in d.atoms)) + sum(m for a, m in d.atoms if a == 0))
    np.testing.assert_allclose(d.cdf(xs) + d.sf(xs), 1.0, rtol=1e-10)
    # the distribution function is an integral of the density, by another rule than its own
    low, high = xs[0], xs[-1]
    mass, _ = integrate.quad(d.pdf, low, high, points=[xs[1]], epsabs=1e-12, limit=200)
    assert mass == pytest.approx(d.cdf(high) - d.cdf(low), abs=1e-9)


def test_a_density_that_no_double_holds_is_refused_in_one_line():
    process = Diffusion((x,), [0], [[x**4]], HALF)
    with pytest.raises(ValueError, match="the density is 0 or infinite everywhere in double precision"):
        compile_law(recognise(process), x0=1e308, t=1.0).ppf(0.5)
    assert compile_law(recognise(process), x0=1e150, t=1.0).ppf(0.5) > 0  # the control, with no warning either


def test_starts_so_far_out_that_they_are_at_the_end_of_the_chart():
    """An entrance: from 1e155 on the start is at less than 1e-308 from the end, and the law is that from infinity."""
    process = Diffusion((x,), [0], [[x**6]], HALF)
    medians = [compile_law(recognise(process), x0=x0, t=1.0).ppf(0.5) for x0 in (1e50, 1e154, 1e155, 1e200)]
    np.testing.assert_allclose(medians, medians[0], rtol=1e-12)


@every
def test_quantiles_invert_the_distribution_function(name):
    d = frozen(name)
    low, high = d.cdf(d.support()[0]), 1 - sum(m for a, m in d.atoms if a > 0)
    q = low + (high - low) * np.array([0.01, 0.3, 0.7, 0.99])
    np.testing.assert_allclose(d.cdf(d.ppf(q)), q, rtol=1e-8)


@pytest.mark.slow
@every
def test_samples_follow_the_law_and_not_a_wrong_one(name):
    d = frozen(name)
    samples = d.rvs(40_000, random_state=3)
    atoms = [a for a, _ in d.atoms]
    for place, mass in d.atoms:
        assert abs(np.mean(samples == place) - mass) < 4 * np.sqrt(mass / 40_000)
    moving = samples[~np.isin(samples, atoms)]
    below = sum(m for a, m in d.atoms if a <= moving.min())
    share = 1 - sum(m for _, m in d.atoms)

    def law(of):
        return lambda s: (of.cdf(s) - below) / share

    assert stats.kstest(moving, law(d)).pvalue > 1e-3
    assert stats.kstest(moving, lambda s: np.clip((frozen(name, 1.25 * T).cdf(s) - below) / share, 0, 1)).pvalue < 1e-3


@pytest.mark.parametrize("name", [n for n in CASES if n != "theta series"])
def test_means_are_averages_over_the_law(name):
    d = frozen(name)
    (moving,) = [part for part in d.parts if isinstance(part, KernelMeasure)]
    direct = moving.integral(lambda s: s) + sum(a * m for a, m in d.atoms)
    assert d.mean() == pytest.approx(direct, rel=1e-6)


def test_known_distributions_of_scipy():
    decay = np.exp(-2 * T)
    cir = stats.ncx2(12, 8 * decay / (1 - decay), scale=(1 - decay) / 8)
    xs = cir.ppf([1e-6, 0.1, 0.5, 0.999])
    np.testing.assert_allclose(frozen("CIR").pdf(xs), cir.pdf(xs), rtol=1e-10)
    np.testing.assert_allclose(frozen("CIR").cdf(xs), cir.cdf(xs), rtol=1e-9)
    assert abs(frozen("CIR", 1.01 * T).cdf(xs[2]) - 0.5) > 1e-4


def test_a_strict_local_martingale_loses_its_mean_and_a_martingale_does_not():
    assert frozen("inverse Bessel").mean() < 0.95
    assert frozen("power above one").mean() < 0.999
    for name in ("absorbed power", "stopped at a wall", "two walls"):
        assert frozen(name).mean() == pytest.approx(CASES[name][1], rel=1e-9)


def test_the_law_is_sampled_at_many_starts():
    law = recognise(CASES["CIR"][0])
    starts = np.repeat([0.5, 2.0], 20_000)
    drawn = sample_law(law, x0=starts, t=T, samples=starts.size, seed=1)
    for start in (0.5, 2.0):
        mean = 1.5 + (start - 1.5) * np.exp(-2 * T)
        mine = np.ravel(drawn)[starts == start]
        assert abs(mine.mean() - mean) < 4 * mine.std() / np.sqrt(mine.size)
