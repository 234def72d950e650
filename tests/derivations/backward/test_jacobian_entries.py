"""Traces, squares and the inverse of a layer's derivative are those of its entries, added up one by one."""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Network,
    NotClosed,
    Weights,
    average,
    epsilon,
    over_positions,
    relu,
    rms_norm,
    tanh,
)
from derivations.backward import jacobian
from derivations.limits.depth import as_sums
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.held import released
from derivations.piecewise.continued import Continued
from derivations.sums import written_out

A, B, C, W = Weights("A"), Weights("B", out=5), Weights("C", out=5), Weights("W")


def written_out_tensor(layer, x):
    """Drift and covariances of a layer's derivative at a state, entry by entry, from the moments along unit vectors."""
    size, p = int(layer.size), layer.positions
    entries = [(i, a) for i in range(size) for a in range(p)]

    def at(expr, first, second, i, j):
        rows = [(*x[q], *first[q], *second[q]) for q in range(size)]
        expr = released(expr)
        while nodes := sorted(expr.atoms(LayerAverage), key=lambda v: len(v.atoms(LayerAverage))):
            body = nodes[0].body
            total = sum(body.xreplace(dict(zip(layer.moments.states, row, strict=True))) for row in rows)
            expr = expr.xreplace({nodes[0]: total / size})
        here = dict(zip(layer.moments.states, rows[i], strict=True)) | dict(
            zip(layer.moments.other, rows[j], strict=True)
        )
        return float(expr.xreplace(here).evalf(30, chop=True))

    def unit(q, c):
        return [[sp.Integer((k, a) == (q, c)) for a in range(p)] for k in range(size)]

    drift = np.array(
        [[at(layer.moments.drift(p + a), unit(*e), unit(0, 0), i, 0) for e in entries] for i, a in entries]
    )
    table = np.zeros((len(entries),) * 4)
    shared = np.zeros((len(entries),) * 3)
    for row, (i, a) in enumerate(entries):
        for other, (j, b) in enumerate(entries):
            two = layer.moments.covariance if i == j else layer.moments.between
            pair, mixed = two(p + a, 2 * p + b), two(a, p + b)
            for k, e in enumerate(entries):
                shared[row, other, k] = at(mixed, unit(*e), unit(0, 0), i, j)
                for m, f in enumerate(entries):
                    table[row, k, other, m] = at(pair, unit(*e), unit(*f), i, j)
    return drift, table, shared


NETS = {
    "all at once": Network(
        lambda x: x + epsilon**2 * (tanh(x) - average(x**2) * x) + epsilon * A(sp.sin(x)) + epsilon * W(x * average(x)),
        width=2,
    ),
    "own neuron": Network(lambda x: x + epsilon * x * W(x) ** 3, width=2),
    "shared": Network(lambda x: x + epsilon * x**2 * average(W(x)) + epsilon * A(x), width=2),
    "norm and gate": Network(lambda x: x + epsilon * A(relu(B(rms_norm(x))) * C(x)), width=2),
    "positions": Network(lambda x: x + epsilon * A(tanh(over_positions(x)) + x**2), width=2, positions=2),
}


@pytest.mark.parametrize(
    "name", [name if name != "positions" else pytest.param(name, marks=pytest.mark.slow) for name in NETS]
)
def test_sums_over_indices_are_those_of_the_entries(name):
    layer, p = jacobian(NETS[name]).layer, max(1, len(NETS[name].positions) * 2)
    x = [[sp.Rational(7 + 3 * i + 5 * a, 11) * (-1) ** (i + a) for a in range(p)] for i in range(2)]
    drift, table, shared = written_out_tensor(layer, x)

    def value(expr, i=0):
        expr = written_out(layer.sums(expr), x)
        return float(expr.xreplace(dict(zip(layer.state, x[i], strict=True))).evalf(30, chop=True))

    assert np.isclose(value(layer.trace), np.trace(drift), atol=1e-12)
    assert np.isclose(value(layer.square), np.einsum("ijji", table), atol=1e-12)
    assert np.isclose(value(layer.variance), np.einsum("iijj", table), atol=1e-12)
    for i in range(2):
        for a in range(p):
            assert np.isclose(value(layer.with_state(a), i), np.einsum("kk", shared[i * p + a]), atol=1e-12)
    # the inverse: K (−dM + (dM)²), row by row
    w, z = np.array([[0.3, -1.2, 0.7, 0.4][: 2 * p], [1.1, 0.5, -0.6, 0.9][: 2 * p]])
    square = np.einsum("ikkj->ij", table)
    moved = (square - drift).T @ w

    def row(expr, i, j=0):
        """A formula of the inverse's rows at numbers."""
        rows = [[*x[q], *w[q * p : q * p + p], *z[q * p : q * p + p]] for q in range(2)]
        states, other = layer.moments.states, layer.moments.other
        expr = written_out(as_sums(expr, states, layer.size), rows)
        return float(
            expr.xreplace(dict(zip(states, rows[i], strict=True)) | dict(zip(other, rows[j], strict=True))).evalf(
                30, chop=True
            )
        )

    form = layer.transposed(tuple(q - d for q, d in zip(layer.squared, layer.drift, strict=True)))
    assert np.allclose([row(form[a], i) for i in range(2) for a in range(p)], moved, atol=1e-12)
    if name == "shared":
        with pytest.raises(NotClosed, match="not independent"):
            _ = layer.transposed_covariance
        return
    own, apart = layer.transposed_covariance
    expected = np.einsum("ipkq,i,k->pq", table, w, z)
    found = [
        [row((own if i == j else apart)[a, b], i, j) for j in range(2) for b in range(p)]
        for i in range(2)
        for a in range(p)
    ]
    assert np.allclose(found, expected, atol=1e-12)


def test_coefficients_with_values_at_zero_are_taken_apart():
    # a tuple was asked for its terms
    s, x = sp.Symbol("s", positive=True), sp.Symbol("x", real=True)
    one, two = (layer_average(body, (x,), 0) for body in (x**2, x**4))
    node = Continued(sp.Lambda(s, sp.erf(1 / s)), one, sp.Tuple(sp.S.One, two))
    form, places = Coefficients().taken_apart(3 * node)
    assert set(places) == {one, two}
    assert not form.has(LayerAverage)
