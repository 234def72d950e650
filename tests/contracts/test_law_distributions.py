"""Every family from tiny and huge starts, at tiny and huge times: distribution functions, quantiles, densities; against other formulas.

How far ``ppf(cdf(x))`` may be from x is counted in roundings. With y the coordinate of x, c that of the middle of the law and s its width:
y itself takes some (the elementary functions of the map), ``(y - c)/s`` three, ``c + s u`` on the way back three, the map back some. Each is of
relative size ε: of x, or of |y| or |c|, where it is worth φ(x) times as much in x, since dx = φ dy. The maps are formulas of fewer than ten
elementary functions of half a rounding or two each, so that all together are fewer than ``ROUNDINGS``. The level between them
is a tail ~ exp(-u²/2), whose relative error is that of u times u² ~ -2 log level; in x it is worth level/p(x) times as much.
"""

from __future__ import annotations

import random
from itertools import product

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import special, stats

from derivations import GatedBlock, MLPBlock, ResNet, depth_limit, derive, recognise, relu
from derivations.diffusion import Diffusion
from derivations.laws import LAWS
from derivations.laws.frozen import FrozenLaw
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.laws.kernel import KernelLaw
from derivations.laws.mehler import MehlerLaw
from derivations.laws.numbers import compiled
from derivations.laws.radial import BesselLaw
from derivations.laws.transformed import TransformedGaussian
from derivations.symbols import initial, time
from derivations.symbols import state as x
from numerics import compile_law
from numerics.compile.laws import chart
from numerics.densities import PointMass
from tests.benchmarks.bench_laws import cases
from tests.helpers import Made

HALF = sp.Interval.open(0, sp.oo)
EPS, ROUNDINGS = np.finfo(float).eps, 32
STARTS, TIMES = 10.0 ** np.arange(-12, 13, 2), 10.0 ** np.arange(-12, 4, 1.5)
FAR = np.array([-np.inf, -1e300, -1e10, -1e-300, 0.0, 5e-324, 1e-300, 1e-9, 1e10, 1e300, np.inf])


def roundings(d, part, points):
    """What the roundings of x, of its coordinate and of the middle of the law are worth in x."""
    moving = next(m for m in d.parts if not isinstance(m, PointMass))
    if isinstance(part, TransformedGaussian):
        y, middle = chart(part).forward(points), np.abs(moving.means).max()
        scale = np.exp(chart(part).backward(y)[1])
    elif isinstance(part, KernelLaw):
        coordinate, noise = (compiled((part.form.state,), e) for e in (part.chart.coordinate, part.form.scale))
        y, scale = (np.array([float(f(v)) for v in points]) for f in (coordinate, noise))
        middle = float(part.chart.length) if isinstance(part, IntervalLaw) else abs(moving.centre)
    else:  # a state is counted from the zero that is crossed
        return ROUNDINGS * EPS * (np.abs(points) + abs(float(getattr(part, "zero", 0))))
    return ROUNDINGS * EPS * (np.abs(points) + (np.abs(y) + middle) * scale)


def check(law, x0, t):
    """The contract at one start and time; False where the start is outside the domain."""
    start = sp.Rational(x0)
    part = next((p for p in getattr(law, "parts", (law,)) if p.diffusion.domain.contains(start) == sp.true), None)
    if part is None:
        return False
    d = compile_law(law, x0=x0, t=t)
    levels = np.array([1e-12, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-12])
    inner = d.ppf(levels)
    points = np.unique(np.concatenate([inner, FAR, x0 * (1 + 1e-3 * np.arange(-1, 2))]))
    below, above = d.cdf(points), d.sf(points)
    assert not np.isnan([below, above, d.pdf(points), d.logpdf(points)]).any()
    assert np.abs(below + above - 1).max() < 1e-12
    assert min(below.min(), above.min()) >= 0
    assert max(below.max(), above.max()) <= 1
    assert np.diff(below).min() > -4 * EPS
    assert np.diff(above).max() < 4 * EPS
    assert d.pdf(points).min() >= 0
    assert (inner[1:] >= np.nextafter(np.nextafter(inner[:-1], -np.inf), -np.inf)).all()  # the map back rounds
    low, high = d.support()
    inside = points[(points > low) & (points < high) & (d.pdf(points) > 0)]
    with np.errstate(all="ignore"):
        slack = roundings(d, part, inside) if inside.size else inside
        for there, back in ((d.cdf, d.ppf), (d.sf, d.isf)):
            level = there(inside)
            some = (level > 1e-290) & (level <= 0.6) & np.isfinite(slack)
            again = back(level)
            least = np.minimum(d.pdf(inside), d.pdf(again))  # infinite at a zero that is crossed
            own = EPS * ROUNDINGS * (1 - np.log(level)) * level / least  # of the level's last digits
            assert (np.abs(again - inside)[some] <= (slack + own)[some] + 2 * np.spacing(np.abs(inside[some]))).all()
    shown = [
        a
        for a, mass in d.atoms
        if mass > 0 and a not in [float(b.location) for b in part.atoms if b.location.is_number]
    ]
    crowded = not shown and "lies nearer to its end" in d.remark
    assert bool(shown) == bool(d.remark) or crowded or isinstance(part, FrozenLaw)
    assert (
        inner[0] < inner[-1] or d.atoms or low < inner[0] < high
    )  # what has come within a double of an end is an atom there
    return True


KNOWN = Made(
    {
        "GBM": lambda: recognise(Diffusion((x,), [0], [[x**2]], HALF)),
        "CIR": lambda: recognise(Diffusion((x,), [3 - 2 * x], [[x]], HALF)),
    }
)
CORNERS = [(1e-12, 1e-12), (1e12, 1e-12), (1e-12, 1e3), (1e12, 1e3), (1e-12, 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize("family", LAWS, ids=lambda c: c.__name__)
def test_every_family_keeps_the_contract_at_the_corners(family):
    law = family.example()
    tried = [check(law, side * x0, t) for x0, t in CORNERS[::2] for side in (1, -1)]
    assert any(tried)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_process_keeps_the_contract_on_a_grid(case):
    law = recognise(case.process)
    # every start and every time; all of the grid passes with other beginnings, and takes four minutes
    pairs = list(product(STARTS, TIMES))[random.Random(case.name).randrange(17) :: 17]
    assert any([check(law, side * x0, t) for x0, t in pairs for side in (1, -1)])


def bessel(drift, variance):
    return recognise(Diffusion((x,), [drift], [[variance]], HALF))


LATER = Made(
    {
        "two matrices": lambda: derive(MLPBlock(relu, width=4, hidden=3)).gram_law,
        "pre-norm, 1 neuron": lambda: derive(MLPBlock(relu, width=1, hidden=2, norm="rms")).gram_law,
        "pre-norm, 3 neurons": lambda: derive(MLPBlock(relu, width=3, hidden=2, norm="rms")).gram_law,
        **{
            f"gate, {n} neurons": lambda n=n: derive(GatedBlock(relu, width=n, hidden=2)).gram_law
            for n in (1, 2, 3, 4, 5)
        },
        **{
            f"crossing, exponent {q}": lambda q=q: recognise(
                Diffusion((x,), [0], [[sp.Abs(x) ** (2 * sp.Rational(q))]])
            )
            for q in ("1/10", "9/20")
        },
        "crossing elsewhere": lambda: recognise(Diffusion((x,), [0], [[sp.sqrt(sp.Abs(x - 3))]])),
        "crossing, skew": lambda: recognise(
            Diffusion((x,), [0], [[sp.Piecewise((4 * sp.sqrt(-x), x < 0), (sp.sqrt(x), True))]])
        ),
        **{
            f"squared Bessel, dimension {d}": lambda d=d: bessel(sp.Rational(d), 4 * x)
            for d in ("1/100", "2", "0", "-1", "7")
        },
        "CIR, dimension 4/25": lambda: bessel(sp.Rational(1, 100) - x / 10, x / 4),
        "CIR that grows": lambda: bessel(sp.Rational(1, 2) + x / 10, x),
        **{f"power {p} of the state": lambda p=p: bessel(0, x ** sp.Rational(p)) for p in ("3/2", "3", "6")},
        **{f"absorbed, drift {d}": lambda d=d: bessel(sp.Rational(d), 1) for d in ("1/3", "-2", "0")},
        "absorbed above": lambda: recognise(Diffusion((x,), [0], [[1]], sp.Interval.open(-sp.oo, 5))),
        "an interval": lambda: recognise(Diffusion((x,), [sp.Rational(2, 5)], [[1]], sp.Interval.open(-1, 2))),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(k, marks=[] if k in ("gate, 3 neurons", "crossing elsewhere") else pytest.mark.slow) for k in LATER],
)
def test_norms_gates_and_crossings_keep_the_contract_at_the_corners(name):
    law = LATER[name]
    assert any([check(law, side * x0, t) for x0, t in CORNERS for side in (1, -1)])


def test_one_over_squares_and_theta_series_from_a_tiny_start_in_a_tiny_time():
    square = compile_law(recognise(depth_limit(ResNet(x**2, width=1))), x0=1e-12, t=1e-12)
    # of width 1e-30: all of it rounds to one double
    assert square.atoms == ((1e-12, 1.0),)
    assert "narrower than doubles resolve" in square.remark
    assert (square.cdf(1e-12), square.sf(1e-12), square.cdf(0.999e-12), square.pdf(1e-12)) == (1, 0, 0, 0)
    assert square.mean() == 1e-12
    lognormal = compile_law(KNOWN["GBM"], x0=1e-12, t=1e-40)  # whose moments are closed: of the exact law
    assert lognormal.atoms == ((1e-12, 1.0),)
    assert lognormal.std() / 1e-32 == pytest.approx(1, rel=1e-12)
    assert lognormal.stats("k") == pytest.approx(0, abs=1e-12)
    theta = compile_law(recognise(depth_limit(ResNet(1 + x**2, width=1))), x0=1e-12, t=1e-12)
    assert (theta.cdf(1e10), theta.sf(-1e10), theta.remark) == (1, 1, "")
    normal = stats.norm(1e-12, 1e-6)
    points = normal.ppf([1e-12, 0.01, 0.5, 0.9])
    np.testing.assert_allclose(theta.cdf(points), normal.cdf(points), rtol=1e-5)  # corrections of order √t
    np.testing.assert_allclose(theta.cdf(points) + theta.sf(points), 1, rtol=1e-15)


FEW = [(x0, t) for x0 in (1e-12, 1e-3, 1e6) for t in (1e-8, 1e-2, 10.0)]


@pytest.mark.parametrize(("x0", "t"), FEW)
def test_against_scipys_lognormal_and_noncentral_chi_square(x0, t):
    levels = np.array([1e-6, 0.2, 0.5, 0.99])
    d, peer = compile_law(KNOWN["GBM"], x0=x0, t=t), stats.lognorm(np.sqrt(t), scale=x0 * np.exp(-t / 2))
    points = peer.ppf(levels)
    slack = 64 * EPS * (1 + np.abs(np.log(points))) / np.sqrt(t)
    np.testing.assert_allclose(d.cdf(points), levels, rtol=1e-11 + 40 * slack.max())
    d = compile_law(KNOWN["CIR"], x0=x0, t=t)
    with mpmath.workdps(40):
        decay = mpmath.exp(-2 * mpmath.mpf(t))
        scale, shift = (1 - decay) / 8, 8 * decay * mpmath.mpf(x0) / (1 - decay)
    if shift > 1e4:  # Sankaran's and other expansions in the peer are not as good as the quadrature
        points = d.ppf(levels)
        normal = stats.norm(d.mean(), d.std())
        np.testing.assert_allclose(normal.cdf(points), levels, atol=2 / np.sqrt(float(shift)))
        return
    for point, level in zip(d.ppf(levels), levels, strict=True):
        with mpmath.workdps(30):  # a Poisson mixture of Gamma laws
            half, u = shift / 2, mpmath.mpf(float(point)) / (2 * scale)
            reach = int(half + 12 * mpmath.sqrt(half) + 60)
            mixture = mpmath.fsum(
                mpmath.exp(-half + j * mpmath.log(half) - mpmath.loggamma(j + 1)) * mpmath.gammainc(6 + j, 0, u, True)
                for j in range(max(0, int(half - 12 * mpmath.sqrt(half) - 60)), reach)
            )
        assert float(mixture) == pytest.approx(level, rel=1e-10)


@pytest.mark.slow
def test_against_the_laws_own_formula_to_fifty_digits():
    for process, x0, t in (
        (Diffusion((x,), [0], [[x**4]], HALF), 1e-3, 1e3),
        (Diffusion((x,), [0], [[x**4]], HALF), 1e6, 1e-6),
        (Diffusion((x,), [sp.Rational(1, 2)], [[1]], HALF), 40.0, 0.5),
        (Diffusion((x,), [0], [[x**2 * (1 - x) ** 2]], sp.Interval.open(1, sp.oo)), 1.001, 0.3),
    ):
        part = recognise(process).parts[0]
        assert isinstance(part, HalfLineLaw)
        d = compile_law(part, x0=x0, t=t)
        formula = compiled((x, initial, time), part.cdf(x))
        points = d.ppf(np.array([1e-6, 0.1, 0.5, 0.9]) * d.parts[-1].mass + (d.cdf(d.support()[0])))
        slack = roundings(d, part, points) * d.pdf(points) + 1e-12
        with mpmath.workdps(60):
            exact = [float(formula(mpmath.mpf(float(v)), mpmath.mpf(x0), mpmath.mpf(t))) for v in points]
        assert (np.abs(d.cdf(points) - exact) <= slack).all()


def test_against_the_stationary_law_of_the_theta_series():
    d = compile_law(recognise(depth_limit(ResNet(1 + x**2, width=1))), x0=1e6, t=1e3)
    points = np.array([-1e5, -1.0, 0.3, 2.0, 1e4])
    y = np.arctan2(1, -points)
    np.testing.assert_allclose(d.cdf(points), (y - np.sin(y) * np.cos(y)) / np.pi, rtol=1e-12, atol=1e-16)


def test_mass_below_the_smallest_double_is_there():
    # dimension 0.01: y^{-0.99} at the end, of which a share lies where no double does
    d = compile_law(recognise(Diffusion((x,), [sp.Rational(1, 100)], [[4 * x]], HALF)), x0=0.1, t=5.0)
    assert d.cdf(np.inf) == 1
    peer = stats.ncx2(0.01, 0.1 / 5, scale=5)
    points = np.array([1e-300, 1e-100, 1e-3, 1.0, 10.0])
    np.testing.assert_allclose(d.cdf(points), peer.cdf(points), rtol=1e-9)
    np.testing.assert_allclose(d.sf(points), peer.sf(points), rtol=1e-8)
    assert d.ppf(0.5) < 1e-58


@pytest.mark.slow
@pytest.mark.parametrize("t", [30.0, 1e3])
def test_what_has_gone_to_the_ends_is_there_with_its_probabilities(t):
    from derivations.activations import unstable_ornstein_uhlenbeck

    d = compile_law(recognise(depth_limit(ResNet(unstable_ornstein_uhlenbeck, width=1))), x0=0.3, t=t)
    # a bounded martingale: P(right end) = (x0 − l)/(r − l)
    assert d.cdf(0.0) == pytest.approx(0.5 - 0.3 / np.sqrt(np.pi), abs=1e-11)
    assert d.mean() == pytest.approx(0.3, rel=1e-12)
    assert ("is a point mass at" in d.remark) == (t > 700)
    assert d.remark.startswith("0.33 of the law lies nearer to its end -0.886") == (t < 700)


@pytest.mark.slow
def test_a_process_that_leaves_every_double_is_where_its_h_transform_says():
    # u = e^{x²/2}(1 + ½ erf x): Xe^{-t} → N(x0, ½) weighted by 1 + ½ sign, so P(−∞) = ½Φ(−x0√2)/(1 + ½ erf x0), at every late time
    law = MehlerLaw.example()
    below = stats.norm.cdf(-0.1 * np.sqrt(2)) / 2 / (1 + special.erf(0.1) / 2)
    for t in (40.0, 100.0, 1e3):
        d = compile_law(law, x0=0.1, t=t)
        assert d.cdf(0.0) == pytest.approx(below, rel=1e-10)
        assert ("outgrown" in d.remark) == (t > 700)
        if t < 700:
            spread = np.exp(t) * stats.norm.ppf(0.75) / np.sqrt(2)
            assert d.isf(
                1.5 / (1 + special.erf(0.1) / 2) * stats.norm.sf(spread / np.exp(t) * np.sqrt(2) - 0.1 * np.sqrt(2))
            ) == pytest.approx(spread, rel=1e-9)
    # far out and in a short time: N(x0 e^t, (e^{2t} − 1)/2), whatever ½ erf adds
    d = compile_law(law, x0=1e8, t=0.5)
    one = d.isf(stats.norm.sf(1)) - d.median()
    assert (d.median() / (1e8 * np.exp(0.5)), one) == pytest.approx((1, np.sqrt(np.expm1(1) / 2)), rel=1e-7)


@pytest.mark.slow
def test_what_has_come_to_an_end_within_a_double_is_an_atom_there():
    d = compile_law(recognise(depth_limit(ResNet(x**2 + x - 1, width=1))), x0=1e4, t=1e3)
    assert d.atoms == ((pytest.approx((np.sqrt(5) - 1) / 2, rel=1e-15), 1.0),)
    assert "narrower" in d.remark
    alike = compile_law(recognise(depth_limit(ResNet(x**2 + x - 1, width=1))), x0=1e4, t=1.0)
    assert alike.atoms == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "variance"), [(0, 1), (sp.Rational(2, 5), 1), (-sp.Rational(1, 3), 1), (0, (1 + x**2) ** 2)], ids=str
)
def test_what_the_ends_of_an_interval_have_absorbed_against_the_laws_integral(drift, variance):
    process = Diffusion((x,), [drift], [[variance]], sp.Interval.open(-1, 2))
    (law,) = recognise(process).parts
    for x0, t in ((0.5, 0.3), (-0.9, 2.0), (1.9, 9.0)):
        d = compile_law(law, x0=x0, t=t)
        with mpmath.workdps(20):
            exact = [float(compiled((initial, time), a.mass)(x0, t)) for a in law.atoms]
        np.testing.assert_allclose([mass for _, mass in d.atoms], exact, rtol=1e-12)
    tiny = compile_law(law, x0=-1 + 2.0**-40, t=31.0)  # nearly all is gone, at once
    assert sum(mass for _, mass in tiny.atoms) == pytest.approx(1, abs=1e-12)


def test_what_doubles_beside_an_end_do_not_tell_apart_is_said():
    from derivations.activations import unstable_ornstein_uhlenbeck

    law = recognise(depth_limit(ResNet(unstable_ornstein_uhlenbeck, width=1)))
    # the exact state: the coordinate erfinv(2x/√π) is N(y0 e^t, (e^{2t} − 1)/2); 64 doubles are 7.1e-15 of the end
    for t, said in ((2, True), (sp.Rational(1, 4), False)):
        d = compile_law(law, x0=0, t=t)
        with mpmath.workdps(40):
            y = mpmath.erfinv(1 - mpmath.mpf(64) * 2 * mpmath.mpf(2) ** -53 / mpmath.sqrt(mpmath.pi))
            share = mpmath.erfc(y / mpmath.sqrt(mpmath.expm1(2 * mpmath.mpf(float(t))))) / 2
        assert ("than doubles resolve" in d.remark) == said == (share > 1e-6)
    found = compile_law(law, x0=0, t=2).remark
    assert found.count("of the law lies nearer to its end") == 2
    assert float(found.split()[0]) == pytest.approx(0.14, abs=0.01)


@pytest.mark.slow
def test_a_moment_close_to_its_explosion_says_so_at_once():
    from derivations.activations import ornstein_uhlenbeck

    law = recognise(depth_limit(ResNet(ornstein_uhlenbeck, width=1)))
    until = float(law.finite_until(sp.Integer(2)))
    assert compile_law(law, x0=0.3, t=until * 1.001).var() == np.inf
    with pytest.raises(ValueError, match="becomes infinite about here"):
        compile_law(law, x0=0.3, t=until * (1 - 1e-6)).var()
    assert 800 < compile_law(law, x0=0.3, t=until * 0.99).var() < 900


@pytest.mark.parametrize(("x0", "t"), CORNERS[1:4])
def test_the_entropy_is_there_where_states_are_beyond_doubles(x0, t):
    d = compile_law(KNOWN["GBM"], x0=x0, t=t)
    normal = np.log(x0) - t / 2 + np.log(2 * np.pi * np.e * t) / 2
    assert d.entropy() == pytest.approx(normal, rel=1e-11)
    assert d.entropy() != pytest.approx(normal + 0.05, rel=1e-11)


def test_moments_without_a_value_in_doubles_say_so():
    outgrown = compile_law(MehlerLaw.example(), x0=1e-12, t=1e3)  # mass at both infinities
    for moment in (outgrown.mean, outgrown.var, outgrown.std, outgrown.stats):
        with pytest.raises(ValueError, match="the moment has no value in doubles"):
            moment()
    narrow = compile_law(BesselLaw.example(), x0=1e12, t=1e-12)  # its closed moments have 1e12 digits before the point
    assert (narrow.mean(), narrow.var()) == (1e12, 0.0)
