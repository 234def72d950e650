"""Norms and averages over the neurons, as modules, as functions and written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import sympy as sp

from derivations import average, layer_norm, rms_norm
from derivations.language.nodes import Applied, Average
from numerics.pytorch.moving import over_all
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.rough import rough_mean
from numerics.pytorch.values import BATCH, NEURONS, ONE, Part, Value, number

#: Largest number under the root of a norm that is left out.
SMALL = 1e-4
#: And the largest share of what stands there, as of a branch whose weights start near 0.
SHARE = 1e-2


def layer_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """Centred and divided by the standard deviation over the neurons, then the gain and the shift."""
    shape = module.normalized_shape
    return _normed(reader, name, x, tuple(shape), module.weight, module.bias, True, module.eps)


def group_normed(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """One group of neurons at no positions is what ``LayerNorm`` takes."""
    value = reader.value(x, name)
    if module.num_groups != 1:
        reader.refuse(
            name,
            f"averages over {module.num_groups} groups of neurons; known are norms over all of them: num_groups=1, LayerNorm, RMSNorm",
        )
    if value.axes[1:] != (NEURONS,):
        reader.refuse(
            name, "averages over neurons and positions together; known are norms over the neurons of each position"
        )
    return _normed(reader, name, value, (module.num_channels,), module.weight, module.bias, True, module.eps)


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
    read = [p.expr for _, parts in value.items() for p in parts]
    small = _added_under_the_root(reader, name, eps, *(average(e**2) for e in read))
    made = value.each(lambda parts: _divided(reader, parts, centred, small))
    return _gained(reader, name, weight, bias, replace(made, skip=value.normed))


def _added_under_the_root(reader: Reader, name: str, eps: float | None, *beside: sp.Expr) -> sp.Expr:
    """The number that a norm adds under its root: left out, and said, where it only guards against a division by 0."""
    if eps is not None and (eps > SMALL or any(_counts_beside(eps, body) for body in beside)):
        return number(eps)
    size = "rounding" if eps is None else f"{eps:g}"
    reader.remark(f"{name} is taken without the small number that it adds under its root ({size})")
    return sp.S.Zero


def _counts_beside(small: float, body: sp.Expr) -> bool:
    """Whether a number is a share of what a branch puts out that is seen; beside the state it is not."""
    return bool(body.atoms(Applied)) and small > SHARE * rough_mean(body) > 0


def _divided(reader: Reader, parts: tuple[Part, ...], centred: bool, small: sp.Expr) -> tuple[Part, ...]:
    if len(parts) == 1:
        return (replace(parts[0], expr=(layer_norm if centred else rms_norm)(parts[0].expr, small)),)
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


def without_guard(reader: Reader, value: Value) -> Value:
    """A denominator, or what stands under a root, without the small number that a norm written by hand adds to an average."""

    def bare(expr: sp.Expr) -> sp.Expr:
        small, rest = expr.as_coeff_Add()
        if not (small.is_positive and small <= SMALL and rest.has(Average)) or _counts_beside(float(small), rest):
            return expr
        reader.remark(f"a norm is taken without the small number that it adds ({float(small):g})")
        return rest

    return value if not any(p.expr.has(Average) for _, parts in value.items() for p in parts) else value.map(bare)


def averaged(reader: Reader, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """``x.mean(-1, keepdim=True)``: an average over the neurons; or over all positions, or tensors that were stacked."""
    listed = _over_list(reader, "mean", x, dim, keepdim) or over_all(reader, "mean", x, dim, keepdim)
    if listed is not None:
        total, count = listed
        return total.map(lambda e: e / count)
    return _over_neurons(reader, "mean", x, dim, keepdim, lambda parts: mean_of(reader, parts, lambda e: e))


def summed(reader: Reader, x: Any, dim: Any = None, keepdim: bool = False) -> Value:
    """``x.sum(-1, keepdim=True)``: as many averages as there are neurons; or over all positions, or tensors that were stacked."""
    listed = _over_list(reader, "sum", x, dim, keepdim) or over_all(reader, "sum", x, dim, keepdim)
    if listed is not None:
        return listed[0]
    return _over_neurons(reader, "sum", x, dim, keepdim, lambda parts: _sum(reader, "sum", parts, lambda e: e))


def log_sum_exp(reader: Reader, x: Any, dim: Any, keepdim: bool = False) -> Value:
    """``torch.logsumexp``: the logarithm of a sum of exponentials."""
    return summed(reader, reader.value(x, "logsumexp").map(sp.exp), dim, keepdim).map(sp.log)


def _over_list(reader: Reader, word: str, x: Any, dim: Any, keepdim: bool) -> tuple[Value, int] | None:
    """The sum along an axis that lists tensors, such as heads, and their number; None along another one."""
    value = reader.value(x, word)
    (along,) = dim if isinstance(dim, tuple) and len(dim) == 1 else (dim,)
    if not isinstance(along, int) or not isinstance(value.axes[axis := value.axis(along, word)], int):
        return None
    count = int(cast(int, value.axes[axis]))
    total = value.taken(axis, 0)
    for place in range(1, count):
        total = reader.combine(total, value.taken(axis, place), lambda a, b: a + b)
    return total.with_one(axis) if keepdim else total, count


def length(
    reader: Reader, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, *, out: None = None, dtype: None = None
) -> Value:
    """``x.norm(dim=-1, keepdim=True)``: the Euclidean length of the neurons; or over all positions, or tensors that were stacked."""
    if p not in (2, 2.0, None, "fro"):
        raise ValueError(f"the norm of order {p} has no rule; that of order 2 has one")
    if dim is not None:
        squares = reader.value(x, "norm").map(lambda e: e**2)
        listed = _over_list(reader, "norm", squares, dim, keepdim) or over_all(reader, "norm", squares, dim, keepdim)
        if listed is not None:
            return listed[0].map(sp.sqrt)
    total = lambda parts: sp.sqrt(_sum(reader, "norm", parts, lambda e: e**2))  # noqa: E731
    return _over_neurons(reader, "norm", x, dim, keepdim, total)


def normalised(reader: Reader, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Value:
    """``F.normalize(x, dim=-1)``: divided by the Euclidean length, at least ``eps``."""
    value, below = reader.value(x, "normalize"), length(reader, x, p, dim, True)
    _added_under_the_root(reader, "normalize", eps)
    return reader.combine(value, below, lambda a, b: a / b)


def cosine(reader: Reader, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Value:
    """``F.cosine_similarity(x, y, dim=-1)``: the product of both over the neurons by their lengths, without the least length ``eps``."""
    a, b = (normalised(reader, x, 2, dim, eps) for x in (x1, x2))
    made = summed(reader, reader.combine(a, b, lambda u, v: u * v), dim, True)
    return made.without(made.axis(dim, "cosine_similarity"))


def spread(
    reader: Reader,
    x: Any,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: int | None = None,
    root: bool = False,
) -> Value:
    """``x.var(-1, keepdim=True)``, over one neuron less than there are unless ``unbiased=False``; its root is ``x.std``."""
    taken = int(unbiased) if correction is None else correction

    def of(parts: tuple[Part, ...]) -> sp.Expr:
        middle = mean_of(reader, parts, lambda e: e)
        count = reader.number_of(sum(reader.count(p) for p in parts))
        share = 1 if count.is_infinite else count / (count - taken)
        return share * mean_of(reader, parts, lambda e: (e - middle) ** 2)

    word = "std" if root else "var"
    made = _over_neurons(reader, word, x, dim, keepdim, of)
    return made.map(sp.sqrt) if root else made


def _sum(reader: Reader, word: str, parts: tuple[Part, ...], function: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
    count = reader.number_of(sum(reader.count(p) for p in parts))
    if count.is_infinite:
        raise ValueError(
            f"{word} goes over all neurons and grows with their number; give a width that is finite, or take the mean"
        )
    return count * mean_of(reader, parts, function)


def _over_neurons(
    reader: Reader, word: str, x: Any, dim: Any, keepdim: bool, of: Callable[[tuple[Part, ...]], sp.Expr]
) -> Value:
    value = reader.value(x, word)
    (along,) = dim if isinstance(dim, tuple) and len(dim) == 1 else (dim,)
    if isinstance(along, int) and value.axes[value.axis(along, word)] == BATCH:
        raise ValueError(f"{word} goes over the batch, while networks treat inputs one by one")
    if not isinstance(along, int) or not keepdim or value.axes[value.axis(along, word)] != NEURONS:
        raise ValueError(
            f"{word} is known over the neurons, {word}(-1, keepdim=True), over all positions, and over tensors that were stacked"
        )
    axis = value.axis(along, word)
    made = value.each(lambda parts: (Part(of(parts)),))
    return replace(made, axes=(*value.axes[:axis], ONE, *value.axes[axis + 1 :]))


MODULES: dict[str, Rule] = {
    "_BatchNorm": batch_normed,
    "GroupNorm": group_normed,
    "LayerNorm": layer_normed,
    "RMSNorm": rms_normed,
}
FUNCTIONS: dict[str, Rule] = {
    "mean": averaged,
    "sum": summed,
    "logsumexp": log_sum_exp,
    **dict.fromkeys(("norm", "vector_norm"), length),
    "normalize": normalised,
    "cosine_similarity": cosine,
    "var": spread,
    "std": partial(spread, root=True),
    "layer_norm": layer_norm_function,
    "rms_norm": rms_norm_function,
}
