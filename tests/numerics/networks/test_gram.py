"""Finite perceptrons: two ways to draw them agree, small gaps keep their precision, Gram matrices stay on the cone."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from derivations import MLP, PreNormResNet, ResNet, ShapedMLP, absolute, relu, tanh
from derivations.activations import leaky_relu
from numerics.networks import simulate_collapse, simulate_gram, simulate_network
from numerics.statistics import ks_two_sample

START = [[1.0, 0.3], [0.3, 1.0]]


def shaped(**options):
    return ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1, **options)


@pytest.mark.parametrize(
    ("net", "record"),
    [
        (shaped(width=12), "gram"),
        (shaped(width=12), "conditional gram"),
        (ShapedMLP(tanh, inputs=2, a=1, width=12, skip=0.5), "gram"),
    ],
    ids=["slopes", "conditional", "skip"],
)
def test_gram_in_law_is_gram_of_all_weights(net, record):
    fast, slow = (
        simulate_gram(net, 12, 3000, START, seed=s, method=m, record=record)
        for s, m in ((1, "conditional"), (2, "weights"))
    )
    for entry in ((0, 0), (0, 1)):
        test = ks_two_sample(fast[:, *entry], slow[:, *entry])
        assert test.p_value > 1e-3
        assert ks_two_sample(fast[:, *entry], slow[:, *entry] * 1.15 + 0.05).p_value < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("record", ["gap", "conditional gap"])
@pytest.mark.parametrize("gap", [0.7, 1e-14])
def test_gap_in_law_is_gap_of_all_weights(gap, record):
    net = MLP(relu, inputs=2, width=24)
    fast, slow = (
        np.log(simulate_collapse(net, 12, 3000, gap, seed=s, method=m, record=record))
        for s, m in ((1, "conditional"), (2, "weights"))
    )
    assert ks_two_sample(fast, slow).p_value > 1e-3
    assert ks_two_sample(fast, slow + 0.2).p_value < 1e-4


@pytest.mark.parametrize("record", ["", "conditional "])
def test_gap_agrees_with_the_gram_matrix_where_both_are_accurate(record):
    net = MLP(leaky_relu(0.1), inputs=2, width=24)
    gap = simulate_collapse(net, 6, 4000, 0.7, seed=1, record=f"{record}gap")
    v = simulate_gram(net, 6, 4000, START, seed=2, record=f"{record}gram")
    rho = v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1])
    assert ks_two_sample(gap, 1 - rho).p_value > 1e-3
    assert ks_two_sample(gap, (1 - rho) * 1.1).p_value < 1e-3


def one_minus_correlation(u, v):
    """By fifty-digit arithmetic."""
    dot = lambda a, b: mpmath.fsum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    return 1 - dot(u, v) / mpmath.sqrt(dot(u, u) * dot(v, v))


@pytest.mark.parametrize("phi", [relu, absolute], ids=str)
def test_one_layer_keeps_the_digits_of_a_tiny_gap(phi):
    """The same numbers through fifty-digit arithmetic: 1 - ρ = 1e-14 comes out with full relative precision."""
    width, gap, seed = 40, 1e-14, 7
    net = MLP(phi, inputs=2, width=width)
    (got,) = simulate_collapse(net, 1, 1, gap, seed=seed, record="conditional gap")
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(0,))))
    normals = rng.standard_normal((2, width)).T
    with mpmath.workdps(50):
        up, down = (1, 0) if phi is relu else (1, -1)
        slope = lambda x: (up if x > 0 else down) * x  # noqa: E731
        delta = mpmath.mpf(gap)
        first = [mpmath.mpf(a) for a in normals[:, 0]]
        second = [(1 - delta) * a + mpmath.sqrt(delta * (2 - delta)) * mpmath.mpf(b) for a, b in normals]
        u, v = ([slope(x) for x in xs] for xs in (first, second))
        wanted = one_minus_correlation(u, v)
        assert abs(got / wanted - 1) < 1e-12
        naive = 1 - float(
            np.dot(*np.array([u, v], dtype=float)) / np.prod(np.linalg.norm(np.array([u, v], dtype=float), axis=1))
        )
        assert abs(naive / wanted - 1) > 1e-4  # what a correlation near 1 would have kept


def test_gram_matrices_stay_on_the_cone():
    start = np.ones((3, 3)) + 1e-13 * np.eye(3)
    v = simulate_gram(ShapedMLP(relu, inputs=3, c_plus=1, c_minus=-1, width=30), 30, 200, start)
    low = np.linalg.eigvalsh(v)[:, 0]
    assert np.all(low > -1e-15 * np.trace(v, axis1=1, axis2=2))


def test_mean_of_the_norm_is_kept_by_the_critical_gain():
    v = simulate_gram(shaped(width=20), 5, 20_000, START, seed=3)[:, 0, 0]
    assert abs(v.mean() - 1) < 4 * v.std() / np.sqrt(len(v))
    assert abs(v.mean() - 1.05) > 4 * v.std() / np.sqrt(len(v))
    net = MLP(relu, inputs=1, width=20)
    one = simulate_gram(net, 1, 20_000, [[1.0]], seed=3, record="conditional gram")[:, 0, 0]
    z = (one.var() - 5 / 20) / (stats.moment((one - one.mean()) ** 2, 2) / len(one)) ** 0.5
    assert abs(z) < 4  # Var V' = (c² E φ⁴ - 1)/n


def test_normalised_branch_grows_linearly():
    v = simulate_gram(PreNormResNet(relu, inputs=2, width=60), 60, 300, np.eye(2) * 4)
    assert abs(v[:, 0, 0].mean() - 4.5) < 4 * v[:, 0, 0].std() / np.sqrt(300)


def test_layers_and_workers():
    net = shaped(width=10)
    kept = simulate_gram(net, 8, 5000, START, seed=5, at=[0, 4, 8])
    assert kept.shape == (3, 5000, 2, 2)
    assert np.allclose(kept[0], START)
    assert np.array_equal(kept[2], simulate_gram(net, 8, 5000, START, seed=5, workers=3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: simulate_gram(shaped(), 2, 2, START), "width"),
        (lambda: simulate_gram(shaped(width=4), 2, 2, [[1.0]]), "shape"),
        (lambda: simulate_gram(shaped(width=4), 2, 2, [[1, 2], [2, 1]]), "semi-definite"),
        (
            lambda: simulate_gram(ResNet(relu, width=4), 2, 2, [[1.0]], record="conditional gram"),
            "the output of one matrix",
        ),
        (lambda: simulate_gram(ResNet(relu, width=4), 2, 2, [[1.0]], record="gap"), "'gram' or 'conditional gram'"),
        (lambda: simulate_gram(shaped(width=1), 2, 2, START), "at least as many neurons"),
        (lambda: simulate_gram(shaped(width=4), -1, 2, START), "depth"),
        (lambda: simulate_gram(shaped(width=4), 1, 2, START, method="magic"), "method"),
        (lambda: simulate_collapse(MLP(relu, inputs=2, width=4), 2, 2, 0.0), "gap"),
        (lambda: simulate_collapse(MLP(tanh, inputs=1, width=4), 2, 2, 0.1), "two inputs"),
        (lambda: simulate_network(ResNet(relu, width=4), 2, 2, 1.0, record="gap"), "inputs=2"),
        (lambda: simulate_network(ResNet(relu, width=4), 2, 2, 1.0, record="grams"), "unknown record 'grams'"),
        (
            lambda: simulate_gram(ShapedMLP(tanh, inputs=2, a=__import__("sympy").Symbol("a"), width=4), 1, 2, START),
            "numbers",
        ),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
