"""What makes a derivation quick leaves its result as it is: each way against the long one."""

from __future__ import annotations

from random import Random

import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    GatedBlock,
    MLPBlock,
    Network,
    Weights,
    average,
    epsilon,
    layer_norm,
    relu,
    rms_norm,
    silu,
)
from derivations.gaussian import GaussianExpectation, expect
from derivations.limits import closure, gram_limit, width_limit
from derivations.limits.elimination.averages import layer_average
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.elimination.products import expanded

A, B = Weights("A"), Weights("B")
half = sp.Rational(1, 2)
MEANS = {"weight_mean": half, "bias_mean": half, "output_mean": 1, "output_bias_mean": half}


@pytest.mark.parametrize("seed", range(5))
def test_products_in_a_ring_are_those_of_formulas(seed):
    draw, (x, y, z) = Random(seed), sp.symbols("x y z", real=True)
    leaves = [x, y, 1 / z, sp.sqrt(z), layer_average(x**2, (x,), 0), layer_average(x * y, (x,), 0)]
    leaves += [sp.sqrt(1 - y**2), sp.asin(y), sp.exp(-(x**2)), sp.sqrt(2) / sp.pi, expect(sp.tanh(x) ** 2, x, y**2)]

    def polynomial(depth):
        if depth == 0:
            return draw.choice([*leaves, sp.Rational(draw.randint(-5, 5), draw.randint(1, 4))])
        parts = [polynomial(depth - 1) for _ in range(3)]
        return sp.Add(*parts) if draw.random() < 0.6 else sp.Mul(*parts[:2]) ** 2

    formula = polynomial(3)
    assert expanded(formula) == sp.expand(formula)
    assert expanded(expanded(formula)) == expanded(formula)


def test_means_inside_an_average_stay_there():
    x, y, s = sp.Symbol("x", real=True), sp.Symbol("y", real=True), sp.Symbol("s", positive=True)
    inner = expect(sp.tanh(y), y, s, x)  # of a neuron
    average_of = layer_average(inner**2, (x,), 0)
    assert expanded((1 + inner) * (average_of + s) / (1 + s)).atoms(type(average_of)) == {average_of}
    assert expanded((1 + inner) * average_of) == average_of + inner * average_of


def test_a_mean_without_a_closed_form_is_asked_for_one_once(monkeypatch):
    asked = []
    look = GaussianExpectation.doit
    monkeypatch.setattr(GaussianExpectation, "doit", lambda self, **hints: asked.append(self) or look(self, **hints))
    width_limit(GatedBlock(silu, width=sp.oo, **MEANS))
    assert len(asked) == len(set(asked)) > 4


@pytest.mark.parametrize(
    "recipe",
    [
        MLPBlock(relu, width=3, inputs=2, **MEANS),
        pytest.param(
            AttentionBlock(kind="linear", width=2, positions=(2,), weight_mean=half, bias_mean=half),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda r: type(r).__name__,
)
def test_named_sums_leave_the_moments_as_they_are(recipe):
    program, m = recipe.program(), recipe.coordinates
    named, written = (LayerMoments(program, m, name_sums=named) for named in (True, False))
    for moment in ("covariance", "between"):
        one, other = getattr(named, moment)(0, 0), getattr(written, moment)(0, 0)
        assert sp.expand(one - other) == 0
        assert other != 0 or moment == "between"
    assert sp.expand(named.drift(0) - written.drift(0)) == 0


@pytest.mark.parametrize(
    ("layer", "moves"),
    [
        (lambda x: x + epsilon * A(relu(B(layer_norm(x)))), True),
        (lambda x: x + epsilon * A(x - average(x)), True),
        (lambda x: x + epsilon * A(relu(B(rms_norm(x)))), False),
        (lambda x: layer_norm(x + epsilon * A(relu(B(x)))), False),
        (lambda x: x + epsilon * average(x) * A(x - average(x)), False),
    ],
    ids=["layer norm", "centred", "rms norm", "layer norm last", "a mean beside"],
)
def test_means_are_carried_along_where_the_layer_reads_differences(layer, moves, monkeypatch):
    program = Network(layer, width=3, inputs=2).program()
    assert closure._moves_along(program) is moves
    if moves:
        short = gram_limit(program, 2)
        monkeypatch.setattr(closure, "_moves_along", lambda program: False)
        long = gram_limit(program, 2)
        assert short.centred
        assert long.centred
        assert (short.process.drift - long.process.drift).applyfunc(sp.expand).is_zero_matrix
        assert all(
            sp.expand(a - b) == 0 for a, b in zip(short.process.covariance, long.process.covariance, strict=True)
        )
