"""Numbers that come of the constants of SELU are shown by the digits that mean something, and are the same numbers."""

import re

import numpy as np
import sympy as sp

from derivations import MLP, scalings, selu
from derivations.limits.gram import gram_matrix
from derivations.notation.latex import latex
from derivations.notation.plain import plain

x = sp.Symbol("x", real=True)


def test_the_flow_of_selu_has_few_digits_and_no_powers_of_ten():
    made = scalings(MLP(selu, width=sp.oo))
    said = " ".join(str(made).split())
    assert not re.search(r"e[+-]?\d\d|\d{9}", said)
    assert "W_ij ~ N(0, 1/n)" in said
    assert "3.09091*exp(V_11/2)*erf(sqrt(V_11/2))" in said


def test_few_digits_are_those_of_the_flow():
    """At V = 0.7 by a Gaussian integral of its own; the control is 1 % off."""
    made = scalings(MLP(selu, width=sp.oo))
    (velocity,) = {
        line.terms[0].coefficient for step in made.steps if step.name.startswith("Regime") for line in step.lines[:1]
    }
    v = gram_matrix(2)[0, 0]
    shown = float(velocity.subs(v, sp.Rational(7, 10)).subs({s: 1 for s in velocity.free_symbols - {v}}))
    z, dz = np.linspace(-12, 12, 400_001, retstep=True)
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    u = np.sqrt(0.7) * z
    squared = np.where(u > 0, scale * u, scale * alpha * np.expm1(u)) ** 2
    right = float(np.sum(squared * np.exp(-(z**2) / 2)) * dz / np.sqrt(2 * np.pi)) - 0.7
    assert abs(shown - right) < 2e-5
    assert abs(shown - 1.01 * right) > 1e-4


def test_a_constant_of_many_digits_is_one_number_on_a_page():
    long = sp.Rational(10507009873554804934193349852946, 10**31)
    product = long**4 * sp.exp(2) * x / (long**4 * sp.sqrt(2) - 1)
    value = float(product.subs(x, 1))
    for text in (plain(product), latex(product)):
        (number,) = re.findall(r"\d+\.\d+", text)
        assert abs(float(number) - value) < 1e-9
        assert "exp" not in text
