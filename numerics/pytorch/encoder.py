"""``nn.TransformerEncoderLayer``, whose fast path cannot be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numerics.pytorch.arithmetic import added
from numerics.pytorch.attention import below as named_below
from numerics.pytorch.reader import Reader
from numerics.pytorch.values import Value


def encoder_layer(
    reader: Reader,
    name: str,
    module: Any,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
    *,
    apply: Callable[..., Any],
) -> Value:
    """``nn.TransformerEncoderLayer``, which torch.fx cannot trace: its submodules in the order of its ``norm_first``.

    Parameters
    ----------
    apply : callable
        From a submodule's name and its arguments to what it puts out.
    """

    def below(child: str, *arguments: Any, **options: Any) -> Any:
        return apply(reader, named_below(name, child), getattr(module, child), *arguments, **options)

    def attended(x: Any) -> Any:
        out, _ = below(
            "self_attn",
            x,
            x,
            x,
            attn_mask=src_mask,
            key_padding_mask=src_key_padding_mask,
            is_causal=is_causal,
            need_weights=False,
        )
        return below("dropout1", out)

    def fed(x: Any) -> Any:
        hidden = apply(reader, named_below(name, "activation"), module.activation, below("linear1", x))
        return below("dropout2", below("linear2", below("dropout", hidden)))

    x = reader.value(src, name)
    if module.norm_first:
        x = added(reader, x, attended(below("norm1", x)))
        return added(reader, x, fed(below("norm2", x)))
    x = below("norm1", added(reader, x, attended(x)))
    return below("norm2", added(reader, x, fed(x)))
