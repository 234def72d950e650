"""Activations: modules and functions, by the text that names each with its parameters."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

from derivations import parse_activation, relu, softplus
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import Value, is_tensor

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
#: Functions of one variable that are seldom activations.
_MATHEMATICS = ("abs", "sin", "cos", "exp", "erf", "atan", "sinh", "cosh", "tan", "log", "log1p", "expm1", "sign")
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
    "RReLU": lambda m: _randomly_leaky(m.lower, m.upper, m.training),
}


def parametric(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.PReLU`` at its slope."""
    slope = reader.uniform(name, module.weight).expr
    return _activated(reader, f"leaky_relu({slope})", x, name)


def _activated(reader: Reader, text: str, x: Any, where: str) -> Value:
    return reader.value(x, where).map(parse_activation(text))


def _activation_rule(text: str | Callable[[Any], str]) -> Rule:
    def rule(reader: Reader, name: str, module: Any, x: Any) -> Value:
        return _activated(reader, text if isinstance(text, str) else text(module), x, name)

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


def _leaky_at(reader: Reader, x: Any, weight: Any) -> Value:
    """``functional.prelu`` at its slope."""
    return _activated(reader, f"leaky_relu({reader.uniform('prelu', weight).expr})", x, "prelu")


def _randomly_leaky(lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> str:
    if training:
        raise ValueError("a random slope of each neuron has no rule; call eval(), which takes its mean")
    return f"leaky_relu({(Fraction(lower).limit_denominator() + Fraction(upper).limit_denominator()) / 2})"


def _randomly_leaky_function(reader: Reader, x: Any, *given: Any, inplace: bool = False, **options: Any) -> Value:
    return _activated(reader, _randomly_leaky(*given, **options), x, "rrelu")


def _sum_in_logarithms(reader: Reader, x: Any, other: Any) -> Value:
    """``torch.logaddexp``: log(exp a + exp b) = b + log(1 + exp(a − b))."""
    first, second = reader.value(x, "logaddexp"), reader.value(other, "logaddexp")
    return reader.combine(first, second, lambda a, b: b + softplus(a - b))


def clamped(reader: Reader, x: Any, min: Any = None, max: Any = None) -> Value:
    """``x.clamp(min, max)``, between numbers or tensors."""
    if any(isinstance(bound, Value) or is_tensor(bound) for bound in (min, max)):
        above = x if min is None else _larger(reader, x, min)
        return reader.value(above, "clamp") if max is None else _smaller(reader, above, max)
    low = "x" if min is None else f"max(x, {min})"
    return _activated(reader, low if max is None else f"min({low}, {max})", x, "clamp")


def _larger(reader: Reader, x: Any, other: Any) -> Value:
    """``torch.maximum`` of two tensors, neuron by neuron."""
    first, second = reader.value(x, "a maximum"), reader.value(other, "a maximum")
    return reader.combine(first, second, lambda a, b: b + relu(a - b))


def _smaller(reader: Reader, x: Any, other: Any) -> Value:
    """``torch.minimum`` of two tensors, neuron by neuron."""
    return _negative(
        _larger(reader, _negative(reader.value(x, "a minimum")), _negative(reader.value(other, "a minimum")))
    )


def _of_two(rule: Rule, word: str) -> Rule:
    """``torch.max`` and ``torch.min`` where they take two tensors."""

    def checked(reader: Reader, x: Any, other: Any = None, **more: Any) -> Value:
        if not (isinstance(other, Value) or is_tensor(other)) or more:
            raise ValueError(f"{word} over the entries of one tensor has no rule; that of two tensors has one")
        return cast(Value, rule(reader, x, other))

    return checked


def _negative(value: Value) -> Value:
    return value.map(lambda e: -e)


def _of_one_variable(word: str) -> Rule:
    return lambda reader, x: _activated(reader, f"{word}(x)", x, word)


MODULES: dict[str, Rule] = {
    "PReLU": parametric,
    **{name: _activation_rule(text) for name, text in _PLAIN.items()},
    **{name: _activation_rule(text) for name, text in _WITH_PARAMETERS.items()},
}
FUNCTIONS: dict[str, Rule] = {
    "gelu": _function("gelu", "approximate"),
    "leaky_relu": _function("leaky_relu", "negative_slope"),
    "elu": _function("elu", "alpha"),
    "celu": _function("celu", "alpha"),
    "hardtanh": _function("hardtanh", "min_val", "max_val"),
    "threshold": _function("threshold", "threshold", "value"),
    "softplus": _softplus_function,
    "softshrink": _function("softshrink", "lambd"),
    "hardshrink": _function("hardshrink", "lambd"),
    **{text: _function(text) for text in _PLAIN.values()},
    **{word: _of_one_variable(word) for word in _MATHEMATICS},
    "log_sigmoid": _function("logsigmoid"),
    "prelu": _leaky_at,
    "rrelu": _randomly_leaky_function,
    "logaddexp": _sum_in_logarithms,
    **dict.fromkeys(("clamp", "clip"), clamped),
    "clamp_min": lambda reader, x, min: clamped(reader, x, min),
    "clamp_max": lambda reader, x, max: clamped(reader, x, None, max),
    "maximum": _larger,
    "minimum": _smaller,
    "max": _of_two(_larger, "max"),
    "min": _of_two(_smaller, "min"),
}
