r"""Ways to step a diffusion forward in time, one a file; adding one is a file here and a line in the list."""

from __future__ import annotations

from derivations.diffusion import Limit
from derivations.errors import unknown
from derivations.limits import CollapseDiffusion, GramDiffusion
from numerics.schemes.base import Advance, Scheme
from numerics.schemes.congruence import Congruence
from numerics.schemes.derivative_free import DerivativeFree
from numerics.schemes.euler import EulerMaruyama
from numerics.schemes.exact import ExactLaw, law_steps
from numerics.schemes.gram_euler import GramEuler
from numerics.schemes.lamperti import LampertiSteps
from numerics.schemes.linear_form import LinearForm
from numerics.schemes.milstein import Milstein
from numerics.schemes.two_point import TwoPoint
from numerics.schemes.weak_second import WeakSecond

#: All schemes.
SCHEMES: tuple[Scheme, ...] = (
    EulerMaruyama(),
    Milstein(),
    DerivativeFree(),
    LampertiSteps(),
    TwoPoint(),
    WeakSecond(),
    ExactLaw(),
    Congruence(),
    GramEuler(),
    LinearForm(),
)


def usual_scheme(limit: Limit) -> Scheme:
    """The scheme for those who choose none: Euler–Maruyama, but where it would leave the state space or meet a singular start."""
    if isinstance(limit, CollapseDiffusion):
        return LinearForm()
    if isinstance(limit, GramDiffusion) and limit.inputs > 1:
        return GramEuler()
    return EulerMaruyama()


def find_scheme(scheme: Scheme | str) -> Scheme:
    """A scheme by its name; a :class:`Scheme` is returned as it is.

    Examples
    --------
    >>> find_scheme("euler_maruyama").weak_order
    Fraction(1, 1)
    """
    if isinstance(scheme, Scheme):
        return scheme
    for known in SCHEMES:
        if known.name == scheme:
            return known
    raise ValueError(unknown("scheme", scheme, (s.name for s in SCHEMES)))


__all__ = [
    "SCHEMES",
    "Advance",
    "Congruence",
    "DerivativeFree",
    "EulerMaruyama",
    "ExactLaw",
    "GramEuler",
    "LinearForm",
    "Milstein",
    "TwoPoint",
    "LampertiSteps",
    "WeakSecond",
    "Scheme",
    "find_scheme",
    "law_steps",
    "usual_scheme",
]
