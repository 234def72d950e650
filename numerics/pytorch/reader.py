r"""What is known while a traced block is read: its width, the matrices met so far, and what was simplified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

import sympy as sp

from derivations import Weights
from derivations.language.nodes import Applied, Node
from derivations.symbols import state
from derivations.symbols import width as n
from numerics.pytorch.initialisers import Draw, disagreement, measured, named


@dataclass(frozen=True)
class Value:
    """What a node of the graph is: the number of a generic neuron, how many neurons, and whether it is the state itself."""

    expr: sp.Expr
    size: int | None
    skip: bool = False

    def map(self, function: Callable[[sp.Expr], sp.Expr]) -> Value:
        """A function of each neuron."""
        return Value(function(self.expr), self.size)


class Reader:
    """Reads one block; the rules ask it for matrices and numbers."""

    def __init__(
        self,
        block: Any,
        width: sp.Expr | None,
        initialiser: str | float | Mapping[str, str | float],
        fresh: Callable[[], Any] | None,
        copies: int,
        scale: sp.Expr,
        exact_law: bool,
    ) -> None:
        self.block, self.given, self.initialiser, self.scale = block, width, initialiser, scale
        self.exact_law = exact_law
        self.fresh, self.copies = fresh, copies
        self.features: int | None = None
        self.modules: dict[str, Draw] = {}
        self.remarks: list[str] = []
        self._names: dict[str, str] = {}  # of matrices, by the storage of their weights
        self.factors = 0  # drawn by operations, which have no name of their own

    @property
    def width(self) -> sp.Expr:
        """The network's width."""
        return sp.Integer(self.features) if self.given is None else self.given

    def placeholder(self, node: Any, first: bool) -> Value | None:
        """The state, or the default of an argument that a layer leaves out."""
        if first:
            return Value(state, None, skip=True)
        if not node.args:
            raise ValueError(
                f"the block needs a second argument, {node.target}; wrap it in a module that takes the state only"
            )
        return node.args[0]

    def value(self, said: Any, where: str) -> Value:
        """A value of one neuron; numbers are constants."""
        if isinstance(said, Value):
            return said
        if isinstance(said, (int, float)) and not isinstance(said, bool):
            return Value(number(said), None)
        if isinstance(said, tuple) and len(said) == 1:
            return self.value(said[0], where)
        raise ValueError(f"{where} is {type(said).__name__}, where one tensor of features was expected")

    def sized(self, value: Value, size: int, where: str) -> Value:
        """The same with its number of features checked; the first to say it says it for the state."""
        if value.size is None and value.expr.has(state):
            if self.features is None:
                self.features = size
            value = replace(value, size=self.features)
        if value.size is not None and value.size != size:
            raise ValueError(f"{where} reads {size} features and gets {value.size}; the block's shapes do not fit")
        return replace(value, size=size)

    def part(self, size: int) -> sp.Expr:
        """A number of features as a multiple of the width."""
        assert self.features is not None
        return sp.Rational(size, self.features) * n

    def matrix(self, name: str, module: Any, body: Value) -> Value:
        """A linear module applied."""
        body = self.sized(body, module.in_features, name)
        draw = self._draw(name, module)
        self.modules[name] = draw
        shared = self._names.setdefault(str(module.weight.data_ptr()), identifier(name))
        weights = Weights(
            shared,
            out=self.part(module.out_features),
            variance=draw.variance,
            bias_variance=draw.bias_variance,
            law=self._law(name, draw),
        )
        inner = next((a for a in body.expr.atoms(Applied) if a.weights == weights), None)
        if inner is not None:
            self.refuse(
                name, "reads what it has put out itself: weights that are tied over depth have no law of this kind"
            )
        return Value(weights(body.expr), module.out_features)

    def _law(self, name: str, draw: Draw) -> str:
        if draw.law != "uniform" or self.exact_law:
            return draw.law
        self.remark(
            "uniform weights are taken as Gaussian ones of the same variance, which is exact as the width grows; exact_law=True keeps them"
        )
        return "gaussian"

    def _draw(self, name: str, module: Any) -> Draw:
        said = self._said(name)
        if said == "measured":
            return self._measured(name)
        read = self.width * sp.Rational(module.in_features, self.features)
        draw = named(said, read, sp.Rational(module.out_features, module.in_features), module.bias is not None)
        why = disagreement(draw, module.weight.detach().cpu().numpy()) if said == "default" else None
        if why is not None:
            self.refuse(
                name,
                f'does not look like PyTorch\'s default: {why}; name its initialiser, or give initialiser="measured"',
            )
        return draw

    def _said(self, name: str) -> str | float:
        if not isinstance(self.initialiser, Mapping):
            return self.initialiser
        for key in (name, ""):
            if key in self.initialiser:
                return self.initialiser[key]
        raise ValueError(f'no initialiser is given for {name}; add it, or "" for all others')

    def _measured(self, name: str) -> Draw:
        modules = [copy.get_submodule(name) for copy in self._copies]
        weights = [m.weight.detach().cpu().numpy() for m in modules]
        biases = [m.bias.detach().cpu().numpy() for m in modules if m.bias is not None]
        try:
            return measured(weights, biases)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @cached_property
    def _copies(self) -> list[Any]:
        if self.fresh is None:
            self.remarks.append(
                "weights were measured on one copy; give a callable that makes the block to measure fresh ones"
            )
            return [self.block]
        return [self.block, *(self.fresh() for _ in range(self.copies - 1))]

    def constant(self, name: str) -> Value:
        """A tensor of the module that is one number for all neurons, as gains are before training."""
        holder, _, last = name.rpartition(".")
        tensor = getattr(self.block.get_submodule(holder), last)
        return self.uniform(name, tensor)

    def uniform(self, name: str, tensor: Any) -> Value:
        """A tensor whose entries are all one number."""
        entries = tensor.detach().reshape(-1)
        if entries.numel() == 0 or bool((entries != entries[0]).any()):
            self.refuse(
                name,
                "holds numbers that differ between neurons; only a gain that is the same for all, as before training, is known",
            )
        return Value(number(float(entries[0])), None)

    def dropped(self, name: str) -> sp.Symbol:
        """The name of a module's i.i.d. factors."""
        return sp.Symbol(identifier(name))

    def remark(self, text: str) -> None:
        """What the reader of the result should know, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def refuse(self, name: str, reason: str) -> NoReturn:
        """A module that has no limit of this kind."""
        raise ValueError(f"{name} ({type(self._module(name)).__name__}) {reason}")

    def _module(self, name: str) -> Any:
        try:
            return self.block.get_submodule(name)
        except AttributeError:
            return self.block.get_parameter(name) if name in dict(self.block.named_parameters()) else self.block

    def split(self, value: Value, sizes: list[int]) -> tuple[Value, ...]:
        """Parts of the neurons: rows of one matrix are independent, so its parts are independent matrices."""
        outer = [node for node in _outermost(value.expr)]
        if not all(isinstance(node, Applied) for node in outer) or value.expr.xreplace(
            {a: sp.S.One for a in outer}
        ).has(state):
            raise ValueError(
                "only what a linear module puts out can be cut into parts; cut it before it meets the state or an average"
            )
        parts = []
        for index, size in enumerate(sizes, 1):
            swap = {a: _with_name(a.weights, f"{a.weights.name}_{index}", self.part(size))(a.body) for a in outer}
            parts.append(Value(value.expr.xreplace(swap), size))
        return tuple(parts)

    def checked(self, expr: sp.Expr) -> sp.Expr:
        """The finished layer; a matrix must not be read whole and in parts."""
        names = {node.weights.name for node in expr.atoms(Applied)}
        for name in sorted(names):
            if any(f"{name}_{i}" in names for i in range(1, 9)):
                raise ValueError(
                    f"what {name} puts out is read whole and in parts; write the layer by hand with derivations.Network"
                )
        return expr


def _with_name(weights: Weights, name: str, out: sp.Expr) -> Weights:
    return Weights(name, out=out, variance=weights.variance, bias_variance=weights.bias_variance, law=weights.law)


def _outermost(expr: sp.Basic) -> set[Node]:
    if isinstance(expr, Node):
        return {expr}
    return set().union(*(_outermost(arg) for arg in expr.args)) if expr.args else set()


def identifier(name: str) -> str:
    """A dotted module name as the name of a matrix."""
    plain = name.replace(".", "_") or "W"
    return plain if plain.isidentifier() else f"W_{plain}"


def number(value: float) -> sp.Expr:
    """A float as the shortest decimal of seven digits, which is what single precision holds."""
    return sp.Rational(f"{value:.7g}")
