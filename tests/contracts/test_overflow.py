"""No number that is none leaves a public function without a word: each is asked beyond the range of doubles."""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import sympy as sp

import numerics
from derivations import (
    MLP,
    Diffusion,
    GatedBlock,
    ResNet,
    derive,
    exponential,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.calculus.moments import moment_equations
from numerics import (
    NNGPRegressor,
    NTKRegressor,
    NystroemRegressor,
    choose,
    compare,
    compile_law,
    distribution,
    expect_network,
    expect_sde,
    joint_output_law,
    kernel_matrix,
    output_law,
    sample_law,
    simulate_collapse,
    simulate_gram,
    simulate_jacobian,
    simulate_network,
    simulate_sde,
    simulate_tangent_kernel,
    solve_flow,
    solve_fokker_planck,
    solve_moments,
    solve_training,
    validate,
)

x = symbols.state
HUGE = np.array([[1e200, 1e200], [1e300, -1e300]])
SMALL, LABELS = [[1.0, 2.0], [3.0, 1.0]], [1e308, -1e308]
CUBIC, RELU, WIDE = ResNet(x**3, width=3), ResNet(relu, width=3), ResNet(relu, width=sp.oo)


def process(drift, variance):
    return Diffusion((x,), [drift], [[variance]])


def predicted(model, given=SMALL, labels=LABELS):
    return model(WIDE).fit(given, labels).predict(SMALL)


#: Of each public function, calls with states, inputs, times or labels beyond which doubles end.
CALLS = {
    "simulate_sde": [
        lambda: simulate_sde(process(x**3, 1), 1e100, t=1.0, steps=20, samples=5),
        lambda: simulate_sde(process(sp.exp(x) - sp.exp(2 * x), sp.exp(2 * x)), 800.0, t=1.0, steps=20, samples=5),
        lambda: simulate_sde(process(x, x**2), 1e308, t=50.0, steps=20, samples=5),
        # one of five paths explodes, whose Gaussian means have no variance then
        lambda: simulate_sde(derive(GatedBlock(silu, width=3)).limit, 1.5, t=1.0, steps=50, samples=5, seed=1),
    ],
    "simulate_network": [
        lambda: simulate_network(CUBIC, 20, 5, x0=[1e120, 1.0, 1.0]),
        lambda: simulate_network(ResNet(exponential, width=2), 20, 5, x0=[700.0, 700.0]),
        lambda: simulate_network(GatedBlock(silu, width=3), 20, 5, x0=[1e160] * 3),
        lambda: simulate_network(RELU, 20, 5, x0=[1e308] * 3, t=10.0, method="conditional"),
    ],
    "simulate_gram": [lambda: simulate_gram(CUBIC, 20, 5, [[1e120]])],
    "simulate_collapse": [lambda: simulate_collapse(MLP(relu, inputs=2, width=5), 500, 5, 0.3)],
    "simulate_jacobian": [lambda: simulate_jacobian(CUBIC, 20, 5, [1e100] * 3)],
    "simulate_tangent_kernel": [
        lambda: simulate_tangent_kernel(ResNet(relu, width=3, inputs=2), 20, 5, [[1e200, 1.0, 1.0], [1e300, -1.0, 1.0]])
    ],
    "kernel_matrix": [
        lambda: kernel_matrix(WIDE, HUGE),
        lambda: kernel_matrix(ResNet(tanh, width=sp.oo), HUGE),
        lambda: kernel_matrix(ResNet(x**2, width=sp.oo), [[1e140, 1.0], [1.0, 2.0]]),
        lambda: kernel_matrix(WIDE, SMALL, t=1e5),
    ],
    "NNGPRegressor": [lambda: predicted(NNGPRegressor), lambda: predicted(NNGPRegressor, HUGE, [1.0, 2.0])],
    "NTKRegressor": [lambda: predicted(NTKRegressor), lambda: predicted(NTKRegressor, HUGE, [1.0, 2.0])],
    "NystroemRegressor": [lambda: predicted(NystroemRegressor)],
    "solve_flow": [
        lambda: solve_flow(derive(WIDE).limit, 1e308, t=100.0)(100.0),
        lambda: solve_flow(derive(ResNet(x**2, width=sp.oo)).limit, 1e300, t=1.0)(1.0),
    ],
    "solve_moments": [lambda: solve_moments(moment_equations(process(x, x**2), 2), {x: 1e200}, t=1000.0)(1000.0)],
    "solve_fokker_planck": [
        lambda: solve_fokker_planck(process(0, sp.exp(2 * x)), 300.0),
        lambda: solve_fokker_planck(process(0, (1 + sp.tanh(x)) ** 2), 1e200),
    ],
    "distribution": [lambda: distribution(derive(ResNet(relu, width=1)), x0=1e300, t=1e5).ppf([0.1, 0.9])],
    "compile_law": [lambda: compile_law(derive(ResNet(relu, width=1)).law, x0=1e308, t=1e4).interval(0.9)],
    "sample_law": [lambda: sample_law(derive(ResNet(relu, width=1)).law, 1e308, t=1e4, samples=5)],
    "expect_sde": [
        lambda: expect_sde(process(x, x**2), lambda v: v[:, 0] ** 2, 1e200, t=1.0, samples=2000),
        lambda: expect_sde(process(0, 1 + x**2), lambda v: np.exp(v[:, 0] ** 2), 1.0, samples=2000),
        lambda: expect_sde(process(0, 1), lambda v: np.log(v[:, 0]), 1.0, samples=2000),
    ],
    "expect_network": [lambda: expect_network(CUBIC, lambda v: v[:, 0, 0] ** 2, samples=100, x0=[1e100] * 3)],
    "output_law": [lambda: output_law(derive(RELU), x0=[1e200] * 3, samples=50, steps=5)],
    "joint_output_law": [
        lambda: joint_output_law(derive(ResNet(x**2, width=3, inputs=2)), x0=np.full((3, 2), 1e60), samples=20, steps=5)
    ],
    "solve_training": [
        lambda: solve_training(WIDE, HUGE, [1.0, -1.0], 4, steps=3),
        lambda: solve_training(WIDE, SMALL, [1.0, -1.0], 4, steps=50, learning_rate=1e5),
    ],
    "choose": [lambda: choose(RELU, "t", norm=1e300)],
    "compare": [
        lambda: compare(derive(RELU), np.full((50, 3), np.nan)),
        lambda: compare(derive(RELU), np.full((50, 3), np.inf)),
    ],
    "validate": [lambda: validate(derive(RELU), x0=1e160, samples=50, depth=10, quick=True)],
}
#: Errors and warnings; what is made of formulas alone; counts; what runs in another package; a sampler that tests/numerics runs.
NO_NUMBERS = {
    "ExplosionWarning",
    "UndefinedState",
    "compile_expression",
    "count_outcomes",
    "from_torch",
    "sample_tangent_kernel",
    "to_diffrax",
    "to_sympy_lambda",
    "to_torchsde",
}


def holds_nan(value, depth=0):
    """Whether a result holds a number that is none, in any field."""
    if isinstance(value, float | complex | np.ndarray | np.generic):
        found = np.asarray(value)
        return found.dtype.kind in "fc" and bool(np.isnan(found).any())
    if isinstance(value, dict):
        return any(holds_nan(v, depth + 1) for v in value.values())
    if isinstance(value, list | tuple):
        return any(holds_nan(v, depth + 1) for v in value)
    return (
        is_dataclass(value) and depth < 3 and any(holds_nan(getattr(value, f.name), depth + 1) for f in fields(value))
    )


def test_each_public_function_is_asked():
    assert set(CALLS) | NO_NUMBERS == set(numerics.__all__)
    assert holds_nan({"a": [1.0, np.array([np.nan])]})
    assert not holds_nan((np.inf, 1))


@pytest.mark.parametrize(
    ("name", "number"), [(name, k) for name, calls in CALLS.items() for k in range(len(calls))], ids=str
)
def test_no_nan_without_a_word(name, number):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = CALLS[name][number]()
        except ValueError as refusal:
            message = str(refusal)
        else:
            named = any("nan" in str(warning.message) for warning in said)
            assert named or not holds_nan(found)
            return
    assert "\n" not in message
    for raw in ("array must not contain", "Maximum allowed size", "invalid value encountered"):  # of the library below
        assert raw not in message
