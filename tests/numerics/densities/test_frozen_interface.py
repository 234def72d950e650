"""SciPy's frozen interface of laws, their copies in other processes, and points far out."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special, stats

from derivations import ResNet, depth_limit, recognise
from derivations.activations import activation_from_potential, identity, ornstein_uhlenbeck, relu
from derivations.diffusion import Diffusion
from derivations.laws import Normal
from derivations.laws.mehler import MehlerLaw
from derivations.symbols import state as x
from numerics import compile_law, solve_fokker_planck
from numerics.compile import compile_sampler
from numerics.densities import as_scipy_distribution
from tests.helpers import Made

HALF, z = sp.Interval.open(0, sp.oo), sp.Symbol("z", real=True)


@cache
def of_network(activation):
    return recognise(depth_limit(ResNet(activation, width=1)))


LAWS = Made(
    {
        "geometric": lambda: (of_network(identity), 1.0),
        "two components": lambda: (recognise(Diffusion((x,), [sp.tanh(x)], [[1]])), 0.3),
        "erfi": lambda: (of_network(ornstein_uhlenbeck), 0.3),
        "inverse Bessel": lambda: (recognise(Diffusion((x,), [0], [[x**4]], HALF)), 1.0),
        "theta series": lambda: (recognise(Diffusion((x,), [0], [[(1 + x**2) ** 2]])), 0.4),
        "two walls": lambda: (recognise(Diffusion((x,), [0], [[1]], sp.Interval.open(0, 2))), 0.7),
        "planar": lambda: (recognise(Diffusion((x,), [0], [[sp.exp(-2 * x)]])), 0.3),
        "CIR": lambda: (recognise(Diffusion((x,), [3 - 2 * x], [[x]], HALF)), 1.0),
        "absorbed": lambda: (recognise(Diffusion((x,), [0], [[x]], HALF)), 0.6),
        "crossing": lambda: (recognise(Diffusion((x,), [-x], [[sp.sqrt(abs(x))]])), 0.6),
        "Weber": lambda: (of_network(activation_from_potential(z**2 + 3, z)), 0.1),
        "a dead start": lambda: (of_network(relu), -2.0),
        "a Gaussian start": lambda: (of_network(relu), Normal(0, 1)),
    }
)
every = pytest.mark.parametrize("name", LAWS)


def frozen(name, t=0.5):
    law, x0 = LAWS[name]
    return compile_law(law, x0=x0, t=t)


@every
@pytest.mark.slow
def test_copies_are_equal_have_equal_hashes_and_draw_the_same(name):
    d = frozen(name)
    again, same = pickle.loads(pickle.dumps(d)), frozen(name)
    assert again == d == same
    assert hash(again) == hash(d) == hash(same)
    assert d != frozen(name, 0.75)
    np.testing.assert_array_equal(again.rvs(5, random_state=1), d.rvs(5, random_state=1))
    points = d.ppf([0.2, 0.7])
    np.testing.assert_array_equal(again.cdf(points), d.cdf(points))
    assert {copy.deepcopy(d): 1}[d] == 1
    sampler = compile_sampler(LAWS[name][0])
    assert pickle.loads(pickle.dumps(sampler)) == sampler
    for part in d.parts:
        assert pickle.loads(pickle.dumps(part)) == part


@pytest.mark.slow
def test_other_processes_draw():
    laws = [frozen(name) for name in ("CIR", "two walls", "Weber")]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        there = [pool.submit(law.rvs, 4, random_state=3).result() for law in laws]
    for law, drawn in zip(laws, there, strict=True):
        np.testing.assert_array_equal(drawn, law.rvs(4, random_state=3))


def test_the_signatures_and_answers_are_those_of_scipy():
    mine, theirs = frozen("geometric"), stats.lognorm(np.sqrt(0.5), scale=np.exp(-0.25))
    points, levels = theirs.ppf([1e-9, 0.2, 0.9]), np.array([1e-9, 0.2, 0.9])
    for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf"):
        np.testing.assert_allclose(getattr(mine, name)(points), getattr(theirs, name)(points), rtol=1e-12, err_msg=name)
    for name in ("ppf", "isf"):
        np.testing.assert_allclose(getattr(mine, name)(levels), getattr(theirs, name)(levels), rtol=1e-12)
    for letters in ("m", "v", "mv", "mvsk", "ks"):
        np.testing.assert_allclose(mine.stats(letters), theirs.stats(letters), rtol=1e-12)
    np.testing.assert_allclose(mine.interval(0.9), theirs.interval(0.9), rtol=1e-12)
    for name in ("mean", "var", "std", "median", "entropy", "support"):
        np.testing.assert_allclose(getattr(mine, name)(), getattr(theirs, name)(), rtol=1e-12, err_msg=name)
    assert mine.moment(3) == pytest.approx(theirs.moment(3), rel=1e-12)
    for given in ({}, {"lb": 0.5, "ub": 2.0}, {"lb": 0.5, "ub": 2.0, "conditional": True}):
        assert mine.expect(np.sqrt, **given) == pytest.approx(theirs.expect(np.sqrt, **given), rel=1e-8)
    assert mine.expect() == pytest.approx(1.0, rel=1e-12)
    assert mine.expect(lambda v: 1 if v > 1 else 0, points=[1]) == pytest.approx(float(mine.sf(1.0)), rel=1e-11)
    assert mine.expect(lambda v: 3) == pytest.approx(3)


def test_generators_are_taken_by_either_name():
    d = frozen("geometric")
    expected = d.rvs(3, random_state=np.random.default_rng(7))
    np.testing.assert_array_equal(d.rvs(3, rng=7), expected)
    np.testing.assert_array_equal(d.rvs(size=3, random_state=np.random.SeedSequence(7)), expected)
    moving = np.random.default_rng(7)
    assert not np.array_equal(d.rvs(3, rng=moving), d.rvs(3, rng=moving))
    assert d.rvs((2, 3), random_state=np.random.RandomState(1)).shape == (2, 3)
    with pytest.raises(ValueError, match="two names of the same thing"):
        d.rvs(3, random_state=1, rng=1)


def test_requests_without_sense_are_refused():
    d = frozen("geometric")
    for letters in ("", "mx", "MV"):
        with pytest.raises(ValueError, match="letters of 'mvsk'"):
            d.stats(letters)
    for size in (-3, 2.5, "abc", (2, -1), True):
        with pytest.raises(ValueError, match="size must be a whole number, at least 0, or a tuple of them, got"):
            d.rvs(size)
    for seed in ("a", -1, 1.5, True):
        with pytest.raises(ValueError, match="random_state must be a whole number, at least 0, or a generator"):
            d.rvs(3, seed)
    with pytest.raises(ValueError, match="must be numbers"):
        d.expect(lb=np.nan)
    with pytest.raises(ValueError, match="probability 0"):
        d.expect(lb=-2, ub=-1, conditional=True)
    with pytest.raises(ValueError, match="is nan at states"):
        d.expect(lambda v: np.where(v > 1, np.nan, v))
    with pytest.raises(ValueError, match=r"outgrows|infinite"):
        d.expect(lambda v: np.exp(np.log(v) ** 2 * 3))
    with pytest.raises(ValueError, match=r"outgrows|infinite|settle"):
        frozen("CIR").expect(lambda v: v**-7.0)  # the density falls off like x⁵
    assert np.isfinite(frozen("CIR").expect(lambda v: v**-5.0))
    assert np.isnan(d.interval(1.5)).all()


def test_atoms_count_in_expectations_and_make_the_entropy_minus_infinite():
    d = frozen("two walls")
    (_, low), (_, high) = d.atoms
    assert d.expect(lambda v: v == 0) == pytest.approx(low, rel=1e-12)
    assert d.expect(lambda v: v * v, lb=2) == pytest.approx(4 * high, rel=1e-12)
    assert d.expect(lb=0, ub=2) == pytest.approx(0.7, rel=1e-10)  # a martingale
    assert d.entropy() == -np.inf
    assert frozen("a dead start").entropy() == -np.inf
    assert np.isnan(frozen("a dead start").stats("sk")).all()
    gauss = compile_law(recognise(Diffusion((x,), [0], [[4]])), x0=0.0, t=0.25)
    assert gauss.entropy() == pytest.approx(stats.norm(0, 1).entropy(), rel=1e-12)
    assert np.allclose(gauss.stats("sk"), 0, atol=1e-12)
    cir = stats.ncx2(12, 8 * np.exp(-1) / (1 - np.exp(-1)), scale=(1 - np.exp(-1)) / 8)
    assert frozen("CIR").entropy() == pytest.approx(cir.entropy(), rel=1e-8)
    np.testing.assert_allclose(frozen("CIR").stats("mvsk"), cir.stats("mvsk"), rtol=1e-10)


def test_logarithms_of_tails_go_on_where_the_tails_underflow():
    d = frozen("geometric")
    with mpmath.workdps(30):
        u = (mpmath.log(mpmath.mpf(1e300)) + 0.25) / mpmath.sqrt(0.5)
        assert d.logsf(1e300) == pytest.approx(float(mpmath.log(mpmath.erfc(u / mpmath.sqrt(2)) / 2)), rel=1e-12)
    far = frozen("planar")
    y0, y = mpmath.exp(mpmath.mpf(0.3)), mpmath.exp(4)
    with mpmath.workdps(30):

        def density(r):
            return r / 0.5 * mpmath.exp(-(r * r + y0**2) / 1) * mpmath.besseli(0, r * y0 / 0.5)

        tail = mpmath.quad(density, [y, y + 0.05, y + 0.1, y + 0.2, y + 0.5, y + 1])
    assert far.sf(4.0) == 0
    assert far.logsf(4.0) == pytest.approx(float(mpmath.log(tail)), rel=1e-9)
    walls = frozen("theta series")
    # an unattainable end at distance 1/x, where the density is a square: the tail falls off like x⁻³
    assert walls.logsf(1e200) - walls.logsf(1e100) == pytest.approx(-300 * np.log(10), rel=1e-9)
    assert walls.logsf(0.4) == pytest.approx(np.log(walls.sf(0.4)), rel=1e-13)


@pytest.mark.slow
@every
@pytest.mark.filterwarnings("error")
def test_points_far_out_do_no_harm(name):
    d = frozen(name)
    inner = d.median()
    points = np.array(
        [-np.inf, -1e300, -1e10, -800, -1e-300, -5e-324, 0, 5e-324, 1e-162, 1e-300, 800, 1e10, 1e300, np.inf]
    )
    for method in ("pdf", "logpdf", "cdf", "sf", "logcdf", "logsf"):
        function = getattr(d, method)
        values = function(np.array([*points, inner, np.nan]))
        assert np.isnan(values[-1])
        assert not np.isnan(values[:-1]).any(), (method, points[np.isnan(values[:-2])])
        assert values[-2] == function(inner)
        assert function(points.reshape(2, 7)).shape == (2, 7)
    assert d.pdf([-np.inf, np.inf]).tolist() == [0, 0]
    assert np.isneginf(d.logpdf([-np.inf, np.inf])).all()
    assert (d.cdf(-np.inf), d.cdf(np.inf), d.sf(-np.inf), d.sf(np.inf)) == (0, 1, 1, 0)


def test_far_values_are_the_logarithms():
    planar = frozen("planar")
    assert (planar.pdf(1000.0), planar.logpdf(1000.0)) == (0, -np.inf)
    # x = log y: the density is y² q'(0) near y = 0, so its logarithm falls with slope 2
    assert planar.logpdf(-1000.0) - planar.logpdf(-900.0) == pytest.approx(-200, rel=1e-12)
    assert compile_law(MehlerLaw.example(), x0=0.3, t=0.5).logpdf([-1e300, 1e300]).tolist() == [-np.inf, -np.inf]


def test_a_solved_law_takes_points_far_out_and_has_the_interface():
    d = solve_fokker_planck(Diffusion((x,), [0], [[sp.log(1 + sp.exp(x)) ** 2]]), 1.0, t=0.5, tol=1e-3)
    values = d.pdf([-380.0, 1.0, 1e300])
    assert values[0] == 0 == values[2]
    assert values[1] > 0
    assert np.isneginf(d.logpdf(-380.0))
    assert d.expect(lambda v: v) == pytest.approx(
        d.mean(), rel=1e-6
    )  # the mean of a martingale is exact, that over the grid is not
    assert d.expect(lambda v: v) != pytest.approx(1.0001 * d.mean(), rel=1e-6)
    again = pickle.loads(pickle.dumps(d))
    assert again == d
    assert hash(again) == hash(d)
    np.testing.assert_array_equal(again.rvs(4, rng=1), d.rvs(4, rng=1))


def test_laws_without_atoms_are_distributions_of_scipys_new_kind():
    given, peer = as_scipy_distribution(frozen("geometric")), stats.lognorm(np.sqrt(0.5), scale=np.exp(-0.25))
    points = peer.ppf([0.01, 0.5, 0.9])
    for name in ("pdf", "cdf", "logcdf"):
        np.testing.assert_allclose(getattr(given, name)(points), getattr(peer, name)(points), rtol=1e-12)
    np.testing.assert_allclose(given.ccdf(points), peer.sf(points), rtol=1e-12)
    np.testing.assert_allclose([given.mean(), given.variance()], [1, np.exp(0.5) - 1], rtol=1e-12)
    assert given.sample((2, 3), rng=np.random.default_rng(1)).shape == (2, 3)
    assert float(given.icdf(0.25)) == pytest.approx(peer.ppf(0.25), rel=1e-12)
    for name in ("two walls", "a dead start"):
        with pytest.raises(ValueError, match="the law has an atom of mass"):
            as_scipy_distribution(frozen(name))


@pytest.mark.parametrize(("start", "when"), [(2.0, 1.0), (0.3, 3.0)])
def test_entropy_where_states_round_to_an_end_that_is_none(start, when):
    # x(1 - x): from t = 1 on part of the law is nearer to 1 than doubles tell, where the noise at the rounded state is 0
    side = sp.Interval.open(1, sp.oo) if start > 1 else sp.Interval.open(0, 1)
    law = recognise(Diffusion((x,), [0], [[(x * (1 - x)) ** 2]], side))
    d = compile_law(law, x0=start, t=when)
    w = np.linspace(-25, 25, 8001)
    at, scale = (1 + np.exp(w), np.exp(w)) if start > 1 else (special.expit(w), special.expit(w) * special.expit(-w))
    expected = -np.sum(d.pdf(at) * d.logpdf(at) * scale) * (w[1] - w[0])
    assert d.entropy() == pytest.approx(expected, abs=1e-7)
    assert compile_law(law, x0=start, t=when / 2).entropy() != pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("scale", [1e-4, 1e-6, 0.0])
def test_a_step_close_to_the_edge_of_a_panel_is_seen(scale):
    """X = (x0 + 1/2) e^{2B - 2} - 1/2 has 0 at B = 0.9999, beside an edge: the mean of its sign was -0.68269 without a word."""
    law = compile_law(recognise(depth_limit(ResNet(2 * x + 1, width=1))), x0=1e-4, t=1.0)
    zero = (2 - np.log(1.0002)) / 2
    sign = 1 - 2 * stats.norm.cdf(zero)
    step = np.sign if scale == 0 else lambda v: np.tanh(v / scale)
    # of the smooth step: corrections of second order, by the density's slope in B
    assert law.expect(step) == pytest.approx(sign, abs=1e-12 if scale == 0 else 2 * scale**2)
    assert abs(-0.682689492 - sign) > 1e-5
