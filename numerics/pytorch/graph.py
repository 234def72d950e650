r"""The graph that torch.fx lists of a block, each node read by its rule."""

from __future__ import annotations

import inspect
import operator
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import numpy as np
import sympy as sp

from derivations.errors import unknown
from numerics.pytorch.aliases import require_no_stale_names, storage, word_of, writes, written
from numerics.pytorch.draws import with_kind
from numerics.pytorch.gradients import own_gradients_said
from numerics.pytorch.guards import unwrapped
from numerics.pytorch.making import for_all_inputs, whole_sizes
from numerics.pytorch.network import STOPPED
from numerics.pytorch.reader import Reader
from numerics.pytorch.rules import FUNCTIONS, function_rule, rule_of
from numerics.pytorch.sizes import shape_of_state
from numerics.pytorch.values import Value, is_tensor

#: Operations that apply a tensor as a matrix: which argument it is, and which of its axes is read.
_MATRICES = {"linear": (1, -1), "matmul": (1, 0), "addmm": (2, 0)}


class RandomNumbers(ValueError):
    """Numbers are drawn by no module while a block is traced."""


class Unread(ValueError):
    """Python code of a block asks for what follows from values, from sizes that are not given, or from what has no rule."""


class Undecided(ValueError):
    """The arguments of a forward are not known."""


class Graph:
    """The graph that torch.fx lists, whose nodes are read when they are asked for."""

    def __init__(self, reader: Reader, block: Any, arguments: Mapping[str, Any] | None = None) -> None:
        self.reader, self.block, self.arguments = reader, block, arguments or {}
        self.seen: dict[Any, Any] = {}
        self.plain = import_module("torch.nn").Module.__getattr__
        self.graph = self._traced()
        self._prepare(self.graph.nodes)

    def output(self) -> Any:
        """What the block puts out."""
        for node in self.graph.nodes:  # in order, since operations may change tensors in place
            found = self.of(node)
        require_no_stale_names(list(self.graph.nodes), self.block, self.seen)
        return found

    def known_at(self, node: Any, graph: Any, condition: bool = False) -> Any:
        """What a node is while the block is traced: a number or a tuple that follows from sizes, or a value."""
        with _attributes(self.plain):
            self._prepare(graph.nodes)
        kept = dict(self.seen)  # a tensor may change in place before it is read in order
        try:
            with _attributes(self.plain):
                return self.of(node)
        except ValueError as error:
            asks = (
                f"; a condition depends on it, so that {type(self.block).__name__} cannot be traced"
                if condition
                else ""
            )
            raise Unread(f"{error}{asks}") from error
        finally:
            if any(written(n, self.block) is not None for n in graph.nodes):
                self.seen = kept

    def of(self, node: Any) -> Any:
        """What a node is."""
        if node not in self.seen:
            self.seen[node] = self._read(node)
            target = written(node, self.block)
            if target is not None and (isinstance(self.seen[node], Value) or is_tensor(self.seen[node])):
                self.seen[target] = self.seen[node]
        return self.seen[node]

    def _read(self, node: Any) -> Any:
        if node.op == "placeholder":
            return self.reader.placeholder()
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
                return _plain(node, self.block, arguments, options)
            return _called(node.target)(self.reader, *arguments, **options)
        except (ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(
                f"the operation {word}{self._home(node)} ({node.name} in the traced graph) is not known here: {error}"
            ) from error

    def _home(self, node: Any) -> str:
        """The submodule whose code does this, in words; nothing for the block itself."""
        stack = list(node.meta.get("nn_module_stack", ()))
        return f" of {with_kind(self.block, stack[-1])}" if stack else ""

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
        raw = [size for n in nodes if n.op == "call_function" and (size := self._read_by_a_tensor(n)) is not None]
        found, axes = shape_of_state([*called, *self.block.named_modules()], self.reader.positions)
        if not called and raw:
            found = int(raw[0])
        before = self.reader.features, self.reader.axes
        self.reader.prepare(found, axes)
        if before != (self.reader.features, self.reader.axes):
            self.seen.clear()  # what was read while the block was traced had other sizes

    def _left_out(self) -> str:
        """The arguments of the forward that may be missing, as an error ends."""
        arguments = list(inspect.signature(type(self.block).forward).parameters.values())[2:]
        missing = [a.name for a in arguments if a.default is None and a.name not in self.arguments]
        return f"; of {', '.join(missing)} give what it needs, arguments={{{missing[-1]!r}: ...}}" if missing else ""

    def _read_by_a_tensor(self, node: Any) -> int | None:
        """How many features a matrix reads that is a tensor of the block."""
        place, axis = _MATRICES.get(word_of(node), (0, 0))
        tensor = node.kwargs.get("weight") if place == 0 or len(node.args) <= place else node.args[place]
        if place == 0 or getattr(tensor, "op", "") != "get_attr":
            return None
        shape = self.reader.tensor(tensor.target).shape
        return int(shape[axis]) if len(shape) == 2 else None

    def _traced(self) -> Any:
        """What torch.fx lists; modules with a rule are left whole, conditions on sizes are decided."""
        fx, torch = import_module("torch.fx"), import_module("torch")
        has_gradients = torch.is_grad_enabled()
        outer, writing = self, _proxies_that_write(fx, _precision(self.block))

        class Tracer(fx.Tracer):  # type: ignore[name-defined]
            proxy_buffer_attributes = True

            def proxy(self, node: Any) -> Any:
                return writing(node, self)

            def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
                alone = _of_the_state_alone(root_fn, outer.arguments)
                return alone, [self.root, self.create_proxy("placeholder", "x", (), {})]

            def create_node(self, *given: Any, **options: Any) -> Any:
                if has_gradients and not torch.is_grad_enabled():
                    outer.reader.remark(STOPPED)
                return super().create_node(*given, **options)

            def is_leaf_module(self, module: Any, name: str) -> bool:
                return rule_of(module, None) is not None or super().is_leaf_module(module, name)

            def call_module(self, module: Any, forward: Any, args: Any, kwargs: Any) -> Any:
                inner = unwrapped(module)  # a submodule may be compiled by itself
                return (
                    inner(*args, **kwargs)
                    if inner is not module
                    else super().call_module(module, forward, args, kwargs)
                )

            def to_bool(self, obj: Any) -> bool:
                found = outer.known_at(obj.node, self.graph, condition=True)
                unknown = _has_values((found,)) or is_tensor(found)
                return bool(super().to_bool(obj)) if unknown else bool(found)  # the former says why not

            def iter(self, obj: Any) -> Any:
                found = outer.known_at(obj.node, self.graph)
                return iter([obj[i] for i in range(len(found))]) if isinstance(found, tuple) else super().iter(obj)

            def index(self, obj: Any) -> int:
                found = outer.known_at(obj.node, self.graph)
                if isinstance(found, (int, sp.Integer)):
                    return int(found)
                raise TypeError("a whole number is asked for that depends on the batch or on values of tensors")

            def size(self, obj: Any) -> Any:
                """What a size of the state is, or anything else as it is."""
                if not isinstance(obj, fx.Proxy):
                    return obj
                found = outer.known_at(obj.node, self.graph)
                return int(found) if isinstance(found, (int, sp.Integer)) else found

        tracer = Tracer()
        try:
            with whole_sizes(tracer.size), own_gradients_said(self.reader.remark):
                return _still(lambda: tracer.trace(self.block), f"{type(self.block).__name__} draws random numbers")
        except (RandomNumbers, Unread):
            raise
        except Undecided as error:
            raise ValueError(f"{type(self.block).__name__} cannot be traced: {error}") from error
        except Exception as error:  # whatever a module's own code raises on symbolic values
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if "NoneType" in reason:
                raise ValueError(
                    f"{type(self.block).__name__} cannot be traced: it uses what is None ({reason}){self._left_out()}"
                ) from error
            raise ValueError(
                f"{type(self.block).__name__} cannot be traced: {reason}; its forward must not branch on values of tensors, "
                "nor make tensors whose size is the batch's"
            ) from error


def _of_the_state_alone(call: Callable[..., Any], given: Mapping[str, Any]) -> Callable[..., Any]:
    """The forward as a function of the module and its first tensor; the others are given, or have their defaults.

    Raises
    ------
    Undecided
        If the forward reads no tensor by position, needs more than are given, or does not know one that is.
    """
    _, *arguments = inspect.signature(call).parameters.values()
    if not arguments or arguments[0].kind in (arguments[0].KEYWORD_ONLY, arguments[0].VAR_KEYWORD):
        raise Undecided("its forward takes no tensor by position; wrap it in a module that takes the state")
    several = {a.name: a for a in arguments[1:] if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}
    for name in given:
        others = any(a.kind == a.VAR_KEYWORD for a in arguments)
        if name not in several and (not others or get_close_matches(name, several)):
            raise Undecided(unknown("argument of its forward beside the state", name, several))
    needed = [name for name, a in several.items() if a.default is a.empty and name not in given]
    if needed:
        raise Undecided(
            f"its forward needs {needed[0]} beside the state; give it, arguments={{{needed[0]!r}: ...}}, or wrap the block in a module that takes "
            "the state only"
        )
    return lambda module, x: call(module, x, **given)


@contextmanager
def _attributes(plain: Any) -> Iterator[None]:
    """Modules hold their own tensors meanwhile; torch.fx puts nodes in their place while it traces."""
    module = import_module("torch.nn").Module
    while_tracing, module.__getattr__ = module.__getattr__, plain
    try:
        yield
    finally:
        module.__getattr__ = while_tracing


def _proxies_that_write(fx: Any, precision: Any) -> Any:
    """Proxies whose ``+=`` is listed as such, while torch.fx lists a sum, which leaves the first tensor as it was; sizes are numbers."""

    def method(word: str) -> Any:
        return lambda self, other: self.tracer.create_proxy("call_function", getattr(operator, word), (self, other), {})

    methods = {f"__{word}__": method(word) for word in ("iadd", "isub", "imul", "itruediv", "ipow")}
    methods["__index__"] = lambda self: self.tracer.index(self)
    methods["__len__"] = lambda self: len(list(self.tracer.iter(self)))
    attribute = type("Attribute", (fx.proxy.Attribute,), methods)

    def asked(self: Any, name: str) -> Any:
        return precision if name == "dtype" else attribute(self, name)

    return type("Proxy", (fx.Proxy,), {**methods, "__getattr__": asked})


def _precision(block: Any) -> Any:
    """That of the block's own tensors, which its code may ask of the state."""
    own = (p.dtype for p in block.parameters() if p.is_floating_point())
    return next(own, import_module("torch").get_default_dtype())


def _has_values(arguments: Iterable[Any]) -> bool:
    return any(isinstance(a, Value) or (isinstance(a, (tuple, list)) and _has_values(a)) for a in arguments)


def _plain(node: Any, block: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Arithmetic of sizes and of tensors that are given, as PyTorch does it; one that the forward makes may change in place."""
    word = word_of(node)
    if arguments and is_tensor(arguments[0]) and writes(word, options):
        if storage(node.args[0], block).op != "call_function":
            raise ValueError("it changes a tensor of the block in place")
        arguments = (
            arguments[0].clone(),
            *arguments[1:],
        )  # the former one may be asked for again while the block is traced
    call = getattr(arguments[0], word) if node.op == "call_method" else node.target
    rest = for_all_inputs(word, arguments[1:] if node.op == "call_method" else arguments)
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
    """The states of the generators that a forward may draw from, those of graphics cards where these are in use."""
    torch = import_module("torch")
    numpy: Any = np.random.get_state()  # noqa: NPY002
    cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    states = [bytes(state.tolist()) for state in (torch.get_rng_state(), *cards)]
    return *states, random.getstate(), bytes(numpy[1]), numpy[2]


def _called(target: Any) -> Callable[..., Any]:
    rule = FUNCTIONS.get(target.strip("_")) if isinstance(target, str) else function_rule(target)
    if rule is None:
        raise ValueError("it has no rule; write the layer by hand with derivations.Network")
    return rule
