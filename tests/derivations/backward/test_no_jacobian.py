"""Where the Jacobian has no equation, or none is derived: jumps, slopes without a mean square, a softmax at a fixed width."""

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, DerivationError, Network, NoLimit, NotClosed, Weights, derive, epsilon, relu
from derivations.backward import gradient_flow, jacobian
from derivations.limits.slopes import require_slopes
from tests.backward_moments import assert_met, moments

A, B, C = Weights("A"), Weights("B", out=5), Weights("C", out=5)


@pytest.mark.parametrize("body", [sp.Heaviside, lambda h: sp.sign(h) * h**2 + sp.Heaviside(h - 1)], ids=["step", "far"])
def test_a_jump_has_no_derivative(body):
    for network in (
        Network(lambda x: x + epsilon * A(body(x)), width=3),
        Network(lambda x: x + epsilon * A(body(B(x))), width=3),
        Network(lambda x: x + epsilon * A(body(B(x) + C(x))), width=3),
    ):
        with pytest.raises(DerivationError, match="jumps at x = "):
            _ = jacobian(network).layer
    with pytest.raises(DerivationError, match="jumps at x = "):
        gradient_flow(Network(lambda x: x + epsilon * A(body(x)), width=sp.oo))


def test_functions_that_do_not_jump_are_accepted():
    c = sp.Symbol("c", positive=True)
    for body in (lambda x: x * sp.Heaviside(x) * C(x), lambda x: relu(B(x) + C(x)), lambda x: sp.Max(B(x), c * C(x))):
        require_slopes(Network(lambda x, f=body: x + epsilon * A(f(x)), width=5, parameters=(c,)).program())
    with pytest.raises(DerivationError, match="whole numbers"):
        require_slopes(Network(lambda x: x + epsilon * A(sp.floor(x)), width=5).program())
    with pytest.raises(DerivationError, match="not known"):
        require_slopes(
            Network(
                lambda x: x + epsilon * A(sp.Piecewise((B(x), (C(x) > 0) & (B(x) > 1)), (0, True))), width=5
            ).program()
        )


@pytest.mark.parametrize("order", ["depth", "width"])
@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (lambda x: sp.sqrt(sp.Abs(x)), r"has no Jacobian: the mean of its squared derivative diverges: .* x = 0"),
        (lambda x: 1 / x, "has no Jacobian"),
        (lambda x: x ** sp.Rational(1, 3), "is not real at"),
    ],
    ids=["cusp", "pole", "not real"],
)
def test_tangents_that_explode_where_neurons_pass_are_refused(activation, message, order):
    net = Network(lambda x: x + epsilon * Weights("W")(activation(x)), width=3 if order == "depth" else sp.oo)
    with pytest.raises(DerivationError, match=message):
        jacobian(net, order)


def test_a_cusp_whose_slope_has_a_square_has_a_jacobian():
    j = jacobian(Network(lambda x: x + epsilon * Weights("W")(sp.Abs(x) ** sp.Rational(2, 3)), width=3))
    assert str(j.weight_gradients["W"]) == "<Abs(x)**(4/3)>"


def test_tangents_through_a_softmax_are_refused_at_a_fixed_width():
    with pytest.raises(NotClosed, match="softmax are derived at infinite width"):
        jacobian(AttentionBlock(width=3, positions=2))
    assert [str(s) for s in jacobian(AttentionBlock(width=sp.oo, positions=2)).process.states[3:]] == [
        "Q_11",
        "Q_12",
        "Q_22",
    ]


def test_networks_without_a_limit_have_no_gradients_at_depth():
    drifting = jacobian(Network("x + eps*A(x, mean=1)", width=2))
    for asked in (lambda: drifting.weight_gradients, lambda: drifting.inverse):
        with pytest.raises(NoLimit, match="must vanish at order 1"):
            asked()
    assert jacobian(Network("x + eps**2*A(x, mean=1)", width=2)).weight_gradients["A"] == 0  # the control: a drift


def test_what_moves_with_the_depth_is_not_said_to_move_with_the_state():
    j = jacobian(Network("x + eps*A(x, variance=1 + t)", width=3))
    for asked, message in (
        (lambda: j.lyapunov(1), "depends on the depth"),
        (lambda: j.gram.growth, "which moves with the depth"),
        (
            lambda: jacobian(Network("x + eps*A(tanh(B(x)))", width=3)).lyapunov(1),
            "depends on the state",
        ),  # the control
    ):
        with pytest.raises(NotClosed, match=message):
            asked()
    with pytest.raises(DerivationError, match=r"in variances and means of matrices only"):
        Network("x + (1 + t)*eps*A(x)", width=3).program()


# --- cases that compare a neuron with an average, or a dropped one ---

X, V = sp.Matrix([sp.Rational(3, 2), -sp.Rational(2, 3)]), sp.Matrix([sp.Rational(1, 5), 2])


def tangents_variance(layer):
    """Of a neuron's tangent, for x and v above."""
    limit = jacobian(Network(layer, width=2)).limit(1)
    limit = getattr(limit, "explicit", limit)
    at = dict(zip(limit.states, (X[0], V[0], X[1], V[1]), strict=True))
    return limit.covariance[1, 1].xreplace(at).doit()


def test_a_kink_of_a_dropped_neuron_is_no_jump():
    # x_1 > 0 > x_2: of relu(d x) / p the slope is d / p in the first neuron, whose square has the mean 1/p, and 0 in the second
    value = V[0] ** 2 / 2
    assert tangents_variance("x + eps*A(relu(dropout(x, 3/4)))") == sp.Rational(4, 3) * value
    assert tangents_variance("x + eps*A(relu(x))") == value  # the control: 1/p is what dropping adds


def test_a_kink_at_an_average_is_no_jump():
    # slopes 1 and 1/100 of x - <x>, which moves by v - <v>
    moved = V - sp.ones(2, 1) * sum(V) / 2
    value = (moved[0] ** 2 + (moved[1] / 100) ** 2) / 2
    assert tangents_variance("x + eps*A(leaky_relu(x - average(x)))") == value
    assert tangents_variance("x + eps*A(x - average(x))") != value  # the control: both slopes 1


def test_the_slope_where_state_and_matrix_meet_is_known():
    """Compared with layers that are drawn, whose derivative is A φ'(x + Bx)(1 + B) by hand."""
    network = Network("x + eps*A(leaky_relu(x + B(x)))", width=2)
    start, rng = np.array([[0.8], [-0.5]]), np.random.default_rng(11)
    a, b = rng.standard_normal((2, 40_000, 2, 2)) / np.sqrt(2)
    met = start[:, 0] + b @ start[:, 0]
    slopes = np.where(met > 0, 1.0, 0.01)
    first = a @ (slopes[..., None] * (np.eye(2) + b))
    samples = np.einsum("sij,sj->si", a, slopes * met), first, np.zeros_like(first)
    assert_met(moments(network, start, samples), wrong=1.1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("where(dropout(x, 3/4) > 1/4, dropout(x, 3/4), 1/5)", "jumps at x = 3/16"),
        ("where(x > average(x), x, 0)", "its cases hold several numbers"),
        ("where(average(x) > 1, x, 0)", "its cases hold several numbers"),
        ("where(x > 0, B(x), 0)", "its cases hold several numbers"),
    ],
)
def test_a_jump_of_a_dropped_neuron_or_at_an_average_is_refused(body, message):
    with pytest.raises(DerivationError, match=message):
        jacobian(Network(f"x + eps*A({body})", width=2))


def test_a_transpose_over_fewer_neurons_than_it_reads_columns_says_how_many_it_needs():
    layer = "x + eps*A(x) - eps**2*C.T(sin(C(x, out=2)))"
    for width in (1, 2):
        with pytest.raises(NotClosed, match=f"3 columns, of an input and of tangents, of length {width}.* at least 3"):
            str(jacobian(Network(layer, width=width)))
    with pytest.raises(NotClosed, match=r"2 columns, of inputs, of length 1.* at least 2 neurons, or follow fewer"):
        derive(Network(layer, width=1, inputs=2))
    derive(Network(layer, width=2, inputs=2))
