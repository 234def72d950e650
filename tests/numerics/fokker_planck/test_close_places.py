"""Starts close to a jump of the noise or to an end, and many points at once; against closed forms written out here."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations import Diffusion
from numerics import solve_fokker_planck

x = sp.Symbol("x", real=True)
JUMP = Diffusion((x,), [0], [[sp.Piecewise((sp.Integer(9), x < 1), (sp.S.One, True))]])


def oscillating(points, x0, t, share=3 / 4):
    """Noise 3 below 1 and 1 above: skew Brownian motion (x - 1)/noise, whose excursions go up with probability 3/(3 + 1)."""
    y, y0 = np.where(points < 1, (points - 1) / 3, points - 1), (x0 - 1) / (3 if x0 < 1 else 1)
    own, image = (norm(s, np.sqrt(t)).pdf(y) for s in (y0, -y0))
    up, down = (share, 1 - share) if y0 >= 0 else (1 - share, share)
    same = (y >= 0) == (y0 >= 0)
    return np.where(same, own + (up - down) * image, 2 * down * own) / np.where(points < 1, 3, 1)


@pytest.mark.parametrize("x0", [0.9999, *(pytest.param(x0, marks=pytest.mark.slow) for x0 in (1.0, 1.003, 1 + 1e-6))])
def test_a_start_beside_a_jump_of_the_noise(x0):
    d = solve_fokker_planck(JUMP, x0, t=0.5)
    assert d.error < 1e-6
    points, width = np.linspace(-9, 6, 5001, retstep=True)
    points = points + width / 3  # none at the jump
    off = [np.abs(d.pdf(points) - oscillating(points, x0, 0.5, share)).sum() * width for share in (3 / 4, 0.76)]
    assert off[0] < 3e-6
    assert off[1] > 1e-3


def test_a_start_beside_an_end_that_absorbs():
    d = solve_fokker_planck(Diffusion((x,), [0], [[1]], sp.Interval.open(0, sp.oo)), 1e-4, t=0.5)
    stays = 1e-4 * np.sqrt(2 / np.pi / 0.5)  # erf(x0/√2t) for a small x0
    assert d.sf(0.0) == pytest.approx(stays, rel=1e-3)
    assert abs(d.sf(0.0) - stays) < d.error < 1e-6


@pytest.mark.parametrize(
    "noise", [sp.tanh(x), sp.Piecewise((sp.S(3), x < 1), (sp.S.One, True))], ids=["smooth", "a jump"]
)
def test_many_points_at_once_are_those_one_by_one(noise):
    d = solve_fokker_planck(Diffusion((x,), [0], [[noise**2]]), 0.7, t=0.5)
    points = np.linspace(-2, 5, 40_001)
    few = points[::40]
    assert np.abs(d.pdf(points)[::40] - d.pdf(few)).max() < 1e-7 * d.pdf(few).max()
    assert np.abs(d.cdf(points)[::40] - d.cdf(few)).max() < 1e-9
    assert np.diff(d.cdf(points)).min() >= 0
    assert np.isnan(d.pdf(np.full(40_000, np.nan))).all()


def test_a_noise_that_is_almost_nothing_at_the_start_and_overflows_further_out():
    noise = x**64 / (1 + sp.exp(-(x**64)))
    d = solve_fokker_planck(Diffusion((x,), [0], [[noise**2]]), -0.4, t=0.1)
    assert d.error < 1e-6
    assert d.mean() == pytest.approx(-0.4, rel=1e-12)
