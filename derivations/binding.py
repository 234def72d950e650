r"""Bound variables of this project's SymPy nodes: dummies that look the same in every process, and substitution that renames.

A node that binds a variable, as :class:`sympy.Sum` does, must not confuse it with a symbol of the user's, however that one is
called. So the variable is a dummy. Its index is fixed, so that equal nodes made in different processes compare, hash, print and
pickle alike; SymPy numbers its own dummies from a million on. And what is put into a node may itself hold the dummy, taken
from another node's inside: then the node's own variable gets the next index.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import sympy as sp
from sympy.core.function import PoleError

#: Room for as many variables in one node; SymPy's own indices begin at a million.
_STRIDE = 1000


def bound_symbol(name: str, position: int = 1, level: int = 0, **assumptions: bool) -> sp.Dummy:
    """The dummy of that name, the same one in each process.

    Parameters
    ----------
    name : str
        As it is printed.
    position : int
        Among a node's variables, from 1 on.
    level : int
        0, unless what the node holds has the dummy of level 0 already.

    Examples
    --------
    >>> bound_symbol("z", real=True) == bound_symbol("z", real=True), bound_symbol("z") == sp.Symbol("z")
    (True, False)
    """
    return sp.Dummy(name, dummy_index=level * _STRIDE + position, **assumptions)


def bound_symbols(names: Iterable[str], taken: Iterable[sp.Basic], **assumptions: bool) -> tuple[sp.Dummy, ...]:
    """One dummy a name, of the least level at which none of them is taken."""
    names, taken, level = tuple(names), set(taken), 0
    while True:
        found = _of_level(names, level, **assumptions)
        if taken.isdisjoint(found):
            return found
        level += 1


@lru_cache(maxsize=1024)
def _of_level(names: tuple[str, ...], level: int, **assumptions: bool) -> tuple[sp.Dummy, ...]:
    return tuple(bound_symbol(name, k, level, **assumptions) for k, name in enumerate(names, 1))


@lru_cache(maxsize=1024)
def real_function(function: sp.Lambda) -> sp.Lambda:
    """A function of one real variable in the variable that all nodes use, so that equal functions compare equal.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> real_function(sp.Lambda(x, sp.tanh(x))) == real_function(sp.Lambda(y, sp.tanh(y)))
    True
    """
    (variable,) = function.variables
    (bound,) = bound_symbols(("z",), function.free_symbols, real=True)
    return sp.Lambda(bound, function.expr.xreplace({variable: bound}))


@lru_cache(maxsize=1024)
def opened(function: sp.Lambda) -> sp.Lambda:
    """The function in variables of its own, that no other function holds."""
    fresh = tuple(sp.Dummy(v.name, **v.assumptions0) for v in function.variables)
    return sp.Lambda(fresh, function.expr.xreplace(dict(zip(function.variables, fresh, strict=True))))


def printed_symbols(names: Iterable[str], expr: sp.Basic) -> tuple[sp.Symbol, ...]:
    """Symbols to print bound variables as: of these names, primed until no parameter of the expression is called so."""
    used = {symbol.name for symbol in expr.free_symbols}
    found = []
    for name in names:
        while name in used:
            name += "'"
        found.append(sp.Symbol(name, real=True))
    return tuple(found)


def taylor(expr: sp.Expr, x: sp.Symbol, terms: int) -> sp.Expr:
    """Taylor's polynomial at 0 with its order, by repeated differentiation.

    Raises
    ------
    PoleError
        If a derivative has no finite value there.
    """
    total, derivative = sp.S.Zero, expr
    for k in range(terms):
        value = _at_zero(derivative, x)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            raise PoleError(f"{expr} has no expansion in powers of {x} at 0")
        total += value * x**k / sp.factorial(k)
        derivative = derivative.diff(x)
    return total + sp.Order(x**terms)


def _at_zero(expr: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """The value at 0; nan where a node would have an infinite parameter there."""
    value = expr.subs(x, 0)
    return sp.nan if value.has(sp.nan, sp.zoo) else value.doit()


def leading_term(expr: sp.Expr, x: sp.Symbol, most: int = 8) -> sp.Expr:
    """The first term of Taylor's polynomial that is not 0."""
    derivative = expr
    for k in range(most):
        value = _at_zero(derivative, x)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            break
        if not value.is_zero:
            return value * x**k / sp.factorial(k)
        derivative = derivative.diff(x)
    raise PoleError(f"{expr} has no leading power of {x} at 0 that is known")


class Binding(sp.Expr):
    """A node with bound variables: ``subs`` and ``xreplace`` reach its parameters only, and capture nothing."""

    is_commutative = True

    @abstractmethod
    def _changed(self, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        """The node with a change applied to its parts, bound variables renamed to ones that nothing else holds."""

    def _may_hold(self, part: sp.Basic) -> bool:
        """Whether the part can occur in the node outside its bound variables."""
        return not part.free_symbols - self.free_symbols

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr:
        return self._changed(lambda part: part._subs(old, new)) if self._may_hold(old) else self

    def _xreplace(self, rule: dict[sp.Basic, sp.Basic]) -> tuple[sp.Expr, bool]:
        if self in rule:
            return rule[self], True
        # a transform of SymPy is a rule too, and has no list of what it replaces
        if isinstance(rule, Mapping):
            free = self.free_symbols
            if not any(part in free if part.is_Symbol else part.free_symbols <= free for part in rule):
                return self, False
        made = self._changed(lambda part: part.xreplace(rule))
        return made, made != self

    def _eval_nseries(self, x: sp.Symbol, n: int, logx: sp.Expr | None, cdir: int = 0) -> sp.Expr:
        return taylor(self, x, n)

    def _eval_as_leading_term(self, x: sp.Symbol, logx: sp.Expr | None = None, cdir: int = 0) -> sp.Expr:
        return leading_term(self, x)

    def _changed_arguments(self, change: Callable[[sp.Basic], sp.Basic]) -> tuple[sp.Basic, ...]:
        """The arguments after a change, functions opened."""
        made = []
        for argument in self.args:
            if isinstance(argument, sp.Lambda):
                function = opened(argument)
                made.append(sp.Lambda(function.variables, change(function.expr)))
            else:
                made.append(change(argument))
        return tuple(made)


def called(node: sp.Expr, printer: Any, function: str) -> str:
    """A call of an evaluating function with the node's text and its parameters; what only code can say is a parameter."""
    parts = {part: sp.Symbol(f"_{k}", real=True) for k, part in enumerate(_of_code(node))}
    said, back = node.xreplace(parts), {name: part for part, name in parts.items()}
    parameters = sorted(said.free_symbols, key=sp.default_sort_key)
    text = repr(sp.srepr(sp.Tuple(said, *parameters)))
    values = (printer._print(back.get(parameter, parameter)) for parameter in parameters)
    return f"{printer._module_format(function)}({', '.join([text, *values])})"


def _of_code(node: sp.Basic) -> list[sp.Basic]:
    """The outermost parts that are marked as ones of code, such as a value where a condition holds and another elsewhere."""
    walk, found = sp.preorder_traversal(node), list[sp.Basic]()
    for part in walk:
        if getattr(part, "is_of_code", False):
            walk.skip()
            found += [part] * (part not in found)
    return found
