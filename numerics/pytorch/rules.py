r"""What each module and each operation of a traced block means; one entry a kind.

A module's rule is called with the reader, the module's dotted name, the module and its arguments; an operation's with the reader and its
arguments. Subclasses are read as the class that they extend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from derivations import average, drop_branch, dropout, layer_norm, parse_activation, rms_norm
from numerics.pytorch.reader import Reader, Value, number

Rule = Callable[..., Any]

#: Activation modules: the text that names each with its parameters.
ACTIVATIONS: dict[str, Callable[[Any], str]] = {
    "ReLU": lambda m: "relu",
    "ReLU6": lambda m: "relu6",
    "GELU": lambda m: f"gelu({m.approximate})",
    "SiLU": lambda m: "silu",
    "Mish": lambda m: "mish",
    "Tanh": lambda m: "tanh",
    "Sigmoid": lambda m: "sigmoid",
    "SELU": lambda m: "selu",
    "Hardswish": lambda m: "hardswish",
    "Hardsigmoid": lambda m: "hardsigmoid",
    "Softsign": lambda m: "softsign",
    "LogSigmoid": lambda m: "logsigmoid",
    "Tanhshrink": lambda m: "tanhshrink",
    "LeakyReLU": lambda m: f"leaky_relu({m.negative_slope})",
    "ELU": lambda m: f"elu({m.alpha})",
    "CELU": lambda m: f"celu({m.alpha})",
    "Hardtanh": lambda m: f"hardtanh({m.min_val}, {m.max_val})",
    "Softshrink": lambda m: f"softshrink({m.lambd})",
    "Hardshrink": lambda m: f"hardshrink({m.lambd})",
    "Softplus": lambda m: f"softplus({m.beta})",
    "Threshold": lambda m: f"threshold({m.threshold}, {m.value})",
}

#: Modules that have no limit of this kind, and why.
REFUSED = {
    "_BatchNorm": "divides by averages over a batch of inputs, which couples inputs that networks treat one by one; call eval() after "
    "replacing it, or use LayerNorm",
    "_InstanceNorm": "averages over positions, which this reader does not follow",
    "GroupNorm": "averages over groups of neurons; only norms over all neurons are known",
    "RNNBase": "is recurrent: its weights are tied over time",
    "Embedding": "reads whole numbers; give the block that is repeated, not the input layer",
    "Softmax": "mixes neurons with one another; inside attention it mixes positions",
}


def linear(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """A matrix with biases."""
    return reader.matrix(name, module, reader.value(x, name))


def layer_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Centred and divided by the standard deviation over the neurons, then the gain and the shift."""
    if len(module.normalized_shape) != 1:
        reader.refuse(name, f"averages over {len(module.normalized_shape)} dimensions; only the last one holds neurons")
    value = reader.sized(reader.value(x, name), module.normalized_shape[0], name)
    return _gained(reader, name, module, Value(layer_norm(value.expr), value.size, value.skip))


def rms_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Divided by the root mean square over the neurons, then the gain."""
    value = reader.sized(
        reader.value(x, name), module.weight.numel() if module.weight is not None else module.normalized_shape[0], name
    )
    return _gained(reader, name, module, Value(rms_norm(value.expr), value.size, value.skip))


def _gained(reader: Reader, name: str, module: Any, value: Value) -> Value:
    reader.remark(f"{name} is taken without the small number that it adds under its root")
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    gain = reader.uniform(name, weight).expr if weight is not None else sp.S.One
    shift = reader.uniform(name, bias).expr if bias is not None else sp.S.Zero
    keeps = value.skip and gain == 1 and shift == 0
    return Value(gain * value.expr + shift, value.size, keeps)


def dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """I.i.d. factors in training, nothing else."""
    value = reader.value(x, name)
    return (
        value
        if not module.training or module.p == 0
        else value.map(lambda e: dropout(e, 1 - number(module.p), name=str(reader.dropped(name))))
    )


def branch_dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """A whole branch dropped for each input: torchvision's StochasticDepth in mode row, timm's DropPath."""
    value, p = reader.value(x, name), float(getattr(module, "p", getattr(module, "drop_prob", 0.0)))
    if not module.training or p == 0:
        return value
    shared = getattr(module, "mode", "row") == "batch"
    return value.map(lambda e: drop_branch(e, 1 - number(p), name=str(reader.dropped(name)), shared=shared))


def identity(reader: Reader, name: str, module: Any, x: Any) -> Any:
    """Nothing."""
    return x


def gated(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.GLU``: the first half times the sigmoid of the second."""
    return glu(reader, x, module.dim)


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


def _refused_rule(reason: str) -> Rule:
    def rule(reader: Reader, name: str, module: Any, *arguments: Any, **options: Any) -> Value:
        reader.refuse(name, reason)

    return rule


MODULES: dict[str, Rule] = {
    "Linear": linear,
    "LayerNorm": layer_normed,
    "RMSNorm": rms_normed,
    "Dropout": dropped,
    "StochasticDepth": branch_dropped,
    "DropPath": branch_dropped,
    "Identity": identity,
    "GLU": gated,
    "PReLU": parametric,
    **{name: _activation_rule(describe) for name, describe in ACTIVATIONS.items()},
    **{name: _refused_rule(reason) for name, reason in REFUSED.items()},
}


def rule_of(module: Any, otherwise: Any = False) -> Any:
    """The rule of a module or of what it extends; without one ``otherwise``, or a rule that refuses it."""
    for base in type(module).__mro__:
        if base.__name__ in MODULES:
            return MODULES[base.__name__]
    return (
        _refused_rule("has no rule; write the layer by hand with derivations.Network")
        if otherwise is False
        else otherwise
    )


def added(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A sum; what is added to the state is a branch."""
    first, second = reader.value(a, "a term"), reader.value(b, "a term").map(lambda e: number(alpha) * e)
    second = Value(second.expr, second.size, alpha == 1 and isinstance(b, Value) and b.skip)
    size = _common(first, second)
    if first.skip == second.skip:
        return Value(first.expr + second.expr, size)
    kept, branch = (first, second) if first.skip else (second, first)
    return Value(kept.expr + reader.scale * branch.expr, size, skip=True)


def subtracted(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A difference, as the sum with the negative."""
    return added(reader, a, reader.value(b, "a term").map(lambda e: -e), alpha)


def multiplied(reader: Reader, a: Any, b: Any) -> Value:
    """A product, neuron by neuron."""
    first, second = reader.value(a, "a factor"), reader.value(b, "a factor")
    keeps = (first.skip and second.expr == 1) or (second.skip and first.expr == 1)
    return Value(first.expr * second.expr, _common(first, second), keeps)


def divided(reader: Reader, a: Any, b: Any) -> Value:
    """A quotient, neuron by neuron."""
    first, second = reader.value(a, "a numerator"), reader.value(b, "a denominator")
    return Value(first.expr / second.expr, _common(first, second))


def powered(reader: Reader, a: Any, exponent: Any) -> Value:
    """A power, neuron by neuron."""
    return reader.value(a, "a base").map(lambda e: e ** reader.value(exponent, "an exponent").expr)


def _common(first: Value, second: Value) -> int | None:
    if None not in (first.size, second.size) and first.size != second.size:
        raise ValueError(
            f"{first.size} and {second.size} features meet in one operation; the block's shapes do not fit"
        )
    return first.size if first.size is not None else second.size


def cut(reader: Reader, x: Any, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """``torch.chunk`` over the neurons."""
    value = _along_neurons(reader, x, dim, "chunk")
    size = -(-value.size // chunks)  # type: ignore[operator]
    return reader.split(value, [min(size, value.size - start) for start in range(0, value.size, size)])  # type: ignore[arg-type, operator]


def cut_by_sizes(reader: Reader, x: Any, sizes: Any, dim: int = 0) -> tuple[Value, ...]:
    """``torch.split`` over the neurons: into parts of one size, or of the sizes that are listed."""
    value = _along_neurons(reader, x, dim, "split")
    if isinstance(sizes, int):
        sizes = [min(sizes, value.size - start) for start in range(0, value.size, sizes)]  # type: ignore[arg-type, operator]
    return reader.split(value, list(sizes))


def glu(reader: Reader, x: Any, dim: int = -1) -> Value:
    """The first half times the sigmoid of the second."""
    a, b = cut(reader, x, 2, dim)
    return multiplied(reader, a, b.map(parse_activation("sigmoid")))


def _along_neurons(reader: Reader, x: Any, dim: int, word: str) -> Value:
    value = reader.value(x, word)
    if dim != -1:
        raise ValueError(f"{word} cuts along dimension {dim}; only the last one, dim=-1, holds the neurons")
    if value.size is None:
        raise ValueError(f"{word} cuts the state; a layer treats its neurons alike")
    return value


def item(reader: Reader, values: Any, index: Any) -> Any:
    """One of several values."""
    if not isinstance(values, tuple) or not isinstance(index, int):
        raise ValueError("a tensor is indexed; a layer treats its neurons and positions alike")
    return values[index]


def dropped_function(reader: Reader, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """``F.dropout``."""
    value = reader.value(x, "dropout")
    if not training or p == 0:
        return value
    reader.factors += 1
    return value.map(lambda e: dropout(e, 1 - number(p), name=f"d_{reader.factors}"))


def averaged(reader: Reader, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """``x.mean(-1, keepdim=True)``: an average over the neurons."""
    if dim not in (-1, (-1,)) or not keepdim:
        raise ValueError("mean is known over the neurons only: mean(-1, keepdim=True)")
    return reader.value(x, "mean").map(average)


def _function(text: str, *names: str) -> Rule:
    """An activation as an operation, with its parameters by position or by name."""

    def rule(reader: Reader, x: Any, *given: Any, inplace: bool = False, **options: Any) -> Value:
        parameters = [*map(str, given), *(str(options[name]) for name in names if name in options)]
        return _activated(reader, f"{text}({', '.join(parameters)})" if parameters else text, x, text)

    return rule


def _pointwise(function: Callable[[sp.Expr], sp.Expr]) -> Rule:
    def rule(reader: Reader, x: Any) -> Value:
        return reader.value(x, "the argument").map(function)

    return rule


FUNCTIONS: dict[str, Rule] = {
    "add": added,
    "iadd": added,
    "radd": added,
    "sub": subtracted,
    "isub": subtracted,
    "mul": multiplied,
    "imul": multiplied,
    "multiply": multiplied,
    "truediv": divided,
    "itruediv": divided,
    "div": divided,
    "pow": powered,
    "square": _pointwise(lambda e: e**2),
    "sqrt": _pointwise(sp.sqrt),
    "rsqrt": _pointwise(lambda e: 1 / sp.sqrt(e)),
    "neg": _pointwise(lambda e: -e),
    "abs": _pointwise(sp.Abs),
    "sin": _pointwise(sp.sin),
    "cos": _pointwise(sp.cos),
    "exp": _pointwise(sp.exp),
    "erf": _pointwise(sp.erf),
    "chunk": cut,
    "split": cut_by_sizes,
    "getitem": item,
    "glu": glu,
    "mean": averaged,
    "dropout": dropped_function,
    "contiguous": lambda reader, x: x,
    "gelu": _function("gelu", "approximate"),
    "leaky_relu": _function("leaky_relu", "negative_slope"),
    "elu": _function("elu", "alpha"),
    "celu": _function("celu", "alpha"),
    "hardtanh": _function("hardtanh", "min_val", "max_val"),
    "softplus": _function("softplus", "beta"),
    "softshrink": _function("softshrink", "lambd"),
    "hardshrink": _function("hardshrink", "lambd"),
    **{
        word: _function(word)
        for word in (
            *(
                "relu",
                "relu6",
                "silu",
                "mish",
                "tanh",
                "sigmoid",
                "selu",
                "hardswish",
                "hardsigmoid",
                "softsign",
                "logsigmoid",
            ),
            "tanhshrink",
        )
    },
}
