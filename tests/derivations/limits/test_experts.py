r"""Mixtures of experts: an input has shares of what several branches put out, by the scores of a router.

The shares are random in each layer, so that the drift of the second moments is a mean over them: with experts of one law
:math:`\mathbb{E}\sum_e g_e^\alpha g_e^\beta` times that of one expert.
"""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    GatedBlock,
    MLPBlock,
    Network,
    Weights,
    average,
    derive,
    epsilon,
    mixture_of_experts,
    relu,
    symbols,
    tanh,
)
from derivations.kernels import ntk
from derivations.special import ExpertGate
from derivations.sums import CoordinateSum
from numerics.compile import compile_expression
from tests.refused import assert_refused, refusals

K = np.array([[1.0, 0.4], [0.4, 2.0]])
PAIRS = np.triu_indices(2)


def layer(x, experts, top, renormalised=True):
    bodies = [Weights(f"A{e}")(relu(Weights(f"B{e}")(x))) for e in range(experts)]
    scores = [Weights(f"R{e}", out=1)(x) for e in range(experts)]
    return x + epsilon * mixture_of_experts(bodies, scores, top, renormalised)


def shares(scores, top, renormalised=True):
    """Sorted by hand."""
    rank = np.argsort(np.argsort(-scores, axis=-1), axis=-1)
    large = np.exp(scores) * (rank < (top or scores.shape[-1]))
    return large / (large if renormalised else np.exp(scores)).sum(axis=-1, keepdims=True)


def overlaps(experts, top, renormalised, samples=100_000):
    r"""Of :math:`\sum_e g_e^\alpha g_e^\beta`, mean and standard error."""
    drawn = np.random.default_rng(experts).standard_normal((samples, experts, 2)) @ np.linalg.cholesky(K).T
    g = shares(drawn.swapaxes(1, 2), top, renormalised)
    found = np.einsum("nae,nbe->nab", g, g)
    return found.mean(axis=0)[PAIRS], found.std(axis=0)[PAIRS] / np.sqrt(samples)


@pytest.mark.parametrize(
    ("experts", "top", "renormalised"),
    [(2, None, True), (3, 1, True), *(pytest.param(*c, marks=pytest.mark.slow) for c in ((4, 2, False), (6, 3, True)))],
)
def test_the_second_moments_move_by_how_much_inputs_share_experts(experts, top, renormalised):
    mixed = derive(Network(lambda x: layer(x, experts, top, renormalised), width=sp.oo, inputs=2)).limit
    alone = derive(MLPBlock(relu, width=sp.oo, inputs=2)).limit
    moved, single = (np.ravel(compile_expression(d.states, list(d.drift))(*K[PAIRS])) for d in (mixed, alone))
    mean, error = overlaps(experts, top, renormalised)
    assert np.all(np.abs(moved / single - mean) < 4.5 * error + 2e-4)  # and of spread points
    other, _ = overlaps(experts, 1 if top != 1 else 2, renormalised)
    assert np.any(np.abs(moved / single - other) > 20 * error + 2e-3)


def test_one_expert_that_is_used_is_as_one_block():
    assert derive(MLPBlock(relu, width=sp.oo, experts=4, top=1)).limit == derive(MLPBlock(relu, width=sp.oo)).limit


@pytest.mark.slow
def test_one_layer_of_three_neurons_by_hand():
    state, samples, rng = np.array([1.0, -0.5, 2.0]), 200_000, np.random.default_rng(1)
    d = derive(Network(lambda x: layer(x, 3, 2), width=3)).limit
    derived = float(compile_expression((sp.Symbol("s"),), _of_square(d.neuron_covariance[0]))(state @ state))
    draw = lambda *shape: rng.standard_normal((samples, 3, *shape)) / np.sqrt(3)  # noqa: E731
    hidden = np.maximum(np.einsum("neij,j->nei", draw(3, 3), state), 0)
    put_out = np.einsum("nej,nej->ne", draw(3), hidden)  # of one neuron
    added = (shares(np.einsum("nej,j->ne", draw(3), state), 2) * put_out).sum(axis=1) ** 2
    error = added.std() / np.sqrt(samples)
    assert abs(added.mean() - derived) < 4.5 * error
    assert abs(added.mean() - 1.1 * derived) > 4.5 * error


def _of_square(entry):
    """A function of the sum of the squares of the neurons."""
    (total,) = entry.atoms(CoordinateSum)
    return entry.xreplace({total: sp.Symbol("s")})


def test_experts_of_different_laws_and_scores_that_are_averages():
    A, B, R, S = Weights("A"), Weights("B", variance=3), Weights("R", out=1), Weights("S", out=1)
    split = derive(
        Network(lambda x: x + epsilon * mixture_of_experts([A(x), B(tanh(x))], [R(x), S(x)], top=1), width=sp.oo)
    ).limit
    size = split.states[0]
    half = sp.Rational(1, 2)
    plain = derive(Network(lambda x: x + epsilon * (A(x) + B(tanh(x))), width=sp.oo)).limit
    assert sp.expand(split.drift[0] - half * plain.drift[0].xreplace({plain.states[0]: size})) == 0
    # the larger one is known where scores are numbers of the state
    known = derive(
        Network(
            lambda x: x + epsilon * mixture_of_experts([A(x), B(x)], [average(x**2), average(x**2) - 1], top=1),
            width=sp.oo,
        )
    ).limit
    assert float(compile_expression(known.states, known.drift[0])(2.0)) == pytest.approx(2.0)


@pytest.mark.slow
def test_the_tangent_kernel_of_a_mixture_of_all_experts():
    r"""Experts u of variance K/2 and with tangents of Θ/2 + K, scores with tangents of Θ + K, so that dg₁ = g₁g₂(dr₁ - dr₂) = -dg₂.

    dΘ = Σ E g² (Θ/2 + K) + Σ E dg² K/2 = 2 E g₁² (Θ/2 + K) + 2 K (Θ + K) E g₁²g₂², here at K = 1.
    """
    flow = ntk(Network(lambda x: layer(x, 2, None), width=sp.oo))
    moved = compile_expression(flow.states, flow.drift[1])
    z = np.linspace(-12, 12, 4001)  # of r₁ - r₂, of variance 2
    density = np.exp(-(z**2) / 4) / np.sqrt(4 * np.pi) * (z[1] - z[0])
    g = 1 / (1 + np.exp(-z))
    square, both = (g**2 @ density, (g * (1 - g)) ** 2 @ density)
    for tangent in (0.0, 1.5):
        wanted = 2 * square * (tangent / 2 + 1) + 2 * (tangent + 1) * both
        assert float(moved(1.0, tangent)) == pytest.approx(wanted, rel=1e-7)
        assert float(moved(1.0, tangent)) != pytest.approx(2 * square * (tangent / 2 + 1), rel=1e-2)  # of still shares


def test_a_number_of_each_input_gates_a_branch_at_every_width():
    A, R = Weights("A"), Weights("R", out=1)
    gated = derive(Network(lambda x: x + epsilon * A(x) * average(R(x)), width=symbols.width)).gram
    (v,) = gated.states
    assert sp.expand(gated.drift[0] - v**2) == 0


def test_one_neuron_has_the_covariance_of_its_row():
    A, R, twice = Weights("A"), Weights("R", out=1, row_covariance=[[2]]), Weights("R", out=1, variance=2)
    one, other = (derive(Network(lambda x, r=r: x + epsilon * A(x) * average(r(x)), width=3)).limit for r in (R, twice))
    found = one.entry(0, 0).xreplace(dict(zip(one.states, (1, -2, 3), strict=True)))
    assert found == _of_square(other.neuron_covariance[0]).subs("s", 14) == sp.Rational(2 * 14**2, 9)


def test_a_transpose_reads_one_neuron():
    R = Weights("R", out=1)
    flow = derive(Network(lambda x: x - epsilon**2 * R.T(R(x)), width=symbols.width)).limit
    assert flow.drift[0] == -flow.states[0] / symbols.width


def test_experts_of_a_block_are_written_out():
    block = GatedBlock(tanh, width=3, hidden=2, experts=2, top=1)
    assert len(block.expression().atoms(ExpertGate)) == 2
    assert derive(block).existence.explodes == "cannot"  # tanh bounds the gate
    assert derive(MLPBlock(relu, width=3, experts=3, top=2)).existence.unique == "yes"


REFUSED = {
    "several scores": (
        lambda: mixture_of_experts([symbols.state] * 2, [Weights("R")(symbols.state)] * 2),
        "puts out several neurons; say R with out=1",
    ),
    "one score": (lambda: mixture_of_experts([symbols.state] * 2, [1]), "got 2 experts and 1 scores"),
    "no experts": (lambda: mixture_of_experts([symbols.state] * 2, [1, 2], top=3), "how many of 2 experts are used"),
    "a word": (lambda: mixture_of_experts([symbols.state] * 2, [1, 2], renormalised="yes"), "True or False"),
    "equal scores": (lambda: layer_of_equal_scores(), "two experts have the same score"),
    "ties": (lambda: compile_expression((), ExpertGate(1, 1, 0, 0)), "is not known where scores are equal"),
    "tangents": (lambda: ntk(MLPBlock(relu, width=sp.oo, experts=3, top=1)), "jumps where an expert comes in"),
    "half an expert": (lambda: MLPBlock(relu, width=3, experts=1.5), "experts is how many there are"),
    "more than there are": (lambda: MLPBlock(relu, width=3, experts=2, top=3), "top is how many of 2 experts"),
}


def layer_of_equal_scores():
    R = Weights("R", out=1)
    return mixture_of_experts([Weights("A")(symbols.state), symbols.state], [R(symbols.state)] * 2, top=1)


@refusals(REFUSED)
def test_refusals(call, message):
    assert_refused(call, message)
