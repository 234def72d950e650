"""Positions in text: functions of two places, scales that are numbers, words of other libraries and what is written for them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import DerivationError, Network, Weights, average, derive, epsilon
from derivations.errors import UnsafeExpression
from derivations.language import (
    attention,
    causal,
    mixed,
    normalised_sum,
    other,
    over_positions,
    position_matrix,
    rotary,
    softmax,
)
from derivations.language.elsewhere import _KINDS, _OPTIONS, _SAID
from derivations.language.text import parse_layer
from derivations.symbols import state as x
from numerics.compile import compile_expression

A, V = Weights("A"), Weights("V")
Q, K = Weights("Q", out=64), Weights("K", out=64)


def near(here: sp.Expr, there: sp.Expr) -> sp.Expr:
    """1 for places beside each other."""
    return sp.Piecewise((1, sp.Abs(here - there) < 2), (0, True))


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("position_matrix(-abs(here - there)/2)", position_matrix(lambda here, there: -sp.Abs(here - there) / 2)),
        ("position_matrix(where(abs(here - there) < 2, 1, 0))", position_matrix(near)),
        ("position_matrix(where(here == there, 0, here))", position_matrix(lambda a, b: sp.Piecewise((0, sp.Eq(a, b)), (a, True)))),
        ("mixed(here - 2*there, A(x))", mixed(lambda here, there: here - 2 * there, A(x))),
        ("softmax(normalised_sum(x*other(x)), causal)", softmax(normalised_sum(x * other(x)), causal)),
        ("attention(A(x), A(x), V(x), linear)", attention(A(x), A(x), V(x), "linear")),
    ],
    ids=["a distance", "a window", "equal places", "mixed", "a mask by its place", "a kind by its place"],
)  # fmt: skip
def test_text_says_what_python_says(text, layer):
    assert parse_layer(text) == layer


def test_a_function_of_places_has_its_values():
    matrix = parse_layer("position_matrix(where(here != there, here - there/2, 7))")
    assert [[matrix.entry(a, b) for b in range(2)] for a in range(2)] == [[7, -sp.Rational(1, 2)], [1, 7]]
    assert str(matrix) == "position_matrix(Piecewise((here - there/2, Ne(here, there)), (7, True)))"
    assert str(position_matrix([[0, 1], [1, 0]])) == "position_matrix([[0, 1], [1, 0]])"


@pytest.mark.parametrize("turned", [lambda body: body, lambda body: rotary(body, [1])], ids=["plain", "rotary"])
@pytest.mark.parametrize(
    ("scale", "scores"),
    [
        (sp.Rational(1, 8), normalised_sum),
        (0.25, lambda product: 2 * normalised_sum(product)),
        (sp.Rational(1, 64), average),
    ],
    ids=["one over the root", "twice that", "one over their number"],
)
def test_a_scale_that_is_a_number_multiplies_the_sum_over_64_keys(scale, scores, turned):
    queries, keys = turned(Q(x)), turned(K(x))
    found = attention(queries, keys, V(x), "linear", scale=scale)
    assert found == over_positions(scores(queries * other(keys)) * other(V(x)))


def test_scores_of_scale_one_over_the_width_vanish_and_of_its_root_stay():
    # attention of scores 0 is the mean over the positions: F = (K_11 + 2 K_12 + K_22)/4 for each pair
    made = lambda scale: Network(f"x + eps*attention(Q(x), K(x), V(x), scale={scale})", width=sp.oo, positions=2)  # noqa: E731
    flow = derive(made("1/n")).limit
    k11, k12, k22 = flow.states
    assert {sp.expand(rate) for rate in flow.drift} == {sp.expand((k11 + 2 * k12 + k22) / 4)}
    plain = Network(lambda b: b + epsilon * attention(Weights("Q")(b), Weights("K")(b), V(b)), width=sp.oo, positions=2)
    assert derive(made("1/sqrt(n)")).limit == derive(plain).limit != flow


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (lambda: attention(x, x, V(x), scale=0.5), DerivationError, "known how many neurons are summed"),
        (lambda: attention(Q(x), K(x), V(x), scale=sp.I), DerivationError, "'sqrt' or 'linear', or a number, got I"),
        (lambda: attention(Q(x), K(x), V(x), scale=True), DerivationError, "a number or a SymPy expression, got True"),
        (lambda: attention(Q(x), K(x), V(x), scale="root"), DerivationError, "unknown scale of scores 'root'"),
        (lambda: position_matrix(lambda here, there: A(x)), DerivationError, "numbers or a function of two places, got A"),
        (lambda: parse_layer("mixed(W(x), x)"), DerivationError, "drawn, or that depends on the state, is not in the language"),
        (
            lambda: parse_layer("x + eps*A(x, variance=1, variance=2)"),
            UnsafeExpression,
            "variance of A is given twice",
        ),
        (lambda: parse_layer("x + eps*A(x)*here"), UnsafeExpression, "unknown symbol 'here'"),
        (lambda: parse_layer("mixed(here, here*x)"), UnsafeExpression, "unknown symbol 'here'"),
        (lambda: parse_layer("where(x == 1, x, 0)"), UnsafeExpression, "compares at single points"),
        (lambda: parse_layer("mixed(M, x)"), UnsafeExpression, "M would be a random matrix over positions; write mixed"),
        (lambda: parse_layer("dropout(x)"), UnsafeExpression, "is given 1 argument; write dropout"),
        (lambda: parse_layer("softmax(x, causal, mask=causal)"), UnsafeExpression, "is given 2 arguments; write softmax"),
    ],
    ids=["queries without a matrix", "no real scale", "a truth value", "a word", "a drawn matrix", "the same in text", "an option twice",
         "a place elsewhere", "a place in the body", "a single point", "a matrix over positions", "too few", "a mask twice"],
)  # fmt: skip
def test_what_is_refused(body, error, words):
    with pytest.raises(error, match=words):
        body()


@pytest.mark.parametrize(
    "word",
    ["GroupNorm", "batch_norm", "top_k", "mean", "std", "l2_norm", "mixer", "drop_path", "alibi", "rope", "re_zero"],
)
def test_words_of_other_libraries_say_what_to_write(word):
    with pytest.raises(UnsafeExpression, match=f"'{word}' is no word of a layer; "):
        parse_layer(f"x + eps*A({word}(x))")


def test_a_word_that_nothing_is_like_may_be_a_matrix():
    with pytest.raises(UnsafeExpression, match="unknown function 'zz'; if it is a matrix, write ZZ"):
        parse_layer("x + eps*zz(x)")


@pytest.mark.parametrize(
    "formula", sorted({*(formula for formula, _ in _SAID.values()), *_OPTIONS.values(), *_KINDS.values()})
)
def test_what_is_to_be_written_can_be_read(formula):
    assert isinstance(parse_layer(formula), sp.Expr)


@pytest.mark.parametrize("option", sorted(_OPTIONS))
def test_options_of_attention_in_other_libraries_say_what_to_write(option):
    with pytest.raises(UnsafeExpression, match=f"'{option}' is no option of attention; write "):
        parse_layer(f"x + eps*attention(Q(x), K(x), V(x), {option}=2)")
    with pytest.raises(UnsafeExpression, match="unknown option of attention 'depth'"):
        parse_layer("x + eps*attention(Q(x), K(x), V(x), depth=2)")


def shares(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores)
    return grown / grown.sum(-1, keepdims=True)


BY_PARTS = {
    "relu": (_KINDS["relu"], lambda y: np.maximum(y, 0) / 2),
    "sigmoid": (_KINDS["sigmoid"], lambda y: 1 / (1 + np.exp(-y)) / 2),
    "alibi": (_OPTIONS["alibi"], lambda y: shares(y - np.array([[0, 0.5], [0.5, 0]]))),
    "softcap": (_OPTIONS["softcap"], lambda y: shares(50 * np.tanh(y / 50))),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "softcap")) for name in BY_PARTS]
)
def test_what_is_to_be_written_for_attention_has_the_limit_of_drawn_scores(name):
    """At infinitely many keys scores are Gaussian with the covariance K_αγ K_βδ, and values with the covariance K."""
    formula, weights = BY_PARTS[name]
    if name in _KINDS:
        with pytest.raises(DerivationError, match=f"'{name}' is no kind of attention; write over_positions"):
            parse_layer(f"x + eps*attention(Q(x), K(x), V(x), kind={name})")
    flow = derive(Network(f"x + eps*({formula})", width=sp.oo, positions=2)).limit
    gram = np.array([[1.0, 0.3], [0.3, 1.5]])
    derived = compile_expression(list(flow.states), tuple(flow.drift))(gram[0, 0], gram[0, 1], gram[1, 1])
    root = np.linalg.cholesky(gram)
    drawn = root @ np.random.default_rng(1).standard_normal((400_000, 2, 2)) @ root.T
    moved = np.einsum("sab,bd,scd->sac", weights(drawn), gram, weights(drawn))
    error = moved.std(0) / np.sqrt(len(moved))
    for value, (a, b) in zip(derived, ((0, 0), (0, 1), (1, 1)), strict=True):
        assert abs(float(value) - moved.mean(0)[a, b]) < 4.5 * error[a, b]
        assert abs(1.1 * float(value) - moved.mean(0)[a, b]) > 6 * error[a, b]


def test_groups_of_a_norm_are_alike_at_infinite_width():
    # a norm over each half of 200,000 neurons and one over all, by hand
    rng = np.random.default_rng(0)
    z = np.linalg.cholesky([[1.0, 0.4], [0.4, 2.0]]) @ rng.standard_normal((2, 200_000)) + [[0.5], [-1.0]]
    normed = lambda y: (y - y.mean(-1, keepdims=True)) / y.std(-1, keepdims=True)  # noqa: E731
    halves, whole = normed(z.reshape(2, 2, -1)).reshape(2, -1), normed(z)
    assert abs(np.mean(halves[0] * halves[1]) - np.mean(whole[0] * whole[1])) < 1e-4
    assert abs(np.mean(z[0] * z[1]) - np.mean(whole[0] * whole[1])) > 0.1  # without the norm
