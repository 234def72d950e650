"""Coefficients over wide layers whose neurons are nearly equal, against the layer itself at 200 digits."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from derivations import Network, derive
from derivations.sums import coordinate_sum
from numerics import simulate_sde
from numerics.compile import compile_sums
from numerics.compile.centred_sums import centred_sums

CLOSE = (1.0, 1e-3, 1e-6, 1e-9)
WIDTH = 16


def _normalised(column):
    mean = sum(column) / WIDTH
    size = mp.sqrt(sum((v - mean) ** 2 for v in column) / WIDTH)
    return [(v - mean) / size for v in column]


def _rectified(column):
    return [max(v, mp.mpf(0)) for v in _normalised(column)]


def _centred(column):
    mean = sum(column) / WIDTH
    return [max(v - mean, mp.mpf(0)) for v in column]


def _times_itself(column):
    return [v * z for v, z in zip(column, _normalised(column), strict=True)]


def _powers(column):
    mean = sum(v**2 for v in column) / WIDTH
    return [v**2 - mean for v in column]


def _hidden(column):
    values = [v * mp.tanh(v) for v in column]
    return [v - sum(values) / WIDTH for v in values]


def _of_size(column):
    centred = _centred(column)
    return [v * z for v, z in zip(column, centred, strict=True)]


LAYERS = {
    "x*layer_norm(x)": _times_itself,
    "x**2 - average(x*x)": _powers,
    "x*relu(x - average(x))": _of_size,
    "x*tanh(x)": _hidden,
    "layer_norm(x)": _normalised,
    "relu(layer_norm(x))": _rectified,
    "relu(x - average(x))": _centred,
}


def _error(function, what, apart):
    state = 0.7 + apart * np.random.default_rng(3).normal(size=(1, WIDTH, 2))
    found = function(state, 0.0)[0]
    with mp.workdps(200):
        one, other = ([mp.mpf(float(v)) for v in state[0, :, k]] for k in (0, 1))
        rows = [LAYERS[what](column) for column in (one, other)]
        true = [[sum(p * q for p, q in zip(a, b, strict=True)) / WIDTH for b in rows] for a in rows]
        size = [mp.sqrt(true[k][k]) for k in (0, 1)]
        return max(
            float(abs(mp.mpf(float(found[a, b])) - true[a][b]) / (size[a] * size[b])) for a in (0, 1) for b in (0, 1)
        )


@pytest.mark.parametrize("what", [what for what in LAYERS if "tanh" not in what])
def test_noises_of_wide_layers_keep_their_digits(what):
    limit = derive(Network(f"x + eps*A({what})", width=WIDTH, inputs=2)).limit
    function = compile_sums(limit.neuron, limit.neuron_covariance, (limit.time,))
    assert max(_error(function, what, apart) for apart in CLOSE) < 1e-14


def test_values_of_a_function_keep_what_they_have():
    limit = derive(Network("x + eps*A(x*tanh(x) - average(x*tanh(x)))", width=WIDTH, inputs=2)).limit
    function = compile_sums(limit.neuron, limit.neuron_covariance, (limit.time,))
    assert all(_error(function, "x*tanh(x)", apart) < 1e-13 + 1e-15 / apart for apart in CLOSE)


def test_only_what_does_not_move_is_centred():
    x, y = sp.symbols("x y", real=True)
    total, square = (coordinate_sum(x**k, (x, y), sp.Integer(4)) for k in (1, 2))
    other = coordinate_sum(y**2, (x, y), sp.Integer(4))
    variance = square / 4 - total**2 / 16
    assert centred_sums(variance + other, (x, y)).columns == (x,)
    assert centred_sums(square / 4 - total**2 / 15, (x, y)) == (square / 4 - total**2 / 15, (x, y), ())


def test_neurons_less_their_mean_are_centred():
    x = sp.Symbol("x", real=True)
    shift = compile_sums((x,), sp.ImmutableMatrix([x - coordinate_sum(x, (x,), sp.Integer(2)) / 2]))
    near = np.nextafter(0.7, 1.0)
    np.testing.assert_array_equal(shift(np.array([[[0.7], [near]]])).ravel(), [(0.7 - near) / 2, (near - 0.7) / 2])


def _paths(backend, limit, start, time, samples):
    if backend != "jax":
        return simulate_sde(limit, start, time, steps=1, samples=samples, seed=1, backend=backend)
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    from numerics.compile.jax_paths import compile_jax_paths

    return compile_jax_paths(limit)(jax.random.key(1), start, t=time, steps=1, samples=samples)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "numba", "jax"])
def test_every_path_has_them(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    limit = derive(Network("x + eps*A(x*tanh(x) - average(x*tanh(x)))", width=5)).limit
    start = 0.7 + 1e-6 * np.random.default_rng(3).normal(size=(5, 1))
    with mp.workdps(60):
        values = [mp.mpf(float(v)) * mp.tanh(mp.mpf(float(v))) for v in start[:, 0]]
        size = float(mp.sqrt(sum((v - sum(values) / 5) ** 2 for v in values) / 5))
    time, samples = 1e-14, 20_000
    moved = _paths(backend, limit, start, time, samples)
    deviation = np.std(np.asarray(moved).reshape(samples, 5) - start[:, 0]) / np.sqrt(time)
    assert deviation == pytest.approx(size, rel=4 / np.sqrt(2 * 5 * samples))
    assert deviation != pytest.approx(1.05 * size, rel=4 / np.sqrt(2 * 5 * samples))


@pytest.mark.slow
def test_kernels_walk_as_arrays_do():
    pytest.importorskip("numba")
    limit = derive(Network("x + eps*A(layer_norm(x))", width=5, inputs=2)).limit
    start = 0.7 + 1e-9 * np.random.default_rng(3).normal(size=(5, 2))

    def moved(time, steps, samples, backend):
        paths = simulate_sde(limit, start, time, steps=steps, samples=samples, seed=1, backend=backend)
        return paths.reshape(samples, 5, 2) - start

    arrays = moved(1e-19, 2, 50, "numpy")
    assert np.abs(arrays).max() > 1e-11
    np.testing.assert_allclose(moved(1e-19, 2, 50, "numba"), arrays, rtol=1e-6, atol=1e-15)
    one, other = (start[:, k] - start[:, k].mean() for k in (0, 1))
    correlation = one @ other / np.sqrt(one @ one * (other @ other))
    step = moved(1e-22, 1, 4000, "numba")  # 20,000 pairs: standard error at most .0071
    assert np.corrcoef(step[..., 0].ravel(), step[..., 1].ravel())[0, 1] == pytest.approx(correlation, abs=0.029)
