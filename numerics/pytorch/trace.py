r"""From a PyTorch module to a layer's formula: torch.fx lists what the module does, one rule reads each node."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import sympy as sp

from derivations import epsilon
from derivations.architectures.base import checked_width
from derivations.architectures.network import grid_of
from numerics.pytorch.aliases import require_no_stale_names, word_of, writes, written
from numerics.pytorch.draws import Draws, with_kind
from numerics.pytorch.guards import require_readable
from numerics.pytorch.network import TorchNetwork
from numerics.pytorch.reader import Reader, here, is_tensor
from numerics.pytorch.rules import FUNCTIONS, function_rule, rule_of
from numerics.pytorch.values import ANY, BATCH, NEURONS, Axis, Value, spoken


class RandomNumbers(ValueError):
    """Numbers are drawn by no module while a block is traced."""


#: How many fresh copies of a block measure its weights.
COPIES = 64


def from_torch(
    block: Any,
    *,
    width: object = None,
    inputs: int = 1,
    initialiser: str | float | Mapping[str, str | float] = "default",
    positions: object = (),
    copies: int = COPIES,
    scale: object = epsilon,
    exact_law: bool = False,
) -> TorchNetwork:
    r"""A PyTorch block as a network whose layers are drawn like it.

    The block maps a tensor of shape (..., features) to one of the same shape. It is traced with ``torch.fx``; linear modules and filters
    become random matrices, norms averages over the neurons, dropout i.i.d. factors, attention a softmax over positions. A branch
    that is added to the state is multiplied by ``scale``, since a block as it stands has no limit as the depth grows:
    :math:`\varepsilon = L^{-1/2}` gives it one.

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
    positions : int or tuple of int
        How many positions (tokens, pixels) an input has, or the sizes of their grid; needed where the block mixes them, as attention and
        convolutions do, or asks for the shape of its input. Tensors then have axes (batch, positions, features), with positions first
        where an attention module says ``batch_first=False``, or (batch, channels, grid) where the block begins with a convolution.
    copies : int
        How many fresh copies are measured.
    scale : Expr
        What multiplies a branch; 1 leaves the block as it stands.
    exact_law : bool
        Keep the law of weights that are not Gaussian: uniform ones, or the fourth moment of measured ones. Without it Gaussian weights of the
        same variance stand for them, and a remark says what that changes: nothing at infinite width, nor as the depth grows where
        the layer is linear in them, such as its last matrix; else a share of order 1/k, k being the neurons that are read.

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
    require_readable(made)
    draws = Draws(made, initialiser, fresh, copies)
    size = None if width is None else checked_width(width)
    reader = Reader(made, size, draws, sp.sympify(scale), exact_law, grid_of(positions))
    value = _walked(reader, made)
    if value.axes != reader.axes:
        raise ValueError(
            f"the block reads a tensor of {spoken(reader.axes)} and puts out one of {spoken(value.axes)}; a layer that is repeated must "
            "keep them"
        )
    out, features = value.part, reader.features
    if out.size != features or features is None:
        raise ValueError(
            f"the block reads {features} features and puts out {out.size}; a layer that is repeated must keep their number"
        )
    return TorchNetwork(
        reader.finished(value),
        reader.width,
        inputs,
        positions=reader.positions,
        modules=tuple(reader.modules.items()),
        remarks=(*reader.remarks, *draws.remarks),
    )


def _walked(reader: Reader, block: Any) -> Value:
    """What the block puts out; a module with a rule is not traced."""
    rule = rule_of(block, None)
    if rule is not None:
        reader.features, reader.axes = _shape([("", block)], reader.positions)
        found = rule(reader, "", block, *[reader.placeholder(None, first=True)] * _tensors_read(block))
        return reader.value(found[0] if isinstance(found, tuple) else found, "the block's output")
    return reader.value(_Graph(reader, block).output(), "the block's output")


def _tensors_read(module: Any) -> int:
    """Attention by itself is that of the state with itself."""
    return 3 if _extends(module, "MultiheadAttention") else 1


def _extends(module: Any, name: str) -> bool:
    return any(base.__name__ == name for base in type(module).__mro__)


class _Graph:
    """The graph that torch.fx lists, whose nodes are read when they are asked for."""

    def __init__(self, reader: Reader, block: Any) -> None:
        self.reader, self.block = reader, block
        self.seen: dict[Any, Any] = {}
        self.graph = self._traced()
        self._prepare(self.graph.nodes)

    def output(self) -> Any:
        """What the block puts out."""
        for node in self.graph.nodes:  # in order, since operations may change tensors in place
            found = self.of(node)
        require_no_stale_names(list(self.graph.nodes), self.block, self.seen)
        return found

    def size_at(self, node: Any, graph: Any) -> Any:
        """A number that follows from sizes while the block is traced, or None."""
        self._prepare(graph.nodes)
        kept = dict(self.seen)  # a tensor may change in place before it is read in order
        try:
            found = self.of(node)
        except ValueError as error:
            raise ValueError(f"a condition is not decided by sizes: {error}") from error
        finally:
            self.seen = kept
        return None if _has_values((found,)) or is_tensor(found) else found

    def of(self, node: Any) -> Any:
        """What a node is."""
        if node not in self.seen:
            self.seen[node] = self._read(node)
            target = written(node, self.block)
            if target is not None and isinstance(self.seen[node], Value):
                self.seen[target] = self.seen[node]
        return self.seen[node]

    def _read(self, node: Any) -> Any:
        if node.op == "placeholder":
            return self.reader.placeholder(node, first=not any(n.op == "placeholder" for n in self.seen))
        arguments = tuple(self._known(a) for a in node.args)
        options = {word: self._known(value) for word, value in node.kwargs.items()}
        if node.op == "get_attr":
            return self.reader.tensor(node.target)
        if node.op == "output":
            return arguments[0]
        if node.op == "call_module":
            module = self.block.get_submodule(node.target)
            try:
                return rule_of(module)(self.reader, node.target, module, *arguments, **options)
            except ValueError as error:
                if node.target in str(error):
                    raise
                raise ValueError(f"{with_kind(self.block, node.target)}: {error}") from error
        word = word_of(node)
        try:
            if not _has_values((*arguments, *options.values())):
                return _plain(node, word, arguments, options)
            return _called(node.target)(self.reader, *arguments, **options)
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(
                f"the operation {word} ({node.name} in the traced graph) is not known here: {error}"
            ) from error

    def _known(self, argument: Any) -> Any:
        """An argument with values in the place of the graph's nodes."""
        if isinstance(argument, (tuple, list)):
            return tuple(self._known(item) for item in argument)
        if isinstance(argument, slice):
            return slice(*(self._known(part) for part in (argument.start, argument.stop, argument.step)))
        return self.of(argument) if hasattr(argument, "all_input_nodes") else argument

    def _prepare(self, nodes: Iterable[Any]) -> None:
        """The number of features and the axes, from the first module that says them in the order of use, else of definition."""
        called = [(n.target, self.block.get_submodule(n.target)) for n in nodes if n.op == "call_module"]
        tensors = [n.args[1] for n in nodes if n.op == "call_function" and n.target.__name__ == "linear"]
        raw = [self.reader.tensor(n.target).shape[-1] for n in tensors if getattr(n, "op", "") == "get_attr"]
        found, axes = _shape([*called, *self.block.named_modules()], self.reader.positions)
        if not called and raw:
            found = int(raw[0])
        self.reader.features, self.reader.axes = found, axes

    def _traced(self) -> Any:
        """What torch.fx lists; modules with a rule are left whole, conditions on sizes are decided."""
        fx = import_module("torch.fx")
        outer, writing = self, _proxies_that_write(fx)

        class Tracer(fx.Tracer):  # type: ignore[name-defined]
            proxy_buffer_attributes = True

            def proxy(self, node: Any) -> Any:
                return writing(node, self)

            def is_leaf_module(self, module: Any, name: str) -> bool:
                return rule_of(module, None) is not None or super().is_leaf_module(module, name)

            def to_bool(self, obj: Any) -> bool:
                found = outer.size_at(obj.node, self.graph)
                return bool(super().to_bool(obj)) if found is None else bool(found)  # the former says why not

        try:
            return _still(lambda: Tracer().trace(self.block), f"{type(self.block).__name__} draws random numbers")
        except RandomNumbers:
            raise
        except Exception as error:  # whatever a module's own code raises on symbolic values
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"{type(self.block).__name__} cannot be traced: {reason}; its forward must not branch on values of tensors"
            ) from error


def _proxies_that_write(fx: Any) -> Any:
    """Proxies whose ``+=`` is listed as such: torch.fx by itself lists a sum, which leaves the first tensor as it was."""

    def method(word: str) -> Any:
        return lambda self, other: self.tracer.create_proxy("call_function", getattr(operator, word), (self, other), {})

    words = ("iadd", "isub", "imul", "itruediv", "ipow")
    return type("Proxy", (fx.Proxy,), {f"__{word}__": method(word) for word in words})


def _shape(modules: Iterable[tuple[str, Any]], positions: tuple[int, ...]) -> tuple[int | None, tuple[Axis, ...]]:
    """The number of features of the state and its axes, from the first modules that say them."""
    features, filters, last = None, False, True
    for _, module in modules:
        size, is_filter = _reads(module)
        if size is not None and features is None:
            features, filters = size, is_filter
        attention = getattr(module, "self_attn", module)
        if hasattr(attention, "batch_first"):
            last = last and attention.batch_first
    if not positions:
        return features, (ANY, NEURONS)
    if filters:
        return features, (BATCH, NEURONS, *here(positions))
    return features, (BATCH, *here(positions), NEURONS) if last else (*here(positions), BATCH, NEURONS)


def _reads(module: Any) -> tuple[int | None, bool]:
    """How many features a module reads, and whether they stand before the positions."""
    if _extends(module, "_ConvNd"):
        return int(module.in_channels), True
    if _extends(module, "_BatchNorm"):
        return int(module.num_features), not _extends(module, "BatchNorm1d")
    if _extends(module, "TransformerEncoderLayer"):
        return int(module.self_attn.embed_dim), False
    for name in ("in_features", "embed_dim"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name)), False
    shape = list(getattr(module, "normalized_shape", []))
    return (int(shape[0]), False) if len(shape) == 1 else (None, False)


def _has_values(arguments: Iterable[Any]) -> bool:
    return any(isinstance(a, Value) or (isinstance(a, (tuple, list)) and _has_values(a)) for a in arguments)


def _plain(node: Any, word: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Arithmetic of sizes and of the block's own tensors, as PyTorch does it."""
    if arguments and is_tensor(arguments[0]) and writes(word, options):
        raise ValueError("it changes a tensor of the block in place")
    call = getattr(arguments[0], word) if node.op == "call_method" else node.target
    rest = arguments[1:] if node.op == "call_method" else arguments
    return _still(lambda: call(*rest, **options), "it draws random numbers")


def _still(call: Callable[[], Any], otherwise: str) -> Any:
    """What a call gives that draws nothing.

    Raises
    ------
    RandomNumbers
        If it moved a generator of random numbers: what it drew would stand for ever.
    """
    before = _generators()
    found = call()
    if before != _generators():
        raise RandomNumbers(
            f"{otherwise} that are no module's, which have no rule; use Dropout, or write the layer by hand with derivations.Network"
        )
    return found


def _generators() -> tuple[Any, ...]:
    """The states of the generators that a forward may draw from."""
    torch = import_module("torch")
    numpy: Any = np.random.get_state()  # noqa: NPY002
    return bytes(torch.get_rng_state().tolist()), random.getstate(), bytes(numpy[1]), numpy[2]


def _called(target: Any) -> Callable[..., Any]:
    rule = FUNCTIONS.get(target.strip("_")) if isinstance(target, str) else function_rule(target)
    if rule is None:
        raise ValueError("it has no rule; write the layer by hand with derivations.Network")
    return rule
