"""Norms with a number added under their root, as PyTorch's have it."""

import pytest
import sympy as sp

from derivations import Network, Weights, derive, epsilon, layer_norm, relu, rms_norm
from tests.refused import assert_refused, refusals

A, B = Weights("A"), Weights("B")
X = (1.5, -0.5, 2.0)


@pytest.mark.parametrize("eps", [0, 0.5, 3])
def test_what_a_neuron_adds(eps):
    """Half the mean square of what is normalised, here by hand at one state."""
    for norm, middle in ((rms_norm, 0), (layer_norm, 1)):
        limit = derive(Network(lambda x, f=norm: x + epsilon * A(relu(B(f(x, eps=eps)))), width=3)).limit
        square = sum((v - middle) ** 2 for v in X) / 3
        found = limit.covariance[0, 0].xreplace(dict(zip(limit.states, X, strict=True)))
        assert float(found.doit()) == pytest.approx(square / (square + eps) / 2)


def test_it_is_said_in_text():
    said = Network("x + eps*A(relu(B(nn.LayerNorm(x, eps=1e-5))))", width=3)
    assert said == Network(lambda x: x + epsilon * A(relu(B(layer_norm(x, sp.Rational(1, 10**5))))), width=3)


@refusals(
    {
        "negative": (lambda: rms_norm(sp.Symbol("x"), eps=-1), "added under a norm's root, 0 or above"),
        "the small parameter": (lambda: rms_norm(sp.Symbol("x"), eps=epsilon), "added under a norm's root"),
        "an unknown option": (lambda: Network("x + eps*A(rms_norm(x, epsilon=1))", width=3), "close names: eps"),
        "no projection": (lambda: derive(Network("rms_norm(x + eps*A(x), eps=1)", width=3)), "the increment at ε = 0"),
    }
)
def test_refusals(call, message):
    assert_refused(call, message)
