"""Means of smooth functions of weakly correlated numbers, by a series in the correlation, against a sum over the plane written out here."""

import mpmath as mp
import pytest
import sympy as sp

from derivations.gaussian import expect_pair
from derivations.gaussian.mehler import mehler_mean

x = sp.Symbol("x", real=True)
DIGITS = 20
FUNCTIONS = {
    "tanh": mp.tanh,
    "atan": mp.atan,
    "silu": lambda u: u / (1 + mp.exp(-u)),
    "bump": lambda u: mp.exp(-3 * (u - 2) ** 2) * mp.tanh(u),
}
MEMBERS = [
    ("tanh", "tanh", (1, 1), "1/1024"),
    ("tanh", "silu", (1, 0.5), "-0.3"),
    ("bump", "atan", (1.5, 2), "0.5"),
    ("silu", "bump", (0.25, 1), "-0.5"),
    ("silu", "silu", (2, 1), "0"),
]


def over_the_plane(f, g, deviations, rho):
    """Equal steps in two independent numbers: 1e-25 for these functions at a step of 1/8."""
    points = [mp.mpf(k) / 8 for k in range(-88, 89)]
    total, across = mp.mpf(0), mp.sqrt(1 - rho * rho)
    weights = [mp.npdf(z) / 8 for z in points]
    for u, outer in zip(points, weights, strict=True):
        inner = mp.fsum(w * g(deviations[1] * (rho * u + across * z)) for z, w in zip(points, weights, strict=True))
        total += outer * f(deviations[0] * u) * inner
    return total


@pytest.mark.parametrize(("f", "g", "deviations", "rho"), MEMBERS)
def test_the_series_is_the_mean_over_the_plane(f, g, deviations, rho):
    with mp.workdps(DIGITS):
        deviations, rho = tuple(map(mp.mpf, deviations)), mp.mpf(sp.Rational(rho).p) / sp.Rational(rho).q
        found = mehler_mean(FUNCTIONS[f], FUNCTIONS[g], deviations, rho)
        value = over_the_plane(FUNCTIONS[f], FUNCTIONS[g], deviations, rho)
        assert abs(found / value - 1) < mp.mpf(10) ** (4 - DIGITS)
        if rho:  # the control: another correlation
            moved = mehler_mean(FUNCTIONS[f], FUNCTIONS[g], deviations, rho * (1 - mp.mpf(10) ** -12))
            assert abs(moved / value - 1) > mp.mpf(10) ** (4 - DIGITS)


@pytest.mark.parametrize(
    ("f", "deviation", "rho"),
    [
        (mp.tanh, 1, "0.6"),  # as many terms as are slower than the plane
        (mp.tanh, 5, "0.1"),  # narrow beside the Gaussian
        (lambda u: 1 / (1 + (60 * u) ** 2), 1, "0.1"),  # a pole close to the line
        (lambda u: mp.exp(u * u / 4.2), 1, "0.4"),  # grows with its weight
        (lambda u: mp.expj(u), 1, "0.4"),  # complex
    ],
)
def test_what_the_series_does_not_know_it_does_not_say(f, deviation, rho):
    with mp.workdps(30):
        assert mehler_mean(f, f, (mp.mpf(deviation),) * 2, mp.mpf(rho)) is None


@pytest.mark.parametrize("rate", [sp.Rational(1, 10), sp.Rational(1, 8)])
@pytest.mark.parametrize("rho", [sp.Rational(2, 5), sp.Rational(3, 5)])  # by the series, and over the plane
def test_nodes_of_what_grows_have_the_closed_form(rate, rho):
    covariance = sp.Matrix([[1, rho], [rho, 1]])
    growing = sp.exp(rate * x**2)
    node = expect_pair(growing, growing, x, covariance, evaluate=False)
    exact = 1 / sp.sqrt((sp.eye(2) - 2 * rate * covariance).det())
    assert abs(sp.N(node, 15) / sp.N(exact, 15) - 1) < 1e-13
    assert abs(sp.N(node, 15) * (1 + 1e-12) / sp.N(exact, 15) - 1) > 1e-13
