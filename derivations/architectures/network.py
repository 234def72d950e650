r"""Any network, said as one layer's formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import sympy as sp

from derivations.architectures.base import Recipe, checked_inputs, checked_width
from derivations.architectures.regime import Regime
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, shown
from derivations.language import Weights
from derivations.symbols import depth, require_free_names, state, step, time


@dataclass(frozen=True)
class Network(Recipe):
    r"""A network whose layers are given by a formula in the language of :mod:`derivations.language`.

    Parameters
    ----------
    layer : callable, Expr or str
        From the state x of a generic neuron to its new state, in ``epsilon``, matrices applied, averages and factors; kept as
        the expression in ``symbols.state``. In place of ``epsilon`` it may have ``symbols.depth``, the number of layers in a unit of time.
        A text is read by :func:`~derivations.parse_layer`.
    width : int, Symbol or oo
        The number n of neurons.
    inputs : int
        The number m of network inputs followed jointly; they share weights.
    parameters : sequence of Symbol
        Symbols that occur besides.
    positions : int or tuple of int
        How many positions (tokens, pixels) an input has, or the sizes of their grid; the state has one coordinate for each input and
        position, positions in row-major order.
    regime : Regime, optional
        How it is taken to its limit: rates of small parameters and of the depth where these grow with the width; by default the depth
        grows alone.

    Raises
    ------
    DerivationError
        For a symbol that is not declared, numbers of neurons that do not fit, or what is no expression.

    Examples
    --------
    >>> from derivations import epsilon, relu, rms_norm
    >>> A, B = Weights("A"), Weights("B", out=16)
    >>> net = Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=4, inputs=2)
    >>> print(net.layer)
    varepsilon*A(Piecewise((0, B(x/sqrt(average(x**2))) <= 0), (B(x/sqrt(average(x**2))), True))) + x
    >>> Network("x + eps*A(relu(B(rms_norm(x), out=16)))", width=4, inputs=2) == net
    True
    """

    layer: sp.Expr
    _: KW_ONLY
    width: sp.Expr
    inputs: int = 1
    parameters: Sequence[sp.Symbol] = field(default=())
    positions: tuple[int, ...] = ()  # a number becomes a tuple of one
    regime: Regime = field(default=Regime())

    def __post_init__(self) -> None:
        said: object = self.layer
        if isinstance(said, Callable):  # type: ignore[arg-type]
            said = _said(said)  # type: ignore[arg-type]
        elif isinstance(said, str):
            from derivations.language.text import parse_layer

            said = parse_layer(said, tuple(self.parameters) if isinstance(self.parameters, Iterable) else ())
        try:
            expr = exact_decimals(said)
        except sp.SympifyError:
            expr = None
        if not isinstance(expr, sp.Expr):
            raise DerivationError(f"a layer must give the new state as an expression in x, got {said!r}")
        if expr.has(sp.I, sp.nan, sp.zoo, sp.oo):
            raise DerivationError(f"a layer must be a real, finite formula, got {expr}")
        object.__setattr__(self, "layer", expr)
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        parameters = tuple(self.parameters) if isinstance(self.parameters, Iterable) else (None,)
        if not all(isinstance(p, sp.Symbol) for p in parameters):
            raise DerivationError(f"parameters must be a sequence of symbols, got {shown(self.parameters)}")
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "positions", grid_of(self.positions))
        for parameter in self.parameters:
            require_free_names("the layer", sp.sympify(parameter), timeless=True)
        if not isinstance(self.regime, Regime):
            raise DerivationError(f"regime must be a Regime, got {self.regime!r}; e.g. regime=Regime(depth=1)")
        object.__setattr__(self, "regime", self.regime.at(self.width))
        object.__setattr__(self, "layer", expr.xreplace({depth: self.regime.layers}))
        self.program()

    @property
    def declared(self) -> frozenset[sp.Symbol]:
        """Parameters, and small parameters whose rates the regime says."""
        return frozenset({*self.parameters, *(size for size, _ in self.regime.rates)})

    def xreplace(self, rule: Mapping[sp.Expr, sp.Expr]) -> Network:
        """The network with other symbols, or numbers in their place; symbols that come in are declared."""
        come = set().union(*(value.free_symbols for value in rule.values())) - set(self.parameters)
        parameters = (*self.parameters, *sorted(come, key=str))
        net = super(Network, replace(self, parameters=parameters)).xreplace(rule)
        return replace(net, parameters=tuple(p for p in parameters if p not in rule))

    def expression(self) -> sp.Expr:
        """The new state."""
        return self.layer

    @classmethod
    def example(cls) -> Network:
        """A pre-norm block with two matrices and a gate of width 3."""
        a, b, c = Weights("A"), Weights("B", out=2), Weights("C", out=2)
        return cls(lambda x: x + step * a(sp.tanh(b(x)) * c(x)), width=3)


def _said(layer: Callable[[sp.Expr], object]) -> object:
    """What a function says of a generic neuron; an error in it is reported as one of the layer."""
    try:
        return layer(state)
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DerivationError):
            raise
        raise DerivationError(
            f"the layer is a function from the state x of one neuron to its new state, and it failed: {error}; matrices are Weights "
            "applied to a body, such as lambda x: x + epsilon * A(relu(x))"
        ) from error


def grid_of(positions: object) -> tuple[int, ...]:
    """The sizes of a grid of positions; a number is a line."""
    sizes = positions if isinstance(positions, tuple) else (positions,)
    if any(isinstance(p, bool) or not isinstance(p, int) or p < 1 for p in sizes):
        raise DerivationError(
            f"positions must be a positive whole number, or a tuple of them for a grid, got {positions!r}"
        )
    return sizes


def with_free_time(recipe: Recipe) -> Recipe:
    """A recipe whose small parameter is tied to the width with that parameter free, as the depth alone grows."""
    regime, expression = recipe.regime, recipe.expression()
    if not regime.is_joint or any(size != step for size, _ in regime.rates) or not expression.has(step):
        return recipe
    if isinstance(recipe, Network):
        return replace(recipe, regime=Regime())
    used = expression.free_symbols.union(*(w.parameters for w in expression.atoms(Weights)))
    parameters = tuple(sorted(used - {state, step, time, *recipe.width.free_symbols}, key=str))
    return Network(
        expression, width=recipe.width, inputs=recipe.inputs, parameters=parameters, positions=recipe.positions
    )
