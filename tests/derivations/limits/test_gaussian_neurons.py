"""Where neurons of an infinitely wide network are Gaussian, and where a kink or a jump makes them something else."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Network,
    Regime,
    Weights,
    derive,
    epsilon,
    leaky_relu,
    normalised_sum,
    other,
    over_positions,
    relu,
    scalings,
    softmax,
    symbols,
    tanh,
)
from derivations.errors import NotClosed

n = symbols.width
A, B = Weights("A"), Weights("B")

BENT = {
    "relu": lambda x: x + epsilon**2 * relu(x) + epsilon * A(tanh(x)),
    "leaky relu": lambda x: x - epsilon**2 * leaky_relu(x, sp.Rational(1, 5)) + epsilon * A(x),
    "step": lambda x: x + epsilon**2 * sp.Heaviside(x) + epsilon * A(x),
    "absolute value": lambda x: x + epsilon**2 * sp.Abs(x) + epsilon * A(x),
    "tanh": lambda x: x - epsilon**2 * tanh(x) + epsilon * A(x),
}


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize("together", [False, True], ids=["width first", "together"])
def test_a_drift_with_a_kink_is_not_affine(name, together):
    words = {"width": n, "regime": Regime(depth=1)} if together else {"width": sp.oo}
    with pytest.raises(NotClosed, match=r"stay Gaussian only if|chain by itself only if"):
        derive(Network(BENT[name], inputs=2, **words))


def test_an_affine_drift_keeps_neurons_gaussian():
    found = derive(Network(lambda x: x - epsilon**2 * x + epsilon * A(tanh(x)), width=sp.oo))
    (k,) = found.limit.states
    assert found.limit.drift[0].coeff(k) == -2


def test_a_transpose_whose_determinants_cancel_keeps_neurons_gaussian():
    """(AᵀA − 1)x: each entry off the diagonal has variance 1/n; the noise was said to depend on the neuron."""
    found = derive(Network(lambda x: x + epsilon * (A.T(A(x)) - x), width=sp.oo, inputs=2)).limit
    assert found.drift == sp.Matrix(found.states)
    n, rng = 300, np.random.default_rng(0)
    x = np.linalg.qr(rng.normal(size=(n, 2)))[0] @ np.array([[1.0, 0.6], [0.0, 0.8]]) * np.sqrt(n)
    a = rng.normal(size=(20, n, n)) / np.sqrt(n)
    noise = np.swapaxes(a, 1, 2) @ (a @ x) - x
    size = np.einsum("snp,snq->spq", noise, noise) / n
    error = size.std(axis=0) / np.sqrt(20) + 4 / n
    assert np.all(np.abs(size.mean(axis=0) - [[1, 0.6], [0.6, 1]]) < 4 * error)
    assert np.all(np.abs(size.mean(axis=0) - 2 * np.array([[1, 0.6], [0.6, 1]])) > 4 * error)


def followed(branch, inside, reads, layers=12, width=2000, seed=3):
    """The mean square of a layer's state, drawn by hand."""
    rng = np.random.default_rng(seed)
    x, found = rng.normal(size=width), []
    for _ in range(layers):
        x = inside(x, branch * rng.normal(size=(width, width)) / np.sqrt(width) @ reads(x))
        found.append(np.mean(x**2))
    return np.array(found)


@pytest.mark.slow
def test_states_that_are_not_gaussian_have_no_map_of_variances_but_where_second_moments_decide():
    """relu(x + A(relu(B(x)))): the state is at least 0, and the half of its variance is not lost (it was said so)."""
    outside = scalings(Network(lambda x: relu(x + A(relu(B(x)))), width=n))
    assert outside.maps is None
    grown = followed(1, lambda x, u: np.maximum(x + u, 0), lambda x: x)
    assert grown[-1] > 2 * grown[0]
    with_function = scalings(Network(lambda x: relu(A(tanh(x))), width=n))
    assert with_function.maps is None
    plain = scalings(Network(lambda x: relu(Weights("A", variance=2)(x)), width=n)).maps
    assert plain.factor == 1
    kept = followed(np.sqrt(2), lambda x, u: np.maximum(u, 0), lambda x: x)
    assert (
        np.abs(np.log(kept[1:] / kept[:-1])).mean() < 0.1
    )  # 4 errors of a mean square over 2000 neurons, of √5/√2000 each
    smooth = scalings(Network(lambda x: tanh(A(x)), width=n)).maps
    assert smooth.rests == ()


@pytest.mark.slow
def test_queries_behind_a_kink_are_no_head_of_linear_queries():
    """Scores relu(Q x_1)·(K x_b)/√k at infinite width, against queries and keys drawn by hand."""
    queries, keys, values = Weights("Q"), Weights("K"), Weights("V")

    def layer(x):
        shares = softmax(normalised_sum(relu(queries(x)) * other(keys(x))))
        return x + epsilon * over_positions(shares * other(values(x)))

    flow = derive(Network(layer, width=sp.oo, positions=2)).limit
    assert flow.drift.free_symbols <= set(flow.states)
    kernel = np.array([[1.5, 0.4], [0.4, 0.8]])
    derived = float(sp.N(flow.drift[0].subs(dict(zip(flow.states, kernel[[0, 0, 1], [0, 1, 1]], strict=True))), 8))
    rng = np.random.default_rng(2)
    heads, k = 4000, 400
    q, held = (rng.normal(size=(heads, k, 2)) @ np.linalg.cholesky(kernel).T for _ in range(2))
    scores = np.einsum("hk,hkb->hb", np.maximum(q[:, :, 0], 0), held) / np.sqrt(k)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    drawn = np.einsum("ha,hb,ab->h", shares, shares, kernel)
    error = drawn.std() / np.sqrt(heads)
    assert abs(drawn.mean() - derived) < 4 * error + 1 / k
    linear = np.einsum("hk,hkb->hb", q[:, :, 0], held) / np.sqrt(k)
    other_shares = np.exp(linear) / np.exp(linear).sum(1, keepdims=True)
    assert abs(np.einsum("ha,hb,ab->h", other_shares, other_shares, kernel).mean() - derived) > 6 * (error + 1 / k)
