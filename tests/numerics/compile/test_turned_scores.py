"""Scores of turned queries and keys: means over them against networks with weights drawn by hand, and what simulations compute."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, derive
from derivations.gaussian import softmax_mean
from derivations.language.statements import Mean
from numerics import simulate_network
from numerics.compile import compile_expression
from numerics.compile.differences import Differences, Pair
from numerics.compile.programs import PLAIN, compiled_program
from numerics.compile.softmax_means import softmax_mean_value
from numerics.compile.tangents import Dual, Tangents
from numerics.statistics import Estimate

FREQUENCIES = (2.0, 0.5)
GRAM = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 0.5], [2.0, 0.5, 4.0]])
PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]


def turned(u, frequencies=FREQUENCIES):
    """Neurons on axis -2 and positions last; pairs are half of the neurons apart, their frequencies in turn."""
    first, second = np.split(u, 2, axis=-2)
    theta = np.outer(np.resize(frequencies, first.shape[-2]), np.arange(u.shape[-1]))
    c, s = np.cos(theta), np.sin(theta)
    return np.concatenate([c * first - s * second, s * first + c * second], axis=-2)


def soft(scores, mask):
    e = np.exp(scores) * mask
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("masked", [False, True])
def test_a_block_adds_what_networks_drawn_by_hand_do(masked):
    rng, n, samples, p = np.random.default_rng(5), 64, 1200, 3
    start = rng.standard_normal((n, p))
    start = start @ np.linalg.inv(np.linalg.cholesky(start.T @ start / n)).T @ np.linalg.cholesky(GRAM).T
    q, k, v = rng.standard_normal((3, samples, n, n)) @ start / np.sqrt(n)
    scores = np.einsum("sia,sib->sab", turned(q), turned(k)) / np.sqrt(n)
    seen = np.einsum("sab,sib->sia", soft(scores, np.tril(np.ones((p, p))) if masked else 1.0), v)
    added = [Estimate.of(np.einsum("sia,sib->sab", seen, seen)[:, a, b] / n) for a, b in PAIRS]
    rates = []
    for frequencies in (FREQUENCIES, ()):
        block = AttentionBlock(width=sp.oo, positions=p, masked=masked, frequencies=frequencies)
        limit = derive(block).limit
        rates.append(compile_expression(limit.states, tuple(limit.drift))(*(GRAM[pair] for pair in PAIRS)))
    room = [4.5 * e.error + abs(float(r)) / n for e, r in zip(added, rates[0], strict=True)]  # and of order 1/n
    off = [[abs(e.value - float(r)) for e, r in zip(added, rate, strict=True)] for rate in rates]
    assert all(d < e for d, e in zip(off[0], room, strict=True))
    assert any(d > e for d, e in zip(off[1], room, strict=True))  # the control: positions that are not turned


def law(angles):
    """A node of two inputs over two or three positions, and samples of it by the root of the scores' whole covariance."""
    p = len(angles[0])
    rng = np.random.default_rng(1)
    made = [rng.integers(-2, 3, size=(2 * p, 2 * p + 1)) for _ in range(3)]
    form, queries, keys = (sp.Matrix((m @ m.T).tolist()) / 5 for m in made)
    return p, form, queries, keys, sp.ImmutableMatrix(angles)


@pytest.mark.parametrize("angles", [[[0, 3]], pytest.param([[0, 1, 3], [2, 0, 1]], marks=pytest.mark.slow)])
def test_means_over_turned_scores(angles):
    p, form, queries, keys, theta = law(angles)
    rejected = 0
    for a, c in ((0, 1), (1, 1), (0, p + 1), (1, p + 1)):
        node = softmax_mean(a, c, form, queries, keys, sp.ones(p), angles=theta)
        value, error = softmax_mean_value(node)
        places = [(r, r // p * p + b) for r in (a, c) for b in range(p)]
        covariance = np.array([[float(node.covariance(*one, *two)) for two in places] for one in places])
        sizes, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(sizes, 0))
        y = np.random.default_rng(2).standard_normal((100_000, len(places))) @ root.T
        M = np.array(form, dtype=float)[:p, c // p * p : c // p * p + p]
        drawn = Estimate.of(np.einsum("sb,bd,sd->s", soft(y[:, :p], 1.0), M, soft(y[:, p:], 1.0)))
        assert abs(drawn.value - value) < 4.5 * drawn.error + error
        plain, _ = softmax_mean_value(softmax_mean(a, c, form, queries, keys, sp.ones(p)))
        rejected += abs(drawn.value - plain) > 4.5 * drawn.error + error  # the control: not turned
    assert rejected >= 2


def test_the_covariance_of_turned_scores_is_that_of_drawn_neurons():
    p, form, queries, keys, theta = law([[0, 1, 3], [2, 0, 1]])
    rng, neurons = np.random.default_rng(3), 4
    left, right = (np.linalg.cholesky(np.array(m[:p, :p] + sp.eye(p) / 9, dtype=float)) for m in (queries, keys))
    q, k = (rng.standard_normal((400_000, neurons, p)) @ root.T for root in (left, right))
    angles = np.array(theta, dtype=float)
    c, s = np.cos(angles), np.sin(angles)
    q, k = (np.concatenate([c * u[:, :2] - s * u[:, 2:], s * u[:, :2] + c * u[:, 2:]], axis=1) for u in (q, k))
    scores = np.einsum("sia,sib->sab", q, k) / np.sqrt(neurons)
    node = softmax_mean(0, 1, form, queries + sp.eye(2 * p) / 9, keys + sp.eye(2 * p) / 9, sp.ones(p), angles=theta)
    still = softmax_mean(0, 1, form, node.queries, node.keys, sp.ones(p))
    rejected = 0
    for one, two in (((0, 1), (1, 2)), ((0, 2), (2, 1)), ((1, 1), (0, 2))):
        drawn = Estimate.of(scores[:, *one] * scores[:, *two])
        assert abs(drawn.value - float(node.covariance(*one, *two))) < 4.5 * drawn.error
        rejected += (
            abs(drawn.value - float(still.covariance(*one, *two))) > 4.5 * drawn.error
        )  # the control: not turned
    assert rejected


def test_finitely_many_turned_keys_at_a_finite_width():
    """What one layer adds to the Gram matrix at width 8 with 4 keys, and biases that have means."""
    rng, n, keys, samples = np.random.default_rng(7), 8, 4, 60_000
    start = rng.standard_normal((n, 2))
    start = start @ np.linalg.inv(np.linalg.cholesky(start.T @ start / n)).T @ np.linalg.cholesky(GRAM[:2, :2]).T
    draw = lambda rows, of: rng.standard_normal((samples, rows, of.shape[-2])) @ of / np.sqrt(of.shape[-2])  # noqa: E731
    q, k = (turned(draw(keys, start) + 0.5) for _ in range(2))
    v = draw(n, start) + 0.5
    shares = soft(np.einsum("sia,sib->sab", q, k) / np.sqrt(keys), 1.0)
    added = np.einsum("sab,sib->sia", shares, v)
    gram = np.einsum("sia,sib->sab", added, added) / n
    found = [Estimate.of(gram[:, a, b]) for a, b in ((0, 0), (0, 1), (1, 1))]
    off = []
    for frequencies in (FREQUENCIES, ()):
        block = AttentionBlock(
            width=n, positions=2, size=keys, value_size=n, bias_mean=sp.Rational(1, 2), frequencies=frequencies
        )
        limit = derive(block).gram
        rates = compile_expression(limit.states, tuple(limit.drift))(*GRAM[[0, 0, 1], [0, 1, 1]])
        off.append([(e.value - float(r)) / e.error for e, r in zip(found, rates, strict=True)])
    assert np.abs(off[0]).max() < 4.5  # the points err by less than a tenth of the samples' error
    assert np.abs(off[1]).max() > 4.5  # the control: positions that are not turned


def scores_of(inputs=1):
    """The statement of scores of a block with 8 neurons, its program, and values of its symbols over 3 positions."""
    block = AttentionBlock(width=8, positions=3, inputs=inputs, frequencies=FREQUENCIES, norm="rms")
    program = compiled_program(block.program()).program
    statement = next(s for s in program.statements if isinstance(s, Mean) and s.pair)
    query, key = statement.sides(dict(program.others))
    rng = np.random.default_rng(0)
    values = {s: rng.standard_normal((2, 8, 3 * inputs)) for s in (query, key, sp.Symbol("x", real=True))}
    return statement, program, values, query, key


def test_simulations_turn_queries_and_keys():
    statement, program, values, query, key = scores_of(inputs=2)
    found = PLAIN.paired(statement, values, 1.0, program, None)
    q, k = (turned(values[s].reshape(2, 8, 2, 3).swapaxes(1, 2)) for s in (query, key))
    wanted = np.einsum("smia,smib->smab", q, k) / np.sqrt(8)
    assert np.allclose(found[:, 0], wanted, rtol=0, atol=1e-12)
    plain = np.einsum("sima,simb->smab", *(values[s].reshape(2, 8, 2, 3) for s in (query, key)))
    assert np.abs(found[:, 0] - plain / np.sqrt(8)).max() > 0.1  # the control


def test_how_turned_scores_move_with_what_they_read():
    statement, program, values, query, key = scores_of()
    rng = np.random.default_rng(1)
    moves = {s: rng.standard_normal((2, 8, 3, 2)) for s in (query, key)}
    dual = Tangents(1, 3, 2).paired(
        statement, {s: Dual(v, moves.get(s)) for s, v in values.items()}, 1.0, program, None
    )
    h = 1e-6
    for direction in range(2):
        ends = [
            PLAIN.paired(
                statement,
                {s: v + sign * h * moves[s][..., direction] if s in moves else v for s, v in values.items()},
                1.0,
                program,
                None,
            )
            for sign in (1, -1)
        ]
        assert np.allclose(dual.along[..., direction], (ends[0] - ends[1]) / (2 * h), rtol=0, atol=1e-8)


def test_differences_of_turned_scores():
    statement, program, values, _, _ = scores_of(inputs=2)
    apart = {s: Pair(v[:, :, :3], v[:, :, 3:] - v[:, :, :3]) for s, v in values.items()}
    found = Differences(2, 3).paired(statement, apart, 1.0, program, None)
    whole = PLAIN.paired(statement, values, 1.0, program, None)
    assert np.allclose(found.rest, whole[:, :, 1:] - whole[:, :, :1], rtol=0, atol=1e-12)


def test_neurons_that_are_no_pairs_of_each_frequency():
    block = AttentionBlock(width=6, positions=2, frequencies=FREQUENCIES)
    said = "turn pairs of 2 frequencies, as many of each, and queries and keys have 6"
    with pytest.raises(ValueError, match=said):
        simulate_network(block, depth=2, samples=1, x0=np.ones((6, 2)))
    one = sp.eye(3)
    node = softmax_mean(0, 1, one, one, one, sp.ones(3), 6, angles=sp.Matrix([[0, 1, 2], [0, 3, 6]]))
    with pytest.raises(ValueError, match=said):
        softmax_mean_value(node)
    with pytest.raises(ValueError, match="are drawn neuron by neuron, 9216 numbers at a time, and known are 8192"):
        softmax_mean_value(softmax_mean(0, 1, one, one, one, sp.ones(3), 1536, angles=sp.Matrix([[0, 1, 2]])))
