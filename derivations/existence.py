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
* For a layer written as a program: no explosion at linear growth of the coefficients; else, where the squared norm is a diffusion by itself,
  Feller's test on it, which decides for every input alone. Its covariance is then a smooth function of the norm, away from 0.
* :math:`\kappa \ne 0`: all coordinates of Y tend to :math:`\pm\infty` like :math:`\kappa s`, and :math:`T < \infty` iff
  :math:`\int^\infty \mathrm{d}r/\psi(\pm r)^2 < \infty` on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.boundaries import classify, explosion
from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed
from derivations.gaussian import GaussianExpectation
from derivations.language.single import OneMatrixLayer
from derivations.language.statements import Matrix, Mean
from derivations.limits.closure import gram_limit
from derivations.piecewise import Analysis, analyse
from derivations.sums import CoordinateSum
from derivations.symbols import state

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
        if self.exists == "no":
            unique = "the equation as it is written has no solution beyond some time"
        return f"{unique}, and {explodes}"


def existence(limit: Limit, architecture: Recipe) -> Existence:
    """Existence, uniqueness and explosion of a limit of infinite depth.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
        As :func:`derivations.depth_limit` returns it for the architecture.
    architecture : Recipe

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
    layer = OneMatrixLayer.of(architecture.program())
    if layer is None or not (layer.is_coordinatewise and layer.has_linear_noise):
        return _of_program(limit, architecture)
    inner = layer.inner
    if open_symbols := inner.expr.free_symbols - {inner.variable}:
        names = ", ".join(sorted(map(str, open_symbols)))
        why = f"it depends on the numbers that {names} stand for; give them with subs"
        return Existence(UNKNOWN, UNKNOWN, UNKNOWN, (why, why))
    a = analyse(inner.expr, inner.variable)
    drift = limit.neuron_drift if isinstance(limit, NeuronDiffusion) else limit.drift
    still = all(entry == 0 for entry in drift)
    exists, unique, why_unique = _unique(a, architecture, layer, still)
    explodes, why_explodes = _explodes(a, limit, architecture, layer)
    return Existence(exists, unique, explodes, (why_unique, why_explodes))


def _unique(a: Analysis, architecture: Recipe, layer: OneMatrixLayer, still: bool) -> tuple[str, str, str]:
    if not a.complete or a.intervals != ((-sp.oo, sp.oo),) or a.poles:
        missing = a.reason or "it is not defined on the whole line, or infinite somewhere"
        return UNKNOWN, UNKNOWN, f"the activation is not seen to be locally bounded: {missing}"
    orders = [order for point in (*a.zeros, *a.kinks) for order in point.orders]
    if not a.jumps and all(order is not None and order >= 1 for order in orders):
        return "yes", "yes", "the activation is locally Lipschitz, and the noise is linear in it"
    one = architecture.width == 1 and architecture.coordinates == 1 and still
    if one and layer.weights.bias_variance == 0:
        return _engelbert_schmidt(a)
    return UNKNOWN, UNKNOWN, "the activation is not locally Lipschitz"


def _engelbert_schmidt(a: Analysis) -> tuple[str, str, str]:
    r"""One neuron without drift, by the points at which :math:`1/\psi^2` is not integrable.

    A solution in law exists from every start iff they are zeros of :math:`\psi`, and is the only one iff all zeros are such points.
    """
    stops: list[sp.Expr] = []
    for p in sorted({p.value: p for p in (*a.kinks, *a.jumps, *a.zeros)}.values(), key=float):
        value = a.expr.subs(a.variable, p.value)
        vanishing = [q for q, limit in zip(p.orders, p.limits, strict=True) if limit == 0]
        if None in (*p.limits, *vanishing) or not value.is_number:
            return UNKNOWN, UNKNOWN, f"how the activation behaves at {p.value} is not known"
        integrable = all(bool(2 * q < 1) for q in vanishing if q is not None)
        if integrable and value == 0:
            return (
                "yes",
                "no",
                f"the inverse square of the activation is integrable at its zero {p.value}: a solution may stay there or go on; networks cross",
            )
        if not integrable and value != 0:
            stops.append(p.value)
    if stops:
        return (
            "no",
            UNKNOWN,
            f"the inverse square of the activation is not integrable at {stops[0]}, where the activation has a value other than 0: a solution "
            "that comes there can neither stay nor go on; networks stop there, and so does the limit that is given",
        )
    return (
        "yes",
        "yes",
        "the inverse square of the activation is integrable wherever it does not vanish, and only there (Engelbert–Schmidt)",
    )


def _explodes(
    a: Analysis, limit: Diffusion | NeuronDiffusion, architecture: Recipe, layer: OneMatrixLayer
) -> tuple[str, str]:
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
        return _by_recurrence(weakest, n)
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
    second = layer.order(2)
    if state in second.free_symbols:
        return UNKNOWN, "the drift of a neuron depends on its own state"
    if strongest <= sp.S.Half or (strongest <= 1 and sp.diff(second, layer.noise) == 0):
        return "cannot", "drift and noise grow at most linearly with the activation"
    return UNKNOWN, "drift or noise grow faster than linearly"


def _by_recurrence(weakest: sp.Expr, n: sp.Expr) -> tuple[str, str]:
    """Whether a layer without drift explodes whose noise grows faster than linearly, at least like a power on both sides."""
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


def _of_program(limit: Diffusion | NeuronDiffusion, network: Recipe) -> Existence:
    if isinstance(limit, NeuronDiffusion):
        states, drift, covariance = limit.neuron, limit.neuron_drift, limit.neuron_covariance
    else:
        states, drift, covariance = limit.states, limit.drift, limit.covariance
    norm = _squared_norm(network)
    explodes, why_explodes = (
        UNKNOWN,
        "the coefficients are not seen to grow at most linearly, and the squared norm is no diffusion by itself",
    )
    found, noise_degrees = ([_degree(entry, states) for entry in entries] for entries in (drift, covariance))
    if norm is not None and not _at_most(found, noise_degrees):
        found, noise_degrees = [_degree(norm.drift[0], norm.states)], [_degree(norm.covariance[0, 0], norm.states)]
    if _at_most(found, noise_degrees):
        explodes, why_explodes = "cannot", "drift and noise grow at most linearly"
    elif norm is not None:
        explodes, why_explodes = _by_fellers_test(norm)
    root = _root_of_summand(drift, covariance)  # one matrix: the layer is Brownian motion in a clock of its own
    if root is not None and explodes == UNKNOWN:
        low, high = (_growth(root, end) for end in (-sp.oo, sp.oo))
        if low is not None and high is not None:
            explodes, why_explodes = _by_recurrence(min(low, high), network.width)
    if (
        root is not None
        and not root.jumps
        and all(q is not None and q >= 1 for p in (*root.zeros, *root.kinks) for q in p.orders)
    ):
        return Existence("yes", "yes", explodes, ("the root of the covariance is locally Lipschitz", why_explodes))
    smooth = _is_smooth([*drift, *covariance]) and (network.inputs == 1 or _is_lipschitz(network))
    if norm is not None and smooth and _stays_away_from_zero(norm):
        return Existence(
            "yes", "yes", explodes, ("the coefficients are smooth away from 0, which is not reached", why_explodes)
        )
    why = "the coefficients are not seen to be locally Lipschitz"
    return Existence(UNKNOWN, UNKNOWN, explodes, (why, why_explodes))


def _root_of_summand(drift: sp.Matrix, covariance: sp.Matrix) -> Analysis | None:
    r"""The :math:`\sqrt g` of a neuron's variance :math:`c \sum_j g(x_j)` without drift: all of it is Lipschitz where this is."""
    number, total = covariance[0, 0].as_independent(CoordinateSum)
    if covariance.shape != (1, 1) or drift[0] != 0 or not isinstance(total, CoordinateSum) or number == 0:
        return None
    if len(total.bound_symbols) != 1 or total.body.free_symbols - set(total.bound_symbols):
        return None
    y = sp.Dummy("y", real=True)
    try:
        a = analyse(sp.sqrt(total.body.xreplace({total.bound_symbols[0]: y})), y)
    except DerivationError:
        return None
    return a if a.complete and a.intervals == ((-sp.oo, sp.oo),) and not a.poles else None


def _squared_norm(network: Recipe) -> Diffusion | None:
    """Of one input, over n, if it is a diffusion by itself; each of several inputs alone moves like one."""
    if network.positions:
        return None
    try:
        found = gram_limit(network.program(), 1)
    except NotClosed:
        return None
    return found.process if not found.centred and isinstance(found.process, Diffusion) else None


def _is_lipschitz(network: Recipe) -> bool:
    """Whether all that a program applies is locally Lipschitz: then several inputs move in a Lipschitz way also where they meet."""
    program = network.program()
    bodies = [s.body for s in program.statements if isinstance(s, Matrix | Mean)]
    for body in (b for b in (*bodies, program.update) if not _is_smooth([b])):
        if len(body.free_symbols) != 1:
            return False
        x = sp.Dummy("x", real=True)
        try:
            a = analyse(body.xreplace({body.free_symbols.pop(): x}), x)
        except DerivationError:
            return False
        if (
            not a.complete
            or a.jumps
            or a.poles
            or any(q is None or q < 1 for p in (*a.zeros, *a.kinks) for q in p.orders)
        ):
            return False
    return True


def _stays_away_from_zero(norm: Diffusion) -> bool:
    """Whether V > 0 for good: its logarithm has bounded coefficients near 0, or Feller's test says so."""
    drift, variance = (_degree(entry, norm.states, far=False) for entry in (norm.drift[0], norm.covariance[0, 0]))
    if drift is not None and variance is not None and drift >= 1 and variance >= 2:
        return True
    try:
        return bool(classify(norm)[0].attainable == sp.false)
    except DerivationError:
        return False


def _by_fellers_test(norm: Diffusion) -> tuple[str, str]:
    try:
        reached = explosion(norm)
    except DerivationError:
        return UNKNOWN, "Feller's test of the squared norm has no closed form"
    if reached == sp.true:
        return "can", "by Feller's test the squared norm, a diffusion by itself, reaches infinity in finite time"
    if reached == sp.false:
        return "cannot", "by Feller's test the squared norm, a diffusion by itself, does not reach infinity"
    return UNKNOWN, f"by Feller's test of the squared norm it explodes if {reached}"


def _at_most(drift: list[sp.Expr | None], covariance: list[sp.Expr | None]) -> bool:
    """Linear growth: degree 1 of the drift, 2 of the covariance."""
    return all(d is not None and d <= 1 for d in drift) and all(d is not None and d <= 2 for d in covariance)


def _is_smooth(entries: list[sp.Expr]) -> bool:
    return not any(e.has(sp.Abs, sp.Max, sp.Min, sp.Piecewise, sp.sign, sp.Heaviside) for e in entries)


def _degree(expr: sp.Expr, states: Sequence[sp.Symbol], far: bool = True) -> sp.Expr | None:
    """A power of the size of the state that bounds an expression far out, or close to 0; None if none is seen."""
    if not expr.has(CoordinateSum, *states):
        return None if expr.has(sp.oo, sp.zoo, sp.nan) else sp.S.Zero
    if expr in states:
        return sp.S.One
    if isinstance(expr, CoordinateSum):
        return _degree(expr.body, (*states, *expr.bound_symbols), far)
    most = sp.Max if far else sp.Min
    if isinstance(expr, GaussianExpectation):
        function, *place = expr.args
        own = _degree(function.expr, function.variables, far) if not function.expr.has(*states) else None
        mean, variance = (_degree(entry, states, far) for entry in place)
        if own is None or mean is None or variance is None:
            return None
        return own * (variance / 2 if place[0] == 0 else most(mean, variance / 2))
    if isinstance(expr, sp.Add | sp.Mul | sp.Max | sp.Min | sp.Abs):
        parts = [_degree(part, states, far) for part in expr.args]
        return None if None in parts else sp.Add(*parts) if expr.is_Mul else most(*parts)
    if expr.is_Pow and expr.exp.is_nonnegative and expr.exp.is_number:
        base = _degree(expr.base, states, far)
        return None if base is None else base * expr.exp
    return _degree_of_function(expr, far) if len(expr.free_symbols) == 1 and not expr.has(CoordinateSum) else None


def _degree_of_function(expr: sp.Expr, far: bool) -> sp.Expr | None:
    x = sp.Dummy("x", real=True)
    try:
        a = analyse(expr.xreplace({expr.free_symbols.pop(): x}), x)
        ends = [a.growth(end) for end in (-sp.oo, sp.oo)] if a.complete and not a.poles else []
    except DerivationError:
        return None
    if not ends or any(g.exponent is None or (g.coefficient is not None and g.coefficient.free_symbols) for g in ends):
        return None
    if far:
        return sp.Max(0, *(g.exponent for g in ends))
    orders = [order for zero in a.zeros if zero.value == 0 for order in zero.orders]
    return None if None in orders else sp.Min(*orders) if orders else sp.S.Zero
