"""Means of products over jointly Gaussian noises: powers of any number, functions of two at most."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, derive, epsilon, relu, rms_norm
from derivations.errors import DerivationError
from derivations.language import parse_layer
from derivations.limits import gaussian_mean
from numerics.compile import compile_expression
from tests.numerics.networks.test_random_programs import against_the_limit
from tests.random_layers import limit_at

u, v, w = NOISES = sp.symbols("u v w", real=True)
s = sp.Symbol("s", real=True)
half = sp.S.Half
GRAM = sp.Matrix(
    [[1, half, sp.Rational(1, 4)], [half, 2, -sp.Rational(1, 3)], [sp.Rational(1, 4), -sp.Rational(1, 3), 1]]
)
COVARIANCE = {(a, b): GRAM[i, j] for i, a in enumerate(NOISES) for j, b in enumerate(NOISES)}
A, B, C = sp.symbols("A B C")


def generated(**orders):
    """Derivatives of E exp(Au + Bv + Cw) = exp(½ θᵀGθ): an independent way to means of exponentials times powers."""
    theta = sp.Matrix([A, B, C])
    value = sp.exp(sp.expand((theta.T * GRAM * theta)[0] / 2))
    for name, order in orders.items():
        value = sp.diff(value, sp.Symbol(name), order)
    return value


def at(value, a=0, b=0, c=0):
    return sp.expand(sp.expand(value.subs({A: a, B: b, C: c})), complex=True)


def sine_of_u_times(*orders):
    value = generated(**dict(zip("ABC", orders, strict=True)))
    return (at(value, a=sp.I) - at(value, a=-sp.I)) / (2 * sp.I)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (u * v * w * sp.sin(u), sine_of_u_times(1, 1, 1)),
        (v * w**2 * sp.sin(u), sine_of_u_times(0, 1, 2)),
        (sp.exp(u + v), at(generated(), a=1, b=1)),
        (w**2 * sp.exp(u - v), at(generated(C=2), a=1, b=-1)),
        (sp.exp(u) + sp.exp(v), at(generated(), a=1) + at(generated(), b=1)),
        (v * sp.exp(u) + u**2 + 1, at(generated(B=1), a=1) + 2),
        (w * sp.tanh(v) + u * v, half + sp.Rational(-1, 6) * sp.Symbol("m")),
        (v * w * sp.Max(u, 0), -sp.Rational(5, 24) / sp.sqrt(2 * sp.pi)),
        (sp.sin(u) * sp.sin(v), sp.exp(-sp.Rational(3, 2)) * sp.sinh(half)),
    ],
    ids=str,
)
def test_means_of_products(function, expected):
    found = gaussian_mean(function, COVARIANCE)
    if expected.has(sp.Symbol("m")):  # E w tanh v = (cov/var) E v tanh v
        from derivations.gaussian import expect

        expected = expected.subs(sp.Symbol("m"), expect(v * sp.tanh(v), v, 2))
    assert abs(sp.N(found - expected, 20)) < 1e-12
    assert abs(sp.N(found, 20)) > 1e-3  # so that 0 would not do


def test_parameters_stand_outside():
    c = sp.Symbol("c", positive=True)
    assert sp.expand(gaussian_mean(c * sp.exp(u) * v, COVARIANCE) - c * sp.exp(half) / 2) == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (sp.tanh(u * v), r"in u, v: tanh\(u\*v\) is no product"),
        (sp.Max(u, v, w), "the largest of more than two"),
        (sp.Max(u, sp.tanh(v)), "is no product"),
        (1 + w * sp.tanh(u * v), "is no product"),
        (sp.tanh(u) * sp.tanh(v) * sp.tanh(w), "at most two .* got"),
        (sp.exp(u * v * w), "in u, v, w"),
    ],
    ids=str,
)
def test_what_has_no_rule_is_refused(function, message):
    with pytest.raises(DerivationError, match=message):
        gaussian_mean(function, COVARIANCE)


def test_a_singular_pair_is_refused_where_it_would_be_divided_by():
    same = {(a, b): sp.S.One if {a, b} <= {u, v} else COVARIANCE[a, b] for a in NOISES for b in NOISES}
    with pytest.raises(DerivationError, match="singular"):
        gaussian_mean(w * sp.Max(u, 0) * sp.Max(v, 0), same)
    # of smooth functions nothing is divided by: E w f(u) = Cov(w, u) E f'(u) with f = sin cos
    line = same | {(w, v): same[w, u], (v, w): same[w, u]}
    assert sp.expand(gaussian_mean(w * sp.sin(u) * sp.cos(v), line) - same[w, u] * sp.exp(-2)) == 0
    # the pair alone lies on a line, and is integrated there
    assert sp.expand(gaussian_mean(sp.sin(u) * sp.sin(v), same) - (1 - sp.exp(-2)) / 2) == 0


@pytest.mark.parametrize("function", [sp.cbrt(u), sp.Abs(u) ** sp.Rational(4, 3), sp.Max(u, 0), sp.log(u**2)], ids=str)
def test_slopes_without_a_mean_are_not_asked_for(function):
    # E w f(u) = Cov(w, u) E u f(u) / Var u, also where f has no derivative with a mean
    found = gaussian_mean(w * function, COVARIANCE)
    assert sp.N(found - COVARIANCE[w, u] * gaussian_mean(u * function, COVARIANCE), 30, chop=sp.Float("1e-25", 40)) == 0


@pytest.mark.parametrize(
    "function",
    [
        u * w * sp.Max(v, 0) * sp.Max(s, 0),
        u * v * w * sp.Max(v, 0) * sp.Abs(s - 1),
        u * sp.Heaviside(v - half) * sp.Min(s, 1),
        u * w * sp.Heaviside(v) * sp.sign(s),
        u**2 * sp.Abs(v) * sp.Abs(s),
    ],
    ids=str,
)
def test_kinks_of_two_beside_powers_of_others(function):
    """Against samples, which share no code."""
    rows = np.array([[1, 0, -1, 2, 0], [0, 2, 1, 1, -1], [1, 1, 0, 1, 2], [1, 1, 2, 0, -1]])
    names = (u, v, w, s)
    gram = sp.Matrix((rows @ rows.T).tolist()) / 4
    value = float(
        gaussian_mean(function, {(a, b): gram[i, j] for i, a in enumerate(names) for j, b in enumerate(names)})
    )
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((200_000, 5)) @ rows.T / 2
    sample = sp.lambdify(names, function, "numpy")(*drawn.T)
    error = sample.std() / len(sample) ** 0.5
    assert abs(value - sample.mean()) < 4 * error
    assert abs(value) > 8 * error  # so that 0 would not do


#: What rounding leaves. Of a step the mean is a quotient of two numbers of the size of the distance, one of them the root of a
#: difference, of which rounding leaves 1e-8.
MET = {relu: 1e-14, sp.Heaviside: 1e-7}


@pytest.mark.parametrize("gate", MET, ids=["relu", "step"])
def test_a_gate_that_shares_its_matrix_keeps_its_digits_where_inputs_meet(gate):
    """The conditional mean divided by (1 − ρ²)²: −1 and 2.98 for 0.94 at distances of 1e-8 and 1e-4, nan where inputs are equal."""
    shared = Weights("B")
    net = Network(lambda x: x + epsilon * Weights("A")(shared(x) * gate(shared(rms_norm(x)))), width=2, inputs=2)
    limit = derive(net).limit.explicit
    noise, own = (compile_expression(limit.states, limit.covariance[0, k], "numpy") for k in (1, 0))
    met = float(own(1.0, 1.0, 0.5, 0.5))
    assert met > 0.2
    for distance in (0, 1e-10, 1e-8, 1e-6, 1e-4):
        # two inputs that differ by h have covariances that differ by order h
        assert abs(float(noise(1.0, 1.0 + distance, 0.5, 0.5 - distance)) - met) < 2 * distance + MET[gate]


SLOW = pytest.param("heaviside(B(x) - 1/2)*B(x + 1)", marks=pytest.mark.slow)


@pytest.mark.parametrize("text", ["heaviside(B(x))*B(x**2)", "sign(B(x))*B(x + 1)", SLOW])
def test_a_step_beside_its_own_matrix_where_inputs_lie_on_a_line(text):
    """A mass of one step leaves the other no noise: it stands in the middle of its jump, which a fixed side would miss."""
    net = Network(parse_layer(f"x + eps*A({text})"), width=2, inputs=2)
    first = np.array([0.5, -0.7])
    for multiple in (1, -1, 2):
        start = np.stack([first, multiple * first], axis=1)
        drift, covariance = limit_at(net, start)
        assert against_the_limit(net, start, "weights", 4000, drift, covariance) < 1
        assert against_the_limit(net, start, "weights", 4000, drift, 1.5 * covariance) > 1
