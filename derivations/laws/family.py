r"""What the families of laws share: each is recognised by the Lamperti form of the process on one interval."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.diffusion import Diffusion
from derivations.laws.base import Law


@dataclass(frozen=True, repr=False)
class Family(Law):
    r"""Interface: a law on an interval between zeros of the noise.

    Parameters
    ----------
    form : LampertiForm
        The interval, the noise :math:`\varphi` and the drift.
    """

    form: LampertiForm

    @classmethod
    @abstractmethod
    def recognise(cls, form: LampertiForm) -> Family:
        """Accept a form of this family, or raise NoClosedForm."""

    @property
    def diffusion(self) -> Diffusion:  # type: ignore[override]
        """The diffusion on its interval."""
        left, right = self.form.interval
        return Diffusion(
            (self.form.state,), [self.form.drift], [[tidy(self.form.scale**2)]], sp.Interval.open(left, right)
        )
