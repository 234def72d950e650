"""Stationary laws of every family and process: there where classification says so, of mass one, without flux, and where late laws settle."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from derivations import recognise
from derivations.calculus.exits import stationary
from derivations.errors import DerivationError
from derivations.laws import LAWS
from derivations.laws.frozen import FrozenLaw
from numerics import compile_law
from numerics.compile import compile_expression
from tests.benchmarks.bench_laws import cases
from tests.contracts.test_law_distributions import LATER
from tests.helpers import Made

PROCESSES = Made(
    {
        **{family.__name__: lambda family=family: family.example() for family in LAWS},
        **{case.name: lambda case=case: recognise(case.process) for case in cases()},
        **{name: lambda name=name: LATER[name] for name in LATER},
    }
)
#: Where something settles; from all starts in all other processes nothing does.
SETTLE = (
    "OrnsteinUhlenbeckLaw",
    "IntervalLaw",
    "RadialOrnsteinUhlenbeckLaw",
    "1 + x²",
    "x² + x + 3",
    "erfi activation",
    "Ornstein–Uhlenbeck",
    "Cox–Ingersoll–Ross",
    "CIR, dimension 4/25",
)


def moving(law):
    """The parts of a law that move."""
    return [part for part in getattr(law, "parts", (law,)) if not isinstance(part, FrozenLaw)]


def by_classification(process):
    """The stationary law by the ends' classification, or why there is none."""
    try:
        return stationary(process).density, ""
    except DerivationError as refused:
        return None, str(refused)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_a_stationary_law_is_there_where_the_ends_let_it(name):
    for part in moving(PROCESSES[name]):
        own = part.stationary
        assert (own is not None) == (name in SETTLE)
        density, why = by_classification(part.diffusion)
        if density is None:  # of inverse error functions limits at the ends are not known
            assert "the limit of" in why or (own is None and re.search("there is no stationary law|not cross", why))
            continue
        points = [q for q in (sp.Rational(1, 5), sp.Rational(1, 2)) if part.diffusion.domain.contains(q) == sp.true]
        assert points
        assert all(abs(sp.N((density / own).subs(part.diffusion.states[0], q), 30) - 1) < 1e-25 for q in points)


def distance(part, density, x0):
    """How far a late law is from a density, whose mass is 1, at points between its quantiles."""
    x = part.diffusion.states[0]
    value = compile_expression((x,), density)
    d = compile_law(part, x0=x0, t=600.0)
    points = d.ppf(np.linspace(0.02, 0.98, 9))
    if part.diffusion.domain.inf == 0:  # in the logarithm: beside 0 a density may be a power
        integrand = lambda u: float(value(np.array([np.exp(u)]))[0]) * np.exp(u)  # noqa: E731
        cuts = [np.log(1e-200), *np.log(points)]
    else:
        integrand, cuts = lambda v: float(value(np.array([v]))[0]), [float(part.diffusion.domain.inf), *points]
    with np.errstate(all="ignore"):
        shares = [quad(integrand, a, b, epsabs=1e-12, limit=400)[0] for a, b in pairwise(cuts)]
    return np.abs(np.cumsum(shares) - d.cdf(points)).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTLE)
def test_late_laws_are_the_stationary_one_from_every_start(name):
    (part,) = moving(PROCESSES[name])
    x = part.diffusion.states[0]
    starts = [s for s in (-30.0, -0.4, 0.3, 20.0) if part.diffusion.domain.contains(sp.Rational(s)) == sp.true]
    assert starts
    for x0 in starts:
        assert distance(part, part.stationary, x0) < 1e-7
    moved = part.stationary.subs(x, x * sp.Rational(21, 20)) * sp.Rational(21, 20)
    assert distance(part, moved, starts[0]) > 1e-3
