r"""What each module and each operation of a traced block means; one entry a kind.

A module's rule is called with the reader, the module's dotted name, the module and its arguments; an operation's with the reader and its
arguments. Subclasses are read as the class that they extend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import sympy as sp

from derivations import average, drop_branch, dropout, layer_norm, parse_activation, rms_norm
from numerics.pytorch.attention import (
    DROPPED,
    encoder_layer,
    filled,
    masked,
    multihead,
    multiplied_as_matrices,
    scaled_attention,
    shares,
)
from numerics.pytorch.convolution import convolved
from numerics.pytorch.draws import Tensors, holder_of, with_kind
from numerics.pytorch.reader import Reader, is_tensor, number
from numerics.pytorch.shapes import SHAPES, chunked
from numerics.pytorch.values import NEURONS, ONE, THERE, Part, Value

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
    "Softplus": lambda m: _softplus(m.beta, m.threshold),
    "Threshold": lambda m: f"threshold({m.threshold}, {m.value})",
}

#: Largest number under the root of a norm that is left out.
SMALL = 1e-4

#: Modules of torchvision, timm and others that drop a branch.
BRANCHES_DROPPED = ("StochasticDepth", "DropPath")

#: Modules that have no limit of this kind, and why.
REFUSED = {
    "_InstanceNorm": "averages over positions, which this reader does not follow",
    "GroupNorm": "averages over groups of neurons; only norms over all neurons are known",
    "RNNBase": "is recurrent: its weights are tied over time",
    "Embedding": "reads whole numbers; give the block that is repeated, not the input layer",
    "TransformerEncoder": "is a whole stack; give one of its layers, such as .layers[0]",
    "TransformerDecoder": "is a whole stack and reads a second sequence; no rule",
    "TransformerDecoderLayer": "reads a second sequence, which a layer that is repeated does not have",
    "Transformer": "is a whole model; give one layer of its encoder, such as .encoder.layers[0]",
    "Bilinear": "multiplies two inputs by one tensor of weights, which has no rule",
    "_MaxPoolNd": "changes the grid of positions; a layer that is repeated must keep it",
    "_AvgPoolNd": "changes the grid of positions; a layer that is repeated must keep it",
    "_ConvTransposeNd": "is the transpose of a filter, which has no rule",
}


def linear(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """A matrix with biases."""
    value = reader.value(x, name)
    reader.on(value, len(value.axes) - 1, with_kind(reader.block, name))
    return reader.matrix(name, Tensors(module.weight, module.bias), value)


def linear_function(reader: Reader, x: Any, weight: Any, bias: Any = None) -> Value:
    """``F.linear`` with tensors of the block."""
    if not is_tensor(weight):
        raise ValueError("its matrix is computed from the state")
    value = reader.value(x, "linear")
    reader.on(value, len(value.axes) - 1, "linear")
    name = reader.name_of(weight) or "W"
    holder = holder_of(reader.block, name.rpartition(".")[0]) if name.endswith(".weight") else None
    if type(holder).__name__ == "Linear" or hasattr(
        holder, "in_features"
    ):  # a linear module whose tensors are called one by one
        return reader.matrix(name.removesuffix(".weight"), Tensors(weight, bias), value)
    return reader.matrix(name, Tensors(weight, bias, default=""), value)


def layer_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Centred and divided by the standard deviation over the neurons, then the gain and the shift."""
    shape = module.normalized_shape
    return _normed(reader, name, x, tuple(shape), module.weight, module.bias, True, module.eps)


def rms_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Divided by the root mean square over the neurons, then the gain."""
    shape = tuple(module.weight.shape if module.weight is not None else module.normalized_shape)
    return _normed(reader, name, x, shape, module.weight, None, False, module.eps)


def layer_norm_function(
    reader: Reader, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Value:
    """``F.layer_norm``."""
    return _normed(reader, reader.name_of(weight) or "layer_norm", x, tuple(normalized_shape), weight, bias, True, eps)


def rms_norm_function(reader: Reader, x: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Value:
    """``F.rms_norm``."""
    return _normed(reader, reader.name_of(weight) or "rms_norm", x, tuple(normalized_shape), weight, None, False, eps)


def _normed(
    reader: Reader, name: str, x: Any, shape: tuple[int, ...], weight: Any, bias: Any, centred: bool, eps: float | None
) -> Value:
    value = reader.value(x, name)
    if len(shape) != 1:
        raise ValueError(f"{name} averages over {len(shape)} dimensions; only the last one holds neurons")
    reader.on(value, len(value.axes) - 1, name)
    value = reader.sized(value, int(shape[0]), name)
    small = _added_under_the_root(reader, name, eps)
    made = value.each(lambda parts: _divided(reader, parts, centred, small))
    return _gained(reader, name, weight, bias, replace(made, skip=value.skip))


def _added_under_the_root(reader: Reader, name: str, eps: float | None) -> sp.Expr:
    """The number that a norm adds under its root: left out, and said, where it only guards against a division by 0."""
    if eps is not None and eps > SMALL:
        return number(eps)
    size = "rounding" if eps is None else f"{eps:g}"
    reader.remark(f"{name} is taken without the small number that it adds under its root ({size})")
    return sp.S.Zero


def _divided(reader: Reader, parts: tuple[Part, ...], centred: bool, small: sp.Expr) -> tuple[Part, ...]:
    if len(parts) == 1 and small == 0:
        return (replace(parts[0], expr=(layer_norm if centred else rms_norm)(parts[0].expr)),)
    middle = mean_of(reader, parts, lambda e: e) if centred else sp.S.Zero
    root = sp.sqrt(mean_of(reader, parts, lambda e: (e - middle) ** 2) + small)
    return tuple(replace(p, expr=(p.expr - middle) / root) for p in parts)


def mean_of(reader: Reader, parts: tuple[Part, ...], function: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
    """The average over neurons that several matrices put out."""
    total = sum(reader.count(p) for p in parts) if len(parts) > 1 else 1
    shares = (sp.Rational(reader.count(p), total) if len(parts) > 1 else sp.S.One for p in parts)
    return sp.Add(*(share * average(function(p.expr)) for share, p in zip(shares, parts, strict=True)))


def _gained(reader: Reader, name: str, weight: Any, bias: Any, value: Value) -> Value:
    gain = reader.of_neurons(name, weight) if weight is not None else Value.of(sp.S.One)
    shift = reader.uniform(name, bias).expr if bias is not None else sp.S.Zero
    if not gain.axes and gain.expr == 1 and shift == 0:
        return value
    return reader.combine(gain, value, lambda g, e: g * e + shift)


def batch_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """After ``eval()``: the same affine function of every neuron, if its running averages are the same for all."""
    if module.training or module.running_mean is None:
        reader.refuse(
            name,
            "divides by averages over a batch of inputs in training mode, and keeps them as its state; networks treat inputs one by one: "
            "call eval(), or use LayerNorm",
        )
    value = reader.value(x, name)
    mean, variance = (reader.uniform(name, t).expr for t in (module.running_mean, module.running_var))
    variance += _added_under_the_root(reader, name, module.eps)
    centred = value.map(
        lambda e: (e - mean) / sp.sqrt(variance), skip=value.skip if (mean, variance) == (0, 1) else None
    )
    return _gained(reader, name, module.weight, module.bias, centred)


def dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """I.i.d. factors in training, nothing else."""
    value = reader.value(x, name)
    if not module.training or module.p == 0:
        return value
    if THERE in value.axes:
        reader.refuse(name, DROPPED)
    return _with_factors(reader, value, module.p, name)


def _with_factors(reader: Reader, value: Value, p: float, name: str) -> Value:
    """One factor for each neuron: every part of a list has its own."""

    def thinned(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(replace(q, expr=dropout(q.expr, 1 - number(p), name=reader.factor(name))) for q in parts)

    return value.each(thinned)


def branch_dropped(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """A whole branch dropped for each input: torchvision's StochasticDepth in mode row, timm's DropPath."""
    value, p = reader.value(x, name), _dropped_share(module)
    if not module.training or p == 0:
        return value
    shared = getattr(module, "mode", "row") == "batch"
    factor = reader.factor(name)
    return value.map(lambda e: drop_branch(e, 1 - number(p), name=factor, shared=shared))


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
    "Conv1d": convolved,
    "Conv2d": convolved,
    "Conv3d": convolved,
    "MultiheadAttention": multihead,
    "TransformerEncoderLayer": partial(encoder_layer, apply=lambda *a, **o: applied(*a, **o), add=lambda *a: added(*a)),
    "Softmax": lambda reader, name, module, x: shares(reader, x, module.dim),
    "_BatchNorm": batch_normed,
    "LayerNorm": layer_normed,
    "RMSNorm": rms_normed,
    "Dropout": dropped,
    "Identity": identity,
    "GLU": gated,
    "PReLU": parametric,
    **{name: _activation_rule(describe) for name, describe in ACTIVATIONS.items()},
    **{name: _refused_rule(reason) for name, reason in REFUSED.items()},
}


def rule_of(module: Any, otherwise: Any = False) -> Any:
    """The rule of a module of PyTorch, or of one that extends it and keeps its ``forward``; without one ``otherwise``, or a refusal."""
    mro = type(module).__mro__
    forward = next((base for base in mro if "forward" in vars(base)), object)
    for base in mro:
        if base.__name__ in MODULES and _is_of("torch.nn", base, forward):
            return MODULES[base.__name__]
    name = type(module).__name__
    if name in BRANCHES_DROPPED and (
        _is_of("timm", type(module)) or _is_of("torchvision", type(module)) or drops(module)
    ):
        return branch_dropped
    return (
        _refused_rule("has no rule; write the layer by hand with derivations.Network")
        if otherwise is False
        else otherwise
    )


def _is_of(library: str, *classes: Any) -> bool:
    return all(f"{c.__module__}.".startswith(f"{library}.") for c in classes)


def drops(module: Any) -> bool:
    """Whether somebody's own module drops the branches of inputs at random: seen by what it does to ones."""
    torch = import_module("torch")
    keep = 1 - _dropped_share(module)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = module.forward(torch.ones(400, 2, 3)).reshape(400, -1)  # not __call__, which is traced
    if not module.training or keep == 1:
        return bool((out == 1).all())
    kept = out[:, 0] != 0
    spread = (keep * (1 - keep) / 400) ** 0.5
    values = torch.where(kept, 1 / keep, 0.0)[:, None]
    return bool(torch.allclose(out, values.expand_as(out)) and abs(float(kept.double().mean()) - keep) < 5 * spread)


def _dropped_share(module: Any) -> float:
    return float(getattr(module, "p", getattr(module, "drop_prob", 0.0)) or 0.0)


def applied(reader: Reader, name: str, module: Any, *arguments: Any, **options: Any) -> Any:
    """A submodule, or a function that stands in its place."""
    if hasattr(module, "named_modules"):
        return rule_of(module)(reader, name, module, *arguments, **options)
    rule = function_rule(module)
    if rule is None:
        raise ValueError(f"{name} is the function {getattr(module, '__name__', module)}, which has no rule")
    return rule(reader, *arguments, **options)


def function_rule(function: Any) -> Rule | None:
    """The rule of a function of PyTorch, of an operator, or of one with some arguments given; None for somebody's own function."""
    if isinstance(function, partial):
        rule = function_rule(function.func)
        return None if rule is None else partial(_with_given, rule, function.args, function.keywords)
    home = getattr(function, "__module__", None) or "torch"
    if home.partition(".")[0] not in ("torch", "_operator", "operator", "math", "builtins"):
        return None
    return FUNCTIONS.get(getattr(function, "__name__", "").strip("_"))


def _with_given(rule: Rule, given: Any, words: Any, reader: Reader, *arguments: Any, **options: Any) -> Any:
    return rule(reader, *given, *arguments, **{**words, **options})


def added(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A sum; what is added to the state is a branch, numbers that are added to scores are a mask."""
    for scores, mask in ((a, b), (b, a)):
        if isinstance(scores, Value) and THERE in scores.axes and is_tensor(mask) and mask.numel() > 1:
            return masked(reader, scores, mask, False)
    first, second = reader.value(a, "a term"), reader.value(b, "a term")
    if alpha != 1:
        second = second.map(lambda e: number(alpha) * e)
    if first.skip is None:
        first, second = second, first
    if first.skip is None or second.skip is not None:
        return reader.combine(first, second, lambda x, y: x + y)
    if _for_each_input(second):  # the state is centred
        return replace(reader.combine(first, second, lambda x, y: x + y), skip=first.skip)
    size = reader.branch()
    return replace(reader.combine(first, second, lambda x, y: x + size * y), skip=first.skip | {size})


def _for_each_input(value: Value) -> bool:
    """Whether this is a number that the neurons of an input share, such as their average: a norm is made of these, a branch is not."""
    return bool(value.axes) and NEURONS not in value.axes and value.skip is None


def subtracted(reader: Reader, a: Any, b: Any, alpha: float = 1) -> Value:
    """A difference, as the sum with the negative."""
    return added(reader, a, reader.value(b, "a term").map(lambda e: -e), alpha)


def multiplied(reader: Reader, a: Any, b: Any) -> Value:
    """A product, neuron by neuron."""
    first, second = reader.value(a, "a factor"), reader.value(b, "a factor")
    made = reader.combine(first, second, lambda x, y: x * y)
    return replace(made, skip=first.skip if _only_norms(second) else second.skip if _only_norms(first) else None)


def _only_norms(value: Value) -> bool:
    """Whether a factor is 1, or what a norm multiplies by."""
    return _for_each_input(value) or (not value.axes and value.expr == 1)


def divided(reader: Reader, a: Any, b: Any) -> Value:
    """A quotient, neuron by neuron."""
    first, second = reader.value(a, "a numerator"), reader.value(b, "a denominator")
    made = reader.combine(first, second, lambda x, y: x / y)
    return replace(made, skip=first.skip if _only_norms(second) else None)


def powered(reader: Reader, a: Any, exponent: Any) -> Value:
    """A power, neuron by neuron."""
    return reader.combine(reader.value(a, "a base"), reader.value(exponent, "an exponent"), lambda x, y: x**y)


def glu(reader: Reader, x: Any, dim: int = -1) -> Value:
    """The first half times the sigmoid of the second."""
    a, b = chunked(reader, x, 2, dim)
    return multiplied(reader, a, b.map(parse_activation("sigmoid")))


def dropped_function(reader: Reader, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """``F.dropout``."""
    value = reader.value(x, "dropout")
    if not training or p == 0:
        return value
    if THERE in value.axes:
        raise ValueError(DROPPED)
    return _with_factors(reader, value, p, "d_1")


def averaged(reader: Reader, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """``x.mean(-1, keepdim=True)``: an average over the neurons."""
    value = reader.value(x, "mean")
    (along,) = dim if isinstance(dim, tuple) and len(dim) == 1 else (dim,)
    if not isinstance(along, int) or not keepdim or value.axes[value.axis(along, "mean")] != NEURONS:
        raise ValueError("mean is known over the neurons only: mean(-1, keepdim=True)")
    axis = value.axis(along, "mean")
    made = value.each(lambda parts: (Part(mean_of(reader, parts, lambda e: e)),))
    return replace(made, axes=(*value.axes[:axis], ONE, *value.axes[axis + 1 :]))


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
    "ipow": powered,
    "square": _pointwise(lambda e: e**2),
    "sqrt": _pointwise(sp.sqrt),
    "rsqrt": _pointwise(lambda e: 1 / sp.sqrt(e)),
    "neg": _pointwise(lambda e: -e),
    "abs": _pointwise(sp.Abs),
    "sin": _pointwise(sp.sin),
    "cos": _pointwise(sp.cos),
    "exp": _pointwise(sp.exp),
    "erf": _pointwise(sp.erf),
    **SHAPES,
    "glu": glu,
    "mean": averaged,
    "dropout": dropped_function,
    "linear": linear_function,
    "layer_norm": layer_norm_function,
    "rms_norm": rms_norm_function,
    "matmul": multiplied_as_matrices,
    "bmm": multiplied_as_matrices,
    "softmax": shares,
    "masked_fill": filled,
    "scaled_dot_product_attention": scaled_attention,
    "gelu": _function("gelu", "approximate"),
    "leaky_relu": _function("leaky_relu", "negative_slope"),
    "elu": _function("elu", "alpha"),
    "celu": _function("celu", "alpha"),
    "hardtanh": _function("hardtanh", "min_val", "max_val"),
    "softplus": _softplus_function,
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
