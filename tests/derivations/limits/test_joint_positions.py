"""Depth and width together over positions: filters against networks by hand, and layers that move some positions at order 0."""

import numpy as np
import pytest
import sympy as sp

from derivations import ConvBlock, ConvResNet, Flow, Network, Regime, ShapedAttention, derive, relu, scalings, tanh
from derivations.errors import DerivationError, NoLimit, NotClosed
from derivations.symbols import width as n
from numerics.compile import compile_expression

V = np.array([[1.3, 0.4, -0.2], [0.4, 0.8, 0.5], [-0.2, 0.5, 1.1]])
UPPER = [(i, j) for i in range(3) for j in range(i, 3)]


def limit(layer):
    return derive(Network(layer, width=n, positions=3, regime=Regime(depth=1))).limit


def beside(y, border):
    """What a filter of three weights reads at each position of arrays (sample, position, neuron): one array a weight."""
    padded = np.pad(y, ((0, 0), (1, 1), (0, 0)), mode=border)
    return [padded[:, k : k + 3] for k in range(3)]


def filtered(rng, y, border):
    """A fresh filter over as many neurons as it reads, for each sample."""
    k = y.shape[-1]
    return sum(read @ (rng.standard_normal((len(y), k, k)) / np.sqrt(3 * k)) for read in beside(y, border))


def dense(rng, y):
    k = y.shape[-1]
    return y @ (rng.standard_normal((len(y), k, k)) / np.sqrt(k))


LAYERS = {
    "x + eps*A(relu(B(x, filter=3, padding=zeros)))": lambda rng, x, e: (
        x + e * dense(rng, np.maximum(filtered(rng, x, "constant"), 0))
    ),
    "x + eps*A(tanh(x), filter=3, padding=reflect) - eps**2*x": lambda rng, x, e: (
        x + e * filtered(rng, np.tanh(x), "reflect") - e**2 * x
    ),
    # what A reads, whose average is the covariance of the next rows
    "A(x + eps*relu(B(x, filter=3)))": lambda rng, x, e: x + e * np.maximum(filtered(rng, x, "wrap"), 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("said", LAYERS)
def test_layers_of_drawn_filters_move_the_gram_matrix_as_derived(said):
    # n times the mean change and the covariance in one layer, from widths 24 and 96, whose difference is of order 1/n; rows of A are N(0, V) given V
    found, rng, apply = limit(said), np.random.default_rng(3), LAYERS[said]
    noise = [0] * 36 if isinstance(found, Flow) else list(found.covariance)
    values = compile_expression(list(found.states), (*found.drift, *noise))(*(V[p] for p in UPPER))
    wanted = np.array([float(v) for v in values])
    measured, errors = [], []
    for width, count in ((24, 20_000), (96, 4_000)):
        parts = []
        for _ in range(20):
            z = rng.standard_normal((count // 20, 3, width))
            given = not said.startswith("A(")
            if given:  # with V as it is; else neurons are independent given V
                z = np.linalg.solve(np.linalg.cholesky(z @ z.transpose(0, 2, 1) / width), z)
            x = np.linalg.cholesky(V) @ z
            state, moved = rng.bit_generator.state, []
            for sign in (1, -1):  # powers of ε that are odd cancel
                rng.bit_generator.state = state
                y = apply(rng, x, sign * width**-0.5)
                moved.append((y @ y.transpose(0, 2, 1) / width - V)[:, *zip(*UPPER, strict=True)])
            mean = width * sum(moved).mean(0) / 2
            parts.append(np.concatenate([mean, (width * np.mean([np.cov(m.T, bias=True) for m in moved], 0)).ravel()]))
        measured.append(np.mean(parts, 0))
        errors.append(np.std(parts, 0, ddof=1) / np.sqrt(20))
    value, error = (4 * measured[1] - measured[0]) / 3, np.hypot(4 * errors[1], errors[0]) / 3
    flow = isinstance(found, Flow)
    kept = slice(0, 6) if flow else slice(None)  # a flow's covariance vanishes as 1/n
    off = lambda w: np.max(np.abs(value - w)[kept] / error[kept])  # noqa: E731
    assert off(wanted) < 5
    assert off(1.25 * wanted) > 7


@pytest.mark.parametrize(
    "recipe",
    [
        lambda width: ConvBlock(relu, width=width, positions=3, filter=3, circular=False, weight_variance=2),
        lambda width: ConvResNet(tanh, relu, width=width, positions=(3,), filter=(3,)),
    ],
    ids=["two matrices", "one matrix"],
)
def test_small_branches_of_filters_follow_the_flow_of_infinite_width(recipe):
    joint, wide = derive(recipe(n), order="joint").limit, derive(recipe(sp.oo)).limit
    assert isinstance(joint, Flow)
    place = dict(zip(joint.states, [sp.Rational(str(V[p])) for p in UPPER], strict=True))
    other = dict(zip(wide.states, place.values(), strict=True))
    for a, b in zip(joint.drift, wide.drift, strict=True):
        assert abs(sp.N(a.subs(place) - b.subs(other), 30)) < 1e-25


@pytest.mark.parametrize(
    "layer",
    [
        "x + mixed([[0, 0, 0], [0, 0, 0], [0, 0, 1]], x) + eps*A(x)",
        "A(x + mixed([[0, 0, 0], [0, 0, 0], [0, 0, 1]], x))",
        "3/5*x + 4/5*mixed([[0, 1, 0], [1, 0, 0], [0, 0, 1]], A(rms_norm(x)))",
        "A(x, filter=3)",
    ],
)
def test_what_moves_some_positions_in_every_layer_has_no_limit(layer):
    # the last position doubles in every layer, or two change places, or all are mixed; the first two were looked at alone
    with pytest.raises(NoLimit, match="however wide the network is"):
        limit(layer)


@pytest.mark.slow
def test_exponents_of_three_positions_are_those_of_two():
    two, three = (str(scalings(ShapedAttention(width=n, positions=p), order="joint")).split("2. Sizes") for p in (2, 3))
    assert two[0] == three[0]
    assert "A limit for p = 1/2 - q/2" in two[0]


def test_exponents_where_positions_have_an_order_are_refused():
    with pytest.raises(DerivationError, match="the same for any order of the positions, got a filter"):
        scalings(Network("x + eps*A(relu(x), filter=3)", width=n, positions=3), order="joint")


@pytest.mark.parametrize(
    ("layer", "mean"),
    [
        ("A(relu(x) + eps*x, mean=1)", "<.*>"),
        ("A(x + eps*x, bias_mean=1)", "1"),
        ("3/5*x + 4/5*A(x) + average(x)", "<.*>"),
    ],
)
def test_means_of_order_1_that_all_neurons_share_are_named(layer, mean):
    with pytest.raises(NotClosed, match=f"a layer adds {mean} to each neuron, so that neurons have a mean"):
        limit(layer)
