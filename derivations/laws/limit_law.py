r"""What is known of the law of a limit, whatever its kind."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.clock import own_clock
from derivations.calculus.intervals import crossed_zeros
from derivations.calculus.lamperti import LampertiForm, split
from derivations.diffusion import Diffusion, Flow, Limit
from derivations.errors import DependsOnParameter, DerivationError, NoClosedForm
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.recognition import recognise


def scalar(limit: Limit) -> Diffusion | None:
    """The limit where it is a diffusion of one state."""
    return limit if isinstance(limit, Diffusion) and len(limit.states) == 1 else None


def limit_law(limit: Limit) -> tuple[PiecewiseLaw | None, str | DerivationError]:
    """The closed-form law of a scalar limit, or None and why there is none: words, or an error that has them."""
    process = scalar(limit)
    if process is None:
        return (
            None,
            f"the limit {'is a deterministic flow' if isinstance(limit, Flow) else 'has more than one coordinate'}",
        )
    if process.why_no_law:
        return None, process.why_no_law
    try:
        if _moves_in_time(process):
            clock = own_clock(process)
            known = recognise(clock.base).name
            return (
                None,
                f"it is the law of another process ({known}) at the time C = {clock.reading}, of the same start",
            )
        return recognise(process), ""
    except (NoClosedForm, DependsOnParameter) as error:  # the limit itself is the same for all parameters
        error.__traceback__ = error.__context__ = None  # which hold all that was tried
        return None, error


def lamperti_forms(limit: Limit) -> tuple[tuple[LampertiForm, ...], bool]:
    """The Lamperti forms, and whether the potential decides what is known: no path crosses a zero of the noise."""
    process = scalar(limit)
    if process is None or process.why_no_law or _moves_in_time(process):
        return (), False
    try:
        forms = tuple(form for form in split(process) if isinstance(form, LampertiForm))
        return forms, not crossed_zeros(process)
    except NoClosedForm:  # the potential is a function of x all the same, on any interval between zeros of the noise
        (x,), (mu,), (a,) = process.states, process.drift, process.covariance
        root = sp.sqrt(a).replace(sp.Abs, lambda inside: inside)  # the potential does not see the sign of the noise
        return (LampertiForm(x, (-sp.oo, sp.oo), mu, root),), False
    except DependsOnParameter:
        return (), False


def _moves_in_time(process: Diffusion) -> bool:
    return process.time in process.drift.free_symbols | process.covariance.free_symbols
