r"""Whether the equation of a limit has a solution, a single one, and one for all times.

*Uniqueness.* A layer's noise is :math:`\sum_j \psi(x_j)\,\mathrm{d}B_{ij}`, linear in :math:`\psi`, so coefficients are locally Lipschitz where
:math:`\psi` is, and solutions are then unique up to an explosion. One neuron without drift needs less (Engelbert and Schmidt): a
solution in law exists and is unique iff :math:`\int 1/\psi^2` diverges exactly at the zeros of :math:`\psi`.

*Explosion.* At linear growth there is none. Beyond it, with one input, all neurons share one clock: where the drift is
:math:`\kappa S` with the variance :math:`S = \sigma_b^2 + \frac{\sigma_w^2}{n}\sum_j \psi(x_j)^2` (:math:`\kappa = 0` for a residual network),

.. math:: X_t = Y_{A_t}, \qquad Y_s = x + \kappa s \mathbf{1} + W_s, \qquad \int_0^{A_t} \frac{\mathrm{d}s}{S(Y_s)} = t,

with W a Brownian motion in n dimensions, and X explodes iff :math:`T = \int_0^\infty \mathrm{d}s/S(Y_s) < \infty`.

* :math:`\kappa = 0`, n ≤ 2: W returns to bounded sets for an infinite time, so :math:`T = \infty` for any :math:`\psi`.
* :math:`\kappa = 0`, n ≥ 3: :math:`\|W_s\|^2` is of size s. If :math:`|\psi| \ge c|x|^p`, p > 1, on both sides, then
  :math:`S \ge c'\|w\|^{2p}` far out and :math:`T < \infty`. If :math:`|\psi| \le C(1 + |x|)` on one side, W is in the cone of that side
  at infinitely many scales, each of which adds at least a constant to T: :math:`T = \infty`.
* :math:`\kappa \ne 0`: all coordinates of Y tend to :math:`\pm\infty` like :math:`\kappa s`, and :math:`T < \infty` iff
  :math:`\int^\infty \mathrm{d}r/\psi(\pm r)^2 < \infty` on that side.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.architectures.base import Architecture, Layer, Recipe
from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import DerivationError
from derivations.piecewise import Analysis, analyse
from derivations.sums import CoordinateSum
from derivations.symbols import noise, state, step

UNKNOWN = "not known"


@dataclass(frozen=True)
class Existence:
    """What is known of the solutions of a limit's equation.

    Parameters
    ----------
    exists, unique : str
        "yes", "no" or "not known"; up to an explosion.
    explodes : str
        "cannot", "can" (with positive probability from some start) or "not known".
    reasons : tuple of str
        On which ground, of each in this order.
    """

    exists: str
    unique: str
    explodes: str
    reasons: tuple[str, str]

    @property
    def statement(self) -> str:
        """In one sentence."""
        unique = {
            "yes": "the equation has a unique solution",
            "no": "the equation has solutions, and more than one",
            UNKNOWN: "whether the equation has a unique solution is not known",
        }[self.unique]
        explodes = {
            "cannot": "it does not explode",
            "can": "it can explode: paths become infinite in finite time",
            UNKNOWN: "whether it can explode is not known",
        }[self.explodes]
        return f"{unique}, and {explodes}"


def existence(limit: Limit, architecture: Recipe) -> Existence:
    """Existence, uniqueness and explosion of a limit of infinite depth.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
        As :func:`derivations.depth_limit` returns it for the architecture.
    architecture : Architecture

    Raises
    ------
    DerivationError
        If the limit is a flow.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu
    >>> x = sp.Symbol("x", real=True)
    >>> [existence(depth_limit(net), net).explodes for net in (ResNet(relu, 3), ResNet(x**2, 2), ResNet(x**2, 3))]
    ['cannot', 'cannot', 'can']
    """
    if not isinstance(limit, Diffusion | NeuronDiffusion):
        raise DerivationError(f"existence is asked of a diffusion, got a {type(limit).__name__}")
    if not isinstance(architecture, Architecture):
        why = "the layer is a program of its own, for which this is not decided"
        return Existence(UNKNOWN, UNKNOWN, UNKNOWN, (why, why))
    layer = architecture.layer()
    inner = layer.preactivation.inner
    linear_noise = not sp.diff(_order(layer, 1), noise).free_symbols
    if not linear_noise:
        why = "the noise is not linear in the activation"
        return Existence(UNKNOWN, UNKNOWN, UNKNOWN, (why, why))
    a = analyse(inner.expr, inner.variable)
    drift = limit.neuron_drift if isinstance(limit, NeuronDiffusion) else limit.drift
    still = all(entry == 0 for entry in drift)
    exists, unique, why_unique = _unique(a, architecture, still)
    explodes, why_explodes = _explodes(a, limit, architecture)
    return Existence(exists, unique, explodes, (why_unique, why_explodes))


def _unique(a: Analysis, architecture: Architecture, still: bool) -> tuple[str, str, str]:
    if not a.complete or a.intervals != ((-sp.oo, sp.oo),) or a.poles:
        missing = a.reason or "it is not defined on the whole line, or infinite somewhere"
        return UNKNOWN, UNKNOWN, f"the activation is not seen to be locally bounded: {missing}"
    orders = [order for point in (*a.zeros, *a.kinks) for order in point.orders]
    if not a.jumps and all(order is not None and order >= 1 for order in orders):
        return "yes", "yes", "the activation is locally Lipschitz, and the noise is linear in it"
    one = architecture.width == 1 and architecture.coordinates == 1 and still
    if one and architecture.layer().preactivation.bias_variance == 0:
        crossed = [p for p in a.zeros if all(q is not None and 2 * q < 1 for q in p.orders)]
        half = [p for p in a.zeros if any(q is None or 2 * q < 1 for q in p.orders)]
        if crossed:
            return (
                "yes",
                "no",
                f"the inverse square of the activation is integrable at its zero {crossed[0].value}: a solution may stay there or go on; networks cross",
            )
        if not half and not a.jumps:
            return (
                "yes",
                "yes",
                "the inverse square of the activation is integrable wherever it does not vanish, and only there (Engelbert–Schmidt)",
            )
    return UNKNOWN, UNKNOWN, "the activation is not locally Lipschitz"


def _explodes(a: Analysis, limit: Diffusion | NeuronDiffusion, architecture: Architecture) -> tuple[str, str]:
    drift = limit.neuron_drift if isinstance(limit, NeuronDiffusion) else limit.drift
    covariance = limit.neuron_covariance if isinstance(limit, NeuronDiffusion) else limit.covariance
    sides = [_growth(a, end) for end in (-sp.oo, sp.oo)]
    if a.poles or None in sides:
        return UNKNOWN, "the growth of the activation at infinity is not known"
    low, high = sides
    assert low is not None
    assert high is not None
    weakest, strongest = min(low, high), max(low, high)
    if architecture.positions:
        if all(entry == 0 for entry in drift) and strongest <= 1:
            return "cannot", "noise of linear growth, without drift"
        return UNKNOWN, "positions share weights, and the activation or the drift grows faster than linearly"
    kappa = sp.cancel(drift[0] / covariance[0, 0])
    n = architecture.width
    if kappa == 0:
        if strongest <= 1:
            return "cannot", "the activation grows at most linearly, and there is no drift"
        if n in (1, 2):
            return (
                "cannot",
                "in one or two dimensions Brownian motion is recurrent, and the layer is one in a clock of its own",
            )
        if weakest <= 1:
            return "cannot", "the activation grows at most linearly on one side, to which the layer returns"
        if n.is_Integer:
            return "can", (
                f"the activation grows faster than linearly on both sides, and in {n} dimensions Brownian motion does not return"
            )
        return (
            UNKNOWN,
            "the activation grows faster than linearly: no explosion for one or two neurons, explosion from three on",
        )
    if kappa.is_number and not kappa.has(CoordinateSum):
        side = high if kappa.is_positive else low
        if side <= sp.S.Half:
            return (
                "cannot",
                f"the drift is {kappa} times the variance, and the activation's square grows at most linearly there",
            )
        return (
            "can",
            f"the drift is {kappa} times the variance, and carries all neurons to where the inverse square of the activation is integrable",
        )
    second = _order(architecture.layer(), 2)
    if state in second.free_symbols:
        return UNKNOWN, "the drift of a neuron depends on its own state"
    if strongest <= sp.S.Half or (strongest <= 1 and sp.diff(second, noise) == 0):
        return "cannot", "drift and noise grow at most linearly with the activation"
    return UNKNOWN, "drift or noise grow faster than linearly"


def _order(layer: Layer, order: int) -> sp.Expr:
    """The increment's coefficient at a power of the step size, up to a factorial."""
    return sp.expand(sp.diff(layer.update, step, order).subs(step, 0))


def _growth(a: Analysis, end: sp.Expr) -> sp.Expr | None:
    """The exponent of the growth at an end, a little more where a growing logarithm stands beside it; None if not known."""
    try:
        growth = a.growth(end)
    except DerivationError:
        return None
    if growth.exponent is None:
        return None
    logarithm = growth.coefficient is not None and bool(growth.coefficient.free_symbols)
    if logarithm and growth.exponent in (sp.S.Half, sp.S.One):
        return None  # between the cases that are decided
    return growth.exponent
