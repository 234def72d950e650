"""Every method of SciPy's frozen distributions, on every family of laws, from tiny and huge starts at tiny and huge times.

Each method is held against another one: logarithms against what they are logarithms of, quantiles against the distribution function,
samples against it by Kolmogorov's distance, moments against integrals over the law, which are taken in its coordinate.
"""

from __future__ import annotations

import inspect
import pickle
from dataclasses import replace
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import stats
from scipy.special import kolmogi

from derivations import MLP, ResNet, depth_limit, derive, gelu, recognise, relu, tanh
from derivations.diffusion import Diffusion
from derivations.laws import LAWS, Law, Normal, PiecewiseLaw
from derivations.laws.crossing import Side
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.symbols import state as x
from numerics import compile_law, distribution, output_law, outputs
from numerics.densities import Measure
from tests.benchmarks.bench_laws import cases
from tests.contracts.test_law_distributions import LATER
from tests.helpers import Made

SAMPLES = 400
#: Kolmogorov's distance that samples from the law exceed once in a million times.
APART = kolmogi(1e-6) / np.sqrt(SAMPLES)
LEVELS = np.array([1e-12, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-9])
TYPICAL, TINY_LATE = (0.3, 1.0), (1e-12, 1e3)
EXTREMES = [(1e-12, 1e-12), TINY_LATE, (1e3, 30.0), (1e12, 1e-12), (1e12, 1e3)]


def concrete(kind):
    """All classes below one that can be made."""
    for below in kind.__subclasses__():
        yield from concrete(below)
        if not inspect.isabstract(below):
            yield below


def test_every_family_is_in_the_list_that_is_swept():
    here = {kind for kind in concrete(Law) if kind.__module__.startswith("derivations.")}
    # the whole of a law's pieces, and one side of a zero, which has no law of its own
    assert here - {PiecewiseLaw, Side} == set(LAWS)


def named(name):
    """The process of that name in the benchmarks, if it is there."""
    return next((case for case in cases() if case.name == name), None)


def start_of(law, x0):
    """The start on that side of 0 which is in the law's domain; None if neither is."""
    return next((s for s in (x0, -x0) if law.diffusion.domain.contains(sp.Rational(s)) == sp.true), None)


def functions_agree(d):
    """The functions of a state: logarithms, quantiles and samples against the distribution function."""
    quantiles = d.ppf(LEVELS)
    assert not np.isnan([quantiles, d.isf(LEVELS)]).any()
    assert d.median() == d.ppf(0.5)
    low, high = d.support()
    below, above = d.interval(0.9)
    assert low <= below <= above <= high
    points = np.unique(quantiles[np.isfinite(quantiles)])
    for plain, log in ((d.pdf, d.logpdf), (d.cdf, d.logcdf), (d.sf, d.logsf)):
        with np.errstate(all="ignore"):
            value, logarithm = plain(points), log(points)
        seen = (value > 1e-290) & (value < 1e290)
        np.testing.assert_allclose(np.exp(logarithm[seen]), value[seen], rtol=1e-11)
        assert not np.isnan(logarithm).any()
    drawn = np.sort(d.rvs(SAMPLES, random_state=1))
    assert low <= drawn[0]
    assert drawn[-1] <= high
    ranks = [np.searchsorted(drawn, drawn, side) / SAMPLES for side in ("left", "right")]
    # a sample rounds to either side, and functions of a state are those of one that differs by a few roundings
    with np.errstate(all="ignore"):
        few = np.where(np.isfinite(drawn), 4 * np.spacing(np.abs(drawn)), 0)
    before = np.where(np.isneginf(drawn), 0, d.cdf(np.minimum(drawn - few, np.finfo(float).max)))
    assert max((before - ranks[0]).max(), (ranks[1] - d.cdf(drawn + few)).max()) < APART


PEER = stats.norm(0, 1)
ASKED = (0.3, 1, np.float32(0.3), np.array(0.3), [0.2, 0.4], np.full((2, 3), 0.3), np.empty(0), np.empty((0, 3)))


def shapes_agree(d):
    """Every method of SciPy's frozen distributions is there and answers in the same shape."""
    wanted = {name for name in dir(PEER) if not name.startswith("_") and callable(getattr(PEER, name))}
    assert {name for name in wanted if not hasattr(d, name)} <= {"a", "b", "args", "dist", "kwds", "random_state"}
    for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf"):
        mine, theirs = getattr(d, name), getattr(PEER, name)
        for asked in ASKED:
            assert (np.shape(mine(asked)), np.asarray(mine(asked)).dtype) == (np.shape(theirs(asked)), np.float64), name
        assert np.isnan(mine(np.nan)), name
    low, high = d.support()
    assert (d.ppf(0), d.ppf(1), d.isf(0), d.isf(1)) == (low, high, high, low)
    assert np.isnan([*d.ppf([-0.1, 1.1]), *d.isf([-0.1, 1.1]), *d.interval(1.5)]).all()
    for share in (0.9, [0.5, 0.9], np.full((2, 2), 0.3)):
        assert [np.shape(end) for end in d.interval(share)] == [np.shape(end) for end in PEER.interval(share)]
    for size in (1, 3, (2, 3), (), 0, (0, 2)):
        assert np.shape(d.rvs(size=size, random_state=1)) == np.shape(PEER.rvs(size=size, random_state=1))
    assert np.ndim(d.rvs(random_state=1)) == 0
    ends, there = np.array([-np.inf, np.inf]), dict(d.atoms).get(-np.inf, 0.0)  # what has outgrown doubles
    assert np.abs(d.cdf(ends) - [there, 1]).max() < 1e-12
    assert np.abs(d.sf(ends) - [1 - there, 0]).max() < 1e-12


NO_NUMBER = ("infinite", "no value in doubles", "overflows", "nan at states", "no more digits")


def said(call):
    """A number, or None where it is said that doubles have none; any other complaint is passed on."""
    try:
        return call()
    except ValueError as refusal:
        if not any(word in str(refusal) for word in NO_NUMBER):
            raise
        return None


def moments_agree(d):
    """Moments against each other and against integrals over the law."""
    mean, variance, second = said(d.mean), said(d.var), said(lambda: d.moment(2))
    if mean is None or variance is None:
        return
    assert variance >= 0
    assert d.std() == np.sqrt(variance)
    assert d.stats() == (mean, variance)
    if np.isfinite(variance) and second is not None:
        assert abs(second - mean**2 - variance) <= (1e-10 + d.error) * second
    if d.remark:  # closed moments are of the exact law, integrals of what doubles show of it
        return
    integral = said(d.expect)
    if integral is not None and np.isfinite(mean):
        spread = min(d.std(), d.isf(1e-12) - d.ppf(1e-12))
        assert abs(integral - mean) <= (1e-9 + d.error) * (abs(mean) + spread)
        around = said(lambda: d.expect(lambda x: (x - mean) ** 2))
        if around is not None and np.isfinite(variance) and spread > 1e-5 * abs(mean):
            assert around == pytest.approx(variance, rel=1e-6 + d.error, abs=0)


def all_methods(law, x0, t):
    """The whole contract at one start and time; False where no start is in the domain."""
    start = start_of(law, x0)
    if start is None:
        return False
    every_method(compile_law(law, x0=start, t=t))
    return True


def every_method(d):
    """The whole contract of a distribution."""
    functions_agree(d)
    moments_agree(d)
    shapes_agree(d)
    assert d.expect(np.ones_like) == pytest.approx(1, abs=1e-10)
    entropy = said(d.entropy)  # where states have come within a double of an end it is said that the density overflows
    atoms = sum(mass > 0 for _, mass in d.atoms)
    assert entropy is None or (entropy == -np.inf if atoms else np.isfinite(entropy))
    again = pickle.loads(pickle.dumps(d))
    assert again == d
    assert hash(again) == hash(d)


@pytest.mark.parametrize("family", LAWS, ids=lambda family: family.__name__)
def test_every_method_of_every_family(family):
    law = family.example()
    assert any([all_methods(law, *TYPICAL), all_methods(law, *TINY_LATE)])


ONE = ResNet(relu, width=1)
OTHERS = Made(
    {
        **{
            f"output, geometric, from {x0} at {t}": lambda x0=x0, t=t: output_law(derive(ONE), x0=x0, t=t)
            for x0, t in ((1e-12, 1e-12), (1.0, 1.0), (-1.0, 1.0), (1e12, 1e-3), (1e-12, 1e3))
        },
        "output, joint": lambda: output_law(derive(MLP(relu, inputs=1), order="joint"), t=1.0),
        "output, joint, late": lambda: output_law(derive(MLP(relu, inputs=1), order="joint"), t=1e3),
        "output, Gaussian": lambda: output_law(derive(ResNet(gelu, width=sp.oo)), t=1.0),
        "output, solved": lambda: output_law(derive(ResNet(tanh, width=1)), t=1.0),
        "output, narrow": lambda: output_law(derive(ResNet(x**2, width=1)), x0=1e-12, t=1e-12),
        "output, sampled": lambda: output_law(derive(ResNet(tanh, width=2)), t=0.5, samples=400, steps=20),
        **{
            f"Gaussian start, at {t}": lambda t=t: compile_law(recognise(depth_limit(ONE)), x0=Normal(0, 1), t=t)
            for t in (1e-12, 1.0)
        },
        "Gaussian start, moved": lambda: compile_law(
            recognise(depth_limit(ResNet(2 * x + 1, width=1))), x0=Normal(0, 1), t=1e-3
        ),
        **{
            f"solved, {name}": lambda f=f, t=t: distribution(depth_limit(ResNet(f, width=1)), x0=0.3, t=t)
            for name, f, t in (("tanh", tanh, 1.0), ("tanh, tiny", tanh, 1e-12), ("sine", sp.sin(x), 0.5))
        },
        "solved, reached end": lambda: distribution(
            Diffusion((x,), [0], [[x * (1 - x)]], sp.Interval.open(0, 1)), x0=0.3, t=0.5
        ),
    }
)


def quantiles_invert(d):
    """Up to a quantile and some roundings of it there is that probability, and not before."""
    levels = np.array([1e-9, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
    for there, back, outwards in ((d.cdf, d.ppf, 1), (d.sf, d.isf, -1)):
        found = back(levels)
        few = 64 * outwards * np.spacing(np.abs(found))
        assert (there(found - few) <= levels * (1 + 1e-9)).all()
        assert (there(found + few) >= levels * (1 - 1e-9)).all()


def test_quantiles_of_another_law_do_not_invert():
    normal, wider = stats.norm(0, 1), stats.norm(0, 1.001)
    quantiles_invert(normal)
    with pytest.raises(AssertionError):
        quantiles_invert(SimpleNamespace(cdf=normal.cdf, sf=normal.sf, ppf=wider.ppf, isf=wider.isf))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_method_of_outputs_of_spread_starts_and_of_solved_laws(name):
    every_method(OTHERS[name])
    quantiles_invert(OTHERS[name])


@pytest.mark.slow
def test_every_kind_of_measure_is_swept():
    """What distributions are made of, the grid's and the readouts' measures among them: a new kind needs its row in ``OTHERS``."""
    held = {type(part) for name in OTHERS for part in OTHERS[name].parts}
    held |= {
        type(part)
        for family in LAWS
        for part in compile_law(family.example(), x0=start_of(family.example(), 0.3)).parts
    }
    assert set(concrete(Measure)) <= held


def test_outputs_whose_variance_doubles_do_not_hold_say_so():
    # the state is geometric, log X ~ N(−500, 1000): X² is below the smallest double unless a normal number is above 8
    small = OTHERS["output, geometric, from 1e-12 at 1000.0"]
    assert "variances below the smallest double, with the probability 1, are a point mass at 0" in small.remark
    with pytest.raises(
        ValueError, match="the moment of order 1 is not known: that of order 2 is infinite or overflows"
    ):
        small.mean()
    assert OTHERS["output, geometric, from 1.0 at 1.0"].remark == ""
    with pytest.raises(ValueError, match="the output's variance leaves the range of doubles with the probability"):
        outputs._mixture("", np.array([0.5, 0.5]), np.array([1.0, np.inf]), 0.0)


def test_the_sweep_sees_what_is_wrong():
    d = compile_law(IntervalLaw.example(), x0=0.3, t=0.01)
    functions_agree(d)

    class Shifted(type(d.moments)):
        def central(self, order):
            return super().central(order) * 1.001

    moments = Shifted(**{f: getattr(d.moments, f) for f in ("part", "start", "when", "measures")})
    with pytest.raises(AssertionError):
        moments_agree(replace(d, moments=moments))
    (measure,) = d.parts
    with pytest.raises(AssertionError):
        functions_agree(replace(d, parts=(replace(measure, sample=lambda g, n: 0.3 + 0.2 * g.standard_normal(n)),)))


@pytest.mark.slow
@pytest.mark.parametrize("family", LAWS, ids=lambda family: family.__name__)
def test_every_method_of_every_family_at_the_extremes(family):
    law = family.example()
    assert any([all_methods(law, x0, t) for x0, t in EXTREMES])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(case.name for case in cases()), *LATER])
def test_every_method_of_every_process(name):
    case = named(name)
    law = LATER[name] if case is None else recognise(case.process)
    assert any([all_methods(law, x0, t) for x0, t in (TYPICAL, *EXTREMES)])


def test_the_variance_of_a_law_much_narrower_than_its_place():
    # X = 1/Y for a three-dimensional Bessel process Y from 1e12: Y is N(1e12, t) but for 1e-24, so X has the deviation √t/Y₀²
    d = compile_law(HalfLineLaw.example(), x0=1e-12, t=1e3)
    assert d.var() / (1e3 * 1e-48) == pytest.approx(1, rel=1e-12)
    # one order of 1/Y₀² more, by an integral that knows nothing of the program
    d = compile_law(HalfLineLaw.example(), x0=1e-4, t=1e-2)
    with mpmath.workdps(50):
        start, root = mpmath.mpf(10) ** 4, mpmath.mpf(1) / 10
        places = [start + k * root for k in range(-14, 15)]
        density = lambda y: mpmath.npdf((y - start) / root) / root * y / start  # noqa: E731
        mean = mpmath.quad(lambda y: density(y) / y, places)
        variance = mpmath.quad(lambda y: density(y) * (1 / y - mean) ** 2, places)
    assert d.var() / float(variance) == pytest.approx(1, rel=1e-12)
    assert d.var() / 1e-18 != pytest.approx(1, rel=1e-10)


@pytest.mark.slow
def test_an_entropy_between_two_irrational_ends():
    # −log p = (u² + log 2πt)/2 + log φ(x(z)), where φ = −(x² + x − 1) = (5/4) sech²(√5 z/2) along z, and Z is N(z₀, t) but for a
    # constant potential: φ'/2 is the drift, and the density of Z that of a mixture of N(z₀ ± k t, t)
    d = compile_law(recognise(named("x² + x − 1").process), x0=0.3, t=1.0)
    (measure,) = d.parts
    rows = list(zip(measure.weights, measure.means, measure.deviations, strict=True))
    with mpmath.workdps(25):
        root = mpmath.sqrt(5)
        density = lambda z: mpmath.fsum(w * mpmath.npdf(z, m, s) for w, m, s in rows)  # noqa: E731
        size = lambda z: mpmath.log(mpmath.mpf(5) / 4) - 2 * mpmath.log(mpmath.cosh(root * z / 2))  # noqa: E731
        exact = mpmath.quad(lambda z: -density(z) * (mpmath.log(density(z)) - size(z)), mpmath.linspace(-12, 12, 25))
    assert d.entropy() == pytest.approx(float(exact), abs=1e-10)
    assert d.entropy() != pytest.approx(float(exact) + 0.01, abs=1e-3)


def test_an_interval_s_law_is_the_same_from_both_ends():
    left, right = (compile_law(IntervalLaw.example(), x0=x0, t=1e-12) for x0 in (-1e12, 1e12))
    assert right.var() == pytest.approx(left.var(), rel=1e-12)
    # beside an end it is the inverse Bessel process, whose variance is 1/t but for the mean's square
    assert left.var() + left.mean() ** 2 == pytest.approx(1e12, rel=1e-5)
