"""States over positions: what is read, what is refused, and the formulas of attention."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import ConvResNet, DerivationError, Network, Weights, average, derive, epsilon, identity, relu
from derivations.language import (
    attention,
    causal,
    mixed,
    normalised_sum,
    other,
    over_positions,
    position_matrix,
    self_attention,
    softmax,
)
from derivations.symbols import width as n
from tests.helpers import equal_symbolically

k = sp.Symbol("k", integer=True, positive=True)
A = Weights("A")
Q, K, V = Weights("Q", out=k), Weights("K", out=k), Weights("V")


def test_linear_attention_is_the_norm_of_the_gram_matrix_times_it_for_every_number_of_keys():
    # F = ||S||² S, and d[S_ab, S_cd] = (S_ac F_bd + S_ad F_bc + S_bc F_ad + S_bd F_ac)/n
    net = Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x), "linear"), width=n, positions=2, parameters=(k,))
    gram = derive(net).gram
    S = gram.matrix
    F = sum(e**2 for e in S) * S
    pairs = [(0, 0), (0, 1), (1, 1)]
    for i, (a, b) in enumerate(pairs):
        assert equal_symbolically(gram.drift[i], F[a, b])
        for j, (c, d) in enumerate(pairs):
            wanted = (S[a, c] * F[b, d] + S[a, d] * F[b, c] + S[b, c] * F[a, d] + S[b, d] * F[a, c]) / n
            assert equal_symbolically(gram.covariance[i, j], wanted)


@pytest.mark.slow
def test_three_tokens_and_two_heads():
    layer = lambda x: x + epsilon * self_attention(x, heads=2, size=k, kind="linear")  # noqa: E731
    flow = derive(Network(layer, width=sp.oo, positions=3, parameters=(k,))).limit
    # heads of independent matrices add up, each with half the variance
    squares = {s**2 * (1 if s.is_positive else 2) for s in flow.states}
    for state, rate in zip(flow.states, flow.drift, strict=True):
        assert equal_symbolically(rate, sp.Add(*squares) * state)


def test_a_causal_mask_shows_earlier_positions_only():
    net = Network(
        lambda x: x + epsilon * attention(Q(x), K(x), V(x), "linear", mask=causal),
        width=sp.oo,
        positions=2,
        parameters=(k,),
    )
    flow = derive(net).limit
    k11, k12, _ = flow.states
    assert equal_symbolically(flow.drift[0], k11**3)
    # the second row sees both positions, the first one itself: Σ_δ (S_12 S_1δ) S_1δ
    assert equal_symbolically(flow.drift[1], k12 * (k11**2 + k12**2))


def test_a_mask_is_a_table_too():
    def drift(mask):
        q, k_, v = (Weights(word) for word in "QKV")
        net = Network(lambda x: x + epsilon * attention(q(x), k_(x), v(x), mask=mask), width=sp.oo, positions=2)
        return derive(net).limit.drift

    assert drift([[1, 0], [1, 1]]) == drift(causal) != drift([[1, 1], [1, 1]])


def test_several_inputs_mix_their_own_positions_only():
    net = Network(lambda x: x + epsilon * A(mixed([[0, 1], [1, 0]], relu(x))), width=sp.oo, inputs=2, positions=2)
    flow = derive(net).limit
    entry = dict(zip(map(str, flow.states), flow.drift, strict=True))
    assert equal_symbolically(entry["K_11"], sp.Symbol("K_22", positive=True) / 2)
    assert equal_symbolically(entry["K_33"], sp.Symbol("K_44", positive=True) / 2)
    assert entry["K_13"].free_symbols == {sp.Symbol("K_22", positive=True), sp.Symbol("K_44", positive=True)} | {
        sp.Symbol("K_24", real=True)
    }


@pytest.mark.slow
def test_a_circular_filter_is_a_sum_of_shifted_matrices():
    # a convolution of three taps said by shifts is the one that is said by taps
    size = 3
    shifts = [
        position_matrix(lambda a, b, d=d: sp.Piecewise((1, sp.Eq((b - a - d) % size, 0)), (0, True)))
        for d in (-1, 0, 1)
    ]
    said = Network(
        lambda x: (
            x
            + epsilon * sum(Weights(f"W{i}", variance=sp.Rational(1, 3))(mixed_by(s, x)) for i, s in enumerate(shifts))
        ),
        width=n,
        positions=size,
    )
    taps = ConvResNet(identity, identity, width=n, positions=(size,), filter=(3,))
    assert derive(said).limit.neuron_covariance == derive(taps).limit.neuron_covariance


def mixed_by(matrix, body):
    return over_positions(matrix * other(body))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + epsilon * A(other(x)), "depends on two positions, this one and another; sum over the other one"),
        (lambda x: x + epsilon * A(x) * average(x * other(x)), "depends on two positions"),
        (lambda x: x + epsilon * over_positions(other(average(x * other(x)) * A(x))), "depends on two positions"),
        (lambda x: x + epsilon * over_positions(softmax(x) * other(A(x))), "reads single neurons"),
        (lambda x: x + epsilon * A(mixed([[1, 0, 0]] * 3, x)), "over 3 positions and the network over 2"),
        (lambda x: x + epsilon * A(mixed([[1, 0]], x)), "must be square"),
        (lambda x: x + epsilon * A(mixed("ab", x)), "square matrix or a function of two places"),
        (lambda x: x + epsilon * A(mixed([[sp.Symbol("c"), 0], [0, 1]], x)), "symbol c is neither .* in the matrix"),
        (lambda x: x + epsilon * attention(A(x), A(x), A(x), kind="sofmax"), "unknown kind of attention 'sofmax'"),
        (lambda x: x + epsilon * attention(A(x), A(x), A(x), scale="root"), "unknown scale of scores 'root'"),
        (lambda x: x + epsilon * attention(A(x), Weights("B", out=3)(x), A(x)), "shapes do not fit"),
        (lambda x: x + epsilon * self_attention(x, heads=0), "positive whole number of heads"),
        (lambda x: x + normalised_sum("x"), "normalised sum is taken of an expression in the state x, got 'x'"),
        (lambda x: x + epsilon * A("x"), "A must be applied to an expression in the state x, got 'x'"),
    ],
)
def test_what_makes_no_sense_over_positions_is_refused(layer, says):
    with pytest.raises(DerivationError, match=says):
        Network(layer, width=2, positions=2)


@pytest.mark.parametrize("positions", [0, -1, 1.5, True, (2, 0), "3"])
def test_positions_are_whole_numbers(positions):
    with pytest.raises(DerivationError, match="positions must be a positive whole number"):
        Network(lambda x: x + epsilon * A(x), width=2, positions=positions)
