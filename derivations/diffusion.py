r"""The value that flows through the engine: a diffusion or a deterministic flow.

All stochastic differentials here are Itô's. The Stratonovich form is a type of its own
(:class:`derivations.calculus.ito.Stratonovich`), never a flag.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import sympy as sp

from derivations.covariances import require_covariance, require_equal
from derivations.decimals import exact_decimals
from derivations.entries import CovarianceField, LazyCovariance, entry_of
from derivations.equations import (
    MOST,
    bracket_line,
    flow_lines,
    mean_line,
    neuron_lines,
    scalar_line,
    shortened,
    shown_root,
    stem,
)
from derivations.errors import DerivationError, require, shown
from derivations.interchange import read_limit, written
from derivations.notation.printed import Shown
from derivations.notation.steps import Line
from derivations.sums import CoordinateSum, coordinate_sum, written_out
from derivations.symbols import neuron_symbols, state, time

_MOST_STATES = 100_000  # that are written out one by one
#: What a limit of each kind is made of.
_FIELDS = {
    "Diffusion": ("states", "drift", "covariance", "domain", "time", "sigma"),
    "NeuronDiffusion": ("neuron", "neuron_drift", "neuron_covariance", "width", "time"),
    "Flow": ("states", "drift", "time"),
}
#: Characters of an equation that is shown in one line.
LONGEST = 160


@dataclass(frozen=True)
class Boundary:
    """One end of a one-dimensional state space and what the process does there."""

    point: sp.Expr
    reached: bool
    kind: str = ""


class Equation(Shown):
    """What limits of all kinds share: they show their equation."""

    states: Any

    @property
    def headline(self) -> str:
        """The equation where it is short, else how many states it has."""
        text = "; ".join(str(self).splitlines())
        return text if len(text) <= LONGEST else f"{len(self.states)} states, {self.states[0]} to {self.states[-1]}"

    def to_json(self) -> str:
        r"""As JSON: states, drift and covariance, each expression as SymPy's source and as LaTeX.

        Examples
        --------
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

        Raises
        ------
        DerivationError
            If it holds no such limit, or anything but formulas.
        """
        kind, parts = read_limit(text, _FIELDS)
        if kind != cls.__name__:
            own = f"{kind}.from_json" if cls.__name__ in _FIELDS else "the class that it names"
            raise DerivationError(f"this JSON holds a {kind}, not a {cls.__name__}; read it with {own}")
        try:
            return cls(**parts)
        except TypeError as error:
            raise DerivationError(f"this JSON holds no whole {kind}: {error}") from error


@dataclass(frozen=True, repr=False)
class Flow(Equation):
    r"""A deterministic limit :math:`\dot x = b(x, t)`.

    Parameters
    ----------
    states : tuple of Symbol
        The d coordinates.
    drift : Matrix, shape (d, 1)
        The velocity, a function of the states and of time, per unit of the limit's time.
    time : Symbol
        The limit's time.
    """

    states: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix
    time: sp.Symbol = field(default=time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", _symbols(self.states))
        if not isinstance(self.drift, sp.MatrixBase):
            object.__setattr__(self, "drift", _matrix("the drift", self.drift))
        if len(self.drift) != len(self.states):
            raise DerivationError(
                f"the drift of {len(self.states)} states must have as many entries, got {len(self.drift)}"
            )

    @property
    def lines(self) -> tuple[Line, ...]:
        """The velocity of each state."""
        return shortened(flow_lines(self.states[: MOST + 1], self.drift[: MOST + 1], self.time), len(self.states))

    @property
    def covariance(self) -> sp.ImmutableMatrix:
        """The zero matrix: a flow has no noise."""
        return sp.ImmutableMatrix.zeros(len(self.states))

    def entry(self, i: int, j: int) -> sp.Expr:
        """One entry of the covariance."""
        return sp.S.Zero

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the coefficients other than the states and time."""
        return frozenset(self.drift.free_symbols) - set(self.states) - {self.time}


#: What SymPy calls infinite or undefined.
_INFINITE = (sp.oo, -sp.oo, sp.zoo, sp.nan)


def _symbols(states: Any) -> tuple[sp.Symbol, ...]:
    """The states of a limit as a tuple."""
    found = tuple(states) if isinstance(states, Iterable) else (None,)
    if not all(isinstance(s, sp.Symbol) for s in found):
        raise DerivationError(f"the states must be a sequence of symbols, got {shown(states)}")
    return found


def _matrix(what: str, given: Any) -> sp.ImmutableMatrix:
    """Coefficients as an exact matrix of formulas."""
    try:
        if any(entry is None or isinstance(entry, str) for entry in sp.flatten([given])):
            raise TypeError("text is never evaluated")
        matrix = sp.ImmutableMatrix(given).applyfunc(exact_decimals)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise DerivationError(f"{what} must be a matrix of numbers and expressions, got {shown(given)}") from error
    if any(not isinstance(entry, sp.Expr) or _is_infinite(entry) for entry in matrix):
        raise DerivationError(f"{what} must have finite entries, got {shown(given)}")
    return matrix


def _is_infinite(entry: sp.Expr) -> bool:
    """Whether it is infinite or no number, which it can only be where something in it is; to ask a long formula itself takes long."""
    if not entry.has(*_INFINITE) and not any(symbol.is_infinite for symbol in entry.free_symbols):
        return False
    return bool(entry.is_infinite) or bool(entry.has(sp.nan, sp.zoo))


@dataclass(frozen=True, repr=False)
class Diffusion(Equation):
    r"""The Itô diffusion with drift b and covariance a.

    .. math:: \mathrm{d}X = b\,\mathrm{d}t + \sigma\,\mathrm{d}B, \qquad \sigma\sigma^\top = a .

    Its law depends on :math:`\sigma` only through a, so a is what is kept; a factor may be given beside it, or in its place, where it
    matters which Brownian motion drives what: for schemes of strong order, and where several states share one.

    Parameters
    ----------
    states : tuple of Symbol
        The d coordinates, real symbols.
    drift : Matrix, shape (d, 1)
        State per unit of time.
    covariance : Matrix, shape (d, d), or LazyCovariance, optional
        State² per unit of time; symmetric and positive semi-definite on the domain. By default :math:`\sigma\sigma^\top`.
    domain : Set
        For d = 1 the interval in which the state lives; the product space otherwise.
    time : Symbol
        The limit's time.
    sigma : Matrix, shape (d, k), optional
        A factor :math:`\sigma` of the covariance, one column per Brownian motion.

    Raises
    ------
    DerivationError
        If the shapes do not fit, the covariance is not symmetric or not :math:`\sigma\sigma^\top`, or is negative somewhere: exactly
        for numbers, by the symbols' assumptions, and at some points of the domain where it depends on the states.

    Examples
    --------
    >>> Diffusion((state,), [0], [[state**2]]).covariance
    Matrix([[x**2]])
    >>> x, y = sp.symbols("x y", real=True)
    >>> Diffusion((x, y), [0, 0], sigma=[x, y]).covariance
    Matrix([
    [x**2,  x*y],
    [ x*y, y**2]])
    """

    states: tuple[sp.Symbol, ...]
    drift: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix = CovarianceField("states")  # noqa: RUF009  a descriptor; by default made from sigma
    domain: sp.Set = field(default=sp.S.Reals)
    time: sp.Symbol = field(default=time)
    sigma: sp.ImmutableMatrix | None = field(default=None, kw_only=True)
    _generic: tuple[tuple[int, int], ...] = field(default=(), kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", _symbols(self.states))
        size = len(self.states)
        if not isinstance(self.domain, sp.Set):
            raise DerivationError(f"the domain of a diffusion must be a set of SymPy, got {shown(self.domain)}")
        drift = _matrix("the drift", self.drift)
        if len(drift) != size:
            raise DerivationError(f"the drift of {size} states must have {size} entries, got {len(drift)}")
        drift = drift.reshape(size, 1)
        object.__setattr__(self, "drift", drift)
        if isinstance(held := self.__dict__["covariance"], LazyCovariance):
            object.__setattr__(self, "_generic", tuple(held.generic))
            if size:  # the others are made when they are read
                require_covariance(sp.ImmutableMatrix([[held.entry(0, 0)]]), self.states, self.domain)
            return
        factor = None if self.sigma is None else _matrix("the factor σ", self.sigma)
        if factor is not None and factor.rows != size:
            raise DerivationError(
                f"the factor σ must have {size} row{'s'[: size - 1]}, got shape {factor.shape}; one row a state"
            )
        if self.covariance is None and factor is None:
            raise DerivationError("a diffusion needs its covariance, or a factor σ of it: Diffusion(..., sigma=σ)")
        product = None if factor is None else (factor * factor.T).applyfunc(sp.expand)
        covariance = _matrix("the covariance", product if self.covariance is None else self.covariance)
        if covariance.shape != (size, size):
            raise DerivationError(
                f"the covariance of {size} states must have shape ({size}, {size}), got {covariance.shape}"
            )
        if any(
            covariance[i, j] != covariance[j, i] and sp.expand(covariance[i, j] - covariance[j, i]) != 0
            for i in range(size)
            for j in range(i)
        ):
            raise DerivationError("the covariance of a diffusion must be symmetric; give σσᵀ, not σ")
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "sigma", factor)
        if product is None:
            require_covariance(covariance, self.states, self.domain)
        elif self.covariance is not product:
            require_equal(covariance, product, self.states, self.domain)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The equation of one state by its noise, of several by their means and quadratic variations, of many those that say the others."""
        states = self.states
        if len(states) == 1:
            noise = (
                shown_root(self.entry(0, 0), states[0]) if self.sigma is None or self.sigma.cols > 1 else self.sigma[0]
            )
            return (scalar_line(states[0], self.drift[0], noise, self.time),)
        pairs = self.generic_entries
        seen = sorted({i for pair in pairs for i in pair})
        given = stem(states)
        means = [mean_line(states[i], self.drift[i], given, self.time) for i in seen[:MOST]]
        rates = (bracket_line(states[i], states[j], self.entry(i, j), self.time) for i, j in pairs[:MOST])
        return shortened((*means, *rates), len(seen) + len(pairs))

    def entry(self, i: int, j: int) -> sp.Expr:
        """One entry of the covariance; the whole of it is not made for many states."""
        return entry_of(self.__dict__["covariance"], i, j)

    @property
    def generic_entries(self) -> tuple[tuple[int, int], ...]:
        """Positions i ≤ j of entries of the covariance that say all of it, the others being the same under other names."""
        count = len(self.states)
        return self._generic or tuple((i, j) for i in range(count) for j in range(i, count))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "covariance": self.covariance}  # what makes entries may hold no text of its own

    def subs(self, *values: Any, **options: Any) -> Diffusion:
        """The same diffusion with parameters replaced, as by SymPy's ``subs``; states and time keep their names.

        Raises
        ------
        DerivationError
            If a state or the time would be replaced: a change of variables is :func:`derivations.calculus.ito.transform`.

        Examples
        --------
        >>> theta = sp.Symbol("theta", positive=True)
        >>> Diffusion((state,), [-theta * state], [[theta**2]]).subs(theta, 3).covariance
        Matrix([[9]])
        """
        return self._replaced(lambda part: part.subs(*values, **options))

    def xreplace(self, rule: Mapping[Any, Any]) -> Diffusion:
        """The same with parts of its expressions replaced as they stand, as by SymPy's ``xreplace``."""
        return self._replaced(lambda part: part.xreplace(rule))

    def _replaced(self, change: Callable[[Any], Any]) -> Diffusion:
        fixed = (*self.states, self.time)
        moved = [symbol for symbol in fixed if change(symbol) != symbol]
        if moved:
            raise DerivationError(
                f"only parameters can be replaced, got a value for {moved[0]}, a state or the time; "
                "for a change of variables use transform from derivations.calculus.ito"
            )
        parts = {
            part.name: change(getattr(self, part.name))
            for part in fields(self)
            if isinstance(getattr(self, part.name), sp.Basic | sp.MatrixBase)
        }
        return replace(self, **parts)

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the coefficients other than the states and time."""
        free = self.drift.free_symbols | self.covariance.free_symbols
        return frozenset(free) - set(self.states) - {self.time}

    @property
    def is_flow(self) -> bool:
        """Whether the covariance vanishes identically."""
        return all(entry == 0 for entry in self.covariance)


@dataclass(frozen=True, repr=False)
class NeuronDiffusion(Equation):
    r"""A diffusion of n exchangeable neurons, coupled only through sums over the layer.

    Neuron i has a state :math:`x_i \in \mathbb{R}^m`, one coordinate per network input, and

    .. math:: \mathrm{d}X_i = b\,\mathrm{d}t + G^{1/2}\,\mathrm{d}B_i, \qquad
              \mathrm{d}[X_i^\alpha, X_j^\beta] = \delta_{ij}\, G_{\alpha\beta}\,\mathrm{d}t,

    where b may depend on :math:`x_i` and both on :class:`~derivations.sums.CoordinateSum` s.
    This is what a layer with independent rows of weights becomes; n may be a symbol.

    For an integer width :attr:`states`, :attr:`drift` and :attr:`covariance` are those of all
    :math:`n m` coordinates (neuron by neuron); for a symbolic width they are one neuron's.

    Parameters
    ----------
    neuron : tuple of Symbol
        A generic neuron's state, m symbols.
    neuron_drift : Matrix, shape (m, 1)
        The drift b of that neuron.
    neuron_covariance : Matrix, shape (m, m), or LazyCovariance
        The covariance G shared by all neurons.
    width : Expr
        The number n of neurons.
    """

    neuron: tuple[sp.Symbol, ...]
    neuron_drift: sp.ImmutableMatrix
    neuron_covariance: sp.ImmutableMatrix = CovarianceField("neuron", needed=True)  # noqa: RUF009  a descriptor
    width: sp.Expr  # type: ignore[misc]  # the field before it has no default
    time: sp.Symbol = field(default=time)

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", _symbols(self.neuron))
        if isinstance(self.width, int) and not isinstance(self.width, bool):
            object.__setattr__(self, "width", sp.Integer(self.width))
        require("the width", self.width, sp.Expr, "a whole number, a symbol such as symbols.width, or oo")
        if self.width.is_number and self.width != sp.oo and not (self.width.is_Integer and self.width > 0):
            raise DerivationError(f"the width must be a positive whole number, a symbol or oo, got {self.width}")
        for name, what in (("neuron_drift", "the drift"), ("neuron_covariance", "the covariance")):
            if not isinstance(held := self.__dict__[name], sp.MatrixBase | LazyCovariance):
                object.__setattr__(self, name, _matrix(what, held))

    @property
    def inputs(self) -> int:
        """The number m of network inputs."""
        return len(self.neuron)

    @property
    def lines(self) -> tuple[Line, ...]:
        """The equation of a neuron, of several inputs for the first ones."""
        m = min(self.inputs, 3)
        noise = sp.Matrix(m, m, self.neuron_entry)
        found = neuron_lines(self.neuron_drift[:m, :], noise, self.neuron[:m], self.width, shown_root)
        return shortened(found, self.inputs + self.inputs * (self.inputs + 1) // 2)

    @property
    def parameters(self) -> frozenset[sp.Symbol]:
        """Symbols of the coefficients other than the states and time."""
        free = self.neuron_drift.free_symbols | self.neuron_covariance.free_symbols | self.width.free_symbols
        return frozenset(free) - set(self.neuron) - {self.time}

    def neuron_entry(self, a: int, b: int) -> sp.Expr:
        """One entry of :attr:`neuron_covariance`; the whole of it is not made for many inputs."""
        return entry_of(self.__dict__["neuron_covariance"], a, b)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "neuron_covariance": self.neuron_covariance}

    @property
    def is_flow(self) -> bool:
        """Whether the covariance vanishes identically."""
        return all(self.neuron_entry(a, a) == 0 for a in range(self.inputs))

    @cached_property
    def explicit(self) -> Diffusion:
        """The same diffusion with all neurons written out; needs an integer width."""
        if not self.width.is_Integer:
            raise DerivationError(f"the neurons can only be written out for an integer width, got width {self.width}")
        n, m = int(self.width), self.inputs
        states = neuron_symbols(state, n, m)
        neurons = [states[i * m : (i + 1) * m] for i in range(n)]

        def write_out(entry: sp.Expr) -> sp.Expr:
            return written_out(entry, neurons)

        covariance = self.neuron_covariance.applyfunc(write_out)
        drift = self.neuron_drift.applyfunc(write_out)
        stacked = [
            e.subs(dict(zip(self.neuron, neuron, strict=True)), simultaneous=True) for neuron in neurons for e in drift
        ]
        block = sp.SparseMatrix(
            n * m,
            n * m,
            {(i * m + a, i * m + b): covariance[a, b] for i in range(n) for a in range(m) for b in range(m)},
        )
        return Diffusion(states, sp.ImmutableMatrix(n * m, 1, stacked), sp.ImmutableMatrix(block), time=self.time)

    @property
    def states(self) -> tuple[sp.Symbol, ...]:
        """All coordinates, neuron by neuron; one neuron's for a symbolic width."""
        if not self.width.is_Integer:
            return self.neuron
        if self.width * self.inputs > _MOST_STATES:
            raise DerivationError(
                f"a limit of {self.width * self.inputs} coordinates is not written out neuron by neuron; choose a smaller width"
            )
        return neuron_symbols(state, int(self.width), self.inputs)

    @property
    def drift(self) -> sp.ImmutableMatrix:
        """Drift of :attr:`states`."""
        return self.explicit.drift if self.width.is_Integer else self.neuron_drift

    @property
    def covariance(self) -> sp.ImmutableMatrix:
        """Covariance of :attr:`states`."""
        return self.explicit.covariance if self.width.is_Integer else self.neuron_covariance

    def sum(self, body: sp.Expr) -> sp.Expr:
        """The sum over neurons of a function of :attr:`neuron`."""
        return coordinate_sum(body, self.neuron, self.width)

    def generator(self, function: sp.Expr) -> sp.Expr:
        r"""Apply the generator to a function :math:`F(t, \sum_i g_1(x_i), \sum_i g_2(x_i), \dots)` of sums.

        With :math:`s_k = \sum_i g_k(x_i)` and since neurons are driven independently,

        .. math:: \mathcal{L}F = \partial_t F + \sum_k F_k \sum_i \big(b \cdot \nabla g_k + \tfrac12 G : \nabla^2 g_k\big)
                  + \tfrac12 \sum_{k,l} F_{kl} \sum_i \nabla g_k^\top G\, \nabla g_l .
        """
        sums, stand_ins, opened = self._open(function)
        total = sp.diff(opened, self.time)
        for s, k in zip(sums, stand_ins, strict=True):
            total += sp.diff(opened, k) * self._first_order(s)
        for s, k in zip(sums, stand_ins, strict=True):
            for r, j in zip(sums, stand_ins, strict=True):
                total += sp.diff(opened, k, j) * self._bracket(s, r) / 2
        return total.xreplace(dict(zip(stand_ins, sums, strict=True)))

    def bracket(self, first: sp.Expr, second: sp.Expr) -> sp.Expr:
        r"""Covariation rate :math:`\mathrm{d}[F_1, F_2]/\mathrm{d}t` of two functions of sums."""
        sums, stand_ins, opened = self._open(sp.Tuple(first, second))
        total = sp.Add(
            *(
                sp.diff(opened[0], k) * sp.diff(opened[1], j) * self._bracket(s, r)
                for s, k in zip(sums, stand_ins, strict=True)
                for r, j in zip(sums, stand_ins, strict=True)
            )
        )
        return total.xreplace(dict(zip(stand_ins, sums, strict=True)))

    def _open(self, function: sp.Basic) -> tuple[list[CoordinateSum], list[sp.Dummy], sp.Basic]:
        """Put a plain symbol in the place of each sum."""
        stray = function.free_symbols & set(self.neuron)
        if stray:
            raise DerivationError(
                f"expected a function of sums over the neurons, got one of the single coordinates {sorted(map(str, stray))}; "
                "build sums with limit.sum(g)"
            )
        sums = sorted(function.atoms(CoordinateSum), key=sp.default_sort_key)
        stand_ins = [sp.Dummy(f"s{k}", real=True) for k in range(len(sums))]
        return sums, stand_ins, function.xreplace(dict(zip(sums, stand_ins, strict=True)))

    def _first_order(self, s: CoordinateSum) -> sp.Expr:
        g = s.at(self.neuron)
        local = sp.Add(*(b * sp.diff(g, x) for b, x in zip(self.neuron_drift, self.neuron, strict=True)))
        return self.sum_outside(local) + sp.Rational(1, 2) * sp.Add(
            *(
                self.neuron_covariance[a, b] * self.sum(sp.diff(g, x, y))
                for a, x in enumerate(self.neuron)
                for b, y in enumerate(self.neuron)
            )
        )

    def _bracket(self, s: CoordinateSum, r: CoordinateSum) -> sp.Expr:
        g, h = s.at(self.neuron), r.at(self.neuron)
        return sp.Add(
            *(
                self.neuron_covariance[a, b] * self.sum(sp.diff(g, x) * sp.diff(h, y))
                for a, x in enumerate(self.neuron)
                for b, y in enumerate(self.neuron)
            )
        )

    def sum_outside(self, body: sp.Expr) -> sp.Expr:
        """Sum over neurons of an expression whose coefficients may themselves be sums."""
        sums = sorted(body.atoms(CoordinateSum), key=sp.default_sort_key)
        stand_ins = [sp.Dummy(real=True) for _ in sums]
        summed = self.sum(body.xreplace(dict(zip(sums, stand_ins, strict=True))))
        return summed.xreplace(dict(zip(stand_ins, sums, strict=True)))


Limit: TypeAlias = Diffusion | NeuronDiffusion | Flow
