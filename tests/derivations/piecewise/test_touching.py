"""Kinks of waves that touch a bound as often as they like and do not cross it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import pieces

POINTS = np.array([-100.3, -31.4, -7.1, -2.2, -0.4, 0.3, 1.9, 6.6, 40.1, 77.7])
KNOWN = {
    "min(sign(x/2), cos(x))": lambda x: np.minimum(np.sign(x), np.cos(x)),
    "min(sign(x), sin(x))": lambda x: np.minimum(np.sign(x), np.sin(x)),
    "max(sign(x), cos(x))": lambda x: np.maximum(np.sign(x), np.cos(x)),
    "max(0.3*sin(x), -0.3)": lambda x: 0.3 * np.sin(x),
    "min(cos(x)**2, 1)": lambda x: np.cos(x) ** 2,  # at 0, where a condition would be tried, both are 1
    "max(-cos(x)**2, -1)": lambda x: -(np.cos(x) ** 2),
    "max(x*sin(x), -abs(x))": lambda x: x * np.sin(x),
    "min(cos(3*x+1), 1)*x": lambda x: x * np.cos(3 * x + 1),
    "max(sin(x)+cos(x), -2)": lambda x: np.sin(x) + np.cos(x),
    "max(exp(-x**2)*cos(x), 1)": np.ones_like,
    # what never wins may have as many kinks as it likes
    "max(abs(sin(x)), 1)": np.ones_like,
    "max(2*abs(sin(x)), 2) + relu(x)": lambda x: 2 + np.maximum(x, 0),
    "max(exp(-abs(sin(x))), 1)": np.ones_like,
    # values of tanh and erf are rounded outward, but not beyond 1
    "min(tanh(x)*sin(x), 1)": lambda x: np.tanh(x) * np.sin(x),
    "max(tanh(x), -1)": np.tanh,
    "max(x*sin(x), x)": lambda x: np.where(x < 0, x * np.sin(x), x),
    "min(sin(x)*x**2, x**2)": lambda x: x**2 * np.sin(x),
    # touched where the formula has no value
    "min(1, sin(x)/x)": lambda x: np.sin(x) / x,
    "min(tanh(x)/x, 1)": lambda x: np.tanh(x) / x,
    "min((1-cos(x))/x**2, 1/2)": lambda x: (1 - np.cos(x)) / x**2,
}


@pytest.mark.parametrize("text", KNOWN)
def test_a_bound_that_is_touched_is_no_kink(text):
    """The first was refused: zeros of cos(x) + 1 without end, at none of which the smaller one changes."""
    activation = parse_activation(text)
    x = activation.variable
    found = pieces(activation.expr, x)
    assert {p.left for p in found} <= {-sp.oo, sp.S.Zero}
    values = [float(next(p.expr for p in found if p.left < v < p.right).subs(x, v)) for v in POINTS]
    assert np.abs(np.array(values) - KNOWN[text](POINTS)).max() < 1e-12
    assert "dB" in str(derive(ResNet(activation, width=1)))


REFUSED = [
    "max(cos(x), -0.5)",
    "min(sin(x), cos(x))",
    "max(cos(x), -0.999999999)",
    "max(abs(sin(x)), 0.999999)",
    "min(tanh(x)*sin(x), 0.9)",
    "min(abs(sin(x)), 1)",
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_bound_that_is_crossed_without_end_is_refused(text):
    activation = parse_activation(text)
    with pytest.raises(NoClosedForm, match="not all points are known"):
        pieces(activation.expr, activation.variable)


def test_a_bound_that_is_crossed_beside_a_point_without_value_is_a_kink():
    activation = parse_activation("min(1, 2*sin(x)/x)")
    cuts = [float(p.left) for p in pieces(activation.expr, activation.variable)[1:]]
    assert np.abs(np.array(cuts) - [-1.895494267033981, 1.895494267033981]).max() < 1e-14  # 2 sin x = x


@pytest.mark.parametrize(
    "text", ["max(exp(-abs(sqrt(x))), 1)", "max(exp(-abs(log(x))), 1)", "max(tanh(abs(x) - sqrt(x)), 1)"]
)
def test_what_is_not_real_has_its_say(text):
    """Where it is real it is never the larger one."""
    activation = parse_activation(text)
    with pytest.raises(DerivationError, match="no real number on"):
        pieces(activation.expr, activation.variable)
