"""Jacobians behind weights with covariances of rows and columns, against formulas by hand and networks drawn by hand."""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    GatedBlock,
    MLPBlock,
    Network,
    NotClosed,
    Weights,
    epsilon,
    relu,
    rms_norm,
    silu,
    tanh,
)
from derivations.backward import jacobian
from derivations.symbols import time
from numerics.statistics import Estimate
from tests.refused import assert_refused, refusals

HALF = sp.Rational(1, 2)
ROWS = sp.Matrix([[2, 1, 0], [1, 3, HALF], [0, HALF, 1]])
COLUMNS = sp.Matrix([[1, HALF, 0], [HALF, 1, 0], [0, 0, 2]])
TWO = sp.Matrix([[2, 1], [1, 3]])
HIDDEN = Network(
    lambda x: x + epsilon * Weights("A")(tanh(Weights("B", out=2, row_covariance=sp.diag(2, 3))(x))), width=2
)
OWN = Network(lambda x: x + epsilon * Weights("W", row_covariance=ROWS, column_covariance=COLUMNS)(tanh(x)), width=3)


def test_the_determinant_and_all_entries_by_hand():
    # M_ij = W_ij s_j with s = 1 - tanh², so d[M_ij, M_kl] = Σ_O,ik Σ_I,jl s_j s_l / 3
    j = jacobian(OWN)
    x = j.log_det.process.states[:3]
    s = [1 - sp.tanh(v) ** 2 for v in x]
    own = sum(ROWS[a, b] * COLUMNS[a, b] * s[a] * s[b] for a in range(3) for b in range(3)) / 3
    assert sp.expand(j.log_det.rate - own) == 0
    assert sp.expand(j.log_det.drift + own / 2) == 0
    shared = sum(ROWS[0, b] * COLUMNS[a, b] * sp.tanh(x[a]) * s[b] for a in range(3) for b in range(3)) / 3
    assert sp.expand(j.log_det.process.entry(0, 3) - shared) == 0
    limit = j.limit(2)
    neurons = [limit.states[3 * i : 3 * i + 3] for i in range(3)]  # the state and two columns of J
    s = [1 - sp.tanh(row[0]) ** 2 for row in neurons]
    moved = sum(COLUMNS[a, b] * s[a] * s[b] * neurons[a][1] * neurons[b][2] for a in range(3) for b in range(3))
    assert sp.expand(limit.entry(1, 5) - ROWS[0, 1] * moved / 3) == 0
    assert sp.expand(limit.entry(1, 5) - ROWS[0, 0] * moved / 3) != 0  # the control


def test_linear_layers_have_a_law_and_a_clock():
    w = Weights("W", variance=1 + time, row_covariance=TWO, column_covariance=TWO)
    found = jacobian(Network(lambda x: x + epsilon * w(x), width=2)).log_det
    assert (found.rate - sp.Rational(15, 2) * (1 + time)).expand() == 0  # the sum of 2·2, 1·1, 1·1 and 3·3 over 2
    assert found.law is None
    still = jacobian(Network(lambda x: x + epsilon * w.with_numbers(variance=sp.S.One)(x), width=2)).log_det
    assert still.law.name == "Brownian motion with drift"
    assert "Λ_t ~ N" in str(jacobian(Network(lambda x: x + epsilon * w.with_numbers(variance=sp.S.One)(x), width=2)))


def test_one_covariance_times_one_is_that_of_plain_weights():
    same = Weights("W", row_covariance=sp.eye(2), column_covariance=sp.eye(2))
    unlike, plain = (
        jacobian(Network(lambda x, w=w: x + silu(epsilon * w(tanh(x))), width=2)).log_det.process
        for w in (same, Weights("W"))
    )
    assert unlike.states == plain.states
    for a in range(3):
        assert sp.expand(unlike.drift[a] - plain.drift[a]) == 0
        assert all(sp.expand(unlike.entry(a, b) - plain.entry(a, b)) == 0 for b in range(3))


# --- determinants of one layer, all weights drawn ---

X, SAMPLES = np.array([0.8, -1.1]), 20_000


def drawn(rng, out, reads, rows=None, columns=None):
    w = rng.standard_normal((SAMPLES, out, reads)) / np.sqrt(reads)
    w = w if rows is None else np.linalg.cholesky(np.array(rows, float)) @ w
    return w if columns is None else w @ np.linalg.cholesky(np.array(columns, float)).T


def read(w, x):
    return np.einsum("sij,j->si", w, x)


def block(rng, covariances):
    a, b = drawn(rng, 2, 3, *covariances), drawn(rng, 3, 2)
    d = (a * (read(b, X) > 0)[:, None, :]) @ b
    return lambda s: np.eye(2) + s * d


def gate(rng, covariances):
    a, b, c = drawn(rng, 2, 3, *covariances), drawn(rng, 3, 2), drawn(rng, 3, 2)
    g, value = read(b, X), read(c, X)
    d = a @ (((g > 0) * value)[:, :, None] * b + np.maximum(g, 0)[:, :, None] * c)
    return lambda s: np.eye(2) + s * d


def outside(rng, covariances):
    w = drawn(rng, 2, 2, covariances[0]) * (1 - np.tanh(X) ** 2)
    u = read(w, np.tanh(X) / (1 - np.tanh(X) ** 2))

    def jacobians(s):
        g = 1 / (1 + np.exp(-s * u))
        return np.eye(2) + s * (g + s * u * g * (1 - g))[:, :, None] * w

    return jacobians


def normed(rng, covariances):
    r = np.sqrt(np.mean(X**2))
    a, b = drawn(rng, 2, 3, *covariances), drawn(rng, 3, 2)
    inner = np.eye(2) / r - np.outer(X, X) / (2 * r**3)
    d = (a * (1 - np.tanh(read(b, X / r)) ** 2)[:, None, :]) @ b @ inner
    return lambda s: np.eye(2) + s * d


def shared(rng, covariances):
    w = drawn(rng, 2, 2, covariances[0])
    d = w * (1 - np.tanh(X) ** 2 + 2 * X)
    mean = np.ones((2, 2)) * (1 - np.tanh(X) ** 2) / 4
    return lambda s: np.eye(2) + s * d + s**2 * mean


def recipe_of(name, rows, columns):
    own = {"row_covariance": rows, "column_covariance": columns}
    a, w = Weights("A", **own), Weights("W", row_covariance=rows)
    mean = Weights("M", variance=0, mean=HALF)
    return {
        "block": lambda: MLPBlock(relu, width=2, hidden=3, **own),
        "gate": lambda: GatedBlock(relu, width=2, hidden=3, **own),
        "outside": lambda: Network(lambda x: x + silu(epsilon * w(tanh(x))), width=2),
        "normed": lambda: Network(lambda x: x + epsilon * a(tanh(Weights("B", out=3)(rms_norm(x)))), width=2),
        "shared": lambda: Network(lambda x: x + epsilon * (w(tanh(x)) + w(x**2)) + epsilon**2 * mean(tanh(x)), width=2),
    }[name]()


NETWORKS = {"block": block, "gate": gate, "outside": outside, "normed": normed, "shared": shared}


@pytest.mark.parametrize("name", NETWORKS)
def test_determinants_of_one_layer_drawn_by_hand(name):
    rows, columns = sp.Matrix([[2, 1], [1, 1]]), COLUMNS
    jacobians = NETWORKS[name](np.random.default_rng(1), (rows, columns))

    def moments(h):  # the coefficient of ε², without the next order
        up, down = (np.linalg.slogdet(jacobians(s * np.sqrt(h))).logabsdet for s in (1, -1))
        return np.stack([up + down, (up - down) ** 2 / 2]) / (2 * h)

    seen = 2 * moments(1 / 4096) - moments(1 / 2048)

    def derived(rows, columns):
        process = jacobian(recipe_of(name, rows, columns)).log_det.process
        at = dict(zip(process.states, map(sp.Float, X), strict=False))
        return [float(e.xreplace(at).evalf()) for e in (process.drift[2], process.entry(2, 2))]

    right, wrong = derived(rows, columns), derived(sp.eye(2), COLUMNS)  # the control
    assert all(Estimate.of(one).test(value).p_value > 1e-3 for one, value in zip(seen, right, strict=True))
    assert any(Estimate.of(one).test(value).p_value < 1e-3 for one, value in zip(seen, wrong, strict=True))


# --- what is refused ---

J = jacobian(OWN)
ALIKE = (
    r"neurons are not alike, since the rows of W have the covariance \[\[2, 1, 0\].* and the columns of W .*\.limit\(\)"
)


@refusals(
    {
        "entry": (lambda: J.sde, ALIKE),
        "inverse": (lambda: J.inverse, ALIKE),
        "volumes": (lambda: J.volumes, ALIKE),
        "growth": (lambda: J.growth, ALIKE),
        "weights": (lambda: J.weight_gradients, ALIKE),
        "gram": (lambda: J.gram, ALIKE),
        "kernel": (lambda: J.kernel, ALIKE),
        "law": (lambda: J.kernel_law, ALIKE),
        "width": (
            lambda: jacobian(OWN, "width").process,
            "W is 3 × 3 and there are oo neurons; give the width as a number",
        ),
        "hidden neurons at infinite width": (lambda: jacobian(HIDDEN, "width").process, 'of B; ask order="depth"'),
        "joint": (lambda: jacobian(OWN, "joint").process, "."),
        "sphere": (
            lambda: (
                jacobian(
                    Network(lambda x: rms_norm(x + epsilon * Weights("A", row_covariance=TWO)(x)), width=2)
                ).log_det
            ),
            "state on a sphere",
        ),
    }
)
def test_what_neurons_that_are_not_alike_have_not(call, message):
    assert_refused(call, message)


def test_refusals_are_steps_and_plain_weights_have_none():
    said = {step.name: step for step in J.steps}
    assert not said["Inverse"].lines
    assert said["Determinant"].lines
    plain = jacobian(Network(lambda x: x + epsilon * Weights("W")(tanh(x)), width=3))
    assert plain.sde.covariance.free_symbols <= {*plain.sde.state, *plain.sde.first, *plain.sde.second}
    with pytest.raises(NotClosed):
        _ = J.layer
