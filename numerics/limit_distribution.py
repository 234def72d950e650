"""The distribution of a scalar limit at a time: closed where a law is known, solved on a grid where none is."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeGuard

from derivations.calculus.clock import Clock, own_clock
from derivations.derivation import Derivation
from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import DependsOnParameter, NoClosedForm, kind_of
from derivations.gaussian import GaussianJointExpectation
from derivations.laws import Law, recognise
from numerics import given
from numerics.compile import compile_law
from numerics.densities import FrozenDistribution
from numerics.fokker_planck import solve_fokker_planck


@given.checked(t=given.number, tol=given.number)
def distribution(
    of: Derivation | Diffusion | Law, *, x0: float = 1.0, t: float = 1.0, tol: float = 1e-6
) -> FrozenDistribution:
    r"""The distribution of :math:`X_t` given :math:`X_0 = x_0`, by its closed form or by the Fokker–Planck equation.

    Parameters
    ----------
    of : Derivation, Diffusion or Law
        What ``derive`` returned, for one neuron and one input; or any scalar diffusion; or a law. Without free parameters. Where time
        enters by a common factor, as by a variance of the weights that depends on depth, the law is read in its own clock.
    x0, t : float
        Start and time.
    tol : float
        Bound on the error in L¹ where the equation is solved on a grid.

    Returns
    -------
    FrozenDistribution
        Where no closed form is known, a :class:`numerics.fokker_planck.SolvedDistribution`, whose ``error`` is the estimate.

    Raises
    ------
    ValueError
        If the limit is not a scalar diffusion, or the start, the time or the tolerance makes no sense.

    Examples
    --------
    >>> from derivations import ResNet, derive, relu, tanh
    >>> distribution(derive(ResNet(relu, width=1)), t=0.5).error
    0.0
    >>> X = distribution(derive(ResNet(tanh, width=1)), t=0.5)
    >>> float(X.cdf(1.0)), 0 < X.error < 1e-6
    (0.5597..., True)
    """
    process = of.limit if isinstance(of, Derivation) else of
    if depends_on_time(process):
        clock = own_clock(process)
        return distribution(clock.base, x0=x0, t=float(clock.at(t)), tol=tol)
    if isinstance(of, Law):
        return compile_law(of, x0=x0, t=t)
    process, law = (of.limit, of.law) if isinstance(of, Derivation) else (of, _known(of))
    if law is not None:
        # the density may be known, and the map to its coordinate have no inverse in closed form
        with suppress(NoClosedForm):
            return compile_law(law, x0=x0, t=t)
    if _means_several(process):
        raise ValueError(
            "the coefficients hold means over several Gaussian variables, whose values to the digits that a law is solved with take minutes; "
            "simulate paths with simulate_sde"
        )
    if not has_distribution(process):
        raise ValueError(
            "expected a scalar diffusion whose coefficients do not depend on time, which one neuron with one input has, got "
            f"{kind_of(process)}; several neurons are simulated with simulate_sde, two states may be solved with solve_fokker_planck, flows are "
            "solved with solve_flow"
        )
    return solve_fokker_planck(process, x0, t=t, tol=tol)


def has_distribution(limit: Any) -> TypeGuard[Diffusion]:
    """Whether :func:`distribution` can be asked: a scalar diffusion whose coefficients depend on time by a common factor, if at all."""
    if not isinstance(limit, Diffusion) or len(limit.states) != 1 or _means_several(limit):
        return False
    return not depends_on_time(limit) or _clock(limit) is not None


def _means_several(limit: Any) -> bool:
    """Whether coefficients are functions of means without a closed form over several Gaussian variables at once."""
    return isinstance(limit, Diffusion) and (
        limit.drift.has(GaussianJointExpectation) or limit.covariance.has(GaussianJointExpectation)
    )


def depends_on_time(limit: Any) -> TypeGuard[Diffusion]:
    """Whether this is a scalar diffusion with a coefficient that depends on time."""
    if not isinstance(limit, Diffusion) or len(limit.states) != 1:
        return False
    return limit.time in limit.drift.free_symbols | limit.covariance.free_symbols


def _clock(limit: Diffusion) -> Clock | None:
    try:
        return own_clock(limit)
    except NoClosedForm:
        return None


def _known(process: Any) -> Law | None:
    if isinstance(process, NeuronDiffusion | Flow):  # refused below with what to ask instead
        return None
    if not isinstance(process, Diffusion):
        raise ValueError(f"expected a Derivation, a Diffusion or a Law, got {kind_of(process)}")
    try:
        return recognise(process)
    except NoClosedForm:
        return None
    except DependsOnParameter:
        if not _means_several(process):
            raise
        return None  # signs of sums over points are not known to algebra
