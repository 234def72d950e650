"""Ends at which a density is a power close to −1: much of the mass lies where doubles are coarse, or below the smallest one."""

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import recognise
from derivations.diffusion import Diffusion
from numerics import compile_law

p = sp.Symbol("p", positive=True)
POINTS = np.array([1e-300, 1e-100, 1e-9, 1e-3, 0.3, 2.0, 9.0])


def square_root(drift, pull, variance):
    """dX = (drift − pull X)dt + √(variance X) dB."""
    process = Diffusion((p,), [drift - pull * p], [[variance * p]], sp.Interval.open(0, sp.oo))
    return recognise(process)


def noncentral(drift, pull, variance, x0, t):
    """The same by SciPy: c⁻¹X is noncentral χ² with 4·drift/variance degrees of freedom."""
    drift, pull, variance = map(float, (drift, pull, variance))
    decay = np.exp(-pull * t)
    c = variance * (t if pull == 0 else (1 - decay) / pull) / 4
    return stats.ncx2(4 * drift / variance, x0 * decay / c, scale=c)


CENTI, DECI = sp.Rational(1, 100), sp.Rational(1, 10)


@pytest.mark.parametrize(
    ("coefficients", "x0", "t"),
    [
        ((CENTI, 0, 4), 0.1, 5.0),  # squared Bessel
        ((CENTI, 0, 4), 1e-8, 0.3),
        ((CENTI, 0, 4), 30.0, 2.0),
        ((sp.Rational(1, 1000), 0, 4), 0.5, 1.0),
        ((DECI * DECI, DECI, sp.Rational(1, 4)), 0.1, 5.0),  # Cox–Ingersoll–Ross
        ((DECI, sp.Integer(2), 3), 0.2, 40.0),
        ((sp.Integer(1), 0, 4), 0.1, 5.0),  # one degree of freedom
        ((sp.Integer(7), sp.Integer(1), 4), 0.1, 0.01),  # the end is not reached
    ],
)
def test_no_mass_is_lost_at_an_integrable_end(coefficients, x0, t):
    X, reference = compile_law(square_root(*coefficients), x0=x0, t=t), noncentral(*coefficients, x0, t)
    np.testing.assert_allclose(X.cdf(POINTS), reference.cdf(POINTS), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(X.sf(POINTS), reference.sf(POINTS), rtol=1e-9, atol=1e-13)
    assert X.cdf(np.inf) == pytest.approx(1.0, abs=1e-12)
    q = np.array([0.5, 0.9, 0.99])
    np.testing.assert_allclose(X.ppf(q), reference.ppf(q), rtol=1e-6, atol=1e-280)
    np.testing.assert_allclose(X.isf(q), reference.isf(q), rtol=1e-6, atol=1e-280)
    wrong = noncentral(coefficients[0] * sp.Rational(11, 10), *coefficients[1:], x0, t)  # control
    assert np.abs(X.cdf(POINTS) - wrong.cdf(POINTS)).max() > 1e-5


def test_the_values_of_two_processes_that_lost_mass():
    bessel = compile_law(square_root(CENTI, 0, 4), x0=0.1, t=5.0)
    assert bessel.cdf(0.1) == pytest.approx(0.970337912, abs=1e-9)
    assert bessel.mean() == pytest.approx(0.1 + 5 / 100, rel=1e-12)
    ingersoll = compile_law(square_root(DECI**2, DECI, sp.Rational(1, 4)), x0=0.1, t=5.0)
    assert ingersoll.cdf(0.3) == pytest.approx(0.897273, abs=1e-6)
    assert ingersoll.median() == pytest.approx(2.3721e-4, rel=1e-4)


def test_draws_below_the_smallest_double_stay():
    # P(X < 1e-300) is 3 %: such states are rounded to 0, which is no atom, and must not be drawn again
    X = compile_law(square_root(CENTI, 0, 4), x0=0.1, t=5.0)
    drawn = X.rvs(20_000, random_state=1)
    below = 1e-200
    expected = float(X.cdf(below))
    spread = np.sqrt(expected * (1 - expected) / drawn.size)
    assert X.atoms == ()
    assert abs(np.mean(drawn <= below) - expected) < 4 * spread
    assert abs(np.mean(drawn <= below) - 0.8 * expected) > 4 * spread  # control


@pytest.mark.slow
@pytest.mark.parametrize("coefficients", [(CENTI, 0, 4), (DECI**2, DECI, sp.Rational(1, 4))], ids=["Bessel", "CIR"])
def test_a_proof_raises_no_false_alarm(coefficients):
    proof = square_root(*coefficients).prove()
    assert proof, str(proof)
    assert any(check.statement.endswith("local exponents there ask for") for check in proof.checks)
