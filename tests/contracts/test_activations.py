"""What every registered activation owes, and what holds within the families."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from mpmath import mp

from derivations import ResNet, activations, derive, shaped
from derivations.activations import (
    ACTIVATIONS,
    Activation,
    absolute,
    as_activation,
    from_inverse,
    identity,
    leaky_relu,
    ornstein_uhlenbeck,
    piecewise_linear,
    piecewise_smooth,
    polynomial,
    relu,
    smooth,
    solvable,
    two_slope,
    unstable_ornstein_uhlenbeck,
)
from derivations.errors import DerivationError
from derivations.laws.numbers import compiled
from derivations.piecewise import join
from derivations.symbols import state as x

y = sp.Symbol("y")

every = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=str)
# off the kinks, and inside ±√π/2, beyond which one of the activations is not defined
POINTS = [sp.Rational(*p) for p in [(-5, 6), (-2, 5), (-1, 7), (1, 9), (3, 8), (4, 5)]]
FAR = [sp.Rational(-9, 2), sp.Rational(17, 5)]


def points(activation):
    return [p for p in POINTS + FAR if p not in activation.kinks]


def value(expr, point):
    digits = mp.dps + 20  # whoever differentiates numerically has raised the working precision
    return mp.mpf(expr.subs(x, sp.Float(point, digits + 30)).evalf(digits))


@every
@pytest.mark.parametrize("order", [1, 2])
def test_derivative_is_the_limit_of_difference_quotients(activation, order):
    with mp.workdps(30):
        for point in points(activation):
            numeric = mp.diff(lambda v: value(activation.expr, v), mp.mpf(point.evalf(50)), order)
            assert abs(value(activation.derivative(order), point) - numeric) < mp.mpf(10) ** -20, point


@every
def test_pieces_join_to_the_same_function(activation):
    joined = join(activation.pieces, activation.variable)
    for point in points(activation):
        assert value(joined, point) == value(activation.expr, point)
    ends = [-sp.oo, *activation.kinks, sp.oo]
    assert [p.left for p in activation.pieces] == ends[:-1]
    assert [p.right for p in activation.pieces] == ends[1:]


@every
def test_calls_on_numbers_and_expressions(activation):
    y = sp.Symbol("y", real=True)
    point = sp.Rational(1, 3)
    assert activation(y).subs(y, point) == activation(point)
    with mpmath.workdps(20):  # the formula, by other arithmetic than SymPy's
        other = compiled((activation.variable,), activation.expr)(mpmath.mpf(1) / 3)
    assert abs(mpmath.mpf(str(activation(point).evalf(20))) - other) < 1e-15
    assert abs(activation(0.5) - activation(sp.Rational(1, 2))).evalf() < sp.Rational(1, 10**12)


@every
def test_is_exact_and_real(activation):
    assert not activation.expr.atoms(sp.Float)
    assert activation.expr.free_symbols <= {x}
    assert as_activation(activation) is activation


def test_registry_is_complete():
    held = [
        thing
        for module in (piecewise_linear, piecewise_smooth, smooth, solvable)
        for thing in vars(module).values()
        if isinstance(thing, Activation)
    ]
    families = {"leaky_relu", "prelu", "hardtanh", "softshrink", "hardshrink", "elu", "celu", "squareplus"}
    assert {a.name for a in held} | families == set(ACTIVATIONS)
    assert all(getattr(activations, family)() == ACTIVATIONS[family] for family in families)
    assert all(ACTIVATIONS[name].name == name for name in ACTIVATIONS)
    assert all(getattr(activations, name, None) is not None for name in activations.__all__)
    assert set(ACTIVATIONS) <= set(activations.__all__)


# identities between the members of the two-slope family


@pytest.mark.parametrize(("a", "b"), [(1, 0), (1, -1), (1, 1), (sp.Rational(-3, 2), 5)])
def test_two_slope_is_spanned_by_relu(a, b):
    for point in POINTS + FAR:
        assert two_slope(a, b)(point) == a * relu(point) - b * relu(-point)


def test_two_slope_is_positively_homogeneous():
    a, b = sp.symbols("a b", real=True)
    for point in POINTS + FAR:
        assert sp.expand(two_slope(a, b)(7 * point) - 7 * two_slope(a, b)(point)) == 0
    assert two_slope(a, b).parameters == {a, b}


def test_named_members():
    assert identity.expr == x
    assert identity.kinks == ()
    assert relu.kinks == absolute.kinks == (0,)
    assert [p.expr for p in relu.pieces] == [0, x]
    assert [p.expr for p in absolute.pieces] == [p.expr for p in as_activation(abs(x)).pieces]
    assert leaky_relu(0.1).expr == two_slope(1, sp.Rational(1, 10)).expr
    assert leaky_relu(0).expr == relu.expr
    assert leaky_relu(0.1).name == "leaky_relu(1/10)"
    assert leaky_relu() == ACTIVATIONS["leaky_relu"]


@pytest.mark.parametrize("slope", [sp.I, sp.oo, sp.nan, float("inf"), "x", None, x])
def test_bad_coefficients_are_refused(slope):
    with pytest.raises(DerivationError, match="coefficient"):
        leaky_relu(*(() if slope != x else (x,)), slope)
    with pytest.raises(DerivationError, match="coefficient"):
        polynomial(1, slope)


def test_polynomial_counts_from_the_constant():
    assert polynomial(1, 2, 0.5).expr == 1 + 2 * x + x**2 / 2
    assert polynomial().expr == 0


# the solvable ones: g' = 1/φ, and the drift of Z = g(X) is -φ'/2


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "rate"), [(ornstein_uhlenbeck, -1), (unstable_ornstein_uhlenbeck, 1)], ids=str)
def test_lamperti_coordinate_has_linear_drift(activation, rate):
    # Z = ∫₀ˣ du/φ(u), found here by quadrature; its drift is -φ'(X)/2 and must be rate · Z
    with mp.workdps(20):
        for point in POINTS[::2]:
            coordinate = mp.quad(lambda u: 1 / value(activation.expr, u), [0, mp.mpf(point.evalf(40))])
            drift = -value(activation.derivative(), point) / 2
            assert abs(drift - rate * coordinate) < mp.mpf(10) ** -15
            assert abs(drift + rate * coordinate) > mp.mpf(10) ** -3  # the other sign is not hidden by the tolerance


def test_a_bounded_chart_is_extended_by_zero():
    edge = sp.sqrt(sp.pi) / 2
    assert unstable_ornstein_uhlenbeck.kinks == (-edge, edge)
    assert unstable_ornstein_uhlenbeck(1) == 0 == unstable_ornstein_uhlenbeck(-1)


def test_from_inverse_checks_the_inverse():
    z = sp.Symbol("z", real=True)
    assert from_inverse("sinh", sp.sinh(z), sp.asinh(x), z).expr == sp.sqrt(x**2 + 1)
    with pytest.raises(DerivationError, match="not the inverse"):
        from_inverse("wrong scale", sp.sinh(z), sp.asinh(2 * x), z)
    with pytest.raises(DerivationError, match="not the inverse"):
        from_inverse("wrong start", z + 1, x, z)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (sp.I * x, "finite real-valued"),
        (sp.zoo, "finite real-valued"),
        (sp.nan, "finite real-valued"),
        (sp.oo, "finite real-valued"),
        ("rellu", "close names: relu"),
        (None, "got None"),
        ([x], "got \\[x\\]"),
        (sp.Symbol("a") * sp.Symbol("b"), "one variable"),
        (leaky_relu, "leaky_relu has parameters, call it"),
        (np.tanh, "<ufunc 'tanh'> failed: .* give its name"),
        (lambda u: max(u, 0), "truth value"),
        (lambda u, v: u, "missing 1 required"),
        (sp.Max, "two arguments or more"),
        (sp.Function("f"), "f\\(x\\) has no formula"),
        (2 * sp.Function("f")(x), "f\\(x\\) has no formula"),
    ],
)
def test_as_activation_refuses(thing, says):
    with pytest.raises(DerivationError, match=says):
        as_activation(thing)


@pytest.mark.parametrize(
    "given", ["tanh", "nn.Tanh()", "tanh(x)", sp.tanh, sp.Lambda(y, sp.tanh(y)), lambda u: sp.tanh(u)]
)
def test_words_and_functions_are_activations(given):
    assert as_activation(given)(x) == sp.tanh(x)
    assert derive(ResNet(given, width=2)).limit == derive(ResNet(sp.tanh(x), width=2)).limit


def test_as_activation_reads_decimals_exactly():
    assert as_activation(0.1 * x).expr == x / 10


FOLDED = {
    "positive": lambda y: sp.Max(y, 0),
    "negative": lambda y: sp.Abs(y),
    "nonnegative": lambda y: sp.sqrt(y**2),
    "nonpositive": lambda y: sp.Min(y, 0),
    "nonzero": lambda y: y * sp.sign(y),
    "integer": lambda y: sp.sin(sp.pi * y) + y,
    "rational": lambda y: y**2,
    "imaginary": lambda y: y**2,
}


@pytest.mark.parametrize("assumption", FOLDED)
def test_an_argument_with_a_sign_is_refused(assumption):
    y = sp.Symbol("y", **{assumption: True})
    with pytest.raises(DerivationError, match=rf"^the argument y .*{assumption}.*declare the variable real"):
        as_activation(FOLDED[assumption](y))
    with pytest.raises(DerivationError, match="declare the variable real"):
        Activation("folded", FOLDED[assumption](y), y)


@pytest.mark.parametrize("y", [sp.Symbol("y"), sp.Symbol("y", real=True), sp.Dummy("y", finite=True)])
def test_a_plain_argument_keeps_its_kinks(y):
    for formula in list(FOLDED.values())[:5]:
        for point in (-2, 3):
            assert as_activation(formula(y))(point) == formula(sp.Integer(point))


@pytest.mark.slow
def test_deep_formulas_are_worked_on_or_refused():
    def nested(depth):
        formula = sp.Symbol("x", real=True)
        for _ in range(depth):
            formula = sp.tanh(formula)
        return formula

    assert (
        derive(ResNet(nested(12), width=1)).limit.covariance[0] == nested(12) ** 2
    )  # took minutes: 3 times as long a level
    for depth in (100, 300):
        with pytest.raises(DerivationError, match="nested more than 80 levels deep"):
            as_activation(nested(depth))


@pytest.mark.parametrize("given", ["sign(x)", "heaviside(x)", "relu6", "x + 1", "tanh"])
def test_slopes_are_of_what_has_two(given):
    """A jump at 0 has two pieces without curvature, too."""
    with pytest.raises(DerivationError, match="two slopes and its kink at 0"):
        shaped(given, c_plus=1, c_minus=0)
    assert shaped("leaky_relu(0.2)", c_plus=1, c_minus=0) == shaped(relu, c_plus=1, c_minus=0)
