"""Frozen distributions: against fifty digits, against themselves, against samples; each with a control."""

from __future__ import annotations

import warnings
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from derivations.activations import identity, leaky_relu, ornstein_uhlenbeck, relu
from derivations.architectures import ResNet
from derivations.diffusion import Diffusion
from derivations.laws import LAWS, Normal, recognise
from derivations.laws.transformed import TransformedGaussian
from derivations.limits import depth_limit
from derivations.symbols import initial, state, time
from numerics.backends import MPMATH
from numerics.compile import compile_expression, compile_law
from tests.helpers import Made

CASES = Made(
    {
        "brownian": lambda: recognise(depth_limit(ResNet(sp.Integer(2), width=1))),
        "identity": lambda: recognise(depth_limit(ResNet(identity, width=1))),
        "relu": lambda: recognise(depth_limit(ResNet(relu, width=1))),
        "leaky": lambda: recognise(depth_limit(ResNet(leaky_relu(sp.Rational(1, 2)), width=1))),
        "affine": lambda: recognise(depth_limit(ResNet(2 * sp.Symbol("x") + 1, width=1))),
        "ornstein_uhlenbeck": lambda: recognise(depth_limit(ResNet(ornstein_uhlenbeck, width=1))),
        "two_components": lambda: recognise(Diffusion((state,), [sp.tanh(state)], [[1]])),
        "half line": lambda: recognise(Diffusion((state,), [0], [[state**2]], sp.Interval.open(0, sp.oo))),
    }
)
WHOLE = [name for name in CASES if name != "half line"]
FIXED = [(name, x0) for name in WHOLE for x0 in (0.5, -0.75) if (name, x0) != ("relu", -0.75)]
START = Normal(sp.Rational(1, 5), 2)
SPREAD = [name for name in WHOLE if name != "two_components"]
LEVELS = np.array([1e-300, 1e-12, 1e-3, 0.2, 0.5, 0.8, 0.999])


def moving(law, x0):
    return next(p for p in law.parts if p.diffusion.domain.contains(sp.Rational(x0)) == sp.true)


@pytest.mark.parametrize("family", [c for c in LAWS if issubclass(c, TransformedGaussian)], ids=lambda c: c.__name__)
@pytest.mark.parametrize("t", [1e-12, 0.25, 3.0])
def test_density_is_the_laws_to_fifty_digits(family, t):
    law = family.example()
    compiled = compile_law(law, x0=1.0, t=t)
    exact = {
        name: compile_expression((state, time, initial), getattr(law, name)(state), MPMATH)
        for name in ("pdf", "logpdf", "cdf", "sf")
    }
    points = np.concatenate([compiled.ppf(LEVELS), compiled.isf(LEVELS[:3])])
    points = points[np.isfinite(points) & (points != 1.0)]
    for name, reference in exact.items():
        got, want = getattr(compiled, name)(points), np.array([float(v) for v in reference(points, t, 1.0)])
        # one rounding of z, of size |z|, moves u = (z - m)/s by ε|z|/s, and the logarithm of the density by |u| times that
        slack = 1e-15 * 60 * (40 + 2 / np.sqrt(t))
        np.testing.assert_allclose(got, want, rtol=slack, err_msg=name)


@pytest.mark.parametrize(("name", "x0"), FIXED)
def test_mass_is_one_and_the_functions_belong_together(name, x0):
    d = compile_law(CASES[name], x0=x0, t=0.5)
    low, high = d.ppf(1e-17), d.isf(1e-17)
    inner = list(d.ppf([1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.5, 0.99, 1 - 1e-4, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12]))
    mass, _ = integrate.quad(d.pdf, low, high, points=inner, limit=400, epsabs=1e-11, epsrel=1e-11)
    assert abs(mass - 1) < 1e-9
    median = d.median()
    below, _ = integrate.quad(d.pdf, low, median, points=inner[:5], limit=400, epsabs=1e-11, epsrel=1e-11)
    assert abs(below - 0.5) < 1e-9
    for quantile, back in ((d.ppf(LEVELS), d.cdf), (d.isf(LEVELS), d.sf)):
        inside = ~np.isin(quantile, d.support())  # the doubles next to -1/2 are too far apart for the level 1e-300
        np.testing.assert_allclose(back(quantile[inside]), LEVELS[inside], rtol=1e-9)
        assert inside[2:].all()
    xs = d.ppf(LEVELS[2:])
    np.testing.assert_allclose(d.cdf(xs) + d.sf(xs), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(d.pdf(xs)), d.logpdf(xs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "x0"), FIXED)
def test_moments_are_integrals_of_the_density(name, x0):
    t = 0.2  # before log(2)/2, where the second moment of the transformed Ornstein–Uhlenbeck process ceases to exist
    d = compile_law(CASES[name], x0=x0, t=t)
    low, high = d.ppf(1e-18), d.isf(1e-18)
    inner = list(d.ppf([1e-6, 0.01, 0.5, 0.99, 1 - 1e-6]))
    first, second = (
        integrate.quad(lambda v, k=k: v**k * d.pdf(v), low, high, points=inner, limit=400)[0] for k in (1, 2)
    )
    # what lies beyond the 1e-18 quantiles: for the heavy tail of the transformed process about 1e-4 of the second moment
    slack = 2e-2 if name == "ornstein_uhlenbeck" else 1e-7
    assert abs(d.mean() - first) < 1e-6
    assert abs(d.var() - (second - first**2)) < slack * second
    assert d.std() == np.sqrt(d.var())
    assert d.moment(0) == 1


@pytest.mark.parametrize(("name", "x0"), FIXED)
def test_samples_follow_the_distribution_and_not_a_wrong_one(name, x0):
    d = compile_law(CASES[name], x0=x0, t=0.5)
    samples = d.rvs(60_000, random_state=1)
    assert stats.kstest(samples, d.cdf).pvalue > 1e-3
    # the control: noise 5 % larger
    part = d.parts[0].chart
    centre = part.forward(samples).mean()
    wrong = part.backward(centre + 1.05 * (part.forward(samples) - centre))[0]
    assert stats.kstest(wrong, d.cdf).pvalue < 1e-3


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("t", [1e-12, 0.3])
def test_gaussian_start_agrees_with_an_average_over_fixed_starts(name, t):
    d = compile_law(CASES[name], x0=START, t=t)
    xs = d.ppf([0.02, 0.3, 0.6, 0.97])
    np.testing.assert_allclose(d.cdf(xs), [0.02, 0.3, 0.6, 0.97], rtol=1e-10)
    np.testing.assert_allclose(d.sf(xs) + d.cdf(xs), 1, rtol=1e-12)
    if t < 1e-6:  # the start itself, moved by less than 1e-5
        density = stats.norm(0.2, 2**0.5).pdf(xs)
        np.testing.assert_allclose(d.pdf(xs), density, rtol=1e-10)
        return
    if name == "relu":
        return
    for point, value in zip(xs, d.pdf(xs), strict=True):
        assert abs(_average_over_starts(CASES[name], point, t) / value - 1) < 1e-9


def _average_over_starts(law, point, t):
    part = next(p for p in law.parts if p.diffusion.domain.contains(sp.Rational(float(point))) == sp.true)
    density = compile_expression((state, initial), part.pdf(state, sp.Rational(t)))
    low, high = (float(v) for v in (part.diffusion.domain.inf, part.diffusion.domain.sup))
    low, high = max(low, 0.2 - 15), min(high, 0.2 + 15)
    start = stats.norm(0.2, 2**0.5)
    cuts = sorted(v for v in (point - 1, point, point + 1) if low < v < high)
    ends = [low, *cuts, high]
    eps = 1e-300
    return sum(
        integrate.quad(
            lambda s: float(density(point, s)) * start.pdf(s), a + eps, b - eps, epsabs=1e-14, epsrel=1e-12, limit=200
        )[0]
        for a, b in pairwise(ends)
    )


def test_gaussian_start_of_brownian_motion_is_gaussian():
    d = compile_law(CASES["brownian"], x0=START, t=0.7)
    exact = stats.norm(0.2, (2 + 4 * 0.7) ** 0.5)
    xs = exact.ppf([1e-300, 1e-9, 0.3, 0.9])
    for name in ("pdf", "logpdf", "cdf", "sf"):
        np.testing.assert_allclose(getattr(d, name)(xs), getattr(exact, name)(xs), rtol=1e-11)
    np.testing.assert_allclose([d.mean(), d.var()], [0.2, 4.8], rtol=1e-14)


@pytest.mark.parametrize("name", SPREAD)
def test_samples_from_a_gaussian_start(name):
    d = compile_law(CASES[name], x0=START, t=0.25)
    samples = d.rvs(2000, random_state=2)
    grid = np.sort(samples)[::100]  # the distribution function is the dear part
    empirical = np.searchsorted(np.sort(samples), grid, side="right") / len(samples)
    assert np.abs(empirical - d.cdf(grid)).max() < 1.95 / np.sqrt(len(samples))  # KS at level 1e-3
    wrong = compile_law(CASES[name], x0=Normal(sp.Rational(1, 2), 2), t=0.25)
    assert np.abs(empirical - wrong.cdf(grid)).max() > 1.95 / np.sqrt(len(samples))


def test_relu_keeps_a_gaussian_start_where_it_is_dead():
    d = compile_law(CASES["relu"], x0=START, t=1.0)
    start = stats.norm(0.2, 2**0.5)
    xs = np.array([-3.0, -1.0, 0.0])
    np.testing.assert_allclose(d.cdf(xs), start.cdf(xs), rtol=1e-13)
    np.testing.assert_allclose(d.pdf(xs[:2]), start.pdf(xs[:2]), rtol=1e-13)
    assert d.atoms == ()


def test_a_dead_start_is_one_atom():
    d = compile_law(CASES["relu"], x0=-2.0, t=1.0)
    assert d.atoms == ((-2.0, 1.0),)
    assert (d.mean(), d.var(), d.median(), d.support()) == (-2.0, 0.0, -2.0, (-2.0, -2.0))
    assert d.cdf([-2.1, -2.0, 0.0]).tolist() == [0, 1, 1]
    assert d.sf([-2.1, -2.0, 0.0]).tolist() == [1, 0, 0]
    assert d.pdf(-2.0) == 0
    assert d.rvs(3).tolist() == [-2, -2, -2]
    assert compile_law(CASES["identity"], x0=0, t=1.0).atoms == ((0.0, 1.0),)


def test_tails_and_short_times_are_finite_and_right():
    d = compile_law(CASES["identity"], x0=1.0, t=1.0)
    for point in (1e-300, 1e300):
        with mpmath.workdps(40):
            z = mpmath.log(point)
            exact = -z - mpmath.log(2 * mpmath.pi) / 2 - (z + 0.5) ** 2 / 2
        assert abs(d.logpdf(point) / float(exact) - 1) < 1e-14
    far = np.exp(30 - 0.5)
    assert abs(d.sf(far) / stats.norm.sf(30) - 1) < 1e-12  # 1 - cdf would be 0
    assert 1 - d.cdf(far) == 0
    short = compile_law(CASES["ornstein_uhlenbeck"], x0=0.3, t=1e-12)
    assert 0 < short.var() < 1e-11
    assert short.std() == pytest.approx(1e-6 * float(ornstein_uhlenbeck(sp.Rational(3, 10))), rel=1e-9)


def test_outside_the_domain_there_is_nothing():
    d = compile_law(CASES["identity"], x0=2.0, t=1.0)
    assert d.pdf([-1.0, 0.0]).tolist() == [0, 0]
    assert d.logpdf(-1.0) == -np.inf
    assert d.cdf([-1.0, 0.0, np.inf]).tolist() == [0, 0, 1]
    assert d.sf([-1.0, 0.0, np.inf]).tolist() == [1, 1, 0]
    assert np.isnan(d.pdf(np.nan))
    assert np.isnan(d.ppf([-0.1, 1.1])).all()
    assert (d.ppf(0), d.ppf(1), d.isf(0)) == (0, np.inf, np.inf)
    assert d.pdf(np.ones((2, 3))).shape == (2, 3)
    assert d.rvs((2, 3), random_state=0).shape == (2, 3)
    assert np.ndim(d.rvs(random_state=0)) == 0
    low, high = d.interval(0.9)
    assert (d.cdf(low), d.sf(high)) == (pytest.approx(0.05), pytest.approx(0.05))


def test_a_moment_that_ceases_to_exist_is_infinite():
    law = CASES["ornstein_uhlenbeck"]
    assert float(law.finite_until(2)) == pytest.approx(np.log(2) / 2)
    assert np.isfinite(compile_law(law, x0=0.5, t=0.34).var())
    assert compile_law(law, x0=0.5, t=0.35).var() == np.inf
    assert compile_law(law, x0=0.5, t=0.35).std() == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": 0}, "must be positive"),
        ({"t": -1.0}, "must be positive"),
        ({"t": np.nan}, "must be finite"),
        ({"t": "1"}, "real number"),
        ({"x0": np.inf}, "must be finite"),
        ({"x0": None}, "real number"),
        ({"x0": sp.Symbol("s")}, "real number"),
        ({"law": None}, "use numerics.distribution"),
        ({"law": "half line", "x0": -2.0}, "outside the domain"),
        ({"law": "half line", "x0": START}, "only with probability"),
        ({"law": "two_components", "x0": START}, "one component"),
    ],
)
def test_senseless_requests_are_refused(change, message):
    asked = {"law": "identity", "x0": 1.0, "t": 1.0, **change}
    asked["law"] = asked["law"] and CASES[asked["law"]]
    with pytest.raises(ValueError, match=message):
        compile_law(**asked)


def test_orders_of_moments_are_whole_numbers():
    d = compile_law(CASES["identity"])
    for order in (-1, 0.5, True):
        with pytest.raises(ValueError, match="whole number"):
            d.moment(order)


def test_a_law_with_parameters_is_refused():
    law = recognise(depth_limit(ResNet(identity, width=1, weight_variance=sp.Symbol("v", positive=True))))
    with pytest.raises(ValueError, match="parameters v left"):
        compile_law(law)


def test_nothing_warns_anywhere():
    extreme = np.array([-np.inf, -1e308, -1e-308, 0.0, 1e-320, 1e-308, 1.0, 1e308, np.inf])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, law in CASES.items():
            for x0 in (0.5, *([START] if name in SPREAD else [])):
                d = compile_law(law, x0=x0, t=1.0)
                for method in ("pdf", "logpdf", "cdf", "sf"):
                    assert not np.isnan(getattr(d, method)(extreme)).any()
