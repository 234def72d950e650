r"""What an activation is: a named function of one real variable, differentiated almost everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.core.function import AppliedUndef

from derivations.constants import named
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require, shown
from derivations.piecewise import Piece, analyse, breakpoints, canonical, join, pieces
from derivations.piecewise.cases import outermost
from derivations.symbols import require_free_names, state


@dataclass(frozen=True)
class Activation:
    r"""A named activation function :math:`\varphi : \mathbb{R} \to \mathbb{R}`.

    The expression is kept on a real symbol without a sign, so that no branch of a kink is
    ever folded away; :meth:`__call__` substitutes any argument.

    Parameters
    ----------
    name : str
        The name in the field: ``"relu"``, ``"gelu"``; for a free expression its text.
    expr : Expr
        The formula in ``variable``; other symbols in it are parameters.
    variable : Symbol
        The argument, real.
    rates : tuple of pairs
        Small parameters of the formula and their rates p: at n neurons each is :math:`n^{-p}` (:mod:`derivations.activations.shaped`).

    Raises
    ------
    DerivationError
        If the points at which a piecewise formula changes are not all known, or the variable is declared to be more than real.

    Examples
    --------
    >>> square = Activation("square", state**2)
    >>> square(3), square.derivative(1)
    (9, 2*x)
    """

    name: str
    expr: sp.Expr
    variable: sp.Symbol = field(default=state)
    rates: tuple[tuple[sp.Symbol, sp.Expr], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        require("the name of an activation", self.name, str, "a text")
        _require_plain(self.variable)
        expr = exact_decimals(self.expr)
        if not isinstance(expr, sp.Expr):
            raise DerivationError(f"the formula of an activation must be a SymPy expression, got {shown(self.expr)}")
        object.__setattr__(self, "expr", named(expr, every=True))

    @classmethod
    def held(cls, name: str, make: Callable[[], Activation]) -> Activation:
        """An activation in the common argument whose formula is made when it is first read: of those with a name most never are.

        Examples
        --------
        >>> Activation.held("square", lambda: Activation("square", state**2)).expr
        x**2
        """
        found = object.__new__(cls)
        found.__dict__.update(name=name, variable=state, rates=(), _make=make)
        return found

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            if name != "expr" or "_make" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            made = self.__dict__["_make"]().expr
            object.__setattr__(self, "expr", made)
            return made

    def __getstate__(self) -> dict[str, object]:
        return {"expr": self.expr, **{name: value for name, value in self.__dict__.items() if name != "_make"}}

    def xreplace(self, rule: Mapping[sp.Expr, sp.Expr]) -> Activation:
        """The function with other symbols, or numbers in their place."""
        return replace(self, expr=self.expr.xreplace(dict(rule)))

    def __call__(self, argument: object) -> sp.Expr:
        """Value at an expression or number; at a number at which the formula has only a limit, that limit."""
        at = exact_decimals(argument)
        require(f"the argument of {self.name}", at, sp.Expr, "a number or an expression")
        value = self._composed(at)
        if at.is_number and not self.parameters and value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            limit = next((p.limit for p in analyse(self.expr, self.variable).removable if p.value == at), None)
            return value if limit is None else limit
        return value

    def _composed(self, at: sp.Expr) -> sp.Expr:
        """The formula at an expression; kinks of kinks are folded by SymPy, which solves conditions and is lost inside of a layer's nodes."""
        if not at.has(sp.Piecewise):
            return self.expr.subs(self.variable, at)
        names = {node: sp.Dummy(real=True) for node in outermost(at)}
        value = self.expr.subs(self.variable, at.xreplace(names))
        return value.xreplace({name: node for node, name in names.items()})

    def __str__(self) -> str:
        return self.name

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the formula other than its argument."""
        return frozenset(self.expr.free_symbols) - {self.variable}

    @property
    def kinks(self) -> tuple[sp.Expr, ...]:
        """Breakpoints of the formula, in increasing order."""
        return breakpoints(self.expr, self.variable)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The smooth pieces, from left to right."""
        return pieces(self.expr, self.variable)

    @property
    def coefficients(self) -> tuple[tuple[sp.Expr, ...], ...] | None:
        """Of a piecewise polynomial, of each piece from the constant on; None of another function."""
        if not all(part.expr.is_polynomial(self.variable) for part in self.pieces):
            return None
        return tuple(tuple(sp.Poly(part.expr, self.variable).all_coeffs()[::-1]) for part in self.pieces)

    def derivative(self, order: int = 1) -> sp.Expr:
        """Derivative of the given order, piece by piece (what a kink adds is a null set)."""
        parts = tuple(Piece(p.left, p.right, sp.diff(p.expr, self.variable, order)) for p in self.pieces)
        return join(parts, self.variable)


def exact(number: object) -> sp.Expr:
    """A real coefficient without rounding: floats are read as decimals (:mod:`derivations.decimals`), symbols are parameters.

    Raises
    ------
    DerivationError
        If it is not a finite real number or expression, or depends on the argument of activations.

    Examples
    --------
    >>> exact(0.1), exact(sp.sqrt(2))
    (1/10, sqrt(2))
    """
    try:
        expr = exact_decimals(number)
    except (sp.SympifyError, TypeError) as error:
        raise DerivationError(f"a coefficient must be a real number or expression, got {number!r}") from error
    if not isinstance(expr, sp.Expr) or expr.has(state, sp.nan) or False in (expr.is_finite, expr.is_real):
        raise DerivationError(f"a coefficient must be finite, real and free of {state}, got {expr}")
    return expr


def applicable(family: Callable[..., Activation]) -> Callable[..., Any]:
    """A family of activations whose members can be applied at once: ``family(parameters)(body)`` is ``family(body, parameters)``, as in formulas.

    A body depends on the state x, of which parameters are free.
    """

    @wraps(family)
    def made(*given: object, **named: object) -> Any:
        if given and isinstance(given[0], sp.Expr) and given[0].has(state):
            return family(*given[1:], **named)(given[0])
        return family(*given, **named)

    return made


def from_expression(given: object, shaped: bool = False) -> Activation:
    """The activation of a SymPy expression in one symbol, or one that is there already: :func:`derivations.as_activation` for those two.

    Raises
    ------
    DerivationError
        If the object is no expression, its argument is not clear, or that is declared to be more than real.

    Examples
    --------
    >>> from_expression(sp.Symbol("y") ** 2 + 1).expr
    x**2 + 1
    """
    require("shaped", shaped, bool, "True or False")
    if isinstance(given, Activation):
        if given.rates and not shaped:
            raise DerivationError(
                f"{given} tends to a linear function as the width grows, and here the depth grows at a width of its own; choose MLP, ShapedMLP "
                "or PreNormResNet, or a Network whose regime has its rates: Regime(rates=activation.rates, depth=1)"
            )
        return _with_free_names(given)
    _require_shallow(given)
    try:
        expr = exact_decimals(given)
    except (sp.SympifyError, TypeError) as error:
        raise DerivationError(
            f"an activation must be an Activation or a SymPy expression in one symbol, got {shown(given)}{_called(given)}"
        ) from error
    if not isinstance(expr, sp.Expr) or expr.has(sp.I, sp.nan, sp.oo, -sp.oo, sp.zoo):
        raise DerivationError(f"an activation must be a finite real-valued expression, got {shown(expr)}")
    if unknown := expr.atoms(AppliedUndef):
        raise DerivationError(
            f"{min(unknown, key=str)} has no formula, and a limit depends on it; give the activation itself"
        )
    names = sorted(expr.free_symbols, key=lambda s: (s.name != "x", s.name))
    if len(names) > 1 and names[0].name != "x":
        raise DerivationError(
            f"an activation must be a function of one variable, got {expr} in {', '.join(s.name for s in names)}; "
            "call the argument x, the others are then parameters"
        )
    if names:
        _require_plain(names[0])
    inside = expr.subs(names[0], state) if names else expr
    return _with_free_names(Activation(str(inside), inside))


_DEEPEST = 80  # levels of a formula: SymPy works through them by recursion


def _called(given: object) -> str:
    """What to do about a family of activations that was not called."""
    name, home = getattr(given, "__name__", ""), getattr(given, "__module__", "")
    return f"; {name} has parameters, call it, such as {name}()" if home.startswith("derivations.activations") else ""


def _require_shallow(given: object) -> None:
    """Refuse a formula that is nested so deep that Python's stack would not hold the work on it."""
    level, depth = [given] if isinstance(given, sp.Basic) else [], 0
    while level:
        level, depth = list(dict.fromkeys(arg for node in level for arg in node.args)), depth + 1
        if depth > _DEEPEST:
            raise DerivationError(
                f"the formula of an activation is nested more than {_DEEPEST} levels deep; write it with fewer functions of functions"
            )


def _with_free_names(activation: Activation) -> Activation:
    own = (activation.variable, *(size for size, _ in activation.rates))
    rest = activation.expr.xreplace({symbol: sp.Dummy(real=True) for symbol in own})
    require_free_names(f"the activation {activation}", rest, timeless=True)
    return activation


def _require_plain(variable: sp.Symbol) -> None:
    """Refuse an argument with assumptions from which a kink may have been folded away, such as a sign."""
    if not isinstance(variable, sp.Symbol):
        raise DerivationError(f"the variable of an activation must be a symbol, got {shown(variable)}")
    real = state.assumptions0
    more = [name for name, holds in variable.assumptions0.items() if real.get(name) is not holds]
    if more:
        assumption = next((name for name in _SIGNS if name in more and variable.assumptions0[name]), more[0])
        raise DerivationError(
            f"the argument {variable} of an activation is declared {assumption}, so that a kink may have been folded away; "
            f"declare the variable real: Symbol({variable.name!r}, real=True)"
        )


_SIGNS = ("positive", "negative", "nonnegative", "nonpositive", "zero", "integer", "rational", "nonzero", "imaginary")


def with_kinks(name: str, formula: Callable[..., sp.Expr], *parameters: sp.Expr) -> Activation:
    """The activation of a formula in max, min and abs, kept as one ``Piecewise``; its name shows parameters that are given.

    Examples
    --------
    >>> with_kinks("capped", lambda u, top: sp.Min(u, top), sp.Integer(1))
    Activation(name='capped(1)', expr=Piecewise((x, x <= 1), (1, True)), variable=x)
    """
    title = f"{name}({', '.join(map(str, parameters))})" if parameters else name
    return Activation(title, canonical(formula(state, *parameters), state))
