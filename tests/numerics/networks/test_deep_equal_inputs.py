"""Two equal inputs and a third one through networks of 30 and 40 layers, drawn here: at correlation 1, limits have values of their own."""

import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, ShapedMLP, derive, relu
from numerics import kernel_matrix, simulate_sde

pytestmark = pytest.mark.slow


def test_kernels_of_equal_inputs():
    """Tangent kernels hold E relu′(u) relu′(v), whose slope in the correlation is infinite at 1."""
    size, depth, count, t = 150, 30, 16, 1.0
    rng, step, twice = np.random.default_rng(1), np.sqrt(t / depth), np.ix_((0, 0, 1), (0, 0, 1))
    inputs = np.array([[1.0, 0.5], [-0.3, 1.2]])
    grams, tangents = [], []
    for _ in range(count):
        x = rng.standard_normal((size, 2)) @ inputs.T / np.sqrt(2)
        layers = []
        for _ in range(depth):
            w = rng.standard_normal((size, size)) / np.sqrt(size)
            layers.append((w, x))
            x = x + step * w @ np.maximum(x, 0)
        grams.append((x.T @ x / size)[twice])
        # back from the output: how each input's output moves with each layer's neurons
        back, tangent = [np.eye(size)] * 2, np.zeros((2, 2))
        for w, before in reversed(layers):
            features = np.maximum(before, 0)
            tangent += step**2 * (features.T @ features / size) * overlaps(back, size)
            back = [g + step * (g @ w) * (before[:, k] > 0) for k, g in enumerate(back)]
        tangents.append((tangent + inputs @ inputs.T / 2 * overlaps(back, size))[twice])
    equal = inputs[[0, 0, 1]]
    apart = equal.copy()
    apart[1] = [0.3, 1.077]  # as long as the first, at correlation 0.67
    for kind, found in (("nngp", grams), ("ntk", tangents)):
        mean, error = np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(count)
        allowed = 4 * error + (1 / depth + 1 / size) * np.abs(mean)  # and Euler's steps, and the width
        wanted = kernel_matrix(ResNet(relu, width=sp.oo), equal, t=t, kind=kind)
        assert np.ptp(wanted[:2, :2]) < 1e-9 * wanted[0, 0]
        assert abs(wanted[0, 2] - wanted[1, 2]) < 1e-9 * wanted[0, 0]
        assert np.all(np.abs(mean - wanted) < allowed)
        control = kernel_matrix(ResNet(relu, width=sp.oo), apart, t=t, kind=kind)
        assert abs(mean[0, 1] - control[0, 1]) > allowed[0, 1]


def overlaps(back, size):
    return np.array([[np.sum(a * b) / size for b in back] for a in back])


def test_equal_inputs_of_a_shaped_perceptron_stay_equal():
    size, depth, count, rho = 100, 40, 800, 0.3
    network = ShapedMLP(relu, c_plus=0, c_minus=-2, inputs=3)
    limit, t = derive(network, order="joint").limit, depth / size
    start = np.array([[1, 1, rho], [1, 1, rho], [rho, rho, 1]])
    paths = simulate_sde(limit, x0=start[np.triu_indices(3)], t=t, steps=80, samples=10_000, seed=1)
    v = {str(s): paths[:, k] for k, s in enumerate(limit.states)}
    for name in ("V_12", "V_22"):
        assert np.max(np.abs(v[name] / v["V_11"] - 1)) < 1e-6
    assert np.max(np.abs(v["V_23"] - v["V_13"]) / np.sqrt(v["V_11"] * v["V_33"])) < 1e-6

    rng, slope = np.random.default_rng(2), 1 - 2 / np.sqrt(size)
    scale = np.float32(np.sqrt(2 / (1 + slope**2) / size))
    factor, found = np.array([[1, 0], [1, 0], [rho, np.sqrt(1 - rho**2)]]), []
    for _ in range(count):
        x = (rng.standard_normal((size, 2)) @ factor.T).astype(np.float32)
        for layer in range(depth + 1):
            features = scale * np.where(x > 0, x, np.float32(slope) * x)
            gram = features.T @ features
            if layer == 0:  # exactly as the limit starts
                root = np.linalg.cholesky(gram[1:, 1:])
                wanted = np.linalg.cholesky(start[1:, 1:])
                features = features[:, 1:] @ (wanted @ np.linalg.inv(root)).T.astype(np.float32)
                features = features[:, [0, 0, 1]]
            if layer < depth:
                x = rng.standard_normal((size, size), dtype=np.float32) @ features
        found.append(gram)
    found = np.array(found)
    assert np.array_equal(found[:, 0], found[:, 1])
    correlation = found[:, 0, 2] / np.sqrt(found[:, 0, 0] * found[:, 2, 2])
    derived = v["V_13"] / np.sqrt(v["V_11"] * v["V_33"])
    for one, other in (
        (correlation, derived),
        (correlation**2, derived**2),
        (np.log(found[:, 0, 0]) ** 2, np.log(v["V_11"]) ** 2),
    ):
        error = np.hypot(one.std() / np.sqrt(count), other.std() / np.sqrt(len(other)))
        assert abs(one.mean() - other.mean()) < 4 * error + 2 / size
    error = correlation.std() / np.sqrt(count)
    assert abs(correlation.mean() - rho) > 4 * error + 2 / size  # without its drift
    spread = np.log(found[:, 0, 1]).var()  # V_12 moves as V_11 does: d log V = −dt + √2 dB
    assert abs(spread / (2 * t) - 1) < 4 * np.sqrt(2 / count) + 4 / size
    assert abs(spread / ((1 + rho**2) * t) - 1) > 4 * np.sqrt(2 / count) + 4 / size  # as at correlation ρ
