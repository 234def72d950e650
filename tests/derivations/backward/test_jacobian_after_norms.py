"""Determinants and tangents of layers with a norm in them, against layers drawn by hand."""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Network,
    NotClosed,
    Weights,
    epsilon,
    relu,
    rms_norm,
    tanh,
)
from derivations.backward import jacobian
from derivations.sums import written_out
from derivations.symbols import width as n
from numerics.statistics import Estimate, richardson
from tests.helpers import equal_symbolically

A, B = Weights("A"), Weights("B", out=5)


def test_determinant_after_a_norm_is_a_diffusion_with_the_squared_norm():
    process = jacobian(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n)).log_det.process
    V = process.states[0]
    # a layer's derivative annihilates the state: the sums run over n - 1 directions
    assert equal_symbolically(process.drift[1], -(n - 1) / (4 * n * V))
    assert equal_symbolically(process.covariance[1, 1], (n - 1) / (2 * n * V))
    assert process.covariance[0, 1] == 0


@pytest.mark.slow
def test_norm_at_the_end_of_a_layer():
    # x' = rms(x + εAx): tangents stay orthogonal to the state, and the spectrum is that of Brownian motion on a sphere's frames
    j = jacobian(Network(lambda x: rms_norm(x + epsilon * A(x)), width=n))
    jk, jl = j.sde.first[0], j.sde.second[0]
    assert equal_symbolically(j.sde.drift[0], -(n - 1) * jk / (2 * n))
    assert j.sde.covariance[0].coeff(jk * jl) == 1 / n
    assert equal_symbolically(j.growth, 2 / n)
    assert equal_symbolically(2 * j.volumes.drift(1) + 2 * j.volumes.rate(1), 2 / n)  # E‖v‖² of a log-normal
    for ask in (lambda: j.log_det, lambda: j.inverse):
        with pytest.raises(NotClosed, match="on a sphere"):
            ask()
    assert "The determinant has no logarithm" in str(j)


@pytest.mark.slow
def test_tangents_behind_a_last_norm_drawn_by_hand():
    volumes = jacobian(Network(lambda x: rms_norm(x + epsilon * A(x)), width=3)).volumes

    def logs(depth, seed):
        rng, e = np.random.default_rng(seed), 1 / np.sqrt(depth)
        x = np.tile(np.array([1.0, -0.5, 0.3]), (20_000, 1))
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        v = np.tile(np.array([0.3, 0.6, 0.0]), (20_000, 1))  # orthogonal to the state
        for _ in range(depth):
            w = rng.standard_normal((len(x), 3, 3)) / np.sqrt(3)
            y, dy = (z + e * np.einsum("sij,sj->si", w, z) for z in (x, v))
            r = np.sqrt(np.mean(y**2, axis=1, keepdims=True))
            x, v = y / r, dy / r - y * np.mean(y * dy, axis=1, keepdims=True) / r**3
        return np.log(np.mean(v**2, axis=1) / 0.15) / 2

    coarse, fine = logs(32, 1), logs(64, 2)
    mean = richardson(Estimate.of(coarse), Estimate.of(fine))
    variance = richardson(Estimate.variance_of(coarse), Estimate.variance_of(fine))
    for found, derived in ((mean, volumes.drift(1)), (variance, volumes.rate(1))):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(float(derived) * 1.2).p_value < 1e-3  # the control


@pytest.mark.slow
def test_determinants_behind_a_norm_drawn_by_hand():
    from numerics.paths import simulate_sde

    # x + ε A relu(B rms(x)), 3 neurons and 5 hidden ones, to t = 1, against V and log|det J| together
    x0, samples = np.array([1.8, -1.2, 0.8]), 30_000  # far from V = 0, where the rates are infinite

    def of_networks(depth, seed):
        rng, e = np.random.default_rng(seed), 1 / np.sqrt(depth)
        x, total = np.tile(x0, (samples, 1)), np.zeros(samples)
        for _ in range(depth):
            a, b = rng.standard_normal((samples, 3, 5)) / np.sqrt(5), rng.standard_normal((samples, 5, 3)) / np.sqrt(3)
            r = np.sqrt(np.mean(x**2, axis=1))[:, None]
            h = np.einsum("skj,sj->sk", b, x / r)
            inner = np.eye(3) / r[:, :, None] - x[:, :, None] * x[:, None, :] / (3 * r[:, :, None] ** 3)
            total += np.linalg.slogdet(np.eye(3) + e * (a * (h > 0)[:, None, :]) @ b @ inner).logabsdet
            x = x + e * np.einsum("sik,sk->si", a, np.maximum(h, 0))
        return total

    def of_limit(net, steps, seed):
        process = net.log_det.process
        path = simulate_sde(process, x0=[np.mean(x0**2), 0.0], t=1.0, steps=steps, samples=samples, seed=seed)
        return path.reshape(samples, -1)[:, 1]

    def both(made):
        bounded = (
            lambda x: np.clip(x, -2, 2),
            lambda x: np.minimum(x**2, 2),
        )  # paths that come near V = 0 have heavy tails
        return [richardson(*(Estimate.of(f(x)) for x in made)) for f in bounded]

    first = (Weights("A", variance=v) for v in (1, sp.Rational(7, 5)))
    right, wrong = (jacobian(Network(lambda x, w=w: x + epsilon * w(relu(B(rms_norm(x)))), width=3)) for w in first)
    found = both([of_networks(32, 1), of_networks(64, 2)])
    derived, control = (both([of_limit(j, 64, 3), of_limit(j, 128, 4)]) for j in (right, wrong))
    for one, good, bad in zip(found, derived, control, strict=True):
        assert (one - good).test(0.0).p_value > 1e-3
        assert (one - bad).test(0.0).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "slope", "at"),
    [(lambda h: np.maximum(h, 0), lambda h: h > 0, relu), (np.tanh, lambda h: 1 - np.tanh(h) ** 2, tanh)],
    ids=["relu", "tanh"],
)
def test_one_layer_drawn_by_hand(formula, slope, at):
    # x + ε A φ(B rms(x)) at n = 3 with 5 hidden neurons: its derivative over ε, whose moments are exact
    x, samples = np.array([0.8, -1.1, 0.4]), 100_000
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((samples, 3, 5)) / np.sqrt(5), rng.standard_normal((samples, 5, 3)) / np.sqrt(3)
    r = np.sqrt(np.mean(x**2))
    inner = np.eye(3) / r - np.outer(x, x) / (3 * r**3)
    d = np.einsum("sik,sk,skj->sij", a, slope(b @ x / r), b @ inner)
    layer = jacobian(Network(lambda x: x + epsilon * A(at(B(rms_norm(x)))), width=3)).layer
    exact = [written_out(layer.sums(e), [[sp.Rational(str(v))] for v in x]) for e in (layer.square, layer.variance)]
    trace = np.trace(d, axis1=1, axis2=2)
    for found, derived in zip((np.einsum("sij,sji->s", d, d), trace**2), exact, strict=True):
        estimate = Estimate.of(found)
        assert estimate.test(float(derived)).p_value > 1e-3
        assert estimate.test(float(derived) * 1.1).p_value < 1e-3  # the control
