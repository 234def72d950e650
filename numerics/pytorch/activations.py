"""Activations: modules and functions, by the text that names each with its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from derivations import parse_activation
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import Value

#: Activations without parameters: modules by the name of the class, functions by their own.
_PLAIN = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SiLU": "silu",
    "Mish": "mish",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "SELU": "selu",
    "Hardswish": "hardswish",
    "Hardsigmoid": "hardsigmoid",
    "Softsign": "softsign",
    "LogSigmoid": "logsigmoid",
    "Tanhshrink": "tanhshrink",
}
#: Modules with parameters.
_WITH_PARAMETERS: dict[str, Callable[[Any], str]] = {
    "GELU": lambda m: f"gelu({m.approximate})",
    "LeakyReLU": lambda m: f"leaky_relu({m.negative_slope})",
    "ELU": lambda m: f"elu({m.alpha})",
    "CELU": lambda m: f"celu({m.alpha})",
    "Hardtanh": lambda m: f"hardtanh({m.min_val}, {m.max_val})",
    "Softshrink": lambda m: f"softshrink({m.lambd})",
    "Hardshrink": lambda m: f"hardshrink({m.lambd})",
    "Softplus": lambda m: _softplus(m.beta, m.threshold),
    "Threshold": lambda m: f"threshold({m.threshold}, {m.value})",
}


def parametric(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.PReLU`` at its slope."""
    slope = reader.uniform(name, module.weight).expr
    return _activated(reader, f"leaky_relu({slope})", x, name)


def _activated(reader: Reader, text: str, x: Any, where: str) -> Value:
    return reader.value(x, where).map(parse_activation(text))


def _activation_rule(describe: Callable[[Any], str]) -> Rule:
    def rule(reader: Reader, name: str, module: Any, x: Any) -> Value:
        return _activated(reader, describe(module), x, name)

    return rule


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> str:
    if threshold < 15:
        raise ValueError(
            f"softplus is cut where {beta:g} x is more than {threshold:g}, which is a jump that has no rule"
        )
    return f"softplus({beta})"


def _softplus_function(reader: Reader, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return _activated(reader, _softplus(beta, threshold), x, "softplus")


def _function(text: str, *names: str) -> Rule:
    """An activation as an operation, with its parameters by position or by name."""

    def rule(reader: Reader, x: Any, *given: Any, inplace: bool = False, **options: Any) -> Value:
        unknown = [word for word in options if word not in names]
        if unknown:
            raise ValueError(f"{text} has the option {unknown[0]}, which has no rule")
        parameters = [*map(str, given), *(str(options[name]) for name in names if name in options)]
        return _activated(reader, f"{text}({', '.join(parameters)})" if parameters else text, x, text)

    return rule


MODULES: dict[str, Rule] = {
    "PReLU": parametric,
    **{name: _activation_rule(lambda m, text=text: text) for name, text in _PLAIN.items()},
    **{name: _activation_rule(describe) for name, describe in _WITH_PARAMETERS.items()},
}
FUNCTIONS: dict[str, Rule] = {
    "gelu": _function("gelu", "approximate"),
    "leaky_relu": _function("leaky_relu", "negative_slope"),
    "elu": _function("elu", "alpha"),
    "celu": _function("celu", "alpha"),
    "hardtanh": _function("hardtanh", "min_val", "max_val"),
    "softplus": _softplus_function,
    "softshrink": _function("softshrink", "lambd"),
    "hardshrink": _function("hardshrink", "lambd"),
    **{text: _function(text) for text in _PLAIN.values()},
}
