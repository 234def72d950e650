"""Exponents of the first step in the width against networks differentiated by JAX: filters, biases, gates and functions outside.

Widths are doubled thrice. Logarithms over all networks are fitted by a line in that of the width, one term in 1/width, and two numbers of each network
that are of order 1 at every width: the sizes of its last state and of the gradient in its first one. These hold most of what differs between
networks, so that 150 of a gate, whose moments are heavy-tailed, say as much as thousands without.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import GatedBlock, Network, ShrinkingResNet, Weights, epsilon, scalings, silu, symbols, tanh

jax = pytest.importorskip("jax", reason="networks are differentiated by the extra jax")
jnp = jax.numpy

n = symbols.width
WIDTHS, DEPTH, SAMPLES, ERRORS = (8, 16, 32, 64), 4, 150, 4.0
SIZE = DEPTH**-0.5


def filtered(w, x):
    """Three taps on a ring."""
    h = jnp.tanh(x)
    return x + SIZE * sum(w[f"tap {s}"] @ jnp.roll(h, s, axis=1) for s in (-1, 0, 1)) / np.sqrt(3)


def biased(w, x):
    return x + SIZE * (w["A"] @ jnp.tanh(x) + w["bias"])


def gated(w, x):
    return x + SIZE * w["A"] @ (jax.nn.silu(w["B"] @ x) * (w["C"] @ x))


def outside(w, x):
    return x + jax.nn.silu(SIZE * w["W"] @ jnp.tanh(x))


#: The layer, the same in JAX, the matrices that a derived one stands for, positions of an input, and shapes of what is no square matrix.
CASES = {
    "filter": (
        Network(lambda x: x + epsilon * Weights("A", filter=3)(tanh(x)), width=n, positions=4),
        filtered,
        {"A": ["tap -1", "tap 0", "tap 1"]},
        4,
        {},
    ),
    "bias": (
        Network(lambda x: x + epsilon * Weights("A", bias_variance=1)(tanh(x)), width=n),
        biased,
        {"A": ["A"], "A bias": ["bias"]},
        1,
        {"bias": 1},
    ),
    "gate": (GatedBlock(silu, width=n, hidden=n), gated, {k: [k] for k in "BCA"}, 1, {}),
    "function outside": (ShrinkingResNet(silu, tanh, width=n), outside, {"W": ["W"]}, 1, {}),
}


def measured(case, rule, width):
    """Mean squares, one row a network, by which the step of each matrix moves the state and the output, and two of order 1; r = 1."""
    _, layer, groups, positions, columns = CASES[case]
    rng = np.random.default_rng(width)
    names = [name for group in groups.values() for name in group]
    draws = {name: rng.standard_normal((SAMPLES, DEPTH, width, columns.get(name, width))) for name in names}
    weights = {name: w if name in columns else w / np.sqrt(width) for name, w in draws.items()}
    x = rng.standard_normal((SAMPLES, width, positions))
    v = rng.standard_normal((SAMPLES, width)) / width

    @jax.jit
    @jax.vmap
    def moves(weights, x, v):
        def last(weights, x=x):
            return jax.lax.scan(lambda x, w: (layer(w, x), None), x, weights)[0]

        def output(weights, x=x):
            return v @ last(weights, x).mean(axis=1)

        gradient, first = jax.grad(output, argnums=(0, 1))(weights, x)
        step = gradient if rule == "sgd" else jax.tree.map(jnp.sign, gradient)
        found = []
        for group in groups.values():
            along = {name: step[name] * (name in group) for name in names}
            state = jax.jvp(last, (weights,), (along,))[1]
            found += [(state**2).mean(), (v @ state.mean(axis=1)) ** 2]
        return jnp.stack([*found, (last(weights) ** 2).mean(), (width * first**2).mean() * width])

    return np.asarray(moves(weights, x, v))


def exponents(tables):
    """Slopes of the roots of the squares, and their standard errors, whatever the spread at each width."""
    seen, x = np.log(np.concatenate(tables)) / 2, np.repeat(np.array(WIDTHS, float), SAMPLES)
    state, gradient = (seen[:, -2:] - seen[:, -2:].mean(axis=0)).T
    beside = [state, gradient, state**2, gradient**2, state * gradient]
    design = np.stack([np.ones_like(x), np.log(x), WIDTHS[0] / x, *beside], axis=1)
    inverse, found = np.linalg.inv(design.T @ design), []
    for column in seen[:, :-2].T:
        fitted = inverse @ design.T @ column
        spread = design.T * (column - design @ fitted)
        found.append((float(fitted[1]), float(np.sqrt((inverse @ spread @ spread.T @ inverse)[1, 1]))))
    return found


def derived(case, rule):
    net, _, groups, *_ = CASES[case]
    found = scalings(net, training=True)
    point = {e: sp.Rational(v.numerator, v.denominator) for e, v in found.point({}, 1).items()}
    rows = [row for row in found.moved(rule, {}, readout=1) if row.name not in ("input", "readout")]
    powers = [getattr(row, word) for row in rows for word in ("state", "output")]
    assert [row.name for row in rows if row.role == "hidden"] == [name for name in groups if " " not in name]
    return [float(p.width.subs(point)) for p in powers]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "sign"])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_doubled_widths_have_the_exponents(case, rule):
    with jax.enable_x64(True):
        tables = [measured(case, rule, width) for width in WIDTHS]
    for (slope, error), right in zip(exponents(tables), derived(case, rule), strict=True):
        assert abs(slope - right) < ERRORS * error
        for wrong in (-0.5, 0.5):
            assert abs(slope - right - wrong) > ERRORS * error
