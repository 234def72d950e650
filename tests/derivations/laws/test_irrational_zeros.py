"""Noises that are products of linear factors with irrational roots: the law of each against a Markov chain of the test's own."""

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm

from derivations import ResNet, derive, parse_activation
from derivations.calculus.irrational import split_over_roots
from derivations.calculus.lamperti import split
from derivations.calculus.size import factored
from derivations.laws import recognise
from numerics import distribution

x = sp.Symbol("x", real=True)
r2, r3 = sp.sqrt(2), sp.sqrt(3)


def chain(zeros, x0, t, points=241):
    """Second and fourth moment about the start of a process between two zeros that steps to neighbouring points."""
    low = max(z for z in zeros if z < x0)
    high = min(z for z in zeros if z > x0)
    grid = np.linspace(low, high, points)
    h = grid[1] - grid[0]
    rate = np.prod([grid - z for z in zeros], axis=0) ** 2 / (2 * h**2)
    steps = expm(t * (np.diag(-2 * rate) + np.diag(rate[:-1], 1) + np.diag(rate[1:], -1)))
    return [np.interp(x0, grid, steps @ (grid - x0) ** k) for k in (2, 4)]


CASES = {
    "(x-sqrt(2))*(x+1)": ((-1, 2**0.5), 0.3),
    "(x-sqrt(2))*(x-sqrt(3))": ((2**0.5, 3**0.5), 1.5),
    "(x-pi)*(x+sqrt(2))": ((-(2**0.5), np.pi), 1.0),
    "x**2-x-sqrt(3)": (((1 - (1 + 48**0.5) ** 0.5) / 2, (1 + (1 + 48**0.5) ** 0.5) / 2), 0.2),
    "(x-sqrt(2))*(x-sqrt(3))*(x+1)": ((-1, 2**0.5, 3**0.5), 0.4),
    "(x-cbrt(2))*(x+sqrt(5))": ((-(5**0.5), 2 ** (1 / 3)), 0.1),
}
QUICK = ("(x-sqrt(2))*(x-sqrt(3))",)


@pytest.mark.parametrize("formula", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in CASES])
def test_laws_between_irrational_zeros(formula):
    zeros, x0 = CASES[formula]
    found = distribution(derive(ResNet(parse_activation(formula), width=1)), x0=x0, t=0.3)
    second, fourth = chain(zeros, x0, 0.3)
    assert abs(found.var() / second - 1) < 5e-3  # of the order of the step squared in units of its deviation
    assert abs(found.expect(lambda v: (v - x0) ** 4) / fourth - 1) < 2e-2
    assert abs(chain(zeros, x0, 0.33)[0] / second - 1) > 1e-2  # control


@pytest.mark.parametrize("root", [r2, sp.pi, sp.exp(sp.Rational(-317, 100)), r2 + r3, sp.cbrt(2)])
def test_squares_are_seen_once_they_are_multiplied_out(root):
    square = sp.expand((x - root) ** 2 * (x + 1) ** 2)
    assert sp.expand(factored(square) - square) == 0
    assert all(f.as_base_exp()[1] == 2 for f in sp.Mul.make_args(factored(square)) if f.has(x))
    other = sp.expand(square + x**2)  # control: no square
    assert not any(f.as_base_exp()[1] == 2 and f.has(x) for f in sp.Mul.make_args(split_over_roots(other)))


def test_the_potential_is_one_constant_on_every_interval():
    noise = sp.expand(((x - r2) * (x + 1)) ** 2)
    from_noise = sp.expand(((1 + r2) / 2) ** 2)
    process = derive(ResNet(parse_activation("(x-sqrt(2))*(x+1)"), width=1)).limit
    assert sp.expand(process.covariance[0] - noise) == 0
    assert [sp.expand(form.potential - from_noise) for form in split(process)] == [0, 0, 0]


@pytest.mark.slow
def test_close_zeros_are_proved():  # near an end e^{ky} − 1 is 0 in the digits of the proof, which divided by it
    process = derive(ResNet(parse_activation("(x-1)*(x-1.2)"), width=1)).limit
    proof = recognise(process).prove()
    assert all(check.holds for check in proof.checks)
