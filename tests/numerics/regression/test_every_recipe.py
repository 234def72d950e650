"""Inference with every recipe: both regressors and training for a while, against flows of both kernels written out by hand and Gaussian conditioning."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import expit, ndtr

from derivations import (
    MLP,
    RECIPES,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    GatedBlock,
    MLPBlock,
    Network,
    NoLimit,
    PreNormResNet,
    ResNet,
    ShapedAttention,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
    Weights,
    drop_branch,
    dropout,
    epsilon,
    gelu,
    relu,
    rms_norm,
    silu,
    symbols,
    tanh,
)
from numerics.kernels import kernel_matrix
from numerics.regression import NNGPRegressor, NTKRegressor, NystroemRegressor

pytest.importorskip("sklearn")

n, oo, half = symbols.width, sp.oo, sp.S.Half
Z, W = np.polynomial.hermite_e.hermegauss(64)
W = W / W.sum()
TIME, TRAINED, NOISE = 0.4, 0.7, 0.01
SCALE = {
    "AttentionBlock": 0.6,
    "TransformerBlock": 3.0,
}  # without a norm its kernel explodes, with one small inputs move much
GIVEN, LABELS = 2, np.array([1.0, -0.6])
ROWS, TOKENS = (0.5 * np.random.default_rng(3).normal(size=(3, 3, p)) for p in (1, 3))


def mean(f, k):
    """E f(U) f(V) for each pair of positions, of k = (variances of U, covariances, variances of V)."""
    a, c, b = k
    u = np.sqrt(a)[:, None, None, None] * Z[:, None]
    rest = np.sqrt(np.maximum(b - c**2 / a[:, None], 0.0))[..., None, None]
    v = (c / np.sqrt(a)[:, None])[..., None, None] * Z[:, None] + rest * Z
    return np.einsum("pqij,i,j->pq", f(u) * f(v), W, W)


TANH = np.tanh, lambda x: 1 - np.tanh(x) ** 2
SILU = lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))
GELU = lambda x: x * ndtr(x), lambda x: ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


class Pair:
    """Two inputs at a depth: variances of the first and the second, K and Θ between them, all over positions; and whether they are one."""

    def __init__(self, own, other, k, theta, same):
        self.k, self.theta, self.same = k, theta, same
        self.law = np.diag(own), k, np.diag(other)

    def normed(self):
        size = np.sqrt(np.outer(self.law[0], self.law[2]))
        one = np.ones(len(size))
        return Pair(np.diag(one), np.diag(one), self.k / size, self.theta / size, self.same)

    def read(self, outer):
        """K and Θ of W f(x): what W adds, and what it passes on."""
        f, slope = outer
        force = mean(f, self.law)
        return force, force + mean(slope, self.law) * self.theta

    def through(self, inner, variance=1.0, bias=0.0):
        """K and Θ of A f(B x + b), biases in the kernel too."""
        a, c, b = (variance * part + bias for part in self.law)
        f, slope = inner
        force = mean(f, (a, c, b))
        return force, force + mean(slope, (a, c, b)) * (c + variance * self.theta)

    def gated(self):
        value, slope = mean(SILU[0], self.law), mean(SILU[1], self.law)
        force, moved = value * self.k, self.k + self.theta
        return force, force + slope * moved * self.k + value * moved

    def attended(self):
        """Scores QᵀK over the root of the width; four matrices, the outer one after the sum."""
        square, shared = np.sum(self.k**2), np.sum(self.k * self.theta)
        return square * self.k, 4 * square * self.k + square * self.theta + 2 * shared * self.k


def filtered(table):
    """The mean over three shifts of both positions, on a ring."""
    return sum(np.roll(table, (s, s), (0, 1)) for s in (-1, 0, 1)) / 3


def of_filters(pair):
    a, c, b = (np.diag(filtered(np.diag(v))) if v.ndim == 1 else filtered(v) for v in pair.law)
    force, slopes = mean(GELU[0], (a, c, b)), mean(GELU[1], (a, c, b))
    return filtered(force), filtered(force + slopes * (c + filtered(pair.theta)))


def transformer(pair):
    first, second = pair.normed().attended(), pair.normed().through(GELU)
    return first[0] + second[0], first[1] + second[1]


def behind(pair):
    """A norm behind the sum takes off what the branch adds to the squares, 1/2·E-fold of them."""
    force, moved = pair.through(TANH)
    one = Pair(np.eye(1), np.eye(1), np.ones((1, 1)), np.zeros((1, 1)), True).through(TANH)[0]
    return force - one * pair.k, moved - one * pair.theta


def dropped(gain):
    def speed(pair):
        factor = gain if pair.same else 1.0
        return tuple(factor * part for part in pair.through(TANH))

    return speed


A, B, C = Weights("A"), Weights("B", out=3 * n), Weights("C", out=3 * n)
MEMBERS = {
    "ResNet": (ResNet(tanh, width=oo), lambda k: k.read(TANH)),
    "PreNormResNet": (PreNormResNet(tanh, width=oo), lambda k: k.normed().read(TANH)),
    "MLPBlock": (MLPBlock(gelu, width=oo), lambda k: k.through(GELU)),
    "MLPBlock, layer norm": (MLPBlock(silu, width=oo, norm="layer"), lambda k: k.normed().through(SILU)),
    "MLPBlock, norm behind": (Network(lambda x: rms_norm(x + epsilon * A(tanh(B(x)))), width=oo), behind),
    "GatedBlock": (GatedBlock(silu, width=oo), Pair.gated),
    "ShrinkingResNet": (ShrinkingResNet(tanh, inner=silu, width=oo), lambda k: k.read(SILU)),
    "ConvResNet": (
        ConvResNet(tanh, inner=silu, width=oo, positions=3, filter=3),
        lambda k: tuple(map(filtered, k.read(SILU))),
    ),
    "ConvBlock": (ConvBlock(gelu, width=oo, positions=3), of_filters),
    "AttentionBlock": (AttentionBlock(width=oo, positions=3, kind="linear"), Pair.attended),
    "TransformerBlock": (TransformerBlock(gelu, width=oo, positions=2, kind="linear", norm="rms"), transformer),
    "Network": (
        Network(
            lambda x: x + epsilon * Weights("A", variance=3)(tanh(Weights("B", variance=half, bias_variance=half)(x))),
            width=oo,
        ),
        lambda k: tuple(3 * part for part in k.through(TANH, 0.5, 0.5)),
    ),
    "dropout": (Network(lambda x: x + epsilon * A(dropout(tanh(B(x)), half)), width=oo), dropped(2.0)),
    "shared dropout": (
        Network(lambda x: x + epsilon * A(dropout(tanh(B(x)), half, shared=True)), width=oo),
        dropped(2.0),
    ),
    "stochastic depth": (
        Network(lambda x: x + epsilon * drop_branch(A(tanh(B(x))), sp.Rational(2, 3)), width=oo),
        dropped(1.5),
    ),
}
REFUSED = {
    "MLP": (MLP(relu, width=oo), "does not become continuous in depth"),
    "ShapedMLP": (ShapedMLP(relu, width=oo, c_plus=1, c_minus=-1), "does not become continuous in depth"),
    "ShapedAttention": (ShapedAttention(width=oo, positions=2), "does not become continuous in depth"),
}


def kernels(speed, inputs, starts_on_sphere):
    """K and Θ between inputs that each stand twice, the second time with factors of its own: axes (input, input, position, position)."""
    twice = np.concatenate([inputs, inputs])
    if starts_on_sphere:
        twice = twice / np.sqrt(np.mean(twice**2, axis=1, keepdims=True))
    m, p = len(twice), inputs.shape[2]
    start = np.einsum("idp,jdq->ijpq", twice, twice) / inputs.shape[1]

    def velocity(_, y):
        k, theta = y.reshape(2, m, m, p, p)
        found = np.empty((2, m, m, p, p))
        for i in range(m):
            for j in range(i + 1):
                found[:, i, j] = speed(Pair(k[i, i], k[j, j], k[i, j], theta[i, j], i == j))
                found[:, j, i] = np.swapaxes(found[:, i, j], 1, 2)
        return found.ravel()

    end = solve_ivp(velocity, (0, TIME), np.array([start, start]).ravel(), rtol=1e-8, atol=1e-10).y[:, -1]
    return np.einsum("kijpp->kij", end.reshape(2, m, m, p, p)) / p


def predicted(nngp, ntk):
    """Means and covariance of new inputs: conditioned, trained to the end and for a while; the first half of the inputs has factors of its own."""
    m = len(nngp) // 2
    train, new = slice(0, GIVEN), slice(GIVEN, m)
    prior = nngp[:m, :m][new, new]
    nngp, ntk = (matrix[:m, m:] for matrix in (nngp, ntk))  # between different factors
    ridge = NOISE * np.eye(GIVEN)
    solved = np.linalg.solve(nngp[train, train] + ridge, np.column_stack([LABELS, nngp[train, new]]))
    conditioned = nngp[new, train] @ solved[:, 0], prior - nngp[new, train] @ solved[:, 1:]

    def trained(tau):
        # f' = -(Θ + s)(f - y) at the training inputs, and the new ones follow with the kernel across
        generator = np.zeros((m + 1, m + 1))
        generator[:m, :GIVEN] = -ntk[:, train]
        generator[:GIVEN, :GIVEN] -= ridge
        generator[:GIVEN, -1] = (ntk[train, train] + ridge) @ LABELS
        generator[GIVEN:m, -1] = ntk[new, train] @ LABELS
        moved = expm(tau * generator)[new]
        law = moved[:, :GIVEN]
        return moved[:, -1], prior + law @ nngp[train, new] + nngp[new, train] @ law.T + law @ nngp[
            train, train
        ] @ law.T

    return conditioned, trained(1e4), trained(TRAINED)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_inference_with_a_recipe_is_that_of_its_kernels_by_hand(name):
    recipe, speed = MEMBERS[name]
    inputs = TOKENS[..., : recipe.positions[0]] if recipe.positions else ROWS
    inputs = inputs * SCALE.get(name, 1.0)
    shaped = inputs if recipe.positions else inputs[..., 0]
    wanted = predicted(*kernels(speed, inputs, speed is behind))
    options = {"architecture": recipe, "t": TIME, "noise": NOISE}
    models = NNGPRegressor(**options), NTKRegressor(**options), NTKRegressor(**options, training_time=TRAINED)
    for model, (mean_, covariance) in zip(models, wanted, strict=True):
        found = model.fit(shaped[:GIVEN], LABELS).predict(shaped[GIVEN:], return_cov=True)
        for value, exact in zip(found, (mean_, covariance), strict=True):
            assert np.allclose(value, exact, rtol=0, atol=2e-5)
            assert not np.allclose(1.01 * value, exact, rtol=0, atol=2e-5)  # the control


@pytest.mark.parametrize("shared", [False, True])
def test_networks_with_dropout_learn_their_labels(shared):
    # factors are drawn anew at each step, so the mean over them is fitted; factors that stay would act as a ridge
    recipe = Network(lambda x: x + epsilon * A(dropout(tanh(B(x)), half, shared=shared)), width=oo)
    given, labels = ROWS[..., 0], np.array([1.0, -0.6, 0.3])
    for kind in (NNGPRegressor, NTKRegressor):
        model = kind(recipe, t=TIME, noise=0.0).fit(given, labels)
        found, deviations = model.predict(given, return_std=True)
        assert np.allclose(found, labels, rtol=0, atol=1e-7)
        assert np.all(deviations > 0.01)  # of one drawing
    features = NystroemRegressor(recipe, t=TIME, noise=1e-4, components=3, random_state=0).fit(given, labels)
    exact = NTKRegressor(recipe, t=TIME, noise=1e-4).fit(given, labels).predict(given)
    assert np.allclose(features.predict(given), exact, rtol=0, atol=1e-6)
    kernel = kernel_matrix(recipe, given, TIME, "ntk")  # the control: of an input with itself under the same factors
    crossed = kernel_matrix(recipe, given, TIME, "ntk", other=given)
    assert shared or not np.allclose(crossed @ np.linalg.solve(kernel, labels), labels, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", REFUSED)
def test_a_recipe_without_kernels_is_refused_with_its_reason(name):
    recipe, why = REFUSED[name]
    for kind in (NNGPRegressor, NTKRegressor):
        with pytest.raises(NoLimit, match=why):
            kind(recipe).fit([[1.0, 0.0], [0.0, 1.0]] if not recipe.positions else TOKENS[:2, :, :2], LABELS)


def test_no_recipe_is_left_out():
    assert {type(recipe).__name__ for recipe, _ in (*MEMBERS.values(), *REFUSED.values())} == {
        recipe.__name__ for recipe in RECIPES
    }
