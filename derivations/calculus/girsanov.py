r"""Changes of measure and of time: another drift for the same paths, and the same paths run at another speed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from derivations.calculus.lamperti import tidy
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm


@dataclass(frozen=True)
class DriftChange:
    r"""The density of one law of paths in another, :math:`\log\frac{\mathrm{d}Q}{\mathrm{d}P}\big|_t = G(X_t) - G(X_0) - \int_0^t r(X_s)\,\mathrm{d}s`.

    Parameters
    ----------
    gain : Expr
        G, a function of the state.
    rate : Expr
        r, a function of the state.
    """

    gain: sp.Expr
    rate: sp.Expr


def change_of_drift(process: Diffusion, drift: sp.Expr) -> DriftChange:
    r"""Girsanov's density for a scalar diffusion that is given another drift.

    *Derivation.* For drifts b under P and c under Q and the same covariance a, Girsanov's theorem gives
    :math:`\int \frac{c - b}{a}\,\mathrm{d}X - \tfrac12\int \frac{c^2 - b^2}{a}\,\mathrm{d}t`. With
    :math:`G' = (c - b)/a`, Itô's formula replaces the first integral by :math:`G(X_t) - G(X_0) - \tfrac12\int aG''\,\mathrm{d}t`, so

    .. math:: r = \tfrac12 a G'' + \frac{c^2 - b^2}{2a} .

    For Brownian motion and :math:`c = \beta`: :math:`e^G = u` and :math:`r = \tfrac12 V`, the potential of
    :mod:`derivations.calculus.lamperti`; where V is constant, so is the price of another drift.

    Parameters
    ----------
    process : Diffusion
        Scalar, under P.
    drift : Expr
        The drift under Q, a function of the state.

    Raises
    ------
    DerivationError
        If the process is not scalar or has no noise.
    NoClosedForm
        If G is not elementary.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> change_of_drift(Diffusion((x,), [0], [[1]]), -x)
    DriftChange(gain=-x**2/2, rate=(x**2 - 1)/2)
    """
    if len(process.states) != 1 or process.covariance[0, 0] == 0:
        raise DerivationError("a change of drift needs a scalar diffusion with noise")
    (x,), (b,), (a,) = process.states, process.drift, process.covariance
    c = sp.sympify(drift)
    slope = tidy((c - b) / a)
    gain = sp.integrate(slope, x)
    if gain.has(sp.Integral):
        raise NoClosedForm(f"∫ ({slope}) d{x} is not elementary")
    return DriftChange(gain, tidy(a * sp.diff(slope, x) / 2 + (c**2 - b**2) / (2 * a)))


def time_change(process: Diffusion, speed: sp.Expr) -> Diffusion:
    r"""The process run by another clock, :math:`Y_s = X_{\tau_s}` with :math:`\mathrm{d}\tau_s/\mathrm{d}s = v(Y_s)`.

    Generator and clock multiply: :math:`\mathcal{L}_Y = v\,\mathcal{L}_X`. So every diffusion without drift is Brownian motion run at
    the speed of its variance.

    Parameters
    ----------
    process : Diffusion
    speed : Expr
        v > 0, in the states and time.

    Examples
    --------
    >>> x = sp.Symbol("x", positive=True)
    >>> time_change(Diffusion((x,), [0], [[1]]), x**4).covariance
    Matrix([[x**4]])
    """
    v = sp.sympify(speed)
    if v.is_nonpositive:
        raise DerivationError(f"a clock must run forward: expected a positive speed, got {v}")
    return replace(
        process,
        drift=(process.drift * v).applyfunc(tidy),
        covariance=(process.covariance * v).applyfunc(tidy),
    )
