r"""Where each module and each operation of a traced block finds its rule: one table of those that the files of kinds say.

A module's rule is called with the reader, the module's dotted name, the module and its arguments; an operation's with the reader and its
arguments. Subclasses are read as the class that they extend. A kind of module is added in one file, which says it in its own ``MODULES`` or
``FUNCTIONS``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numerics.pytorch import (
    activations,
    arithmetic,
    attention,
    choosing,
    convolution,
    cutting,
    dropping,
    einsum,
    encoder,
    linear,
    making,
    moving,
    neighbours,
    norms,
    padding,
    pooling,
    shapes,
    spreading,
)
from numerics.pytorch.dropping import branch_dropped, drops
from numerics.pytorch.reader import Reader, Rule

_KINDS = (
    activations,
    arithmetic,
    attention,
    choosing,
    convolution,
    cutting,
    dropping,
    einsum,
    linear,
    making,
    moving,
    neighbours,
    norms,
    padding,
    pooling,
    shapes,
    spreading,
)

#: Modules of torchvision, timm and others that drop a branch.
BRANCHES_DROPPED = ("StochasticDepth", "DropPath")

#: Modules that have no limit of this kind, and why.
REFUSED = {
    "_InstanceNorm": "averages over positions, which this reader does not follow",
    "RNNBase": "is recurrent: its weights are tied over time",
    "Embedding": "reads whole numbers, as an input layer or a table of relative positions does; give the block that is repeated, and the table's "
    "numbers as a mask of the scores",
    "TransformerEncoder": "is a whole stack; give one of its layers, such as .layers[0]",
    "TransformerDecoder": "is a whole stack and reads a second sequence; no rule",
    "TransformerDecoderLayer": "reads a second sequence, which a layer that is repeated does not have",
    "Transformer": "is a whole model; give one layer of its encoder, such as .encoder.layers[0]",
    "Bilinear": "multiplies two inputs by one tensor of weights, which has no rule",
    "_MaxPoolNd": "changes the grid of positions; a layer that is repeated must keep it",
    "_AdaptiveMaxPoolNd": "changes the grid of positions; a layer that is repeated must keep it",
    "_ConvTransposeNd": "is the transpose of a filter, which has no rule",
}


_ORDERS = (
    "it looks for the largest, the smallest or the order of entries; known is that of two tensors, torch.maximum, and softmax takes off the "
    "largest score itself"
)
_JUMPS = "it jumps at infinitely many places"
_DRAWS = "it draws random numbers by itself; known are those of dropout and of dropped branches"
_DISTANCES = "distances of positions have no rule; write their squares by products of positions, as scores are"
_PRODUCTS = "a product over positions or neurons has no rule; known are sums, cumsum and mean"
_MIXES = "it mixes positions or neurons by complex numbers"
#: Operations that have no limit of this kind, and why.
REFUSED_OPERATIONS = {
    **dict.fromkeys(("amax", "amin", "argmax", "argmin", "topk", "sort", "argsort", "median", "quantile"), _ORDERS),
    **dict.fromkeys(("cummax", "cummin"), _ORDERS),
    **dict.fromkeys(("floor", "ceil", "round", "trunc", "frac", "fmod", "remainder", "mod", "floordiv"), _JUMPS),
    **dict.fromkeys(("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_fft2", "fft_rfft2"), _MIXES),
    **dict.fromkeys(("gumbel_softmax", "alpha_dropout", "feature_alpha_dropout", "bernoulli", "multinomial"), _DRAWS),
    **dict.fromkeys(("cdist", "pdist"), _DISTANCES),
    **dict.fromkeys(("cumprod", "prod"), _PRODUCTS),
    "log_softmax": "it is the logarithm of shares of positions, which is known as softmax(...) alone",
}


def _refused_rule(reason: str) -> Rule:
    def rule(reader: Reader, name: str, module: Any, *arguments: Any, **options: Any) -> Any:
        reader.refuse(name, reason)

    return rule


def _refused_operation(reason: str) -> Rule:
    def rule(reader: Reader, *arguments: Any, **options: Any) -> Any:
        raise ValueError(reason)

    return rule


MODULES: dict[str, Rule] = {
    **{name: rule for kind in _KINDS for name, rule in kind.MODULES.items()},
    "TransformerEncoderLayer": lambda *given, **options: encoder.encoder_layer(*given, **options, apply=applied),
    **{name: _refused_rule(reason) for name, reason in REFUSED.items()},
}
FUNCTIONS: dict[str, Rule] = {
    **{word: _refused_operation(reason) for word, reason in REFUSED_OPERATIONS.items()},
    **{name: rule for kind in _KINDS for name, rule in kind.FUNCTIONS.items()},
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
