r"""What limits of all kinds share: they show their equation, are written as JSON and read back, and check what they are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Self

import sympy as sp

from derivations.constants import named
from derivations.decimals import exact_decimals
from derivations.entries import is_to_rebuild, rebuilt_entry
from derivations.errors import DerivationError, shown
from derivations.interchange import read_limit, written
from derivations.notation.means import lines_with_named_means
from derivations.notation.printed import Shown
from derivations.notation.shares import lines_with_named_shares
from derivations.notation.steps import Line

#: What a limit of each kind is made of.
_FIELDS = {
    "Diffusion": ("states", "drift", "covariance", "domain", "time", "sigma"),
    "NeuronDiffusion": ("neuron", "neuron_drift", "neuron_covariance", "width", "time"),
    "Flow": ("states", "drift", "time"),
    "GramDiffusion": ("states", "drift", "covariance", "domain", "time", "sigma", "matrix", "rank", "centred"),
    "CollapseDiffusion": (
        "states", "drift", "covariance", "domain", "time", "sigma", "start", "curvature", "mean_rate", "variance_rate", "gap",
    ),
    "KernelFlow": ("states", "drift", "time", "means", "fixed", "second"),
}  # fmt: skip
#: Kinds that are read by the class above them: where each is defined, and that class.
_FURTHER = {
    "GramDiffusion": ("derivations.limits.gram", "Diffusion"),
    "CollapseDiffusion": ("derivations.limits.collapse", "Diffusion"),
    "KernelFlow": ("derivations.limits.width", "Flow"),
}
#: Characters of an equation that is shown in one line.
LONGEST = 160


class Equation(Shown):
    """What limits of all kinds share: they show their equation."""

    states: Any

    @property
    def said(self) -> tuple[Line, ...]:
        """The equation with names for shares of attention and for means that come more than once."""
        return lines_with_named_means(lines_with_named_shares(self.lines))

    @property
    def headline(self) -> str:
        """The equation where it is short, else how many states it has."""
        text = "; ".join(str(self).splitlines())
        return text if len(text) <= LONGEST else f"{len(self.states)} states, {self.states[0]} to {self.states[-1]}"

    def to_json(self) -> str:
        r"""As JSON: states, drift and covariance, each expression as SymPy's source and as LaTeX.

        Examples
        --------
        >>> from derivations import Diffusion
        >>> from derivations.symbols import state
        >>> limit = Diffusion((state,), [-state / 2], [[state**2]])
        >>> Diffusion.from_json(limit.to_json()) == limit
        True
        """
        return json.dumps(self.structured(), indent=2, ensure_ascii=False) + "\n"

    def structured(self) -> dict[str, Any]:
        """The same as a dictionary of texts."""
        kind = next(k for k in type(self).__mro__ if k.__name__ in _FIELDS)
        return written(kind.__name__, {name: getattr(self, name) for name in _FIELDS[kind.__name__]})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a limit back from :meth:`to_json`, or from that of a derivation; text in it is parsed, never run.

        The equation of a Gram matrix comes back as one, with its matrix; so do a flow of kernels and the diffusion of a collapse.

        Raises
        ------
        DerivationError
            If it holds no such limit, or anything but formulas.
        """
        kind, parts = read_limit(text, _FIELDS)
        home, reader = _FURTHER.get(kind, ("", kind))
        if home:
            import_module(home)
        made = next((k for k in (cls, *cls.__subclasses__()) if k.__name__ == kind), None)
        if made is None:
            raise DerivationError(f"this JSON holds a {kind}, not a {cls.__name__}; read it with {reader}.from_json")
        try:
            return made(**parts)
        except TypeError as error:
            raise DerivationError(f"this JSON holds no whole {kind}: {error}") from error


#: What SymPy calls infinite or undefined.
_INFINITE = (sp.oo, -sp.oo, sp.zoo, sp.nan)


def symbols_of(states: Any) -> tuple[sp.Symbol, ...]:
    """The states of a limit as a tuple."""
    found = tuple(states) if isinstance(states, Iterable) else (None,)
    if not all(isinstance(s, sp.Symbol) for s in found):
        raise DerivationError(f"the states must be a sequence of symbols, got {shown(states)}")
    return found


def matrix_of(what: str, given: Any) -> sp.ImmutableMatrix:
    """Coefficients as an exact matrix of formulas."""
    try:
        if any(entry is None or isinstance(entry, str) for entry in sp.flatten([given])):
            raise TypeError  # text is never evaluated
        matrix = sp.ImmutableMatrix(given).applyfunc(exact_decimals).applyfunc(named)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise DerivationError(f"{what} must be a matrix of numbers and expressions, got {shown(given)}") from error
    if any(not isinstance(entry, sp.Expr) or _is_infinite(entry) for entry in matrix):
        raise DerivationError(f"{what} must have finite entries, got {shown(given)}")
    return rebuilt(matrix)


def coefficients(what: str, given: Any) -> sp.ImmutableMatrix:
    """The same, where an exact matrix that cannot be changed is taken as it is: a derived one may be long."""
    kept = isinstance(given, sp.ImmutableMatrix) and not given.has(sp.Float, *_INFINITE)
    return rebuilt(given) if kept else matrix_of(what, given)


def rebuilt(matrix: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    """The same, put together anew where a number stands before a sum: SymPy multiplies it out whenever it does so, as on the way through a pickle.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> kept = sp.Mul(2, x + 1, evaluate=False)
    >>> rebuilt(sp.ImmutableMatrix([kept]))
    Matrix([[2*x + 2]])
    """
    return matrix.applyfunc(rebuilt_entry) if is_to_rebuild(matrix) else matrix


def _is_infinite(entry: sp.Expr) -> bool:
    """Whether it is infinite or no number, which it can only be where something in it is; to ask a long formula itself takes long."""
    if not entry.has(*_INFINITE) and not any(symbol.is_infinite for symbol in entry.free_symbols):
        return False
    return bool(entry.is_infinite) or bool(entry.has(sp.nan, sp.zoo))
