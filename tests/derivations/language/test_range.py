"""Layers that project the state and add to it afterwards, such as ``rms_norm(x) + eps*A(relu(x))``."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, average, derive, epsilon, layer_norm, relu, rms_norm, symbols
from derivations.errors import DerivationError
from derivations.limits.elimination.moments import LayerMoments
from numerics import validate

A, B = Weights("A"), Weights("B")


def centred(x):
    return x - average(x)


PROJECTIONS = {"rms": rms_norm, "layer": layer_norm, "centred": centred, "half": lambda x: rms_norm(x) / 2}


@pytest.fixture(params=sorted(PROJECTIONS))
def project(request):
    return PROJECTIONS[request.param]


def limits(layer, width, inputs):
    limit = derive(Network(layer, width=width, inputs=inputs)).limit
    return [*limit.drift, *(() if width == sp.oo else sp.Matrix(limit.covariance))]


@pytest.mark.parametrize(("width", "inputs"), [(3, 1), (sp.oo, 2)])
def test_what_is_added_is_projected_as_by_a_projection_behind_the_sum(project, width, inputs):
    before = limits(lambda x: project(x) + epsilon * A(relu(x)), width, inputs)
    behind = limits(lambda x: project(x + epsilon * A(relu(x))), width, inputs)
    assert len(before) == len(behind)
    assert all(sp.expand(a - b) == 0 for a, b in zip(before, behind, strict=True))


def test_the_gram_matrix_of_both_is_one_diffusion_at_a_symbolic_width():
    n = symbols.width

    def branch(x):
        return A(relu(B(x)))

    before, behind = (
        derive(Network(layer, width=n, inputs=2)).gram
        for layer in (lambda x: rms_norm(x) + epsilon * branch(x), lambda x: rms_norm(x + epsilon * branch(x)))
    )
    assert sp.expand(before.drift[0] - behind.drift[0]) == 0
    assert sp.expand(before.covariance[0, 0] - behind.covariance[0, 0]) == 0
    assert before.drift[0].subs(before.states[0], 1) == 0  # equal inputs stay equal


def test_networks_drawn_by_hand_turn_as_the_projected_limit_says():
    n, layers, networks = 3, 200, 20_000
    limit = derive(Network(lambda x: rms_norm(x) + epsilon * A(x), width=n)).limit
    rate = sp.cancel(-limit.drift[0] / limit.states[0])  # of the sphere's Brownian motion, times the norm
    on_sphere = rate.subs(limit.states[2] ** 2, n - limit.states[0] ** 2 - limit.states[1] ** 2)
    assert sp.expand(on_sphere) == sp.Rational(n - 1, 2 * n)
    rng = np.random.default_rng(5)
    x = np.tile([np.sqrt(n), 0.0, 0.0], (networks, 1))
    for _ in range(layers):
        weights = rng.normal(size=(networks, n, n)) / np.sqrt(n * layers)
        x = x / np.sqrt((x**2).mean(1, keepdims=True)) + np.einsum("kij,kj->ki", weights, x)
    overlap = x[:, 0] / np.sqrt(n)
    error = overlap.std() / np.sqrt(networks)
    derived = np.exp(-(n - 1) / (2 * n))
    bias = 2 / layers  # the derived rate to first order in 1/L
    assert abs(overlap.mean() - derived) < 4 * error + bias
    assert abs(overlap.mean() - 1) > 10 * (
        error + bias
    )  # neurons without the drift, as if the norm did not act on what is added


def test_networks_are_compared_behind_the_projection():
    branch = A(relu(B(rms_norm(symbols.state))))
    before = derive(Network(rms_norm(symbols.state) + epsilon * branch, width=3))
    with pytest.raises(ValueError, match="say the projection behind the sum"):
        validate(before, quick=True)


@pytest.mark.parametrize("name", sorted(PROJECTIONS))
def test_a_norm_behind_another_one_fixes_its_averages_by_itself(name):
    """What the first norm takes out stands in what the second reads: no third is put behind them."""
    norm = PROJECTIONS[name]

    def two(x):
        y = norm(x + epsilon * A(x))
        return norm(y + epsilon * B(relu(y)))

    layer = LayerMoments(Network(two, width=3).program(), 1)
    fixed = {"rms": {2: 1}, "layer": {1: 0, 2: 1}, "centred": {1: 0}, "half": {2: sp.Rational(1, 4)}}[name]
    assert layer.fixed_powers == fixed
    assert not layer.is_projected


def sum_of_centred(x):
    return centred(x) + epsilon * centred(A(x))


def said_apart(x):
    return x - average(x) + epsilon * A(x) - epsilon * average(A(x))


def half_centred(x):
    return centred(x) + epsilon * (A(x) - average(A(x)) / 2)


@pytest.mark.parametrize(
    ("layer", "projected"),
    [(sum_of_centred, False), (said_apart, False), (half_centred, True), (lambda x: centred(x) + epsilon * A(x), True)],
)
def test_a_sum_of_centred_parts_fixes_the_mean_by_itself(layer, projected):
    """Several averages together say that the new one is 0; where they do not, what is added is projected."""
    found = LayerMoments(Network(layer, width=3).program(), 1)
    assert found.fixed_powers == {1: 0}
    assert found.is_projected is projected


def test_a_map_that_is_no_projection_is_refused():
    with pytest.raises(DerivationError, match="ε = 0"):
        derive(Network(lambda x: relu(rms_norm(x)) + epsilon * A(x), width=3))
