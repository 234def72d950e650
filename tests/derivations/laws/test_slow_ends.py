"""Ends of noises such as x log|x|, where no power but a logarithm decides, by hand and by a chain in a coordinate of their own."""

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import solve_banded

from derivations import ResNet, derive, parse_activation
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.laws.approach import approach
from numerics import distribution

X = sp.Symbol("x", real=True)
LOG = sp.log(X)
HALF, TENTH = sp.Rational(1, 2), sp.Rational(1, 10)

#: Drift, variance, end, kind and whether it is sticky. By u = −log x (log x at infinity): du is (a/2x² − μ/x) dt + √a/x dB, whose drift in powers of u
#: is integrated by hand; without drift x = 0 is reached iff ∫ x/a is finite, and 1/(x log^k) is integrable at 0 iff k > 1.
ENDS = [
    (0, X**2 * LOG**2, 0, "exit", False),
    (0, X**2 * abs(LOG) ** sp.Rational(11, 10), 0, "exit", False),
    (0, X**2 * abs(LOG), 0, "natural", False),
    (0, X**2 * abs(LOG) ** sp.Rational(9, 10), 0, "natural", False),
    (0, X**2 / LOG**2, 0, "natural", False),
    (0, X**2 * sp.log(1 + 1 / X) ** 2, 0, "exit", False),
    (0, X**2 * sp.asinh(1 / X) ** 2, 0, "exit", False),
    (0, X * abs(LOG), 0, "exit", False),
    (0, X * LOG**2, 0, "regular", False),
    (TENTH, X * LOG**2, 0, "regular", True),
    (TENTH, X * abs(LOG), 0, "regular", False),
    (X * LOG / 2, X**2 * LOG**2, 0, "exit", False),
    (X * LOG**2 / 2, X**2 * LOG**2, 0, "natural", False),
    (X * LOG**2, X**2 * LOG**2, 0, "entrance", False),
    (0, (X - 2) ** 2 * sp.log(X - 2) ** 2, 2, "exit", False),
    (0, sp.sin(X) ** 2 * sp.log(sp.sin(X)) ** 2, sp.pi, "exit", False),
    (X * LOG, X**2, sp.oo, "natural", False),
    (X * LOG**2, X**2, sp.oo, "exit", False),
]


@pytest.mark.parametrize(("drift", "variance", "point", "kind", "sticky"), ENDS, ids=str)
def test_an_end_at_which_a_logarithm_decides(drift, variance, point, kind, sticky):
    inside = 3 if point in (sp.oo, sp.pi) else point + HALF
    domain = sp.Interval.open(*sorted((sp.sympify(point), inside + sp.Rational(1, 20)), key=float))
    way = approach(Diffusion((X,), [drift], [[variance]], domain), sp.sympify(point), sp.sympify(inside))
    assert (way.kind, bool(way.sticky)) == (kind, sticky)


def test_log_log_is_not_decided():
    way = approach(
        Diffusion((X,), [0], [[X**2 * LOG**2 * sp.log(-LOG) ** 2]], sp.Interval.open(0, sp.Rational(1, 5))),
        sp.S.Zero,
        TENTH,
    )
    assert way.attainable is None


def _own(state, start=0.5, time=0.05, nodes=10_001, steps=1000):
    """P(X_t ≤ state) for dX = X log X dB on (0, 1): w = −1/log X moves by dw = (w − 1/2) dt + w dB, by Crank and Nicolson in log w."""
    z = np.linspace(-6, 6, nodes)
    h, dt = z[1] - z[0], time / steps
    b = 0.5 - np.exp(-z) / 2
    low, high = 0.5 / h**2 - b / (2 * h), 0.5 / h**2 + b / (2 * h)
    u = np.clip((np.log(-1 / np.log(state)) - z) / h + 0.5, 0, 1)

    def step(u, share, dt):
        rows = np.zeros((3, nodes))
        rows[1] = 1 + share * dt / h**2
        rows[0, 1:], rows[2, :-1] = -share * dt * high[:-1], -share * dt * low[1:]
        right = u * (1 - (1 - share) * dt / h**2)
        right[:-1] += (1 - share) * dt * high[:-1] * u[1:]
        right[1:] += (1 - share) * dt * low[1:] * u[:-1]
        rows[1, [0, -1]], rows[0, 1], rows[2, -2], right[0], right[-1] = 1, 0, 0, 1, 0
        return solve_banded((1, 1), rows, right)

    for _ in range(4):
        u = step(u, 1.0, dt / 2)
    for _ in range(steps - 2):
        u = step(u, 0.5, dt)
    return np.interp(np.log(-1 / np.log(start)), z, u)


def test_the_law_of_x_log_x():
    law = distribution(derive(ResNet(parse_activation("x*log(abs(x))"), width=1)), x0=0.5, t=0.05)
    other = distribution(derive(ResNet(parse_activation("1.02*x*log(abs(x))"), width=1)), x0=0.5, t=0.05)
    for state in (0.3, 0.5, 0.6):
        fine, coarse = _own(state, nodes=6001), _own(state, nodes=3001)
        assert abs(law.cdf(state) - (4 * fine - coarse) / 3) < abs(fine - coarse) < 1e-5
    assert abs(other.cdf(0.3) - _own(0.3)) > 1e-4


def test_what_is_not_decided_or_beyond_doubles_is_said():
    root = derive(ResNet(parse_activation("sqrt(abs(x))*log(abs(x))"), width=1))
    with pytest.raises(NoClosedForm, match="by a power of a logarithm the inverse of the squared noise is integrable"):
        distribution(root, x0=0.5, t=0.5)
    assert "by logarithms, which are not looked at" in root.existence.reasons[0]
    with pytest.raises(ValueError, match="where doubles do not hold the squared noise"):
        distribution(derive(ResNet(parse_activation("x*log(abs(x))"), width=1)), x0=0.5, t=0.5)


@pytest.mark.parametrize("text", ["x*log(abs(x))", "x*asinh(1/x)", "x*log(1 + 1/abs(x))", "1 + x*log(abs(x))"])
def test_functions_with_infinite_slopes_are_not_lipschitz(text):
    one, two = (derive(ResNet(parse_activation(text), width=n)).existence for n in (1, 2))
    assert (one.unique, one.explodes) == ("yes", "cannot")
    assert "Engelbert" in one.reasons[0]
    assert (two.unique, two.reasons[0]) == ("not known", "the activation is not locally Lipschitz")
    smooth = derive(ResNet(parse_activation("x*log(1 + x**2)"), width=2)).existence
    assert (smooth.unique, smooth.reasons[0]) == (
        "yes",
        "the activation is locally Lipschitz, and the noise is linear in it",
    )


def test_zeros_by_digits_are_zeros_and_single_values_count():
    """A zero that is known by digits has the value 0 (said to have another one, where "a solution can neither stay nor go on")."""
    root, single = (
        derive(ResNet(parse_activation(text), width=1)).existence
        for text in ("sqrt(abs(exp(x) + x))", "where(x > 0, sqrt(x), where(x < 0, sqrt(-x), 1))")
    )
    assert (root.exists, root.unique) == ("yes", "yes")
    assert single.exists == "no"
