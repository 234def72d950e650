"""Refusals between modules, which what asks takes up: each by the input that meets it there."""

from __future__ import annotations

import random

import mpmath
import pytest
import sympy as sp

from derivations import Network, Weights, epsilon, relu, symbols
from derivations.calculus.lamperti import LampertiForm
from derivations.decimals import exact_decimals
from derivations.exponents.at_point import checked
from derivations.gaussian.terms import smooth_terms
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.radial import RadialOrnsteinUhlenbeckLaw
from derivations.limits.elimination.moments import LayerMoments
from tests.refused import assert_refused, refusals

x, n = symbols.state, symbols.width
A, B = Weights("A"), Weights("B")


def form(interval, drift, scale=sp.S.One):
    return LampertiForm(x, interval, drift, scale)


def tangents_in_two_directions():
    network = Network(lambda u: u + epsilon * A(relu(B(u))), width=n)
    return LayerMoments(network.program(), 1, directions=2, parameters=True).product(1, 2)


REFUSED = {
    "an exponential of a cubic": (
        lambda: smooth_terms(sp.exp(x**3), x),
        "no closed Gaussian integral is known with the argument .*, not of degree 2",
    ),
    "a half-line of Brownian motion on an interval": (
        lambda: HalfLineLaw.recognise(form((sp.S.Zero, sp.S.One), sp.S.Zero)),
        "the coordinate reaches both ends",
    ),
    "a radial process away from its singular point": (
        lambda: RadialOrnsteinUhlenbeckLaw.recognise(form((sp.S.One, sp.oo), -x)),
        "the coordinate covers .*, not a half-line from its singular point",
    ),
    "a radial process that is a Bessel process": (
        lambda: RadialOrnsteinUhlenbeckLaw.recognise(form((sp.S.Zero, sp.oo), 2 / x)),
        "the radial Ornstein–Uhlenbeck process has a pull",
    ),
    "parameters that move in two directions": (
        tangents_in_two_directions,
        "the parameters move in one direction; follow one tangent with parameters=True",
    ),
    "a rule of training": (lambda: checked("adamm", "ntk"), "unknown rule 'adamm'"),
    "a parametrization of exponents": (lambda: checked("sgd", "np"), "unknown parametrization 'np'"),
}


@refusals(REFUSED)
def test_refused(call, message):
    assert_refused(call, message)


def test_machine_code_names_a_routine_that_scipy_lacks():
    pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
    from numerics.special.scalar import _scipy

    with pytest.raises(ImportError, match=r"scipy\.special\.cython_special exports no j7 of 1 doubles"):
        _scipy("j7")


def test_decimals_of_any_precision_give_their_number_back():
    # as many digits as mpmath asks for are enough for any binary number, and fewer are not for all
    draw, long = random.Random(3), 0
    for _ in range(400):
        bits = draw.randint(2, 400)
        number = sp.Float._new(
            mpmath.libmp.from_man_exp(draw.getrandbits(bits) | 1, draw.randint(-300, 300), bits, "n"), bits
        )
        found = exact_decimals(number)
        most = mpmath.libmp.repr_dps(bits)
        assert mpmath.libmp.from_rational(found.p, found.q, bits, "n") == number._mpf_
        digits = len(str(found.p * 10**800 // found.q).strip("0"))
        assert digits <= most or digits > 790
        long += digits > mpmath.libmp.prec_to_dps(bits)
    assert long > 20
