"""Guards and edges of the numeric side: kinks outside an interval, samplers whose mean drifts outward."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations.diffusion import Diffusion
from derivations.laws.mehler import MehlerLaw
from numerics.compile import compile_law, compile_sampler
from numerics.fokker_planck import solve_fokker_planck

x = sp.Symbol("x", real=True)


def test_kinks_outside_the_interval_do_not_touch_the_grid():
    # geometric Brownian motion on (0, ∞), its formula with a kink at −1: a martingale
    process = Diffusion((x,), [sp.Max(-x - 1, 0)], [[x**2]], sp.Interval.open(0, sp.oo))
    solved = solve_fokker_planck(process, x0=0.5, t=0.5)
    assert abs(solved.mean() - 0.5) < 1e-6
    assert abs(solved.mean() - 0.5) <= 10 * solved.error
    assert solved.var() == pytest.approx(0.25 * np.expm1(0.5), rel=1e-4)


def test_kinks_inside_the_interval_are_cut():
    # drift −sign x from ½: E X_t by the density of Karatzas and Shreve (1984), integrated at 30 digits
    solved = solve_fokker_planck(Diffusion((x,), [-sp.sign(x)], [[1]]), x0=0.5, t=0.5)
    import mpmath as mp

    t, start = mp.mpf("0.5"), mp.mpf("0.5")

    def density(z):
        drifted = mp.exp(-((z - start + t) ** 2 if z > 0 else (z - start - t) ** 2) / (2 * t))
        gauss = (mp.exp(2 * start) if z <= 0 else 1) * drifted / mp.sqrt(2 * mp.pi * t)
        return gauss + mp.exp(-2 * abs(z)) * mp.erfc((abs(z) + start - t) / mp.sqrt(2 * t)) / 2

    mass, mean = (mp.quad(lambda z, k=k: z**k * density(z), [-8, -2, 0, 0.5, 2, 8]) for k in (0, 1))
    assert abs(mass - 1) < 1e-6
    assert solved.mean() == pytest.approx(float(mean), abs=1e-5)


@pytest.mark.parametrize("drift", [-6, 6])
def test_the_window_reaches_as_far_as_the_process_goes_on_either_side(drift):
    solved = solve_fokker_planck(Diffusion((x,), [drift], [[1]]), x0=0.0, t=1.0, tol=1e-3)
    exact = stats.norm(drift, 1)
    points = drift + np.array([-2.5, -1.0, 0.0, 1.0, 2.5])
    np.testing.assert_allclose(solved.cdf(points), exact.cdf(points), atol=1e-3)
    assert np.max(np.abs(solved.cdf(points) - stats.norm(drift, 1.05).cdf(points))) > 1e-3  # the control


@pytest.mark.parametrize("start", [2.0, -1.5])
def test_an_inversion_brackets_a_mean_that_drifts_outward(start):
    # drift about +x: by t = 2 the mean is e² times the start, far beyond nine deviations of a Brownian motion... of small t
    law = MehlerLaw.example()
    t = 3.0
    drawn = compile_sampler(law)(np.full(400, start), t, np.random.default_rng(5))
    known = compile_law(law, x0=start, t=t)
    uniform = known.cdf(np.sort(drawn))
    distance = np.max(np.abs(uniform - (np.arange(400) + 0.5) / 400))
    assert distance < 1.95 / np.sqrt(400)  # Kolmogorov's 99.9 %
    assert np.max(np.abs(known.cdf(np.sort(drawn) * 1.5) - (np.arange(400) + 0.5) / 400)) > 1.95 / np.sqrt(400)
