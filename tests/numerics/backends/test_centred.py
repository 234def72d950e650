"""Coefficients of layers that centre their neurons, where these are nearly equal, against the same formulas at 200 digits."""

from functools import lru_cache

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from derivations import Network, derive, jacobian
from numerics.backends import find_backend
from numerics.backends.centred import Apart, centred
from numerics.backends.residues import Residues
from numerics.compile import compile_expression
from numerics.compile.jit import compiled_kernel, printed_function

CLOSE = (1.0, 1e-3, 1e-6, 1e-9)
LAYERS = {
    "norm": "x + eps*A(layer_norm(x))",
    "kink": "x + eps*A(relu(layer_norm(x)))",
    "centred kink": "x + eps*A(relu(x - average(x)))",
    "hidden": "x + eps*A(abs(B(layer_norm(x))))",
    "beside others": "x + eps*A(layer_norm(x)) + eps*C(x)",
    "times itself": "x + eps*A(x*layer_norm(x))",
    "a variance times itself": "x + eps*A(x*average(x*x) - x*average(x)**2)",
    "powers less their mean": "x + eps*A(x**2 - average(x*x))",
    "rectified beside itself": "x + eps*A(x*relu(x - average(x)))",
}
TARGETS = ["numpy", *(pytest.param(name, marks=pytest.mark.slow) for name in ("numba", "jax"))]


def _coefficients(limit):
    limit = getattr(limit, "explicit", limit)
    states = list(limit.states)
    rows = range(len(states))
    return states, [limit.covariance[i, j] for i in rows for j in range(i + 1)]


def _states(symbols, inputs, apart):
    """Neurons that are nearly .7; further columns, tangents, are far apart."""
    rng = np.random.default_rng(5)
    columns = len(symbols) // 3
    near, far = 0.7 + apart * rng.normal(size=(3, inputs)), rng.normal(size=(3, columns - inputs))
    values = np.hstack([near, far]).ravel()
    return [float(v) for v in values]


@lru_cache(maxsize=1)  # writing a formula takes longer than its value
def _formulas(symbols, entries):
    return [sp.lambdify(symbols, e.doit(), "mpmath") for e in entries]


def _errors(symbols, entries, values, found):
    """By the noise of both coordinates: an entry may be 0."""
    with mp.workdps(200):
        exact = [mp.re(formula(*map(mp.mpf, values))) for formula in _formulas(tuple(symbols), tuple(entries))]
        places = [(i, j) for i in range(len(symbols)) for j in range(i + 1)]
        own = {i: exact[k] for k, (i, j) in enumerate(places) if i == j}
        return [
            float(abs(mp.mpf(float(f)) - e) / mp.sqrt(own[i] * own[j] + mp.mpf(10) ** -300))
            for f, e, (i, j) in zip(found, exact, places, strict=True)
        ]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("inputs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_noises_of_nearly_equal_neurons_keep_their_digits(layer, inputs):
    symbols, entries = _coefficients(derive(Network(LAYERS[layer], width=3, inputs=inputs)).limit)
    function = compile_expression(symbols, tuple(entries))
    for apart in CLOSE:
        values = _states(symbols, inputs, apart)
        assert max(_errors(symbols, entries, values, function(*values))) < 1e-13, apart


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["norm", "hidden", "beside others"])
def test_so_do_those_of_the_jacobian(layer):
    symbols, entries = _coefficients(jacobian(Network(LAYERS[layer], width=3)).limit())
    function = compile_expression(symbols, tuple(entries))
    for apart in CLOSE:
        values = _states(symbols, 1, apart)
        assert max(_errors(symbols, entries, values, function(*values))) < 1e-12, apart


def test_formulas_as_they_stand_do_not():
    symbols, entries = _coefficients(derive(Network(LAYERS["norm"], width=3, inputs=2)).limit)
    values = _states(symbols, 2, 1e-6)
    plain = sp.lambdify(symbols, entries, "numpy", cse=True)(*values)
    assert max(_errors(symbols, entries, values, plain)) > 1e-6


@pytest.mark.parametrize(
    "what",
    ["layer_norm(tanh(x))", "exp(x) - average(exp(x))", "x*tanh(x) - average(x*tanh(x))", "x*layer_norm(tanh(x))**2"],
)
def test_values_of_a_function_are_centred_too(what):
    symbols, entries = _coefficients(derive(Network(f"x + eps*A({what})", width=3, inputs=2)).limit)
    function = compile_expression(symbols, tuple(entries))
    for apart in CLOSE:  # functions themselves are rounded, and what is left of them is as small as their differences
        values = _states(symbols, 2, apart)
        assert max(_errors(symbols, entries, values, function(*values))) < 1e-13 + 1e-15 / apart, apart


@pytest.mark.parametrize("backend", TARGETS)
def test_every_target_has_them(backend, request):
    if backend == "jax":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    if backend == "numba":
        pytest.importorskip("numba")
    symbols, entries = _coefficients(derive(Network(LAYERS["kink"], width=3)).limit)
    function = compile_expression(symbols, tuple(entries), backend=find_backend(backend))
    values = _states(symbols, 1, 1e-9)
    found = function(*map(np.asarray, values)) if backend == "jax" else function(*values)
    assert max(_errors(symbols, entries, values, found)) < 1e-13


@pytest.mark.slow
def test_kernels_have_them():
    pytest.importorskip("numba")
    symbols, entries = _coefficients(derive(Network(LAYERS["norm"], width=3, inputs=2)).limit)
    kernel = compiled_kernel(printed_function("near", symbols, entries), "near")
    values = _states(symbols, 2, 1e-9)
    assert max(_errors(symbols, entries, values, kernel(*values))) < 1e-13


def test_what_moves_stays():
    x, y = sp.symbols("x y", real=True)
    moves = sp.tanh(x) * (x + y) + sp.Piecewise((x, x + y > 0), (y, True))
    assert centred([moves], lambda formula: formula) == ((moves,), {})


def test_a_part_that_does_not_move_is_centred_beside_others_that_do():
    x, y = sp.symbols("x y", real=True)
    (found,), apart = centred([x + (x**2 + y**2) / 2 - (x + y) ** 2 / 4], lambda formula: formula)
    assert found.free_symbols == {x, *apart}
    assert all(isinstance(difference, Apart) for difference in apart.values())
    plain = found.xreplace({name: difference.args[0] - difference.args[1] for name, difference in apart.items()})
    assert sp.expand(plain - x - (x - y) ** 2 / 4) == 0


def test_cases_are_chosen_alike():
    x, y = sp.symbols("x y", real=True)
    here, there = Residues(), Residues(dict.fromkeys((x, y), 7))
    still = sp.Piecewise((x, x > y), (0, True)) - y * sp.Piecewise((1, x - y > 0), (0, True))
    assert here.of(still) == there.of(still)
    assert here.of(still + sp.Piecewise((1, x > 0), (0, True))) != there.of(still + sp.Piecewise((1, x > 0), (0, True)))
