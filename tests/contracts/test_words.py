"""The words that PyTorch, JAX and Keras users type, against their definitions written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.special import expit, log_ndtr, ndtr

from derivations.activations import ACTIVATIONS, parse_activation, piecewise_smooth
from derivations.symbols import state
from numerics.compile import compile_expression

X = np.concatenate([np.linspace(-9.03, 9.07, 40), [-700.0, -90.0, -1e-3, 1e-9, 50.0, 700.0]])
ROOT = np.sqrt(2 / np.pi)

# each word as it is typed, and what it means
DEFINITIONS = {
    "ReLU": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "nn.ReLU6()": lambda x: np.clip(x, 0, 6),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "leaky_relu(0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "nn.LeakyReLU(negative_slope=0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "F.leaky_relu(x, 0.2)": lambda x: np.where(x > 0, x, 0.2 * x),
    "nn.LeakyReLU(0.2)(x)": lambda x: np.where(x > 0, x, 0.2 * x),
    "PReLU": lambda x: np.where(x > 0, x, 0.25 * x),
    "prelu(0.1)": lambda x: np.where(x > 0, x, 0.1 * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "elu(1)": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "elu(x, alpha=0.5)": lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))),
    "celu(2)": lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)),
    "CELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "SELU": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "GELU": lambda x: x * ndtr(x),
    "gelu(none)": lambda x: x * ndtr(x),
    "nn.GELU(approximate='tanh')": lambda x: x * expit(2 * ROOT * (x + 0.044715 * x**3)),
    "gelu(tanh)": lambda x: x * expit(2 * ROOT * (x + 0.044715 * x**3)),
    "gelu_new": lambda x: x * expit(2 * ROOT * (x + 0.044715 * x**3)),
    "jax.nn.gelu(x, approximate=True)": lambda x: x * expit(2 * ROOT * (x + 0.044715 * x**3)),
    "quick_gelu": lambda x: x * expit(1.702 * x),
    "SiLU": lambda x: x * expit(x),
    "Swish": lambda x: x * expit(x),
    "swish(1.702)": lambda x: x * expit(1.702 * x),
    "Mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "Sigmoid": expit,
    "LogSigmoid": lambda x: -np.logaddexp(0, -x),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "Softplus": lambda x: np.logaddexp(0, x),
    "softplus(beta=2)": lambda x: np.logaddexp(0, 2 * x) / 2,
    "squareplus": lambda x: (x + np.sqrt(x**2 + 4)) / 2,
    "squareplus(1)": lambda x: (x + np.sqrt(x**2 + 1)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "soft_sign": lambda x: x / (1 + np.abs(x)),
    "Hardtanh": lambda x: np.clip(x, -1, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hardtanh(-2, 2)": lambda x: np.clip(x, -2, 2),
    "nn.Hardtanh(min_val=-2, max_val=3)": lambda x: np.clip(x, -2, 3),
    "Hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "keras.activations.hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "Hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Softshrink": lambda x: np.where(x > 0.5, x - 0.5, np.where(x < -0.5, x + 0.5, 0)),
    "soft_shrink(x, 2)": lambda x: np.where(x > 2, x - 2, np.where(x < -2, x + 2, 0)),
    "Hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
    "hard_shrink(lambd=2)": lambda x: np.where(np.abs(x) > 2, x, 0),
    "Threshold(0.1, 20)": lambda x: np.where(x > 0.1, x, 20),
    "Tanhshrink": lambda x: x - np.tanh(x),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "squared relu": lambda x: np.maximum(x, 0) ** 2,
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "tanh": np.tanh,
    "linear": lambda x: x,
    "Identity": lambda x: x,
    "absolute": np.abs,
    "np.where(x > 0, x, 0.1*x)": lambda x: np.where(x > 0, x, 0.1 * x),
    "(x > 0)*x": lambda x: (x > 0) * x,
    "clip(x, -1, 1)": lambda x: np.clip(x, -1, 1),
    "x*normcdf(x)": lambda x: x * np.exp(log_ndtr(x)),
    "cbrt(x)": np.cbrt,
}


def value(text: str) -> np.ndarray:
    return np.asarray(compile_expression(state, parse_activation(text).expr)(X), dtype=float)


@pytest.mark.parametrize("text", DEFINITIONS)
def test_word_has_the_librarys_definition(text):
    # differences with a relative error of a few roundings, or absolute ones where the definition itself cancels
    assert np.allclose(value(text), DEFINITIONS[text](X), rtol=1e-13, atol=2e-13)
    assert not np.allclose(value(text), DEFINITIONS[text](X + 1e-3), rtol=1e-13, atol=2e-13)  # the control


def test_every_activation_has_a_definition_here():
    typed = {parse_activation(text).name for text in DEFINITIONS}
    elsewhere = {"erf", "sine", "cosine", "exponential", "ornstein_uhlenbeck", "unstable_ornstein_uhlenbeck"}
    assert set(ACTIVATIONS) <= typed | elsewhere


def test_selu_keeps_mean_and_variance_of_a_normal():
    # E φ(Z) = 0 and E φ(Z)² = 1, solved for the two constants
    below, twice = sp.exp(sp.S.Half) * sp.erfc(1 / sp.sqrt(2)) / 2, sp.exp(2) * sp.erfc(sp.sqrt(2)) / 2
    alpha = 1 / sp.sqrt(2 * sp.pi) / (sp.S.Half - below)
    scale = 1 / sp.sqrt(sp.S.Half + alpha**2 * (twice - 2 * below + sp.S.Half))
    assert abs(sp.N(alpha - piecewise_smooth._SELU_ALPHA, 40)) < sp.Rational(1, 10**31)
    assert abs(sp.N(scale - piecewise_smooth._SELU_SCALE, 40)) < sp.Rational(1, 10**31)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_names_are_read_in_any_case_and_spelling(name):
    for spelling in (name.upper(), name.title().replace("_", ""), name.replace("_", "-"), f"F.{name}"):
        assert parse_activation(spelling) is ACTIVATIONS[name]
