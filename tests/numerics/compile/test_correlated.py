"""Weights with covariances over rows and columns: the formulas, weights drawn by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import DerivationError, Network, NotClosed, Weights, derive, epsilon, relu, silu, tanh
from derivations.kernels import ntk
from derivations.limits import depth
from derivations.symbols import width as n
from numerics import simulate_network
from tests.helpers import equal_symbolically

ROWS = sp.Matrix([[2, 1], [1, 3]])
COLUMNS = sp.Matrix([[1, sp.Rational(1, 2)], [sp.Rational(1, 2), 2]])
START = np.array([0.7, -1.1])


def test_drift_and_noise_of_a_shrinking_branch():
    # s = ψᵀΣ_Iψ/n, drift ½ φ''(0) s diag Σ_O, covariance φ'(0)² s Σ_O, with φ(u) = sinh u + cosh u - 1 and every entry a symbol
    a, b, c, d, e, f = sp.symbols("a b c d e f", positive=True)
    w = Weights("W", row_covariance=[[a, b], [b, c]], column_covariance=[[d, e], [e, f]])
    layer = lambda x: x + sp.exp(epsilon * w(tanh(x))) - 1  # noqa: E731
    limit = derive(Network(layer, width=2, parameters=(a, b, c, d, e, f))).limit
    psi = sp.Matrix([sp.tanh(x) for x in limit.states])
    s = (psi.T * sp.Matrix([[d, e], [e, f]]) * psi)[0] / 2
    wanted = s * sp.Matrix([[a, b], [b, c]])
    for i in range(2):
        assert equal_symbolically(limit.drift[i], wanted[i, i] / 2)
        for j in range(2):
            assert equal_symbolically(limit.covariance[i, j], wanted[i, j])


def _layer(x):
    inner, outer = Weights("B", out=3, column_covariance=COLUMNS), Weights("A")
    return (
        x + epsilon * outer(inner(x) ** 2) + epsilon * Weights("W", row_covariance=ROWS, column_covariance=COLUMNS)(x)
    )


def _by_hand(samples: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = (np.linalg.cholesky(np.array(m, dtype=float)) for m in (ROWS, COLUMNS))
    draw = lambda r, k: rng.standard_normal((samples, r, k)) / np.sqrt(k)  # noqa: E731
    hidden = draw(3, 2) @ columns.T @ START
    branch = (draw(2, 3) @ (hidden**2)[..., None])[..., 0]
    return branch + (draw(2, 2) @ columns.T @ START) @ rows.T


def test_networks_with_weights_drawn_by_hand_and_by_the_interpreter():
    limit = derive(Network(_layer, width=2)).limit
    at = dict(zip(limit.states, map(sp.Float, START), strict=True))
    wanted = np.array(limit.covariance.xreplace(at), dtype=float)
    samples = 40_000
    simulated = simulate_network(Network(_layer, width=2), 1, samples, x0=START, seed=3)[..., 0] - START
    for step in (_by_hand(samples, np.random.default_rng(4)), simulated):
        products = step[:, :, None] * step[:, None, :]
        error = products.std(axis=0) / np.sqrt(samples)
        assert np.max(np.abs(products.mean(axis=0) - wanted) / error) < 4.5
        plain = np.diag(np.diag(wanted))
        assert np.max(np.abs(products.mean(axis=0) - plain) / error) > 4.5  # independent rows are rejected


def test_a_covariance_without_full_rank():
    w = Weights("W", row_covariance=[[1, 1], [1, 1]])
    limit = derive(Network(lambda x: x + epsilon * w(x), width=2)).limit
    assert len(set(limit.covariance)) == 1
    after = simulate_network(Network(lambda x: x + epsilon * w(x), width=2), 3, 4, x0=[1.0, 2.0], seed=0)
    assert np.allclose(after[:, 1] - after[:, 0], 1.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"row_covariance": [[1, 0], [0, 1]]}, "row_covariance of W is 2 × 2 and there are 3 neurons"),
        ({"column_covariance": [[1]]}, "column_covariance of W is 1 × 1 and there are 3 neurons"),
        ({"row_covariance": [[1, 2], [2, 1]]}, "row_covariance must be positive semidefinite"),
        ({"row_covariance": [[1, 2], [3, 1]]}, "row_covariance must be a symmetric matrix"),
        ({"column_covariance": "ab"}, "column_covariance must be a square matrix"),
        ({"column_covariance": sp.eye(3), "law": "orthogonal"}, "are of Gaussian matrices, got law=orthogonal"),
        ({"column_covariance": sp.Symbol("c", positive=True) * sp.eye(3)}, "symbol c is neither .* in the matrix W"),
    ],
)
def test_what_does_not_fit_is_refused(options, says):
    with pytest.raises(DerivationError, match=says):
        Network(lambda x: x + epsilon * Weights("W", **options)(x), width=3)


def test_where_neurons_are_not_alike_other_limits_are_refused():
    w = Weights("W", row_covariance=ROWS)
    with pytest.raises(DerivationError, match="give the width as a number"):
        Network(lambda x: x + epsilon * w(x), width=n)
    d = derive(Network(lambda x: x + epsilon * w(x), width=2))
    assert d.gram is None
    with pytest.raises(NotClosed, match=r"^rows of W depend on each other"):
        derive(Network(lambda x: x + epsilon * Weights("A")(tanh(w(x))), width=2))
    with pytest.raises(DerivationError):
        ntk(Network(lambda x: x + epsilon * w(x), width=2))


def test_rows_of_different_size_are_those_of_the_general_way(monkeypatch):
    rows = sp.diag(1, 2, sp.Rational(1, 3))
    A, B, C = Weights("A", row_covariance=rows, bias_variance=2), Weights("B", out=4), Weights("C")
    net = Network(lambda x: x - epsilon**2 * x / 2 + epsilon * A(relu(B(x))) * sp.tanh(x) + epsilon * C(x), width=3)
    quick = derive(net).limit
    monkeypatch.setattr(depth, "_scaled_neurons", lambda program, inputs: None)
    general = derive(net).limit
    for a, b in ((quick.drift, general.drift), (quick.covariance, general.covariance)):
        assert all(sp.expand(u - v) == 0 for u, v in zip(a, b, strict=True))
    assert quick.covariance[0, 0] != quick.covariance[1, 1]


def test_functions_with_denominators_of_their_own():
    """No common denominator of all neurons is looked for, which took more than a minute; the values are those of ψᵀ Σ_I ψ Σ_O/n."""
    rows = np.array([[2, 0.25, 0.25], [0.25, 1, 0.25], [0.25, 0.25, 1]])
    columns = np.array([[3, 0.5, 0.5], [0.5, 2, 0.5], [0.5, 0.5, 1]])
    made = Weights("A", row_covariance=rows.tolist(), column_covariance=columns.tolist())
    limit = derive(Network(lambda x: x + epsilon * made(silu(x)), width=3, inputs=2)).limit
    point = np.array([[0.3, -1.2, 0.8], [1.1, 0.4, -0.5]])
    psi = point / (1 + np.exp(-point))
    values = dict(zip(limit.states, map(sp.Float, point.T.ravel()), strict=True))  # neuron by neuron
    for (i, a), (j, b) in (((0, 0), (0, 0)), ((0, 0), (1, 1)), ((2, 1), (2, 1)), ((2, 0), (1, 0))):
        found = float(limit.entry(2 * i + a, 2 * j + b).subs(values))
        assert found == pytest.approx(rows[i, j] * psi[a] @ columns @ psi[b] / 3, rel=1e-12)
        assert abs(found - columns[i, j] * psi[a] @ rows @ psi[b] / 3) > 0.05 * abs(found)  # the other way round
