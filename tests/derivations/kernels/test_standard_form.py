"""What a Gaussian mean is over is taken apart into a function without parameters, a slope and a shift, in whatever form it comes."""

import pytest
import sympy as sp

from derivations.activations import parse_activation
from derivations.errors import DerivationError
from derivations.kernels.standard_form import standard_form

z, shift = sp.symbols("z shift", real=True)
slope = sp.Symbol("slope", positive=True)
AT = {z: sp.Rational(37, 100), shift: sp.Rational(-3, 7), slope: sp.Rational(5, 4)}


@pytest.mark.parametrize("expand", [lambda e: e, sp.expand], ids=["as written", "expanded"])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("argument", [slope * z, z + shift, slope * z + shift], ids=["scaled", "shifted", "both"])
@pytest.mark.parametrize("word", ["relu", "tanh", "erf", "gelu", "silu", "softplus", "sin(x)", "exp(-x**2)", "x**3"])
def test_parameters_leave_the_function(word, argument, power, expand):
    value = parse_activation(word)(argument) ** power
    factor, function, a, b = standard_form(sp.Lambda(z, expand(value)))
    assert len(function.free_symbols) == 1
    (free,) = function.free_symbols
    found = (factor * function.subs(free, a * z + b)).subs(AT).evalf(30)
    assert abs(found - value.subs(AT).evalf(30)) < 1e-25


def test_a_parameter_that_enters_otherwise_is_named():
    with pytest.raises(DerivationError, match="but here shift enters in another way"):
        standard_form(sp.Lambda(z, z * sp.tanh(z + shift)))
