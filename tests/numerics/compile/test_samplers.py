"""Exact samplers, one of each kind: their samples follow the law at a time, with its atoms, and not the law at another time."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import recognise
from derivations.diffusion import Diffusion
from derivations.symbols import state as x
from numerics.compile import compile_law, compile_sampler

HALF, UNIT = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
COUNT = 3000
#: The process, a start, a time.
CASES = {
    "one Gaussian": (Diffusion((x,), [-x], [[1]]), 1.0, 0.5),
    "a mixture of two": (Diffusion((x,), [sp.tanh(x)], [[1]]), 0.3, 0.5),
    "radius of a Bessel process": (Diffusion((x,), [0], [[sp.exp(-2 * x)]]), 0.3, 0.5),
    "radius that is absorbed": (Diffusion((x,), [0], [[x]], HALF), 0.6, 0.5),
    "pulled radius": (Diffusion((x,), [3 - 2 * x], [[x]], HALF), 1.0, 0.5),
    "line and space": (Diffusion((x,), [0], [[x**4]], HALF), 1.0, 0.5),
    "half-line with a stop": (Diffusion((x,), [sp.Rational(1, 2)], [[1]], HALF), 0.8, 0.5),
    "conditioned, short": (Diffusion((x,), [0], [[(1 + x**2) ** 2]]), 0.4, 0.3),
    "conditioned, long": (Diffusion((x,), [0], [[(1 + x**2) ** 2]]), 0.4, 3.0),
    "two walls": (Diffusion((x,), [0], [[1]], UNIT), 0.3, 0.1),
}


def distance(samples, law):
    """Kolmogorov's distance beside the atoms, and by how many standard errors each atom's frequency is off."""
    off, beside = [], np.ones(len(samples), dtype=bool)
    for place, mass in law.atoms:
        at = samples == place
        off.append(abs(at.mean() - mass) / np.sqrt(mass * (1 - mass) / len(samples)))
        beside &= ~at
    moving, share = np.sort(samples[beside]), 1 - sum(mass for _, mass in law.atoms)
    below = sum((mass * (moving >= place) for place, mass in law.atoms), np.zeros(len(moving)))
    levels = (law.cdf(moving) - below) / share
    return stats.kstest(levels, "uniform").pvalue, max(off, default=0.0)


@pytest.mark.parametrize("name", CASES)
def test_samples_follow_the_law(name):
    process, x0, t = CASES[name]
    law = recognise(process)
    samples = compile_sampler(law)(np.full(COUNT, x0), t, np.random.default_rng(7))
    p_value, off = distance(samples, compile_law(law, x0=x0, t=t))
    assert p_value > 1e-3
    assert off < 4
    # the control: the law at another time, or from another start where it has settled
    other = (
        compile_law(law, x0=x0, t=0.7 * t) if name != "conditioned, long" else compile_law(law, x0=x0 + 2.5, t=0.1 * t)
    )
    p_value, off = distance(samples, other)
    assert p_value < 1e-3 or off > 4
