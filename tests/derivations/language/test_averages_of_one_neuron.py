"""Over one neuron a layer norm divides by 0 and dividing by the norm leaves the sign, which jumps; so does a layer norm of two."""

import pytest

from derivations import MLPBlock, Network, derive, relu
from derivations.backward import jacobian
from tests.refused import assert_refused, refusals

DIVIDES = "divides by 0: its average is over one neuron"
JUMPS = "an average over one neuron or two leaves a jump"


@refusals(
    {
        "a layer norm": (lambda: derive(Network("x + eps*A(layer_norm(x))", width=1)), DIVIDES),
        "of a recipe": (lambda: derive(MLPBlock(relu, width=1, norm="layer")), DIVIDES),
        "behind the sum": (lambda: derive(Network("layer_norm(x + eps*A(x))", width=1)), DIVIDES),
        "of hidden neurons": (lambda: derive(Network("x + eps*A(relu(layer_norm(B(x, out=1))))", width=3)), DIVIDES),
        "a norm behind the sum": (lambda: derive(Network("rms_norm(x + eps*A(x))", width=1)), "leaves its sign"),
        "its Jacobian": (lambda: jacobian(Network("rms_norm(x + eps*A(x))", width=1)).sde, "leaves its sign"),
        "over positions": (lambda: derive(Network("x + eps*A(layer_norm(x))", width=1, positions=2)), DIVIDES),
        "the slope of a norm": (lambda: jacobian(Network("x + eps*A(rms_norm(x))", width=1)), JUMPS),
        "of the layer norm of two": (lambda: jacobian(Network("x + eps*A(layer_norm(x))", width=2)), JUMPS),
        "of a mean": (lambda: jacobian(Network("x + eps*A(x/average(abs(x)))", width=1)), JUMPS),
    }
)
def test_it_is_refused(call, message):
    assert_refused(call, message)


@pytest.mark.parametrize(("layer", "width"), [("x + eps*A(layer_norm(x))", 3), ("x + eps*A(rms_norm(x))", 2)])
def test_more_neurons_are_not(layer, width):
    assert jacobian(Network(layer, width=width)).log_det.rate != 0


def test_norms_that_leave_a_sign_have_a_limit():
    assert derive(Network("x + eps*A(layer_norm(x))", width=2)).limit is not None
    assert derive(Network("x + eps*A(rms_norm(x))", width=1)).limit.covariance[0] == 1
    assert derive(Network("x + eps*A(x - average(x))", width=1)).limit.drift[0] == 0
