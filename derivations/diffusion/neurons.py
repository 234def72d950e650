r"""The limit of a layer of neurons with independent noises: a diffusion of all of them, given by the coefficients of one neuron."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import sympy as sp

from derivations.diffusion.equation import Equation, coefficients, symbols_of
from derivations.diffusion.states import Diffusion
from derivations.entries import CovarianceField, LazyCovariance, entry_of
from derivations.equations import (
    neuron_lines,
    shortened,
    shown_root,
)
from derivations.errors import DerivationError, require
from derivations.notation.steps import Line
from derivations.sums import CoordinateSum, coordinate_sum, written_out
from derivations.symbols import neuron_symbols, state, time

_MOST_STATES = 100_000  # that are written out one by one


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
        object.__setattr__(self, "neuron", symbols_of(self.neuron))
        if isinstance(self.width, int) and not isinstance(self.width, bool):
            object.__setattr__(self, "width", sp.Integer(self.width))
        require("the width", self.width, sp.Expr, "a whole number, a symbol such as symbols.width, or oo")
        if self.width.is_number and self.width != sp.oo and not (self.width.is_Integer and self.width > 0):
            raise DerivationError(f"the width must be a positive whole number, a symbol or oo, got {self.width}")
        for name, what in (("neuron_drift", "the drift"), ("neuron_covariance", "the covariance")):
            if not isinstance(held := self.__dict__[name], LazyCovariance):
                object.__setattr__(self, name, coefficients(what, held))

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

    @lru_cache(maxsize=64)  # noqa: B019  Itô's formula is applied to several functions of one sum; a few limits are kept
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

    @lru_cache(maxsize=64)  # noqa: B019
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
