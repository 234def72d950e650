"""Tensors that a forward makes itself, of sizes that it asks of the state: ones, zeros, numbers that fill a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.shapes import listed_sizes, shape_of
from numerics.pytorch.values import batch_size, is_tensor

#: Makers whose sizes may stand one by one; PyTorch reads these as whole numbers before torch.fx sees them.
_MAKERS = ("ones", "zeros", "empty", "rand", "randn")
#: Operations that spread a tensor of the block over inputs, for all of which it is the same.
_SPREADING = ("expand", "repeat", "tile")
#: And others of its own sizes.
_REGROUPING = ("view", "reshape")


@contextmanager
def whole_sizes(known: Callable[[Any], Any]) -> Iterator[None]:
    """PyTorch's makers of tensors take sizes that are asked of the state meanwhile.

    Parameters
    ----------
    known : callable
        From an argument to the size that it is, or to itself.
    """
    torch = import_module("torch")
    places = [(torch, word) for word in _MAKERS] + [(torch.Tensor, word) for word in (*_SPREADING, *_REGROUPING)]
    before = [(home, word, vars(home).get(word)) for home, word in places]

    def taking(word: str, make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *sizes, **options: make(*for_all_inputs(word, tuple(map(known, sizes))), **options)

    for home, word in places:
        setattr(home, word, taking(word, getattr(home, word)))
    try:
        yield
    finally:
        for home, word, own in before:
            if own is None:  # of the class that it extends
                delattr(home, word)
            else:
                setattr(home, word, own)


def for_all_inputs(word: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The sizes over which a tensor of the block is spread, with 1 for that of the batch."""
    if word not in (*_SPREADING, "broadcast_to"):
        return arguments
    return tuple(
        for_all_inputs(word, a)
        if isinstance(a, tuple)
        else 1
        if isinstance(a, type(batch_size)) and a == batch_size
        else a
        for a in arguments
    )


def _filled(number: float | None) -> Rule:
    """``x.new_zeros(...)`` and its like: a tensor of given sizes, or one number where these are the state's.

    Raises
    ------
    ValueError
        For other sizes that depend on the batch.
    """

    def rule(reader: Reader, x: Any, *given: Any, dtype: Any = None, device: Any = None) -> Any:
        value = reader.value(x, "what a new tensor is like")
        sizes, fill = (listed_sizes(given), number) if number is not None else (list(given[0]), given[1])
        if tuple(sizes) == shape_of(reader, value):
            return value.map(lambda e: reader.value(fill, "what fills a new tensor").expr)
        if batch_size in sizes or isinstance(fill, type(value)) or is_tensor(fill):
            raise ValueError(
                f"a tensor of sizes {tuple(sizes)} is made for each input; known are the sizes of the tensor that it is like, and sizes without the batch"
            )
        return import_module("torch").full([int(size) for size in sizes], fill)

    return rule


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {"new_zeros": _filled(0.0), "new_ones": _filled(1.0), "new_full": _filled(None)}
