"""Linear modules and functions."""

from __future__ import annotations

from typing import Any

from numerics.pytorch.draws import Tensors, holder_of, with_kind
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.values import Value, is_tensor


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
    name = reader.name_of_matrix(weight)
    holder = holder_of(reader.block, name.rpartition(".")[0]) if name.endswith(".weight") else None
    if type(holder).__name__ == "Linear" or hasattr(
        holder, "in_features"
    ):  # a linear module whose tensors are called one by one
        return reader.matrix(name.removesuffix(".weight"), Tensors(weight, bias), value)
    return reader.matrix(name, Tensors(weight, bias, default=""), value)


def identity(reader: Reader, name: str, module: Any, x: Any) -> Any:
    """Nothing."""
    return x


MODULES: dict[str, Rule] = {"Linear": linear, "Identity": identity}
FUNCTIONS: dict[str, Rule] = {"linear": linear_function}
