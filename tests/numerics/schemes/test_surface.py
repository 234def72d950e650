"""Paths behind a norm stay where each layer puts the states, and move as networks do."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, derive, epsilon, layer_norm, relu, rms_norm
from derivations.laws import Normal
from numerics import simulate_sde
from numerics.compile.surface import back_to_surface, require_on_surface
from numerics.expectations import expect_sde

A, B = Weights("A"), Weights("B")
SAMPLES, DEPTH = 4_000, 100


def layer(norm):
    return lambda x: norm(x + epsilon * A(relu(B(x))))


def on_the_surface(norm, inputs, width, seed=0):
    x = np.random.default_rng(seed).normal(size=(inputs, width))
    x -= (norm is layer_norm) * x.mean(axis=1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True))


def drawn_by_hand(norm, start, depth=DEPTH, branch=1.0):
    """The angles of networks, shape (samples, inputs, inputs)."""
    rng, n = np.random.default_rng(3), start.shape[1]
    x = np.tile(start, (SAMPLES, 1, 1))
    for _ in range(depth):
        a, b = rng.normal(size=(2, SAMPLES, n, n)) / np.sqrt(n)
        x = x + branch * np.einsum("kij,kmj->kmi", a, np.maximum(np.einsum("kij,kmj->kmi", b, x), 0)) / np.sqrt(depth)
        x -= (norm is layer_norm) * x.mean(axis=2, keepdims=True)
        x /= np.sqrt((x**2).mean(axis=2, keepdims=True))
    return x @ x.swapaxes(1, 2) / n


def scores(one, other):
    return (one.mean(0) - other.mean(0)) / np.hypot(one.std(0), other.std(0)) * np.sqrt(len(one))


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "width", "inputs"), [(rms_norm, 2, 3), (layer_norm, 3, 3)])
def test_angles_of_paths_are_those_of_networks(norm, width, inputs):
    """Of neurons and of the Gram matrix, for more inputs than its rank too; the control has a branch that is 30 % larger."""
    start, above = on_the_surface(norm, inputs, width), np.triu_indices(inputs, 1)
    d = derive(Network(layer(norm), width=width, inputs=inputs))
    networks, control = (drawn_by_hand(norm, start, branch=b)[:, *above] for b in (1.0, 1.3))
    x = simulate_sde(d.limit, start.T.ravel(), steps=DEPTH, samples=SAMPLES, seed=1).reshape(-1, width, inputs)
    squares = (x**2).mean(axis=1)
    assert np.abs(squares - 1).max() < 1e-12
    angles = np.einsum("kia,kib->kab", x, x)[:, *above] / width
    gram = simulate_sde(d.gram, (start @ start.T / width)[above], steps=DEPTH, samples=SAMPLES, seed=2)
    for paths in (angles, gram):
        assert np.abs(scores(paths, networks)).max() < 4
        assert np.abs(scores(paths, control)).max() > 8


def test_a_norm_at_one_input_is_kept_from_a_start_to_the_end():
    limit = derive(Network(layer(rms_norm), width=3)).limit
    paths = simulate_sde(limit, [np.sqrt(3), 0, 0], steps=20, samples=2_000, seed=1)
    assert np.abs((paths**2).mean(axis=1) - 1).max() < 1e-12
    rate = sp.cancel(-limit.drift[0] / limit.states[0])
    first = expect_sde(limit, lambda x: x[:, 0], [np.sqrt(3), 0, 0], tol=0.03).value
    wanted = np.sqrt(3) * np.exp(-float(rate))
    for mean, error in ((paths[:, 0].mean(), paths[:, 0].std() / np.sqrt(2_000)), (first, 0.03)):
        assert abs(mean - wanted) < 4 * error
        assert abs(mean - np.sqrt(3)) > 4 * error


def test_equal_inputs_stay_equal_though_rounding_takes_their_correlation_beyond_1():
    limit = derive(Network(layer(rms_norm), width=2, inputs=2)).limit
    x = simulate_sde(limit, 1.0, steps=20, samples=200).reshape(-1, 2, 2)
    assert np.abs(x[:, :, 0] - x[:, :, 1]).max() < 1e-3
    assert np.abs(x - 1).max() > 0.1


def test_states_near_a_surface_go_back_to_it():
    limit = derive(Network(layer(layer_norm), width=4)).limit
    x = np.random.default_rng(0).normal(size=(50, 4))
    back = back_to_surface(limit)(x)
    assert np.abs(back.mean(axis=1)).max() < 1e-12
    assert np.abs((back**2).mean(axis=1) - 1).max() < 1e-12
    assert np.abs(back_to_surface(limit)(back) - back).max() < 1e-14
    require_on_surface(limit, back)
    assert back_to_surface(derive(Network(lambda x: x + epsilon * A(relu(x)), width=4)).limit) is None


@pytest.mark.parametrize(
    ("start", "options", "words"),
    [
        (2.0, {}, "x0 must lie where .* = 0, which each layer fixes"),
        (Normal(0, 1), {}, "of independent coordinates lies off the surface"),
        (1.0, {"scheme": "weak_second"}, "the scheme weak_second does not apply: its steps leave where"),
        (1.0, {"scheme": "derivative_free"}, "the scheme derivative_free does not apply: its steps leave where"),
        (1.0, {"backend": "numba"}, "steps behind a norm, which are taken back to it, have no machine-code kernel"),
    ],
)
def test_what_leaves_the_surface_is_refused(start, options, words):
    limit = derive(Network(layer(rms_norm), width=3)).limit
    with pytest.raises(ValueError, match=words):
        simulate_sde(limit, start, steps=2, samples=2, **options)


def test_a_start_that_is_no_gram_matrix_is_refused():
    limit = derive(Network(layer(rms_norm), width=3, inputs=3)).gram
    with pytest.raises(ValueError, match="the start is no Gram matrix: it has a negative eigenvalue"):
        simulate_sde(limit, [0.9, 0.9, -0.9], steps=2, samples=2)
