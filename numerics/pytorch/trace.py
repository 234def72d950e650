r"""From a PyTorch module to a layer's formula: torch.fx lists what the module does, one rule reads each node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import sympy as sp

from derivations import epsilon
from derivations.architectures.base import checked_width
from numerics.pytorch.network import TorchNetwork
from numerics.pytorch.reader import Reader, Value
from numerics.pytorch.rules import FUNCTIONS, rule_of

#: How many fresh copies of a block measure its weights.
COPIES = 64


def from_torch(
    block: Any,
    *,
    width: object = None,
    inputs: int = 1,
    initialiser: str | float | Mapping[str, str | float] = "default",
    copies: int = COPIES,
    scale: object = epsilon,
    exact_law: bool = False,
) -> TorchNetwork:
    r"""A PyTorch block as a network whose layers are drawn like it.

    The block maps a tensor of shape (..., features) to one of the same shape. It is traced with ``torch.fx``; linear modules become
    random matrices, norms averages over the neurons, dropout i.i.d. factors. A branch that is added to the state is
    multiplied by ``scale``, since a block as it stands has no limit as the depth grows: :math:`\varepsilon = L^{-1/2}` gives it one.

    Parameters
    ----------
    block : torch.nn.Module, or callable without arguments that makes one
        In training mode dropout is active, after ``block.eval()`` it is not. A callable is needed for ``initialiser="measured"``.
    width : int, Symbol or oo, optional
        The number of neurons; by default the block's features. Hidden layers keep their ratio to it.
    inputs : int
        The number of network inputs that are followed jointly.
    initialiser : str, float or mapping
        What the weights are drawn from: ``"default"`` (PyTorch's own), a name of ``torch.nn.init`` (``"kaiming_normal"``,
        ``"xavier_uniform"``, ...) with biases 0, ``"lecun_normal"``, the standard deviation of each weight, or ``"measured"`` from fresh
        copies. A mapping gives one for each module's dotted name, with ``""`` for all others.
    copies : int
        How many fresh copies are measured.
    scale : Expr
        What multiplies a branch; 1 leaves the block as it stands.
    exact_law : bool
        Keep uniform weights as such. Without it Gaussian weights of the same variance stand for them, and a remark says so.

    Returns
    -------
    TorchNetwork
        A :class:`derivations.Network`; printed, it says what was read and what was simplified.

    Raises
    ------
    ValueError
        For a block that cannot be traced, a module without a rule, or weights that do not look drawn from the initialiser that
        was named; the message names the module.
    ImportError
        Without the extra ``torch``.

    Examples
    --------
    The page "From your PyTorch model to its limit" runs this and more where PyTorch is installed::

        class Block(nn.Module):
            def __init__(self, n=16):
                super().__init__()
                self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

            def forward(self, x):
                return x + self.down(nn.functional.relu(self.up(self.norm(x))))

        derive(from_torch(Block, initialiser="kaiming_normal", width=oo)).limit.drift[0]  # 2
    """
    try:
        nn = import_module("torch.nn")
    except ImportError as error:
        raise ImportError(
            "PyTorch is not installed; install the extra torch: pip install 'deeplimits[torch]'"
        ) from error
    made, fresh = (block, None) if isinstance(block, nn.Module) or not callable(block) else (block(), block)
    if not isinstance(made, nn.Module):
        raise ValueError(f"a block must be a torch.nn.Module or make one, got {type(made).__name__}")
    if rule_of(made, None) is not None:  # a single module is read as the one in a sequence
        made, fresh = nn.Sequential(made), None if fresh is None else (lambda: nn.Sequential(block()))
    size = None if width is None else checked_width(width)
    reader = Reader(made, size, initialiser, fresh, copies, sp.sympify(scale), exact_law)
    value = _walk(reader, made)
    if value.size != reader.features or reader.features is None:
        raise ValueError(
            f"the block reads {reader.features} features and puts out {value.size}; a layer that is repeated must keep their number"
        )
    return TorchNetwork(
        reader.checked(value.expr),
        reader.width,
        inputs,
        modules=tuple(reader.modules.items()),
        remarks=tuple(reader.remarks),
    )


def _walk(reader: Reader, block: Any) -> Value:
    """Read the traced graph node by node."""
    seen: dict[Any, Any] = {}
    for node in _graph(block).nodes:
        arguments = _known(node.args, seen)
        options = {word: _known(value, seen) for word, value in node.kwargs.items()}
        if node.op == "placeholder":
            seen[node] = reader.placeholder(node, first=not seen)
        elif node.op == "get_attr":
            seen[node] = reader.constant(node.target)
        elif node.op == "call_module":
            module = block.get_submodule(node.target)
            seen[node] = rule_of(module)(reader, node.target, module, *arguments, **options)
        elif node.op == "output":
            (result,) = arguments
            return reader.value(result, "the block's output")
        else:
            word = node.target if isinstance(node.target, str) else node.target.__name__
            try:
                seen[node] = _called(word)(reader, *arguments, **options)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"the operation {word} ({node.name} in the traced graph) is not known here: {error}"
                ) from error
    raise ValueError("the block puts nothing out")


def _called(word: str) -> Callable[..., Any]:
    plain = word.strip("_")
    if plain not in FUNCTIONS:
        raise ValueError("it has no rule; write the layer by hand with derivations.Network")
    return FUNCTIONS[plain]


def _graph(block: Any) -> Any:
    """What torch.fx lists; modules with a rule are left whole."""
    fx = import_module("torch.fx")

    class Tracer(fx.Tracer):  # type: ignore[name-defined]
        def is_leaf_module(self, module: Any, name: str) -> bool:
            return rule_of(module, None) is not None or super().is_leaf_module(module, name)

    try:
        return Tracer().trace(block)
    except Exception as error:  # whatever a module's own code raises on symbolic values
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{type(block).__name__} cannot be traced: {reason}; its forward must not branch on values or shapes of tensors"
        ) from error


def _known(argument: Any, seen: Mapping[Any, Any]) -> Any:
    """An argument with values in the place of the graph's nodes."""
    if isinstance(argument, (tuple, list)):
        return tuple(_known(item, seen) for item in argument)
    return seen.get(argument, argument) if argument.__hash__ is not None else argument
