r"""Random numbers that all neurons share: what a matrix with ``out=1`` puts out, and factors of branches.

One that multiplies what a matrix puts out leaves neurons independent given it; one that is added moves all of them at once.
"""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Network,
    Regime,
    Weights,
    average,
    derive,
    drop_branch,
    dropout,
    epsilon,
    relu,
    scalings,
    sigmoid,
    symbols,
)
from derivations.language import program
from numerics.compile import compile_expression
from tests.refused import assert_refused, refusals

A, B, G = Weights("A"), Weights("B"), Weights("G", out=1)
TOGETHER = Regime(depth=1)
AT_ONCE = "adds no random number that all of them share"
NO_CHAIN = "only if a layer adds matrices' outputs to a multiple of the state"


def test_one_neuron_beside_many_is_a_number():
    said = Network("x + eps*sigmoid(G(x, out=1))*A(relu(B(x)))", width=symbols.width)
    written = Network(lambda x: x + epsilon * sigmoid(average(G(x))) * A(relu(B(x))), width=symbols.width)
    assert derive(said).limit == derive(written).limit
    (matrix,) = (s for s in program(epsilon * A(relu(G(symbols.state)))).statements if s.symbol.name == "A")
    assert matrix.source.size == 1  # read by itself it is a layer of one neuron


def test_a_gate_of_one_neuron_at_infinite_width():
    """By quadrature over the score of variance K = 3/2."""
    limit = derive(Network("x + eps*tanh(G(x, out=1))*A(relu(B(x)))", width=sp.oo)).limit
    z = np.linspace(-9, 9, 4001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    square = np.tanh(np.sqrt(1.5) * z) ** 2 @ density
    assert float(limit.drift[0].subs(limit.states[0], 1.5)) == pytest.approx(0.75 * square, rel=1e-9)


def test_one_neuron_is_dropped_as_a_whole():
    dropped = derive(Network(lambda x: x + epsilon * A(x) * dropout(G(x), sp.Rational(1, 2)), width=3)).limit
    whole = derive(Network(lambda x: x + epsilon * A(x) * G(x), width=3)).limit
    assert sp.expand(dropped.neuron_covariance[0] - 2 * whole.neuron_covariance[0]) == 0


def test_one_neuron_is_dropped_at_each_position_by_itself():
    """As PyTorch's ``Dropout`` does, so that two positions share no factor; a branch that is dropped is dropped at all of them."""
    H, half = Weights("H", out=1), sp.Rational(1, 2)

    def covariance(branch):
        return derive(Network(lambda x: x + epsilon * branch(x), width=2, positions=2)).limit.neuron_covariance

    plain = covariance(lambda x: A(relu(H(x))))
    dropped = covariance(lambda x: A(dropout(relu(H(x)), half)))
    branch = covariance(lambda x: drop_branch(A(relu(H(x))), half))
    assert [sp.expand(dropped[0, k] - (2, 1)[k] * plain[0, k]) for k in (0, 1)] == [0, 0]
    assert [sp.expand(branch[0, k] - 2 * plain[0, k]) for k in (0, 1)] == [0, 0]


def test_a_gate_as_depth_and_width_grow_together():
    r"""One layer adds :math:`\varepsilon^2 g^2 V` with g of variance V: the flow :math:`\dot V = V^2`, and :math:`V_t = V_0/(1 - V_0t)`.

    The layers' gates are independent, and average out over the depth.
    """
    limit = derive(Network("x + eps*A(x)*G(x, out=1)", width=symbols.width, regime=TOGETHER)).limit
    (v,) = limit.states
    assert list(limit.drift) == [v**2]
    rng, n, layers, samples = np.random.default_rng(5), 200, 200, 400
    x = np.full((samples, n), np.sqrt(0.5))
    for _ in range(layers):
        norm = (x**2).mean(axis=1, keepdims=True)
        gate = np.sqrt(norm) * rng.standard_normal((samples, 1))
        x = x + gate * np.sqrt(norm / n) * rng.standard_normal((samples, n))
    found = (x**2).mean(axis=1)
    error = found.std() / np.sqrt(samples)
    # the mean of V moves by (E V)^2 + Var V, and steps of 1/layers are behind the flow by half a step of d(V^2) over the time
    t = layers / n
    bias = t * found.var() + 1 / layers
    assert abs(found.mean() - 0.5 / (1 - 0.5 * t)) < 4 * error + bias
    assert abs(found.mean() - 0.5 * np.exp(t * 0.5)) > 5 * error + bias  # as if the gate kept its first variance
    assert abs(found.mean() - 0.5 * np.exp(t)) > 5 * error + bias  # as if there were none


INSIDE = {
    "x + eps*A(relu(B(x) + G(x, out=1)) - relu(B(x)))": lambda b, g: (np.maximum(b + g, 0) - np.maximum(b, 0)) ** 2,
    "x + eps*A(max(B(x), G(x, out=1)))": lambda b, g: np.maximum(b, g) ** 2,
    "x + eps*A(tanh(B(x)*G(x, out=1)))": lambda b, g: np.tanh(b * g) ** 2,
}


@pytest.mark.parametrize("said", INSIDE)
def test_inside_a_function_of_hidden_neurons(said):
    """A reads the mean square over hidden neurons of variance |x|²/n = 7/4, by quadrature over both numbers."""
    limit = derive(Network(said, width=3)).limit
    z = np.linspace(-8, 8, 1601)
    w = np.exp(-(z**2) / 2)
    b, g = np.sqrt(1.75) * z[:, None], np.sqrt(1.75) * z[None, :]
    wanted = (w / w.sum()) @ INSIDE[said](b, g) @ (w / w.sum())
    found = float(compile_expression(limit.states, limit.covariance[0, 0])(1.0, -0.5, 2.0))
    assert found == pytest.approx(wanted, rel=1e-4)  # kinks along lines
    assert found != pytest.approx(float(wanted) * 1.001, rel=1e-4)


def test_an_average_over_hidden_neurons_that_share_a_number():
    r"""Two hidden neurons are correlated by it: :math:`(2K)\,\mathbb{E}\,\mathrm{relu}\,\mathrm{relu}` at correlation 1/2."""
    limit = derive(Network("x + eps*A(x)*average(relu(B(x) + G(x, out=1)))", width=sp.oo)).limit
    (k,) = limit.states
    assert sp.simplify(limit.drift[0] / k**2 - (sp.Rational(1, 3) + sp.sqrt(3) / (2 * sp.pi))) == 0


@refusals(
    {
        "added": (lambda: derive(Network("x + eps*G(x, out=1)", width=sp.oo)), AT_ONCE),
        "an average of few": (lambda: derive(Network("x + eps*average(C(x, out=2))", width=sp.oo)), AT_ONCE),
        "a branch": (lambda: derive(Network("x + eps*(drop_branch(1, 1/2) - 1)", width=sp.oo)), AT_ONCE),
        "its scalings": (lambda: scalings(Network("x + eps*G(x, out=1)", width=sp.oo)), AT_ONCE),
        "together": (lambda: derive(Network("x + eps*G(x, out=1)", width=symbols.width, regime=TOGETHER)), NO_CHAIN),
        "beside a matrix": (
            lambda: derive(Network("A(relu(x)) + eps*G(x, out=1)", width=symbols.width, regime=TOGETHER)),
            NO_CHAIN,
        ),
        "beside the state": (
            lambda: derive(Network("x + eps*A(relu(x + G(x, out=1)))", width=symbols.width)),
            "inside an average over what depends on it in another way",
        ),
        "inside an average": (
            lambda: derive(Network("x + eps*A(relu(x + G(x, out=1)))", width=symbols.width, regime=TOGETHER)),
            "a number that all neurons share stands inside an average over them",
        ),
    }
)
def test_what_moves_all_neurons_at_once_is_refused(call, message):
    assert_refused(call, message)


def test_numbers_of_each_neuron_are_not():
    limit = derive(Network("x + eps*(dropout(average(x**2), 1/2) - average(x**2))", width=sp.oo)).limit
    assert list(limit.drift) == [limit.states[0] ** 2]
