r"""Operations that change a tensor in place: what they change has other names, and each name that is read later must have the new numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numerics.pytorch.values import Value, is_tensor

#: Operators that write into their first argument.
_WRITING = frozenset({"iadd", "isub", "imul", "itruediv", "ipow", "imatmul", "ifloordiv", "imod"})
#: Operations and modules whose result may share the numbers of their first argument.
_VIEWS = frozenset(
    [
        "view",
        "reshape",
        "transpose",
        "swapaxes",
        "permute",
        "chunk",
        "split",
        "unbind",
        "getitem",
        "unsqueeze",
        "squeeze",
        "flatten",
        "unflatten",
        "contiguous",
        "getattr",
        "to",
        "float",
        "double",
        "type_as",
        "detach",
        "dropout",
        "requires_grad_",
        "expand",
        "expand_as",
        "broadcast_to",
    ]
)
#: Operators whose names end like those of methods that write.
_KEYWORDS = frozenset({"and_", "or_", "not_"})
_PASSING = ("Identity", "Dropout", "StochasticDepth", "DropPath")


def word_of(node: Any) -> str:
    """What an operation of a graph is called."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def writes(word: str, options: Mapping[str, Any]) -> bool:
    """Whether an operation writes into its first argument."""
    if word in _KEYWORDS:
        return False
    return word in _WRITING or options.get("inplace") is True or (word.endswith("_") and not word.startswith("_"))


def written(node: Any, block: Any) -> Any:
    """The node whose tensor a node changes in place, or None."""
    if node.op == "call_module":
        return node.args[0] if getattr(block.get_submodule(node.target), "inplace", False) and node.args else None
    if node.op not in ("call_function", "call_method") or not node.args:
        return None
    return node.args[0] if writes(word_of(node), node.kwargs) and hasattr(node.args[0], "op") else None


def storage(node: Any, block: Any) -> Any:
    """The first node that has the numbers that a node has."""
    while True:
        target = written(node, block)
        if target is None and node.args and hasattr(node.args[0], "op"):
            if node.op == "call_module":
                names = [base.__name__ for base in type(block.get_submodule(node.target)).__mro__]
                passing = any(name.startswith(_PASSING) for name in names)
            else:
                passing = node.op in ("call_function", "call_method") and word_of(node) in _VIEWS
            target = node.args[0] if passing else None
        if target is None:
            return node
        node = target


def require_no_stale_names(nodes: list[Any], block: Any, seen: Mapping[Any, Any]) -> None:
    """Refuse a graph in which a tensor is changed in place and then read under another name that it had before.

    Parameters
    ----------
    nodes : list of Node
        In order.
    block : Module
    seen : mapping
        What each node is; sizes, which Python does not change in place, are passed over.

    Raises
    ------
    ValueError
    """
    for place, node in enumerate(nodes):
        target = written(node, block)
        if target is None or not (isinstance(seen.get(node), Value) or is_tensor(seen.get(node))):
            continue
        own, before = storage(target, block), set(nodes[:place])
        for later in nodes[place + 1 :]:
            for read in _read_by(later):
                if read in before and read is not target and storage(read, block) is own:
                    raise ValueError(
                        f"{word_of(node)} changes a tensor in place ({node.name} in the traced graph), which {word_of(later)} then reads under "
                        "another name; write it without the change in place"
                    )


def _read_by(node: Any) -> Iterator[Any]:
    yield from node.all_input_nodes
