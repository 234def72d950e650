"""What is recorded of networks, against layers written out by hand with the same weights: in NumPy, and in fifty digits."""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations import MLP, ConvResNet, Network, Regime, ResNet, identity, relu, tanh
from derivations.language import Weights, attention, average, causal, dropout, layer_norm, normalised_sum, rms_norm
from derivations.language.statements import Matrix
from derivations.symbols import state as x
from derivations.symbols import step as eps
from numerics import simulate_collapse, simulate_jacobian, simulate_network, simulate_tangent_kernel
from numerics.networks import RECORDS, simulate_gram
from numerics.statistics import Estimate

A, B, C = Weights("A"), Weights("B", out=5), Weights("C", out=5)
D = Weights("D", bias_variance=sp.Rational(1, 4), mean=sp.Rational(1, 2), bias_mean=sp.Rational(-1, 3))
HALF = sp.Rational(1, 2)
SEED, DEPTH = 3, 4
SIZE = DEPTH**-0.5  # ε at t = 1


def softplus(v):
    return sp.log(1 + sp.exp(v))


@dataclass(frozen=True)
class Case:
    """A layer in the language; and by hand, from x of shape (n, m), its weights by name, its bias, and a table of functions."""

    layer: object
    hand: object
    bias: bool = False


def _norm(f, x):
    return x / f["sqrt"]((x**2).mean(axis=0))


def _gate(f, x, w, b):
    r = _norm(f, x)
    return x + SIZE * w["A"] @ (f["tanh"](w["B"] @ r / 2) * (w["C"] @ r / 2)) / f["root5"]


def _smooth(f, x, w, b):
    return x + SIZE * w["A"] @ f["log1pexp"](w["B"] @ _norm(f, x - x.mean(axis=0)) / 2 - 1) / f["root5"]


def _kinked(f, x, w, b):
    return x + SIZE * w["A"] @ (f["relu"](x - HALF_F) + abs(x) / 2) / 2


def _twice(f, x, w, b):
    def d(v):
        return w["D"] @ v / 2 + v.mean(axis=0) / 2 + b / 2 - f["third"]

    return d(f["tanh"](d(x)))


HALF_F = 0.5
CASES = {
    "gate": Case(lambda x: x + eps * A(tanh(B(rms_norm(x))) * C(rms_norm(x))), _gate),
    "smooth": Case(lambda x: x + eps * A(softplus(B(layer_norm(x)) - 1)), _smooth),
    "kinked": Case(lambda x: x + eps * A(relu(x - HALF) + sp.Abs(x) / 2), _kinked),
    "twice": Case(lambda x: D(tanh(D(x))), _twice, bias=True),
}
FLOATS = {
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
    "log1pexp": lambda v: np.log1p(np.exp(v)),
    "third": 1 / 3,
    "root5": 5**0.5,
}


def digits():
    """The same at the present number of digits."""
    each = {name: np.vectorize(getattr(mpmath, name), otypes=[object]) for name in ("sqrt", "tanh")}
    return each | {
        "relu": np.vectorize(lambda v: v if v > 0 else mpmath.mpf(0), otypes=[object]),
        "log1pexp": np.vectorize(lambda v: mpmath.log(1 + mpmath.exp(v)), otypes=[object]),
        "third": mpmath.mpf(1) / 3,
        "root5": mpmath.sqrt(5),
    }


START = np.array([[0.7, -0.4], [-1.2, 0.9], [0.3, 1.1], [1.6, 0.2]])


def net(name, inputs=2):
    return Network(CASES[name].layer, width=4, inputs=inputs)


def weights(name, rng=None):
    """Those of the first network, layer by layer and by name, in the order of the simulator's stream; and the biases."""
    rng = rng or np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(0,))))
    shapes = {
        s.weights: (int(s.target.size), int(s.source.size))
        for s in net(name).program().statements
        if isinstance(s, Matrix)
    }
    return [
        (
            {w.name: rng.standard_normal((1, *shape))[0] for w, shape in shapes.items()},
            rng.standard_normal((1, 4, 1))[0] if CASES[name].bias else 0.0,
        )
        for _ in range(DEPTH)
    ]


def by_hand(name, x, drawn, f=FLOATS):
    """The layers of one network, written out."""
    states = [x]
    for w, b in drawn:
        states.append(CASES[name].hand(f, states[-1], w, b))
    return states


def recorded(name, record, count=2, start=START, **more):
    given = {"x0": start, **more}
    return simulate_network(
        net(name, count), DEPTH, 1, seed=SEED, method="weights", record=record, at=range(DEPTH + 1), **given
    )[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_states_and_gram_matrices(name):
    states = np.array(by_hand(name, START, weights(name)))
    assert np.allclose(recorded(name, "state"), states, rtol=1e-12)
    gram = np.einsum("lia,lib->lab", states, states) / 4
    assert np.allclose(recorded(name, "gram"), gram, rtol=1e-12)
    assert np.allclose(recorded(name, lambda x: x[:, 0] ** 2), states[:, 0] ** 2, rtol=1e-12)
    rho = gram[:, 0, 1] / np.sqrt(gram[:, 0, 0] * gram[:, 1, 1])
    assert np.allclose(recorded(name, "gap")[:, 0, 1], 1 - rho, rtol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["equal norms", "other norms"])
@pytest.mark.parametrize("name", CASES)
def test_gaps_keep_their_digits(name, scale):
    """1 - ρ = 1e-14 at the start, through four layers, against fifty digits with the same weights."""
    move = np.array([0.3, -0.1, 0.2, 0.05]) * 1e-6
    start = np.stack([START[:, 0], scale * (START[:, 0] + move)], axis=1)
    got = recorded(name, "gap", start=start)[:, 0, 1]
    with mpmath.workdps(50):
        exact = np.vectorize(mpmath.mpf, otypes=[object])
        drawn = [({k: exact(v) for k, v in w.items()}, exact(b)) for w, b in weights(name)]
        wanted = []
        for x in by_hand(name, exact(start), drawn, digits()):
            u, v = x[:, 0], x[:, 1]
            wanted.append(float(1 - (u @ v) / mpmath.sqrt((u @ u) * (v @ v))))
    assert 5e-15 < wanted[0] < 2e-14
    # what a double keeps of a difference of 1e-6 beside norms that differ by as much as they are: 1e-16/1e-6
    assert np.allclose(got, wanted, rtol=1e-13 if scale == 1.0 else 1e-9)
    x = recorded(name, "state", start=start)
    rho = np.einsum("li,li->l", x[..., 0], x[..., 1]) / np.prod(np.linalg.norm(x, axis=1), axis=1)
    assert abs((1 - rho[0]) / wanted[0] - 1) > 1e-3  # what a correlation near 1 would have kept


def test_gaps_among_several_inputs():
    start = np.stack([START[:, 0], START[:, 1], START[:, 0] + 1e-6 * START[:, 1]], axis=1)
    several, first, second = (
        recorded("smooth", "gap", count=len(columns), start=start[:, columns])
        for columns in ([0, 1, 2], [0, 2], [0, 1])
    )
    assert np.allclose(several[:, 0, 2], first[:, 0, 1], rtol=1e-12)
    assert np.allclose(several[:, 0, 1], second[:, 0, 1], rtol=1e-12)
    assert np.allclose(several[:, 1, 2], several[:, 0, 1], rtol=1e-4)
    assert np.array_equal(several, several.swapaxes(1, 2))


# --- given the layer before ---

BIASED = Network(lambda x: average(x**2) * D(relu(x)) / 2, width=4, inputs=2)


def test_conditional_gram_matrices_are_means_of_gram_matrices():
    """By hand; and the mean of XᵀX/n over many last layers from one state."""
    got = simulate_network(BIASED, 1, 20_000, x0=START, record="conditional gram", at=[0, 1])
    assert np.allclose(got[0], START.T @ START / 4)
    f, s = np.maximum(START, 0), (START**2).mean(axis=0) / 2
    mean = f.mean(axis=0) / 2 - 1 / 3
    wanted = np.outer(s, s) * (f.T @ f / 4 + 1 / 4 + np.outer(mean, mean))
    assert np.allclose(got[1], wanted, rtol=1e-13)
    gram = simulate_network(BIASED, 1, 20_000, x0=START, record="gram")
    for a, b in ((0, 0), (0, 1), (1, 1)):
        assert Estimate.of(gram[:, a, b]).test(wanted[a, b]).p_value > 1e-3
        assert Estimate.of(gram[:, a, b]).test(1.1 * wanted[a, b]).p_value < 1e-3 or (a, b) == (0, 1)
    gap = simulate_network(BIASED, 1, 2, x0=START, record="conditional gap")[:, 0, 1]
    assert np.allclose(gap, 1 - wanted[0, 1] / np.sqrt(wanted[0, 0] * wanted[1, 1]), rtol=1e-13)


@pytest.mark.parametrize("record", ["gram", "conditional gram"])
def test_chains_start_in_the_given_gram_matrix(record):
    start = np.array([[2.0, -0.3], [-0.3, 0.5]])
    got = simulate_gram(MLP(tanh, inputs=2, width=3), 2, 50, start, at=[0, 2], record=record)
    assert np.allclose(got[0], start, rtol=1e-12)
    assert np.std(got[1], axis=0).min() > 0.01
    assert np.allclose(
        simulate_collapse(MLP(tanh, inputs=2, width=3), 2, 50, 1e-20, at=[0], record=record.replace("gram", "gap")),
        1e-20,
    )


def test_a_matrix_applied_twice_has_no_conditional_gram_matrix():
    with pytest.raises(ValueError, match="one matrix applied once"):
        recorded("twice", "conditional gram")


# --- derivatives ---


def slopes(function, at, h=1e-6):
    """Central differences of a function of one array, along each of its entries; the first axis."""
    flat = at.ravel()
    out = []
    for k in range(flat.size):
        ends = []
        for sign in (1, -1):
            moved = flat.copy()
            moved[k] += sign * h
            ends.append(function(moved.reshape(at.shape)))
        out.append((ends[0] - ends[1]) / (2 * h))
    return np.array(out)


@pytest.mark.parametrize("name", CASES)
def test_jacobians_are_limits_of_differences(name):
    drawn = weights(name)
    found = recorded(name, "jacobian")
    for a in range(2):
        along = slopes(lambda v, a=a: by_hand(name, v[:, None], drawn)[-1][:, 0], START[:, a])
        assert np.allclose(found[-1, a], along.T, atol=1e-8)
    assert np.array_equal(found[0], np.broadcast_to(np.eye(4), (2, 4, 4)))


@pytest.mark.parametrize("name", CASES)
def test_tangent_kernels_are_sums_over_all_parameters(name):
    inputs = np.array([[1.0, 0.5, -0.3], [-0.4, 1.0, 0.8]])
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(0,))))
    first = rng.standard_normal((1, 4, 3))[0]
    drawn = weights(name, rng)
    parts = [first] + [v for w, b in drawn for v in [*w.values(), *([b] if CASES[name].bias else [])]]

    def end(flat, states=-1):
        arrays, k = [], 0
        for part in parts:
            arrays.append(flat[k : k + part.size].reshape(part.shape))
            k += part.size
        rest = iter(arrays[1:])
        again = [({key: next(rest) for key in w}, next(rest) if CASES[name].bias else 0.0) for w, _ in drawn]
        return by_hand(name, arrays[0] @ inputs.T / np.sqrt(3), again)[states]

    flat = np.concatenate([part.ravel() for part in parts])
    found = recorded(name, "tangent kernel", start=None, inputs=inputs)
    for layer in (0, -1):
        moved = slopes(lambda v, layer=layer: end(v, layer), flat)
        assert np.allclose(found[layer], np.einsum("pia,pib->ab", moved, moved) / 4, rtol=1e-6)
    assert np.allclose(found[0], inputs @ inputs.T / 3)


def test_derivatives_on_a_grid_of_positions():
    """Circular filters by hand: what a neuron reads through a filter is a shift of what it reads at its place."""
    network = ConvResNet(identity, relu, width=2, positions=(3,), filter=(3,), inputs=2)
    images = np.random.default_rng(1).normal(size=(2, 2, 3))
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(0,))))
    parts = [rng.standard_normal((1, 2, 2))[0], *(rng.standard_normal((1, 2, 6))[0] for _ in range(2))]

    def end(flat, x=None):
        first, *filters = np.split(flat, [4, 16])
        x = np.einsum("ic,acp->iap", first.reshape(2, 2), images) / np.sqrt(2) if x is None else x
        for w in filters:
            read = np.concatenate([np.roll(np.maximum(x, 0), -d, axis=2) for d in (-1, 0, 1)])
            x = x + np.sqrt(1 / 2) * np.einsum("ik,kap->iap", w.reshape(2, 6), read) / np.sqrt(6)
        return x

    flat = np.concatenate([part.ravel() for part in parts])
    moved = slopes(end, flat).reshape(len(flat), 2, 6)
    found = simulate_tangent_kernel(network, 2, 1, images, seed=SEED)[0]
    assert np.allclose(found, np.einsum("pia,pib->ab", moved, moved) / 2, rtol=1e-6)
    kwargs = {"seed": SEED, "method": "weights", "inputs": images}
    start = simulate_network(network, 0, 1, **kwargs)[0].reshape(2, 2, 3)
    found = simulate_network(network, 2, 1, record="jacobian", **kwargs)[0]
    along = slopes(lambda x: end(flat, x), start)  # (2·2·3 directions, 2, 2, 3)
    for a in range(2):
        own = along.reshape(2, 2, 3, 2, 2, 3)[:, a, :, :, a].reshape(6, 6)
        assert np.allclose(found[a], own.T, atol=1e-8)


def test_log_determinants_of_linear_networks():
    # log|det J_t| ~ N(-σ²t/2, σ²t) for every width; the layer's own order 1/L is below the error
    sigma, width, samples = sp.Rational(4, 5), 4, 3000
    linear = Network(lambda x: x + eps * Weights("A", variance=sigma)(x), width=width)
    _, j = simulate_jacobian(linear, 150, samples, x0=1.0, seed=1)
    logs = np.linalg.slogdet(j).logabsdet
    assert Estimate.of(logs).test(-0.4).p_value > 1e-3
    assert Estimate.of(logs).test(-0.4 * 1.2).p_value < 1e-3
    assert Estimate.of((logs + 0.4) ** 2).test(0.8).p_value > 1e-3
    assert Estimate.of((logs + 0.4) ** 2).test(0.8 * 1.15).p_value < 1e-3


def test_correlated_entries_have_no_conditional_gram_matrix_and_no_tangent_kernel():
    w = Weights("W", row_covariance=[[1, HALF], [HALF, 1]])
    both = Network(lambda x: w(tanh(x)), width=2)
    with pytest.raises(ValueError, match="of uncorrelated entries"):
        simulate_network(both, 2, 2, x0=1.0, record="conditional gram")
    with pytest.raises(ValueError, match="the entries of W are correlated"):
        simulate_network(both, 2, 2, x0=1.0, record="tangent kernel")
    assert simulate_network(both, 2, 2, x0=1.0, record="jacobian").shape == (2, 1, 2, 2)


def test_normalised_sums_pass_derivatives_on():
    summed = Network(lambda x: x + normalised_sum(sp.tanh(x)) * A(x) / 4, width=4)
    kwargs = {"seed": SEED, "method": "weights"}
    found = simulate_network(summed, 2, 1, x0=START[:, 0], record="jacobian", **kwargs)[0, 0]
    along = slopes(lambda v: simulate_network(summed, 2, 1, x0=v, **kwargs)[0, :, 0], START[:, 0])
    assert np.allclose(found, along.T, atol=1e-8)


# --- positions ---

Q, K, V = (Weights(name, out=out) for name, out in (("Q", 3), ("K", 3), ("V", 4)))
ATTENTION = {
    "softmax": (x + eps * attention(tanh(Q(x)), K(x), V(x)), False),
    "causal": (x + eps * attention(Q(x), K(x), V(x), mask=causal), True),
}


def attend(f, x, drawn, is_causal):
    """Layers of attention by hand, x of shape (n, p)."""
    for w in drawn:
        q, k, v = (w[name] @ x / 2 for name in "QKV")
        scores = (q if is_causal else f["tanh"](q)).T @ k / f["root3"]
        shares = np.vectorize(f["exp"], otypes=[x.dtype])(scores) * (np.tri(x.shape[1]) if is_causal else 1)
        x = x + SIZE * v @ (shares / shares.sum(axis=1, keepdims=True)).T
    return x


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTION)
def test_derivatives_and_gaps_through_attention(name):
    layer, is_causal = ATTENTION[name]
    both = Network(layer, width=4, inputs=2, positions=3)
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(0,))))
    shapes = {s.weights.name: s for s in both.program().statements if isinstance(s, Matrix)}
    sizes = {k: (int(s.target.size), int(s.source.size)) for k, s in shapes.items()}
    drawn = [{k: rng.standard_normal((1, *size))[0] for k, size in sizes.items()} for _ in range(DEPTH)]
    f = {"tanh": np.tanh, "exp": np.exp, "root3": 3**0.5}
    one = np.random.default_rng(7).normal(size=(4, 3))
    kwargs = {"seed": SEED, "method": "weights"}
    start = np.concatenate([one, one + 1e-6 * one[::-1]], axis=1)
    ends = simulate_network(both, DEPTH, 1, x0=start, **kwargs)[0]
    assert np.allclose(ends[:, :3], attend(f, one, drawn, is_causal), rtol=1e-12)
    found = simulate_network(both, DEPTH, 1, x0=start, record="jacobian", **kwargs)[0, 0]
    along = slopes(lambda v: attend(f, v, drawn, is_causal), one).reshape(12, 12)
    assert np.allclose(found, along.T, atol=1e-8)
    flat = np.concatenate([w.ravel() for layer in drawn for w in layer.values()])

    def end(values):
        rest = iter(np.split(values, np.cumsum([w.size for layer in drawn for w in layer.values()])[:-1]))
        again = [{k: next(rest).reshape(w.shape) for k, w in layer.items()} for layer in drawn]
        return np.concatenate([attend(f, part, again, is_causal) for part in (start[:, :3], start[:, 3:])], axis=1)

    moved = slopes(end, flat)
    kernel = simulate_network(both, DEPTH, 1, x0=start, record="tangent kernel", **kwargs)[0]
    assert np.allclose(kernel, np.einsum("pia,pib->ab", moved, moved) / 4, rtol=1e-5, atol=1e-7)
    got = simulate_network(both, DEPTH, 1, x0=start, record="gap", **kwargs)[0, 0, 1]
    with mpmath.workdps(50):
        exact = np.vectorize(mpmath.mpf, otypes=[object])
        f = {"tanh": digits()["tanh"], "exp": mpmath.exp, "root3": mpmath.sqrt(3)}
        many = [{k: exact(w) for k, w in layer.items()} for layer in drawn]
        u, v = (attend(f, exact(part), many, is_causal).ravel() for part in (start[:, :3], start[:, 3:]))
        wanted = float(1 - (u @ v) / mpmath.sqrt((u @ u) * (v @ v)))
    assert wanted < 1e-10
    assert got == pytest.approx(wanted, rel=1e-12)


# --- what is said and what is refused ---


@pytest.mark.parametrize("record", [r for r in RECORDS if not r.startswith("conditional")])
def test_every_word_works_with_masks_workers_and_blocks(record):
    masked = Network(lambda x: x + eps * A(dropout(relu(B(layer_norm(x))), HALF)), width=4, inputs=2)
    kwargs = {"depth": 3, "samples": 3000, "x0": START, "record": record, "at": [0, 3]}
    one = simulate_network(masked, **kwargs)
    assert one.shape[:2] == (2, 3000)
    assert np.isfinite(one).all()
    assert np.array_equal(one, simulate_network(masked, **kwargs, workers=2))
    assert np.array_equal(one[1], simulate_network(masked, **(kwargs | {"at": None})))


def test_derivatives_need_the_weights():
    with pytest.raises(ValueError, match="leave method out"):
        simulate_network(ResNet(relu, width=3), 2, 2, x0=1.0, record="jacobian", method="conditional")
    with pytest.raises(ValueError, match="only states and Gram matrices"):
        simulate_network(ResNet(relu, width=3), 2, 2, x0=1.0, record="jacobian", backend="numba")


def test_networks_without_an_angle_are_counted():
    with pytest.warns(UserWarning, match="2 of 2 networks have no angle"):
        gap = simulate_network(MLP(relu, inputs=2, width=3), 1, 2, x0=0.0, record="gap")
    assert np.isnan(gap[:, 0, 1]).all()


def test_a_norm_of_a_dead_layer_is_named():
    dead = Network(lambda x: A(relu(rms_norm(x))), width=2)
    with pytest.raises(ValueError, match=r"has no value at .*: layer \d of 20, sample"):
        simulate_network(dead, 20, 200, x0=1.0)


@pytest.mark.parametrize("record", ["state", "gap", "jacobian"])
def test_states_without_a_value_are_named_whatever_is_recorded(record):
    logarithm = Network(lambda x: x + eps * A(sp.log(x)), width=2, inputs=2)
    with pytest.raises(ValueError, match=r"log\(x\) has no value at x = -1: layer 1 of 3, sample 1, neuron 2, input 2"):
        simulate_network(logarithm, 3, 2, x0=[[1.0, 2.0], [1.0, -1.0]], record=record)


def test_small_parameters_are_tied_to_the_width():
    """n = 16, ε = n^{-1/4} = 1/2 and √n = 4 layers in a unit of time: one layer by hand."""
    regime = Regime({eps: sp.Rational(1, 4)}, depth=HALF)
    shaped = Network(lambda x: A(tanh(eps * x) / eps), width=16, regime=regime)
    start = np.random.default_rng(2).normal(size=(16, 1))
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(SEED, spawn_key=(0,))))
    w = rng.standard_normal((16, 16))
    kwargs = {"x0": start, "seed": SEED, "method": "weights"}
    assert np.allclose(simulate_network(shaped, 1, 1, **kwargs)[0], w @ (2 * np.tanh(start / 2)) / 4, rtol=1e-12)
    with pytest.raises(ValueError, match="t = 1 is not free: 8 layers of width 16 take the time 2"):
        simulate_network(shaped, 8, 1, t=1.0, **kwargs)
