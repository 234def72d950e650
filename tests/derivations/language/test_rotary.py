"""Rotary positions in the language: what is said, what it becomes, what is refused."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    Network,
    TransformerBlock,
    Weights,
    attention,
    derive,
    epsilon,
    normalised_sum,
    other,
    over_positions,
    rotary,
    rotary_frequencies,
    softmax,
)
from derivations.gaussian.turns import turned
from derivations.language.statements import Mean
from tests.refused import assert_refused, refusals

Q, K, V, O = (Weights(name) for name in "QKVO")  # noqa: E741  the letter of the output matrix
THIRD = sp.Rational(1, 3)
a, w = sp.symbols("a w", real=True)


def net(layer, positions=2, **options):
    return Network(lambda x: x + epsilon * layer(x), width=sp.oo, positions=positions, **options)


def head(x, frequencies, keys=None):
    keys = frequencies if keys is None else keys
    return O(attention(rotary(Q(x), frequencies), rotary(K(x), keys), V(x)))


def angles_of(network):
    return [s.angles for s in network.program().statements if isinstance(s, Mean) and s.pair]


def test_scores_hold_the_angles_of_each_pair_and_position():
    assert angles_of(net(lambda x: head(x, [1, THIRD]), 3)) == [sp.Matrix([[0, 1, 2], [0, THIRD, 2 * THIRD]])]
    assert angles_of(net(lambda x: head(x, [[0, 5, 1]]), 3)) == [sp.Matrix([[0, 5, 1]])]
    block = AttentionBlock(width=sp.oo, positions=3, frequencies=[1, THIRD])
    assert angles_of(block) == angles_of(net(lambda x: head(x, [1, THIRD]), 3))
    assert TransformerBlock(width=sp.oo, frequencies=1).frequencies == sp.Tuple(1)


def test_angles_that_do_not_differ_turn_nothing():
    plain = derive(net(lambda x: O(attention(Q(x), K(x), V(x))))).limit
    for same in ([0, 0], [[3, 3], [1, 1]]):
        assert derive(net(lambda x, same=same: head(x, same))).limit == plain
    assert derive(net(lambda x: head(x, [0, 1]))).limit != plain


def test_covariances_depend_on_how_far_positions_are_apart():
    table = sp.ImmutableMatrix([[a + w * k for k in range(5)]])
    assert sp.expand_trig(sp.expand(turned(table, 1, 0, 3, 4) - sp.cos(2 * w))) == 0
    assert turned(table, 1, 0, 1, 0) == 1  # a variance stays


def test_frequencies_are_those_of_transformers():
    assert rotary_frequencies(8) == [1, sp.Rational(1, 10), sp.Rational(1, 100), sp.Rational(1, 1000)]
    assert rotary_frequencies(4, base=9) == [1, THIRD]


def test_a_frequency_may_be_a_parameter():
    network = net(lambda x: head(x, [w]), parameters=(w,))
    assert derive(network).limit.drift[1].free_symbols >= {w}


def scored(make):
    return lambda: net(lambda x: O(over_positions(softmax(make(x)) * other(V(x))))).program()


@refusals(
    {
        "not scores": (
            lambda: net(lambda x: rotary(Q(x), [1])).program(),
            "turned by their position, which are not al",
        ),
        "one side": (
            scored(lambda x: normalised_sum(rotary(Q(x), [1]) * other(K(x)))),
            "no sum of turned queries times turned keys",
        ),
        "here only": (
            scored(lambda x: normalised_sum(rotary(Q(x), [1]) * rotary(K(x), [1]))),
            "no sum of turned queries times turned keys",
        ),
        "a neuron beside": (
            scored(lambda x: normalised_sum(rotary(Q(x), [1]) * other(rotary(K(x), [1])) * Q(x))),
            "no sum of turned queries times turned keys",
        ),
        "a square": (
            scored(lambda x: normalised_sum(rotary(Q(x), [1]) ** 2 * other(rotary(K(x), [1])))),
            "no sum of turned queries times turned keys",
        ),
        "two laws": (lambda: net(lambda x: head(x, [1], [2])).program(), "turned by different angles"),
        "a grid": (lambda: net(lambda x: head(x, [1]), (2, 2)).program(), "a grid of 2 × 2, .* give rotary a matrix"),
        "columns": (
            lambda: net(lambda x: head(x, [[0, 1, 2]])).program(),
            "angles of 3 positions and the network has 2",
        ),
        "a stray": (lambda: net(lambda x: head(x, [w])).program(), "the symbol w is neither the state"),
        "no frequency": (lambda: rotary(Q(sp.Symbol("x")), []), "one frequency or more"),
        "complex": (lambda: rotary(Q(sp.Symbol("x")), [sp.I]), "real numbers"),
        "a word": (lambda: rotary(Q(sp.Symbol("x")), "all"), "need frequencies, such as rotary_frequencies"),
        "odd": (lambda: rotary_frequencies(7), "an even number of them, got 7"),
        "an infinity": (
            lambda: AttentionBlock(width=sp.oo, frequencies=sp.oo),
            "need one frequency or more, and real numbers",
        ),
        "keys that are counted, without a softmax": (
            lambda: derive(AttentionBlock(width=sp.oo, size=4, kind="linear", frequencies=[1])),
            "scores of 4 turned queries and keys",
        ),
        "averages": (
            lambda: derive(AttentionBlock(width=sp.oo, kind="linear", scale="linear", frequencies=[1])),
            "averages of turned queries and keys",
        ),
        "one matrix for both": (
            lambda: derive(net(lambda x: O(attention(rotary(Q(x), [1]), rotary(Q(x), [1]), V(x))))),
            "made of one matrix, or of no matrix",
        ),
        "no matrix": (
            lambda: derive(net(lambda x: O(attention(rotary(x, [1]), rotary(K(x), [1]), V(x))))),
            "made of one matrix, or of no matrix",
        ),
        "a norm that has one": (
            lambda: derive(AttentionBlock(width=sp.oo, bias_mean=1, frequencies=[1])),
            "with means of both queries and keys",
        ),
    }
)
def test_refused(call, message):
    assert_refused(call, message)


@pytest.mark.parametrize("side", [0, 1])
def test_a_mean_on_one_side_is_in_its_second_moments(side):
    """A mean that all keys share moves turned scores, while it adds the same to all plain ones."""
    shifted = [Weights(name, bias_mean=int(k == side)) for k, name in enumerate("QK")]

    def rate(frequencies):
        def layer(x):
            queries, keys = (W(x) for W in shifted)
            if frequencies:
                queries, keys = (rotary(u, frequencies) for u in (queries, keys))
            return O(attention(queries, keys, V(x)))

        return derive(net(layer)).limit.drift[1]

    node = rate([1])
    assert (node.queries, node.keys)[side][0, 0] == sp.Symbol("K_11", positive=True) + 1
    assert rate([]) != rate([1])
