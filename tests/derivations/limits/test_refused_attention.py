"""What attention refuses at a fixed number of keys, in the user's terms, and that what it advises works."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    Network,
    NotClosed,
    Weights,
    attention,
    causal,
    derive,
    epsilon,
    relu,
    rms_norm,
    tanh,
)
from derivations.language import normalised_sum, other, over_positions, softmax
from derivations.symbols import width

HALF = sp.Rational(1, 2)
PAIR = [[1, HALF], [HALF, 1]]


def _head(width=2, size=2, normed=False, **options):
    Q, K, V = (Weights(name, out=size, **options.get(name, {})) for name in "QKV")

    def layer(x):
        q, k = (rms_norm(m(x)) if normed else m(x) for m in (Q, K))
        return x + epsilon * Weights("O", **options.get("O", {}))(attention(q, k, V(x)))

    return Network(layer, width=width, positions=2)


def _covariance(net):
    return derive(net).limit.covariance


REFUSED = {
    "orthogonal": AttentionBlock(width=2, size=2, law="orthogonal"),
    "signs": AttentionBlock(width=2, size=2, law="rademacher"),
    "rows of queries": _head(Q={"row_covariance": PAIR}),
    "columns of keys": _head(K={"column_covariance": PAIR}),
    "rows of values": _head(V={"row_covariance": PAIR}),
    "norms of queries and keys": _head(normed=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_scores_whose_law_is_not_known(name):
    with pytest.raises(NotClosed) as refused:
        _covariance(REFUSED[name])
    said = str(refused.value)
    assert "queries, keys and values are what Gaussian matrices of their own put out" in said
    assert "law='gaussian' without covariances and put norms before them" in said
    assert "\n" not in said


@pytest.mark.slow
def test_what_is_advised_has_a_limit():
    assert derive(AttentionBlock(width=2, size=2, norm="rms")).gram is not None
    assert _covariance(_head(O={"row_covariance": PAIR})) is not None
    n = sp.Symbol("n", integer=True, positive=True)
    for wide in (AttentionBlock(width=sp.oo, law="orthogonal"), _head(sp.oo, n, normed=True)):
        assert len(derive(wide).limit.states) == 3


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x + epsilon * rms_norm(Weights("A")(tanh(x)) + Weights("B")(x)),
        lambda x: x + epsilon * Weights("A")(relu(rms_norm(Weights("B")(x)))),
    ],
    ids=["of a sum of matrices", "of hidden neurons"],
)
def test_norms_behind_matrices(layer):
    with pytest.raises(NotClosed, match=r"put the norm before the matrix|holds one that fluctuates"):
        _covariance(Network(layer, width=3))


def test_a_norm_of_several_inputs_behind_a_matrix_is_refused_and_of_one_is_not():
    def layer(x):
        return x + epsilon * rms_norm(Weights("A")(sp.cosh(x)))

    assert _covariance(Network(layer, width=3)) is not None
    with pytest.raises(NotClosed, match="put the norm before the matrix"):
        _covariance(Network(layer, width=3, inputs=2))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (lambda q, k, v: rms_norm(attention(q, k, v)), "with 3 of them it fluctuates"),
        pytest.param(
            lambda q, k, v: over_positions(1 / (1 + sp.exp(-normalised_sum(q * other(k)))) * other(v)),
            "for the softmax alone",
            marks=pytest.mark.slow,
        ),
        (
            lambda q, k, v: over_positions(softmax(normalised_sum(q * other(k)) + causal) * other(v)),
            "nothing added to their scores",
        ),
    ],
    ids=["a norm behind", "a sigmoid", "biases"],
)
def test_what_few_keys_refuse_is_there_for_many(body, says):
    def layer(size):
        Q, K, V = (Weights(name, out=size) for name in "QKV")
        return Network(lambda x: x + epsilon * Weights("O")(body(Q(x), K(x), V(x))), width=sp.oo, positions=2)

    with pytest.raises(NotClosed, match=says):
        derive(layer(3))
    assert len(derive(layer(width)).limit.states) == 3


def test_a_number_times_queries_is_one_times_scores():
    def limit(factor, size, variance=1):
        Q, K, V = Weights("Q", out=size, variance=variance), Weights("K", out=size), Weights("V")
        return derive(
            Network(lambda x: x + epsilon * attention(factor * Q(x), K(x), V(x)), width=sp.oo, positions=2)
        ).limit

    for size in (3, width):
        assert limit(3, size) == limit(1, size, variance=9)
        assert limit(2, size) != limit(1, size, variance=9)
