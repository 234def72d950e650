"""Means of functions of several Gaussian variables: in as many as the function depends on."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations.gaussian.joint import GaussianJointExpectation, joint_mean

z = sp.symbols("z_1:5", real=True)
s = sp.Symbol("s", positive=True)


def node(expr):
    (found,) = expr.atoms(GaussianJointExpectation)
    return found


def share(*scores):
    return 1 / sum(sp.exp(score - scores[0]) for score in scores)


def test_sums_in_exponents_are_one_variable():
    table = sp.Matrix(4, 4, lambda i, j: s * sp.Rational(1, 1 + abs(i - j)))
    found = node(joint_mean(share(z[0] + z[1], sp.sqrt(2) * z[2] - z[3]), z, table))
    assert found.covariance.shape == (1, 1)
    row = sp.Matrix([[-1, -1, sp.sqrt(2), -1]])
    assert sp.expand(found.covariance[0] - (row * table * row.T)[0]) == 0


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (share(z[0] + z[1], z[2], z[3] - 1), 2),  # differences of three scores
        (share(z[0], z[1]) * share(z[0] + z[2], z[1] + z[2]), 1),  # both rows depend on one difference
        (share(z[0], z[1]) * share(z[2], z[3]), 2),
        (z[0] * share(z[0], z[1]), 2),  # not by exponents alone
        (share(z[0], z[1] * z[2]), 3),  # not linear
        (share(sp.cos(1) * z[0], z[1]), 2),  # not an algebraic number
    ],
)
def test_the_mean_is_that_over_all_variables(body, count):
    root = np.array([[1.0, 0, 0, 0], [0.3, 0.8, 0, 0], [-0.5, 0.2, 0.7, 0], [0.1, -0.4, 0.3, 0.9]])
    table = sp.Matrix(4, 4, lambda i, j: sp.Rational(str(round((root @ root.T)[i, j], 6))))
    found = node(joint_mean(body, z, table))
    assert len(found.function.variables) == count
    # Gauss–Hermite over all four variables, in place of those that the node kept
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    grid = np.stack(np.meshgrid(*[nodes] * 4, indexing="ij"), axis=-1).reshape(-1, 4) @ root.T
    mass = np.prod(np.stack(np.meshgrid(*[weights / np.sqrt(2 * np.pi)] * 4, indexing="ij"), axis=-1), axis=-1).ravel()
    whole = float(mass @ sp.lambdify(z, body, "numpy")(*grid.T))
    inner = np.linalg.cholesky(np.array(found.covariance.tolist(), dtype=float))
    fewer = np.stack(np.meshgrid(*[nodes] * count, indexing="ij"), axis=-1).reshape(-1, count) @ inner.T
    shares = np.prod(np.stack(np.meshgrid(*[weights / np.sqrt(2 * np.pi)] * count, indexing="ij"), axis=-1), axis=-1)
    own = float(shares.ravel() @ sp.lambdify(found.function.variables, found.function.expr, "numpy")(*fewer.T))
    assert abs(own - whole) < 1e-6
