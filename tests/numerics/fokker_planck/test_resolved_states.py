"""States beside ends that doubles do not tell apart, and resolvents that leave their range."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import ResNet, depth_limit
from derivations.diffusion import Diffusion
from numerics import distribution, solve_fokker_planck
from numerics.fokker_planck import solve

x = sp.Symbol("x", real=True)
SINE = depth_limit(ResNet(sp.sin(x), width=1))


@pytest.mark.slow
def test_what_gathers_beside_an_end_is_said():
    # a martingale between 0 and π that tends to one of them: P(π) = 1/π, at a distance of e^{-50 ± 10} from it
    d = distribution(SINE, x0=1, t=100)
    assert d.remark.startswith("0.31 of the law lies nearer to its end 3.14159265358979")
    # what is still on its way adds 8e-8 to 1 − 1/π: by Crank and Nicolson's steps in log tan(x/2), on 8000 and 16000 points
    assert d.cdf(3.0) == pytest.approx(0.6816901920, abs=d.error)
    levels = np.array([1e-6, 0.01, 0.3, 0.6])
    np.testing.assert_allclose(d.cdf(d.ppf(levels)), levels, rtol=1e-12)  # beside 0 doubles tell states apart
    assert distribution(SINE, x0=1, t=1).remark == ""


def test_squared_noise_that_doubles_do_not_hold_is_refused():
    with pytest.raises(
        ValueError, match=r"states come within .* of the end 0, where doubles do not hold the squared noise"
    ):
        distribution(SINE, x0=1, t=1e3)


@pytest.mark.slow
def test_resolvents_beyond_doubles_are_those_of_shorter_times():
    # dX = X dt + dB: the chain's resolvents at once were infinite, and its rates were said to be
    process = Diffusion((x,), [x], [[1]])
    with pytest.raises(ValueError, match=r"the error is about .* with .* cells, and tol = 0.001 was asked for"):
        solve_fokker_planck(process, 0.3, t=3.0, tol=1e-3, points=6000)


@pytest.mark.slow
def test_a_drift_outwards_over_a_long_time_against_its_normal_law():
    found = solve_fokker_planck(Diffusion((x,), [x], [[1]]), 0.3, t=3.0, tol=1e-2)
    peer = stats.norm(0.3 * np.exp(3), np.sqrt(np.expm1(6) / 2))
    points = peer.ppf(np.linspace(0.01, 0.99, 40))
    assert np.abs(found.cdf(points) - peer.cdf(points)).max() < found.error < 1e-2
    # at the edges, 4 and 6 deviations out, gathers what would have gone on: it was taken to reach as far as it would without drift, and refused
    wider = stats.norm(peer.mean(), 1.05 * peer.std())
    assert np.abs(found.cdf(points) - wider.cdf(points)).max() > 1e-2


def test_a_window_that_is_too_narrow_is_no_matter_of_doubles(monkeypatch):
    monkeypatch.setattr(solve, "_BEYOND", -1.0)
    with pytest.raises(
        ValueError, match=r"more probability goes towards -oo than coarse cells show, within the time 0.5"
    ):
        solve_fokker_planck(Diffusion((x,), [x], [[1]]), 0.3, t=0.5)
