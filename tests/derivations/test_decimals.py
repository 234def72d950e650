"""One reading of a float, wherever a number enters."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from derivations import DerivationError, Diffusion, Normal, ResNet, ShapedMLP, parse_activation, relu
from derivations.activations import Activation, as_activation, leaky_relu
from derivations.activations.base import exact
from derivations.calculus.intervals import moving_interval
from derivations.calculus.moments import moment_equations
from derivations.decimals import exact_decimals
from derivations.symbols import state as x
from numerics.compile.constants import exact_number

LONG = 0.7071067811865476  # sixteen digits, of which SymPy prints fifteen
READ = sp.Rational("0.7071067811865476")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_its_shortest_decimal(number):
    read = exact_decimals(number)
    assert read == sp.Rational(repr(number))
    assert float(read) == number


@pytest.mark.parametrize(
    "number",
    [
        *(0.1, np.float64(0.1), np.float32(0.1), np.float16(0.1), np.array(0.1), np.longdouble("0.1")),
        *(sp.Float(0.1), sp.Float("0.1", 50), sp.Float("0.1", 5), Decimal("0.1"), Fraction(1, 10), sp.Rational(1, 10)),
    ],
    ids=lambda n: f"{type(n).__name__} {n}",
)
def test_every_kind_of_number_is_read_alike(number):
    assert exact_decimals(number) == sp.Rational(1, 10)


READERS = {
    "coefficient": lambda v: exact(v),
    "slope": lambda v: leaky_relu(v)(-1) * -1,
    "expression": lambda v: as_activation(v * x)(1),
    "activation": lambda v: Activation("a", v * x)(1),
    "mean": lambda v: Normal(v, 1).mean,
    "variance": lambda v: Normal(0, v).variance,
    "weights": lambda v: ResNet(relu, width=1, weight_variance=v).weight_variance,
    "shaping": lambda v: ShapedMLP(relu, c_plus=v, c_minus=0).c_plus,
    "drift": lambda v: Diffusion((x,), [v], [[1]]).drift[0],
    "noise": lambda v: Diffusion((x,), [0], [[v]]).covariance[0],
    "factor": lambda v: Diffusion((x,), [0], sigma=[[v]]).sigma[0],
    "start": lambda v: moment_equations(Diffusion((x,), [0], [[1]]), 1).solve({x: v})[(1,)],
    "x0 and t": lambda v: exact_number(v, "x0"),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_digit_is_lost_where_a_float_enters(reader):
    assert READERS[reader](LONG) == READ
    assert READERS[reader](0.333333333333) == sp.Rational("0.333333333333") != sp.Rational(1, 3)


def test_text_and_floats_mean_the_same():
    assert parse_activation(f"{LONG}*x").expr == as_activation(LONG * x).expr


def test_a_point_is_read_the_same_way():
    process = Diffusion((x,), [0], [[(x - READ) ** 2 * x**2]])
    with pytest.raises(DerivationError, match="the noise vanishes"):
        moving_interval(process, LONG)


@pytest.mark.parametrize("number", ["1", None, [1], float("nan"), float("inf")])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(DerivationError):
        Normal(0, number)
    with pytest.raises(DerivationError):
        exact(number)
