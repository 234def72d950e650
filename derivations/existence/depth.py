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
* For a layer written as a program: no explosion at linear growth of the coefficients, or of what a layer adds; else, where the squared norm is a
  diffusion by itself, Feller's test on it, which decides for every input alone. Its covariance is then a smooth function of the norm, away from 0.
* :math:`\kappa \ne 0`: all coordinates of Y tend to :math:`\pm\infty` like :math:`\kappa s`, and :math:`T < \infty` iff
  :math:`\int^\infty \mathrm{d}r/\psi(\pm r)^2 < \infty` on that side.
"""

from __future__ import annotations

import math

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.binding import Binding
from derivations.calculus.boundaries import classify, explosion
from derivations.calculus.growth import at_most, degree
from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed
from derivations.existence.directions import by_directions
from derivations.existence.flows import SecondMoments
from derivations.existence.growth import explosion_by_powers, has_slopes, is_lipschitz, is_smooth, is_smooth_everywhere
from derivations.existence.joint import linear_growth
from derivations.existence.layers import added_degree, has_norms, is_locally_lipschitz
from derivations.existence.statement import UNKNOWN, Existence
from derivations.language.single import OneMatrixLayer
from derivations.limits.closure import GramLimit, gram_limit
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.labels import Exchange
from derivations.piecewise import Analysis, analyse, pieces
from derivations.piecewise.cuts import Point, side
from derivations.piecewise.terms import LOG
from derivations.sums import CoordinateSum
from derivations.symbols import state

_SAME = sp.Rational(1, 10**20)  # a value that is no other than the limit, evaluated at 30 digits

#: Positions of an input up to which its Gram matrix is looked at, and where few of its entries say all.
MOST_POSITIONS = (6, 8)


def of_depth(limit: Diffusion | NeuronDiffusion, architecture: Recipe) -> Existence:
    """Of a diffusion at a width of its own."""
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
    if explodes == UNKNOWN:
        explodes, why_explodes = _by_what_is_added(architecture) or (explodes, why_explodes)
    return Existence(exists, unique, explodes, (why_unique, why_explodes))


def _unique(a: Analysis, architecture: Recipe, layer: OneMatrixLayer, still: bool) -> tuple[str, str, str]:
    if is_smooth_everywhere(a.expr, [a.variable]):
        return "yes", "yes", "the activation is locally Lipschitz, and the noise is linear in it"
    if not a.complete or a.intervals != ((-sp.oo, sp.oo),) or a.poles:
        missing = a.reason or "it is not defined on the whole line, or infinite somewhere"
        return UNKNOWN, UNKNOWN, f"the activation is not seen to be locally bounded: {missing}"
    if not a.jumps and has_slopes(a):
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
        value = _value(a, p)
        vanishing = [q for q, limit in zip(p.orders, p.limits, strict=True) if limit == 0]
        if None in (*p.limits, *vanishing) or not value.is_number or value is sp.nan:
            return UNKNOWN, UNKNOWN, f"how the activation behaves at {p.value} is not known"
        if sp.Rational(1, 2) in vanishing and any(_by_logarithms(a, p.value, k) for k in (-1, 1)):
            return (
                UNKNOWN,
                UNKNOWN,
                f"the inverse square of the activation is integrable at {p.value}, or not, by logarithms, which are not looked at",
            )
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


def _value(a: Analysis, p: Point) -> sp.Expr:
    """What a function is at a point: its limit, where both sides have the same and the formula has no other value there, as at zeros by digits."""
    try:
        value = a.expr.subs(a.variable, p.value)
    except (TypeError, ValueError):  # SymPy compares no formula that is infinite there
        value = sp.nan
    limit = p.limits[0]
    if limit is None or limit != p.limits[1]:
        return value
    apart = value.is_number and value is not sp.nan and bool(abs(value - limit).evalf(30) > _SAME)
    return value if apart else limit


def _by_logarithms(a: Analysis, point: sp.Expr, inwards: int) -> bool:
    """Whether a function behaves on one side of a point as a power times logarithms."""
    beside = (p.expr for p in pieces(a.expr, a.variable) if (p.left if inwards > 0 else p.right) == point)
    coefficient = side(next(beside, a.expr), a.variable, point, inwards).coefficient
    return coefficient is None or coefficient.has(LOG)


def _explodes(
    a: Analysis, limit: Diffusion | NeuronDiffusion, architecture: Recipe, layer: OneMatrixLayer
) -> tuple[str, str]:
    drift = limit.neuron_drift if isinstance(limit, NeuronDiffusion) else limit.drift
    variance = limit.neuron_entry(0, 0) if isinstance(limit, NeuronDiffusion) else limit.entry(0, 0)
    sides = [_growth(a, end) for end in (-sp.oo, sp.oo)]
    if None in sides and not a.poles and architecture.width == architecture.coordinates == 1 and drift[0] == 0:
        return (
            "cannot",
            "without drift one neuron is Brownian motion in another clock, which comes back from everywhere",
        )
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
    kappa = sp.cancel(drift[0] / variance)
    n = architecture.width
    if kappa == 0:
        if strongest <= 1:
            return "cannot", "the activation grows at most linearly, and there is no drift"
        return _by_recurrence(weakest, n)
    if kappa.is_number and not kappa.has(CoordinateSum) and kappa.is_positive is not None:
        ahead = high if kappa.is_positive else low
        if ahead <= sp.S.Half:
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


def _by_what_is_added(network: Recipe) -> tuple[str, str] | None:
    """No explosion where a layer adds at most what is linear in the state."""
    added = added_degree(network.program())
    return None if added is None or added > 1 else ("cannot", "what a layer adds grows at most linearly with the state")


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
    states, drift, covariance = _of_two_inputs(limit, network)
    norm = _squared_norm(network)
    explodes, why_explodes = (
        UNKNOWN,
        "the coefficients are not seen to grow at most linearly, and the squared norm is no diffusion by itself",
    )
    found, noise_degrees = ([degree(entry, states) for entry in entries] for entries in (drift, covariance))
    if norm is not None and not at_most(found, noise_degrees):
        found, noise_degrees = [degree(norm.drift[0], norm.states)], [degree(norm.covariance[0, 0], norm.states)]
    if at_most(found, noise_degrees):
        explodes, why_explodes = "cannot", "drift and noise grow at most linearly"
    elif (seen := _by_what_is_added(network)) is not None:
        explodes, why_explodes = seen
    elif norm is not None:
        explodes, why_explodes = _by_fellers_test(norm)
    elif _fixes_norms(network):
        explodes, why_explodes = "cannot", "every layer puts out states of the same norm"
    if explodes == UNKNOWN and network.positions:
        explodes, why_explodes = _over_positions(network)
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
    smooth = is_smooth([*drift, *covariance]) and (network.inputs == 1 or is_lipschitz(network))
    if norm is not None and smooth and _stays_away_from_zero(norm):
        return Existence(
            "yes", "yes", explodes, ("the coefficients are smooth away from 0, which is not reached", why_explodes)
        )
    if not any(entry.has(CoordinateSum, *states) for entry in (*drift, *covariance)):
        constant = "the coefficients do not depend on the state"
        return Existence("yes", "yes", "cannot", (constant, constant))
    if is_locally_lipschitz(network, drift.is_zero_matrix is True):
        until = ", until a norm is 0" if has_norms(network.program()) else ""
        why = f"given its weights a layer is locally Lipschitz in the state, and so are noise and drift{until}"
        return Existence("yes", "yes", explodes, (why, why_explodes))
    why = "the coefficients are not seen to be locally Lipschitz"
    return Existence(UNKNOWN, UNKNOWN, explodes, (why, why_explodes))


def _of_two_inputs(
    limit: Diffusion | NeuronDiffusion, network: Recipe
) -> tuple[tuple[sp.Symbol, ...], sp.Matrix, sp.Matrix]:
    """All states, drift and covariance of two neurons over the first two inputs: those of others are the same with other names and numbers."""
    alone = isinstance(limit, NeuronDiffusion)
    states, drift = (
        (limit.neuron, limit.neuron_drift) if isinstance(limit, NeuronDiffusion) else (limit.states, limit.drift)
    )
    inputs = network.coordinates if network.positions else network.inputs
    kept = [k for k in range(len(states)) if alone or k < 2 * inputs]
    kept = [k for k in kept if network.positions or k % inputs < 2]

    def entry(a: int, b: int) -> sp.Expr:
        return limit.neuron_entry(a, b) if isinstance(limit, NeuronDiffusion) else limit.entry(a, b)

    covariance = sp.Matrix(len(kept), len(kept), lambda i, j: entry(kept[i], kept[j]))
    return states, sp.Matrix([drift[k] for k in kept]), covariance


def _over_positions(network: Recipe) -> tuple[str, str]:
    """By the Gram matrix of one input, whose norms bound it."""
    count = math.prod(network.positions)
    program = network.program()
    most = MOST_POSITIONS[Exchange.of(program).unordered and not heads(program)]
    if count > most:
        return UNKNOWN, f"the Gram matrix of more than {most} positions is not looked at"
    try:
        gram = gram_limit(program, count).process
    except DerivationError as error:
        return UNKNOWN, f"the coefficients are not seen to grow at most linearly: {error}"
    if isinstance(gram, Diffusion):
        moments = SecondMoments.of(gram.states, count)
        if found := linear_growth(gram, moments) or by_directions(gram, moments, count):
            return found
    return UNKNOWN, "the norms of positions move together, and are not seen to grow at most linearly"


def _root_of_summand(drift: sp.Matrix, covariance: sp.Matrix) -> Analysis | None:
    r"""The :math:`\sqrt g` of a neuron's variance :math:`c \sum_j g(x_j)` without drift: all of it is Lipschitz where this is."""
    number, total = covariance[0, 0].as_independent(CoordinateSum)
    if covariance.shape != (1, 1) or drift[0] != 0 or not isinstance(total, CoordinateSum) or number == 0:
        return None
    alone = len(total.bound_symbols) == 1 and not total.body.has(CoordinateSum)
    if not alone or total.body.free_symbols - set(total.bound_symbols):
        return None
    y = sp.Dummy("y", real=True)
    try:
        a = analyse(sp.sqrt(total.body.xreplace({total.bound_symbols[0]: y})), y)
    except DerivationError:
        return None
    return a if a.complete and a.intervals == ((-sp.oo, sp.oo),) and not a.poles else None


def _gram_of_one_input(network: Recipe) -> GramLimit | None:
    """The uncentred Gram matrix's limit of one input, if it has one by itself."""
    if network.positions:
        return None
    try:
        found = gram_limit(network.program(), 1)
    except NotClosed:
        return None
    return None if found.centred else found


def _squared_norm(network: Recipe) -> Diffusion | None:
    """Of one input, over n, if it is a diffusion by itself; each of several inputs alone moves like one."""
    found = _gram_of_one_input(network)
    return found.process if found is not None and isinstance(found.process, Diffusion) else None


def _fixes_norms(network: Recipe) -> bool:
    """Whether the squared norm of an input is the same number after every layer, as with a norm behind the sum."""
    found = _gram_of_one_input(network)
    return found is not None and not found.process.states


def _stays_away_from_zero(norm: Diffusion) -> bool:
    """Whether V > 0 for good: its logarithm has bounded coefficients near 0, or Feller's test says so."""
    drift, variance = (degree(entry, norm.states, far=False) for entry in (norm.drift[0], norm.covariance[0, 0]))
    if drift is not None and variance is not None and drift >= 1 and variance >= 2:
        return True
    if (pushed := _leading_at_zero(norm)) is not None:
        return pushed
    try:
        return bool(classify(norm)[0].attainable == sp.false)
    except DerivationError:
        return False


def _leading_at_zero(norm: Diffusion) -> bool | None:
    r"""Whether V > 0 for good, where drift and variance are smooth in :math:`\sqrt V`; None of others.

    With :math:`a \sim a_1 V` the scale function has :math:`2\mu/a = (2\mu(0)/a_1)/V + O(V^{-1/2})`, and 0 is reached iff
    :math:`2\mu(0) < a_1`, as by a squared Bessel process. A drift of order V and a variance of order :math:`V^2` are those of a logarithm
    with bounded coefficients.
    """
    (v,), root = norm.states, sp.Dummy("y", positive=True)
    drift, variance = (_taylor(entry.xreplace({v: root**2}), root) for entry in (norm.drift[0], norm.covariance[0]))
    if drift is None or variance is None or any(variance[:2]):
        return None
    if not any(variance[2:4]) and not any(drift[:2]):
        return True
    slope = sp.factor_terms(variance[2])
    return bool(sp.factor_terms(sp.expand(2 * drift[0] - slope)).is_nonnegative) if slope.is_positive else None


def _taylor(expr: sp.Expr, y: sp.Symbol) -> list[sp.Expr] | None:
    """The first coefficients at 0, up to that of the fourth power; None where one is not finite, or means have no closed form."""
    if expr.atoms(Binding):
        return None
    expr = expr.xreplace({node: value for node in expr.atoms(sp.exp, sp.erf) if (value := _flat(node, y)) is not None})
    found = []
    for k in range(5):
        value = sp.expand(expr.subs(y, 0))
        if not (value.is_finite and value.is_real):
            return None
        found.append(value / sp.factorial(k))
        expr = sp.diff(expr, y)
    return found


def _flat(node: sp.Expr, y: sp.Symbol) -> sp.Expr | None:
    r"""What :math:`e^{-c/y^k}` or :math:`\operatorname{erf}(c/y^k)` differs from by less than every power of y, as its derivatives do."""
    factor, power = node.args[0].as_independent(y, as_Add=False)
    if not (power.is_Pow and power.base == y and power.exp.is_negative and factor.is_nonzero and factor.is_real):
        return None
    if isinstance(node, sp.exp):
        return sp.S.Zero if factor.is_negative else None
    return sp.sign(factor)


def _by_fellers_test(norm: Diffusion) -> tuple[str, str]:
    reached = explosion_by_powers(norm)  # at once, where limits of formulas take long
    if reached not in (sp.true, sp.false):
        try:
            reached = explosion(norm)
        except DerivationError:
            if reached is None:
                return UNKNOWN, "Feller's test of the squared norm has no closed form"
    if reached == sp.true:
        return "can", "by Feller's test the squared norm, a diffusion by itself, reaches infinity in finite time"
    if reached == sp.false:
        return "cannot", "by Feller's test the squared norm, a diffusion by itself, does not reach infinity"
    return UNKNOWN, f"by Feller's test of the squared norm it explodes if {reached}"
