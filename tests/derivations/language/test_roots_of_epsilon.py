"""Layers in powers of the depth other than 1/2, as DeepNorm's: expanded in a root of the small parameter."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Network,
    NoLimit,
    Regime,
    Weights,
    average,
    derive,
    epsilon,
    jacobian,
    layer_norm,
    relu,
    rms_norm,
    scalings,
    symbols,
    tanh,
)
from numerics import kernel_matrix

n, L = symbols.width, symbols.depth
A, B = Weights("A"), Weights("B")
QUARTER = [Weights(name, variance=1 / sp.sqrt(L)) for name in ("A", "B")]


def limit(layer, **words):
    found = derive(Network(layer, **{"width": 2} | words)).limit
    return found.drift, found.covariance


SAME = {
    "two roots make one branch": (
        lambda x: x + QUARTER[0](relu(QUARTER[1](x))),
        lambda x: x + epsilon * A(relu(B(x))),
    ),
    "inside, a small argument is linear": (
        lambda x: x + QUARTER[0](tanh(QUARTER[1](x))),
        lambda x: x + epsilon * A(B(x)),
    ),
    "what is smaller does not count": (
        lambda x: x + A(relu(x)) / sp.sqrt(L) + B(tanh(x)) / L ** sp.Rational(2, 3),
        lambda x: x + epsilon * A(relu(x)),
    ),
    "a drift of two roots": (
        lambda x: x * (1 + average(x**2) / L ** sp.Rational(1, 4) / L ** sp.Rational(3, 4)) + epsilon * A(x),
        lambda x: x * (1 + epsilon**2 * average(x**2)) + epsilon * A(x),
    ),
    "growth behind a norm is none": (
        lambda x: rms_norm(L ** sp.Rational(1, 4) * x + A(relu(B(x))) / L ** sp.Rational(1, 4)),
        lambda x: rms_norm(x + epsilon * A(relu(B(x)))),
    ),
    "nor behind a layer norm": (
        lambda x: layer_norm(x / epsilon + A(relu(x))),
        lambda x: layer_norm(x + epsilon * A(relu(x))),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_limits_in_roots_are_those_in_whole_powers(name):
    roots, whole = SAME[name]
    assert limit(roots) == limit(whole)
    assert limit(roots) != limit(lambda x: x + 2 * epsilon * A(relu(x)))


def test_in_every_order_of_the_limits():
    roots, whole = SAME["two roots make one branch"]
    assert limit(roots, width=sp.oo, inputs=2) == limit(whole, width=sp.oo, inputs=2)
    together = {"width": n, "regime": Regime(depth=1), "inputs": 2}
    assert limit(roots, **together) == limit(whole, **together)
    roots, whole = SAME["inside, a small argument is linear"]
    first, second = (jacobian(Network(f, width=2)).limit() for f in (roots, whole))
    assert (first.drift, first.covariance) == (second.drift, second.covariance)
    x = [[1, 0.3], [-0.2, 0.8]]
    kernels = [kernel_matrix(Network(f, width=sp.oo), x, t=0.5, kind="ntk") for f in (roots, whole)]
    assert np.abs(kernels[0] - kernels[1]).max() < 1e-9


def test_the_size_of_a_branch_decides():
    smaller, larger = (Network(lambda x, p=p: x + A(relu(x)) / L**p, width=n) for p in map(sp.Rational, ("3/4", "1/4")))
    assert all(entry == 0 for entry in [*derive(smaller).limit.drift, *derive(smaller).limit.covariance])
    with pytest.raises(NoLimit, match=r"covariance of one layer's step is ε·.*scalings"):
        derive(larger)
    assert "tends to the identity" in str(scalings(smaller))
    assert "has no limit: its leading monomials add sqrt(L)" in str(scalings(larger)).replace("\n       ", " ")
    assert [regime.kind for regime in scalings(smaller).regimes] == [regime.kind for regime in scalings(larger).regimes]


def test_deepnorm_tends_to_the_identity_at_the_start():
    r"""Skips of (2L)^¼ and gains of (8L)^-¼: a branch of L^-¾, whose noise over all layers is of size L^-½."""
    first, second = (Weights(name, variance=1 / sp.sqrt(8 * L)) for name in ("A", "B"))
    net = Network(lambda x: rms_norm((2 * L) ** sp.Rational(1, 4) * x + first(relu(second(x)))), width=n, inputs=2)
    found = derive(net)
    assert found.gram.drift[0] == 0
    assert "tends to the identity" in str(found)
    assert "(2*L)" not in str(found)
    assert "1/sqrt(L) in the mean square" in str(scalings(net)).replace("\n       ", " ")
