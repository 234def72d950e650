"""Matrices with small entries are matrices of order 1 behind a small factor: one law, one limit."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, NoLimit, Regime, Weights, derive, epsilon, jacobian, parse_layer, relu, symbols, tanh
from derivations.errors import UnsafeExpression
from numerics import kernel_matrix, simulate_network

n, L = symbols.width, symbols.depth
SMALL, PLAIN, B = Weights("A", variance=2 / L), Weights("A", variance=2), Weights("B")


def limit(layer, **words):
    found = derive(Network(layer, **{"width": 2} | words)).limit
    return found.drift, found.covariance


@pytest.mark.parametrize(
    ("small", "plain"),
    [
        (lambda x: x + SMALL(relu(x)), lambda x: x + epsilon * PLAIN(relu(x))),
        (lambda x: x + PLAIN(relu(x)) / sp.sqrt(L), lambda x: x + epsilon * PLAIN(relu(x))),
        (lambda x: x + SMALL(tanh(B(x))), lambda x: x + epsilon * PLAIN(tanh(B(x)))),
        (lambda x: x + SMALL.T(relu(SMALL(x))), lambda x: x + epsilon**2 * PLAIN.T(relu(PLAIN(x)))),
        (
            lambda x: x + Weights("A", variance=epsilon**2, mean=3 * epsilon**2, bias_variance=epsilon**2)(tanh(x)),
            lambda x: x + epsilon * Weights("A", mean=3 * epsilon, bias_variance=1)(tanh(x)),
        ),
    ],
)
def test_a_small_variance_is_a_small_factor(small, plain):
    assert limit(small) == limit(plain)
    assert limit(small) != limit(lambda x: x + 2 * epsilon * PLAIN(relu(x)))


def test_the_same_where_depth_and_width_grow_together_and_of_jacobians():
    together = {"width": n, "regime": Regime(depth=1)}
    first, second = (lambda x: x + SMALL(relu(x))), (lambda x: x + epsilon * PLAIN(relu(x)))
    assert limit(first, **together) == limit(second, **together)
    small, plain = (
        jacobian(Network(f, width=2)) for f in (lambda x: x + SMALL(tanh(x)), lambda x: x + epsilon * PLAIN(tanh(x)))
    )
    assert small.limit().covariance == plain.limit().covariance


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_kernels_and_networks_are_the_same(kind):
    x = [[1, 0.3], [-0.2, 0.8]]
    nets = [Network(f, width=sp.oo) for f in (lambda x: x + SMALL(tanh(x)), lambda x: x + epsilon * PLAIN(tanh(x)))]
    first, second = (kernel_matrix(net, x, t=0.5, kind=kind) for net in nets)
    assert np.abs(first - second).max() < 1e-12
    assert np.abs(first - kernel_matrix(nets[0], x, t=0.6, kind=kind)).max() > 1e-3


def test_networks_are_drawn_with_that_variance():
    nets = [Network(f, width=3) for f in (lambda x: x + SMALL(relu(x)), lambda x: x + epsilon * PLAIN(relu(x)))]
    first, second = (simulate_network(net, depth=20, samples=50, x0=1.0, seed=0) for net in nets)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("variance", [1 / (L + 1), (L + 1) / L**2, 1 / L + 1 / L**2, epsilon**2 + epsilon**3])
def test_a_variance_that_is_small_to_first_order_is_so(variance):
    assert limit(lambda x: x + Weights("A", variance=variance)(relu(x))) == limit(
        lambda x: x + epsilon * Weights("A")(relu(x))
    )


def test_biases_that_are_not_small_keep_the_matrix_as_it_is():
    with pytest.raises(NoLimit, match="moves the state by A even at"):
        limit(lambda x: x + Weights("A", variance=epsilon**2, bias_variance=1)(x))


def test_the_depth_is_that_of_a_unit_of_time():
    assert (
        Network(lambda x: x + PLAIN(x) / L, width=2).layer
        == Network(lambda x: x + epsilon**2 * PLAIN(x), width=2).layer
    )
    together = Network(lambda x: x + PLAIN(x) / L, width=n, regime=Regime({epsilon: 1}, depth=1))
    assert together.layer.has(epsilon)
    assert not together.layer.has(epsilon**2)  # a layer takes 1/n there, which is ε


def test_layers_are_typed_as_in_other_libraries():
    plain = parse_layer("x + eps*A(relu(rms_norm(x)))")
    for text in (
        "x + eps*A(F.relu(nn.RMSNorm(x)))",
        "x + eps*A(ReLU(rmsnorm(x)))",
        "x + eps*A(torch.relu(RmsNorm(x)))",
    ):
        assert parse_layer(text) == plain
    assert Network(parse_layer("x + A(x)/sqrt(L)"), width=2) == Network(parse_layer("x + eps*A(x)"), width=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x + eps*A(rms_nrm(x))", "unknown function 'rms_nrm'; close names: rms_norm"),
        ("x + eps*A(swiglu(x))", "in a layer write silu(B(x))*C(x)"),
        ("x + eps*A(nn.Foo(x))", "unknown function 'Foo'"),
        ("x + eps*my.relu(x)", "is no part of a layer"),
    ],
)
def test_unknown_words_are_refused(text, says):
    with pytest.raises(UnsafeExpression) as caught:
        parse_layer(text)
    assert says in str(caught.value)
