"""The inverse of the Lamperti coordinate by polynomials is Newton's to rounding, and where it is not it says so."""

import numpy as np
import pytest
import sympy as sp

from derivations import Diffusion
from numerics import solve_fokker_planck
from numerics.fokker_planck.inverse import Inverse

x = sp.Symbol("x", real=True)
NOISES = {
    "a logarithm far out": (sp.tanh(x), 1.0),
    "a cusp": (sp.Rational(1, 5) + sp.sqrt(abs(x)), 0.7),
    "an end that is no rational number": (x**2 - 2, 0.3),
    "a kink": (1 + abs(x - sp.Rational(1, 3)), 1.0),
}


@pytest.mark.parametrize("name", NOISES)
def test_polynomials_are_newtons_to_rounding(name):
    noise, start = NOISES[name]
    measure = next(
        part
        for part in solve_fokker_planck(Diffusion((x,), [0], [[noise**2]]), start, tol=1e-5).parts
        if hasattr(part, "coordinate")
    )
    coordinate = measure.coordinate
    z = np.linspace(*measure.ends, 40 * len(coordinate.edges))[1:-1]
    assert coordinate._inverse(z)[2].mean() > 0.8
    (state, energy), (exact, tilt) = coordinate.backward(z), coordinate._solved(z)
    scale = coordinate.coefficients.pace(exact)
    assert np.all(np.abs(state - exact) <= 1e-12 * (1 + np.abs(z)) * scale)
    assert np.all(np.abs(energy - tilt) <= 1e-12 * (1 + np.abs(tilt)))


def test_a_power_is_left_to_the_caller():
    """x = z³ is one polynomial on (0, 1); beside 0 none is x = √z: the control."""
    power = lambda exponent: lambda z: (z**exponent, 0 * z)  # noqa: E731
    edges, within = np.array([0.0, 1.0]), (0.0, 1.0)
    cube = Inverse.fitted(edges, within, power(3), lambda x: 3 * np.cbrt(x) ** 2 + 1, 1.0)
    root = Inverse.fitted(edges, within, power(0.5), lambda x: 0.5 / x, 1.0)
    assert cube.holds.all()
    assert len(cube.knots) == 2
    *_, holds = root(np.array([1e-4, 0.9]))
    assert holds.tolist() == [False, True]
