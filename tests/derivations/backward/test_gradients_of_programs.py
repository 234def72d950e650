"""Jacobians and gradients of any network: growth that is known."""

import pytest
import sympy as sp

from derivations import AttentionBlock, Network, NotClosed, Weights, derive, epsilon, identity, relu, rms_norm, symbols
from derivations.backward import GRADIENT, gradient_flow, jacobian, weight_gradient_flow
from tests.helpers import equal_symbolically

n, c = symbols.width, sp.Symbol("c", positive=True)
A, B = Weights("A", variance=c), Weights("B", out=4 * n)


def test_gradients_of_two_matrices_grow_by_the_mean_squared_slope():
    # each layer adds ε² c E φ'(h)² |v|²/n to the mean square: ReLU c/2, after a norm c/(2K)
    flow = gradient_flow(Network(lambda x: x + epsilon * A(relu(B(x))), width=sp.oo, parameters=(c,)))
    assert equal_symbolically(flow.drift[-1], c * GRADIENT / 2)
    normed = gradient_flow(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=sp.oo, parameters=(c,)))
    assert equal_symbolically(normed.drift[-1], c * GRADIENT / (2 * normed.states[0]))


def test_linear_network_has_the_spectrum_of_the_named_one():
    network = Network(lambda x: x + epsilon * A(identity(x)), width=n, parameters=(c,))
    assert equal_symbolically(jacobian(network).growth, c)
    assert equal_symbolically(jacobian(network).lyapunov(1), c * (n - 2) / (2 * n))


def test_scores_over_the_number_of_keys_leave_queries_and_keys_without_gradients():
    # refused before, as if queries and keys had means: tangents along weights hold what copies of them put out
    rates = weight_gradient_flow(AttentionBlock(width=sp.oo, positions=2, scale="linear"))
    mean = (
        sp.Add(*sp.symbols("K_11 K_12 K_22"), sp.Symbol("K_12")) / 4
    )  # over all pairs of tokens: every share is a half
    for name in "VO":
        assert [str(rate) for rate in rates[name]] == [str(mean)] * 3
    assert rates["Q"] == rates["K"] == (0, 0, 0)
    with pytest.raises(NotClosed, match="become numbers at infinitely many keys where queries and keys have means"):
        weight_gradient_flow(AttentionBlock(width=sp.oo, positions=2, scale="linear", weight_mean=1))  # the control


def test_a_softmax_over_few_keys_has_no_rule_for_tangents():
    # refused before because the kernel be random at each layer, which the kernel of the states is too and has a flow
    few = AttentionBlock(width=sp.oo, positions=2, size=2)
    assert len(derive(few).limit.drift) == 3
    for ask in (gradient_flow, weight_gradient_flow):
        with pytest.raises(NotClosed, match="a rule for infinitely many keys only, and here they are 2"):
            ask(few)
    assert len(gradient_flow(AttentionBlock(width=sp.oo, positions=2)).drift) == 6  # the control
