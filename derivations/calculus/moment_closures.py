r"""Named closures: how moments beyond the last equation are written in those kept, and what that assumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TypeAlias

import sympy as sp
from sympy.utilities.iterables import multiset_partitions

from derivations.errors import DerivationError

#: Powers of the states: the moment E ∏ x_i^{α_i}.
Index: TypeAlias = tuple[int, ...]
Moment: TypeAlias = Callable[[Index], sp.Expr]


class MomentClosure(ABC):
    """Interface: a rule for moments of high order.

    Attributes
    ----------
    order : int
        Moments up to this order keep equations of their own.
    """

    order: int

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name."""

    @property
    @abstractmethod
    def assumption(self) -> str:
        """What is assumed of the law, one sentence."""

    @abstractmethod
    def replace(self, index: Index, moment: Moment) -> sp.Expr:
        """A moment of an order above :attr:`order`, written in moments of at most that order."""


@dataclass(frozen=True)
class ZeroCumulant(MomentClosure):
    r"""Cumulants of every order above ``order`` vanish.

    The joint cumulant of :math:`X_{i_1}, \dots, X_{i_k}` is
    :math:`\sum_\pi (-1)^{|\pi|-1}(|\pi|-1)!\prod_{B\in\pi}\mathbb{E}\prod_{i\in B}X_i` over the partitions of the
    indices. Setting it to 0 gives the moment of order k from lower ones, and so down to ``order``.

    Examples
    --------
    >>> m = sp.IndexedBase("m")
    >>> ZeroCumulant(2).replace((3,), lambda index: m[index[0]])
    -2*m[1]**3 + 3*m[1]*m[2]
    """

    order: int = 2

    @property
    def name(self) -> str:
        """The name in the field."""
        return f"zero cumulants above order {self.order}"

    @property
    def assumption(self) -> str:
        """No finite law but a Gaussian has it exactly."""
        return f"joint cumulants of order above {self.order} are 0; exact for a Gaussian law only"

    def replace(self, index: Index, moment: Moment) -> sp.Expr:
        """Solve the vanishing cumulant for its moment."""
        return self._replaced(index, moment, {})

    def _replaced(self, index: Index, moment: Moment, known: dict[Index, sp.Expr]) -> sp.Expr:
        members = [k for k, power in enumerate(index) for _ in range(power)]
        total = sp.S.Zero
        for partition in multiset_partitions(list(range(len(members)))):
            if len(partition) > 1:
                factors = []
                for block in partition:
                    part = tuple([members[i] for i in block].count(k) for k in range(len(index)))
                    if part not in known:
                        known[part] = moment(part) if sum(part) <= self.order else self._replaced(part, moment, known)
                    factors.append(known[part])
                total += (-1) ** len(partition) * sp.factorial(len(partition) - 1) * sp.Mul(*factors)
        return sp.expand(total)


@dataclass(frozen=True)
class Gaussian(ZeroCumulant):
    """The law is Gaussian: mean and covariance keep equations, and Wick's rule gives the rest."""

    order: int = 2

    def __post_init__(self) -> None:
        if self.order != 2:
            raise DerivationError(f"a Gaussian closure keeps orders 1 and 2, got order {self.order}; use ZeroCumulant")

    @property
    def name(self) -> str:
        """The name in the field."""
        return "Gaussian"

    @property
    def assumption(self) -> str:
        """In one sentence."""
        return "the law is jointly Gaussian at every time"


@dataclass(frozen=True)
class LogNormal(MomentClosure):
    r"""The logarithms of the states are jointly Gaussian.

    With :math:`\mu_i = \mathbb{E}X_i` and
    :math:`v_{ij} = \mathbb{E}X_iX_j/(\mu_i\mu_j) = e^{\mathrm{Cov}(\log X_i, \log X_j)}`,

    .. math::
        \mathbb{E}\prod_i X_i^{\alpha_i} = \prod_i \mu_i^{\alpha_i} v_{ii}^{\alpha_i(\alpha_i-1)/2} \prod_{i<j} v_{ij}^{\alpha_i\alpha_j} .

    Examples
    --------
    >>> m = sp.IndexedBase("m")
    >>> LogNormal().replace((3,), lambda index: m[index[0]])
    m[2]**3/m[1]**3
    """

    order: int = 2

    @property
    def name(self) -> str:
        """The name in the field."""
        return "log-normal"

    @property
    def assumption(self) -> str:
        """In one sentence."""
        return "the states are positive and their logarithms are jointly Gaussian at every time"

    def replace(self, index: Index, moment: Moment) -> sp.Expr:
        """The formula above."""
        size = len(index)

        def unit(*which: int) -> Index:
            return tuple(which.count(k) for k in range(size))

        used = [k for k in range(size) if index[k]]
        total = sp.Mul(*(moment(unit(k)) ** index[k] for k in used))
        for i, j in combinations_with_replacement(used, 2):
            power = index[i] * (index[i] - 1) // 2 if i == j else index[i] * index[j]
            total *= (moment(unit(i, j)) / (moment(unit(i)) * moment(unit(j)))) ** power
        return total


#: All closures, for the contract tests.
CLOSURES: tuple[type[MomentClosure], ...] = (ZeroCumulant, Gaussian, LogNormal)
