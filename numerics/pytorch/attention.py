r"""Products over neurons and positions, softmax, and the modules that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from derivations import causal, normalised_sum, other, over_positions, position_matrix, softmax
from derivations.language.nodes import Average, PositionMatrix, average
from derivations.special import ExpertGate
from numerics.pytorch.draws import Tensors, array
from numerics.pytorch.moving import head_by_head
from numerics.pytorch.pairs import pairs_dropped
from numerics.pytorch.reader import MOST_FEW, Reader, Rule
from numerics.pytorch.shapes import repeated_in_place, transposed
from numerics.pytorch.turning import as_rotary
from numerics.pytorch.values import (
    BATCH,
    HERE,
    NEURONS,
    ONE,
    THERE,
    Axis,
    Misfit,
    Part,
    Value,
    is_tensor,
    number,
    spoken,
)

#: How far a factor of single precision may be from the root of a whole number that it stands for.
SAME = 3e-6


@dataclass(frozen=True)
class KeysWithValues(Value):
    """Keys times values summed over the positions, as linear attention takes them first; queries are multiplied with it next."""

    pending: ClassVar[str] = "keys times values are known where queries are multiplied with them next; scale these"
    keys: Value | None = None
    values: Value | None = None


def multiplied_as_matrices(reader: Reader, a: Any, b: Any) -> Value:
    """``a @ b``: scores over the neurons, a mixture of positions, or a matrix of the block applied.

    Raises
    ------
    ValueError
        For other products.
    """
    if is_tensor(b) and isinstance(a, Value) and b.ndim == 2:
        reader.on(a, len(a.axes) - 1, "a product with a matrix")
        name = reader.name_of_matrix(b)
        return reader.matrix(name.removesuffix(".weight"), Tensors(b.t(), default=""), a)
    second = reader.value(b, "a matrix", unsummed=True)
    if is_tensor(a) and second.axes[-2:-1] == (HERE,):
        return second.map(lambda e: over_positions(_over_pairs(reader, a) * other(e)))
    first = reader.value(a, "a matrix")
    if first.axes[-2:] == (HERE, NEURONS) and second.axes[-2:] == (NEURONS, HERE):
        return _scores(reader, first, second)
    if second.axes[-2:] == (NEURONS, ONE) and first.axes[-2:] == (HERE, NEURONS):
        plain = replace(second, axes=(*second.axes[:-2], ONE, NEURONS))
        return _products_summed(reader, first, plain, ONE, lambda k: k)
    if first.axes[-2:] == (NEURONS, HERE) and second.axes[-2:] == (HERE, NEURONS):
        return KeysWithValues(
            (*first.axes[:-2], "keys", "values"), np.empty(0, dtype=object), keys=first, values=second
        )
    if (
        isinstance(second, KeysWithValues)
        and second.keys is not None
        and second.values is not None
        and first.axes[-2:] == (HERE, NEURONS)
    ):
        return multiplied_as_matrices(reader, _scores(reader, first, second.keys), second.values)
    if first.axes[-2:] == (HERE, THERE) and second.axes[-2:] == (HERE, NEURONS):
        left = replace(_scaled(reader, first), axes=(*first.axes[:-1], NEURONS))
        return reader.combine(_spread(left), second, lambda w, v: over_positions(w * other(v)))
    raise ValueError(
        f"tensors of {spoken(first.axes)} and {spoken(second.axes)} are multiplied; known are scores (queries times transposed keys), "
        "scores times values, and matrices on the neurons"
    )


def _spread(value: Value) -> Value:
    """A number for each pair of positions goes with all neurons."""
    return replace(value, axes=(*value.axes[:-1], "one"))


def _scores(reader: Reader, queries: Value, keys: Value) -> Value:
    """Sums over the neurons of queries times keys."""
    plain = replace(keys, axes=(*keys.axes[:-2], HERE, NEURONS))
    return _products_summed(reader, queries, plain, THERE, other)


def _products_summed(
    reader: Reader, queries: Value, keys: Value, axis: Axis, at: Callable[[sp.Expr], sp.Expr]
) -> Value:
    """Sums over the neurons of queries times keys, the keys taken ``at`` a position."""

    def summed(q: sp.Expr, k: sp.Expr) -> sp.Expr:
        (c1, q), (c2, k) = q.as_coeff_Mul(), k.as_coeff_Mul()
        total = normalised_sum(q * at(k))
        reader.scores[total] = size
        return c1 * c2 * sp.sqrt(size) * total

    size = int(reader.size_of(queries, len(queries.axes) - 1))
    queries, keys = (side.each(lambda parts: as_rotary(reader, reader.rejoined(parts))) for side in (queries, keys))
    for parts in (*queries.entries.reshape(-1), *keys.entries.reshape(-1)):
        if len(parts) > 1:
            raise ValueError("scores over several parts of neurons have no rule; cut queries and keys into heads")
    made = reader.combine(queries, keys, summed)
    return replace(made.each(lambda parts: (Part(parts[0].expr),)), axes=(*made.axes[:-1], axis))


def _scaled(reader: Reader, scores: Value) -> Value:
    r"""Scores with a factor :math:`k^{-1/2}` or :math:`1/k` that PyTorch holds as a number said as such."""

    def said(expr: sp.Expr) -> sp.Expr:
        return sp.Add(*(term(part) for part in sp.Add.make_args(expr)))

    def term(expr: sp.Expr) -> sp.Expr:
        factor, total = expr.as_coeff_Mul()
        root, total = total.as_independent(Average)
        size = reader.scores.get(total)
        factor *= root
        if size is None or not factor.is_number:
            return expr
        if abs(factor - 1) < SAME:
            return total
        if abs(factor * sp.sqrt(size) - 1) < SAME:
            return average(total.body)
        reader.remark(
            f"scores over {size} neurons are taken as {sp.N(factor, 4)} times their sum over the root of the number of neurons"
        )
        return expr

    return scores.map(said)


def shares(reader: Reader, scores: Any, dim: Any = None, **options: Any) -> Value:
    """``softmax`` over the other positions.

    Raises
    ------
    ValueError
        Over anything else.
    """
    value = reader.value(scores, "a softmax")
    axis = value.axis(-1 if dim is None else dim, "softmax")
    if reader.are_few(value, axis):
        return _among_features(reader, value, axis)
    if value.axes[axis] != THERE:
        raise ValueError(
            f"softmax goes over {spoken([value.axes[axis]])}, as that of a mask of channels or of a pooling; it is known over the other positions "
            f"of scores, inside attention, and over fewer features than the state has, up to {MOST_FEW}, as the scores of a router"
        )
    return _scaled(reader, value).map(_softmax)


def _among_features(reader: Reader, value: Value, axis: int) -> Value:
    """Shares of a router: a number of each input for each of few features."""
    numbers = [one.part.expr for one in reader.one_by_one(value, axis)]
    shares = [ExpertGate(len(numbers), 1, s, *numbers[:k], *numbers[k + 1 :]) for k, s in enumerate(numbers)]
    return value.each(lambda _: tuple(Part(share, 1) for share in shares))


def softmax_module(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.Softmax``."""
    return shares(reader, x, module.dim)


def _softmax(scores: sp.Expr) -> sp.Expr:
    """A mask was added to the scores as its logarithm."""
    terms = sp.Add.make_args(sp.expand(scores, deep=False) if scores.has(PositionMatrix) else scores)
    kept = [t for t in terms if not t.has(PositionMatrix)]
    mask = sp.prod([sp.exp(t) for t in terms if t.has(PositionMatrix)])
    return softmax(sp.Add(*kept), mask)


def scaled_attention(
    reader: Reader,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
    *,
    dropped: str = "d",
) -> Value:
    """``F.scaled_dot_product_attention``; factors of shares that are dropped are called as ``dropped`` says."""
    queries = reader.value(query, "queries")
    if enable_gqa:
        shared = int(reader.size_of(queries, len(queries.axes) - 3)) // int(
            reader.size_of(reader.value(key, "keys"), len(queries.axes) - 3)
        )
        key, value = (repeated_in_place(reader, x, shared, -3) for x in (key, value))
    size = reader.size_of(queries, len(queries.axes) - 1)
    scores = multiplied_as_matrices(reader, query, transposed(reader, key, -2, -1))
    factor = 1 / sp.sqrt(size) if scale is None else number(scale)
    scores = masked(reader, scores.map(lambda e: factor * e), attn_mask, is_causal)
    return multiplied_as_matrices(reader, pairs_dropped(reader, shares(reader, scores), dropout_p, dropped), value)


def masked(reader: Reader, scores: Value, mask: Any, is_causal: bool) -> Value:
    """Scores with the logarithm of a mask added: a tensor of truth values (True is seen) or of numbers to add."""
    if is_causal:
        return scores.map(lambda e: e + sp.log(causal))
    if mask is None:
        return scores
    if not is_tensor(mask):
        raise ValueError("the mask is computed from the state; only masks that are given are known")
    return head_by_head(reader, scores, mask, lambda own, numbers: own.map(lambda e: e + sp.log(seen(reader, numbers))))


def seen(reader: Reader, mask: Any) -> PositionMatrix:
    """What a mask multiplies the exponentials of the scores by."""
    size = reader.places
    if mask.numel() not in (size * size, size):
        raise ValueError(
            f"a mask of sizes {tuple(mask.shape)} meets scores over {size} positions; give one for all heads and inputs"
        )
    numbers = array(mask).reshape(-1, size)
    truth = "bool" in str(mask.dtype)
    rows = [[_shown(numbers[i % len(numbers), j], truth) for j in range(size)] for i in range(size)]
    lower = [[sp.Integer(j <= i) for j in range(size)] for i in range(size)]
    return causal if rows == lower else position_matrix(rows)


def _shown(entry: float, truth: bool) -> sp.Expr:
    if truth:
        return sp.Integer(bool(entry))
    return sp.S.Zero if entry < -700 else sp.exp(number(entry))


def _over_pairs(reader: Reader, tensor: Any) -> PositionMatrix:
    size = reader.places
    if tuple(tensor.shape) != (size, size):
        raise ValueError(f"a tensor of sizes {tuple(tensor.shape)} mixes {size} positions")
    return position_matrix([[number(float(entry)) for entry in row] for row in array(tensor)])


def multihead(
    reader: Reader,
    name: str,
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Value, None]:
    """``nn.MultiheadAttention``: packed or separate projections, heads, masks."""
    if module.bias_k is not None or module.add_zero_attn:
        reader.refuse(name, "adds a position of its own (add_bias_kv, add_zero_attn), which has no rule")
    attn_mask = _with_padding(reader, name, attn_mask, key_padding_mask)
    arguments = [reader.value(x, name) for x in (query, key, value)]
    expected = (BATCH, HERE, NEURONS) if module.batch_first else (HERE, BATCH, NEURONS)
    for x in arguments:
        if x.axes != expected:
            reader.refuse(
                name,
                f"reads tensors of {spoken(expected)} and gets {spoken(x.axes)}{_needs_positions(reader)}",
                Misfit,
            )
    projected = _projections(reader, name, module, arguments)
    per_head, p = module.embed_dim // module.num_heads, module.dropout if module.training else 0.0
    heads = []
    split = [reader.split(x, [per_head] * module.num_heads) if module.num_heads > 1 else (x,) for x in projected]
    for q, k, v in zip(*split, strict=True):
        one, two, three = (replace(x, axes=(HERE, NEURONS)) for x in (q, k, v))
        mask = attn_mask if is_tensor(attn_mask) and "bool" not in str(attn_mask.dtype) else _turned(attn_mask)
        heads.append(
            scaled_attention(
                reader, one, two, three, mask, p, is_causal and attn_mask is None, dropped=below(name, "dropout")
            )
        )
    size = per_head * module.num_heads
    joined = heads[0].each(lambda _: tuple(Part(h.expr, per_head) for h in heads), axes=expected)
    assert reader.size_of(joined, expected.index(NEURONS)) == size
    out = module.out_proj
    tensors = Tensors(out.weight, out.bias, "default_zero_bias")
    return reader.matrix(below(name, "out_proj"), tensors, joined), None


def _with_padding(reader: Reader, name: str, mask: Any, padding: Any) -> Any:
    """A mask of pairs that hides padded positions too, which are those of all inputs."""
    if padding is None:
        return mask
    if not is_tensor(padding) or padding.numel() != reader.places or tuple(padding.shape[:-1]) not in ((), (1,)):
        reader.refuse(name, "gets a mask for the padding of each input; positions of all inputs are treated alike")
    return _as_added(padding).reshape(1, -1) + (0 if mask is None else _as_added(mask))


def _as_added(mask: Any) -> Any:
    """A mask as numbers to add to the scores; True hides here."""
    return mask.double().zero_().masked_fill(mask, -np.inf) if "bool" in str(mask.dtype) else mask


def _turned(mask: Any) -> Any:
    """True hides a position from ``nn.MultiheadAttention``, while it shows it to ``F.scaled_dot_product_attention``."""
    return mask if mask is None or not is_tensor(mask) else ~mask


def _projections(reader: Reader, name: str, module: Any, arguments: list[Value]) -> list[Value]:
    size = module.embed_dim
    if module.in_proj_weight is None:
        biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
        return [
            reader.matrix(
                below(name, f"{word}_proj"), Tensors(getattr(module, f"{word}_proj_weight"), b, "xavier_uniform"), x
            )
            for word, x, b in zip("qkv", arguments, biases, strict=True)
        ]
    packed = Tensors(module.in_proj_weight, module.in_proj_bias, "xavier_uniform")
    return [
        reader.split(reader.matrix(below(name, "in_proj"), packed, x), [size] * 3)[place]
        for place, x in enumerate(arguments)
    ]


def _needs_positions(reader: Reader) -> str:
    return "" if reader.positions else "; it mixes positions, so give their number, positions="


def below(name: str, child: str) -> str:
    """The dotted name of a submodule."""
    return f"{name}.{child}" if name else child


MODULES: dict[str, Rule] = {"MultiheadAttention": multihead, "Softmax": softmax_module}
FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("matmul", "bmm"), multiplied_as_matrices),
    "softmax": shares,
    "scaled_dot_product_attention": scaled_attention,
}
