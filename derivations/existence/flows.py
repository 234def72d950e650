r"""Solutions of flows of second moments: unique where coefficients are Lipschitz, and finite until an explosion.

*Growth.* Covariances are bounded by variances, so only the velocities of the variances matter, and in them a covariance is a correlation in
:math:`[-1, 1]` times two standard deviations. At linear growth there is no explosion.

*Explosion.* Where a variance moves by itself, :math:`\dot K = f(K)`, it explodes iff f is positive far out and :math:`\int^\infty \mathrm{d}K/f < \infty`
(Osgood), and then after :math:`\int_{K_0}^\infty \mathrm{d}K/f`. Variances of positions move together; two starts that a flow may keep have one
number only: all coordinates equal, or uncorrelated with equal variances. Where mean and second moment of one input move by themselves and
reduce to a Riccati equation, that one is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.far_out import far_out
from derivations.calculus.growth import degree
from derivations.diffusion import Flow
from derivations.errors import NoClosedForm
from derivations.existence.growth import growing_outward, is_lipschitz, is_lipschitz_drift, rising
from derivations.existence.statement import UNKNOWN, Existence
from derivations.kernels.explosion import explosion_time, start
from derivations.kernels.riccati import mean_riccati
from derivations.limits.gram import upper

_ALONE = "a variance"
#: Velocities of variances that others are compared with, under other names, before they are written in correlations.
_COMPARED = 2


def of_flow(flow: Flow, recipe: Recipe) -> Existence:
    """Of a deterministic limit of second moments."""
    if open_question := _of_time(flow):
        return open_question
    moments = SecondMoments.of(flow.states, recipe.coordinates)
    explodes, why, time = _explodes(flow, moments)
    unique, why_unique = _unique(recipe, all(map(_stays_positive, moments.velocities(flow))))
    return Existence(unique, unique, explodes, (why_unique, why), time)


def of_neurons(flow: Flow) -> Existence:
    """Of a deterministic limit of the neurons themselves, at a fixed width and without noise."""
    if open_question := _of_time(flow):
        return open_question
    unique, why_unique = UNKNOWN, "the drift is not seen to be locally Lipschitz"
    if all(is_lipschitz_drift(velocity, flow.states) for velocity in flow.drift):
        unique, why_unique = "yes", "the drift is locally Lipschitz"
    degrees = [degree(velocity, flow.states) for velocity in flow.drift]
    if all(d is not None and d <= 1 for d in degrees):
        return Existence(unique, unique, "cannot", (why_unique, "the drift grows at most linearly"))
    why = "the drift is not seen to grow at most linearly"
    outward = growing_outward(flow.drift[0], flow.states[0]) if len(flow.states) == 1 else None
    if outward is None:
        return Existence(unique, unique, UNKNOWN, (why_unique, why))
    why = "on a side where the drift leads away from 0 it grows faster than linearly"
    if not outward:
        why = "on each side the drift grows at most linearly or leads back"
    return Existence(unique, unique, "can" if outward else "cannot", (why_unique, why))


def _of_time(flow: Flow) -> Existence | None:
    """That nothing is known, where the coefficients are not seen to be continuous in the time."""
    if all(_is_continuous(velocity, flow.time) for velocity in flow.drift):
        return None
    why = f"the coefficients depend on the time {flow.time} otherwise than as polynomials, exponentials, sines and cosines"
    return Existence(UNKNOWN, UNKNOWN, UNKNOWN, (why, why))


def _is_continuous(velocity: sp.Expr, time: sp.Symbol) -> bool:
    waves = {f: sp.Dummy("f") for f in velocity.atoms(sp.exp, sp.sin, sp.cos) if f.args[0].is_polynomial(time)}
    return time not in velocity.free_symbols or bool(velocity.xreplace(waves).is_polynomial(time))


@dataclass(frozen=True)
class SecondMoments:
    """Which states are variances, covariances and means.

    Parameters
    ----------
    states : tuple of Symbol
        Means first, where they move, then second moments in the order of an upper triangle, without its diagonal where layers fix it.
    places : dict
        Of each second moment.
    """

    states: tuple[sp.Symbol, ...]
    places: dict[sp.Symbol, tuple[int, int]]

    @classmethod
    def of(cls, states: tuple[sp.Symbol, ...], coordinates: int) -> SecondMoments:
        """Of the Gram matrix of so many coordinates."""
        pairs = upper(coordinates)
        if len(states) < len(pairs):
            pairs = tuple((a, b) for a, b in pairs if a != b)
        own = states[len(states) - len(pairs) :]
        return cls(states, dict(zip(own, pairs, strict=True)))

    @property
    def variances(self) -> dict[int, sp.Symbol]:
        """By coordinate; none where layers fix them."""
        return {a: s for s, (a, b) in self.places.items() if a == b}

    @cached_property
    def by_correlations(self) -> dict[sp.Symbol, sp.Expr]:
        """Covariances and means by bounded symbols and standard deviations."""
        root = {a: sp.sqrt(v) for a, v in self.variances.items()}
        off = {s: root[a] * root[b] for s, (a, b) in self.places.items() if a != b and root}
        means = [s for s in self.states if s not in self.places]
        off |= {m: root[a] for a, m in enumerate(means) if root}
        return {s: sp.Dummy("r", real=True) * size for s, size in off.items()}

    def velocities(self, flow: Flow) -> list[sp.Expr]:
        """Of the variances, in correlations; one of those that are alike under other names."""
        drift, rule = dict(zip(flow.states, flow.drift, strict=True)), self.by_correlations
        found: dict[sp.Expr, sp.Expr] = {}
        known: list[tuple[int, sp.Expr]] = []
        for a, s in self.variances.items():
            if any(drift[s] == own.xreplace(self._exchanged(a, b)) for b, own in known):
                continue
            if len(known) < _COMPARED:
                known.append((a, drift[s]))
            velocity = drift[s].xreplace(rule)
            own = sorted(velocity.free_symbols, key=sp.default_sort_key)
            names = {v: sp.Symbol(f"{k}", **v._assumptions_orig) for k, v in enumerate(own)}
            found.setdefault(velocity.xreplace(names), velocity)
        return list(found.values())

    def _exchanged(self, a: int, b: int) -> dict[sp.Symbol, sp.Symbol]:
        """Each state by what it is called where two coordinates change their names."""
        at = {pair: s for s, pair in self.places.items()}
        swap = {a: b, b: a}
        moved = {s: (swap.get(i, i), swap.get(j, j)) for s, (i, j) in self.places.items()}
        means = [s for s in self.states if s not in self.places]
        renamed = {s: at[min(i, j), max(i, j)] for s, (i, j) in moved.items()}
        return renamed | {m: means[swap.get(k, k)] for k, m in enumerate(means)}

    def degree(self, expr: sp.Expr) -> sp.Expr | None:
        """Far out, of a formula in correlations; None where these may make it infinite."""
        bounded = {r for size in self.by_correlations.values() for r in size.atoms(sp.Dummy)}
        if any(power.exp.is_negative and power.base.free_symbols & bounded for power in expr.atoms(sp.Pow)):
            return None
        return degree(expr, [*self.variances.values()])


def _stays_positive(velocity: sp.Expr) -> bool:
    """Whether a variance does not become 0."""
    variances = [s for s in velocity.free_symbols if s.is_positive]
    low = degree(velocity, variances, far=False)
    return bool(velocity.is_nonnegative) or (low is not None and bool(low >= 1))


def _unique(recipe: Recipe, stays: bool) -> tuple[str, str]:
    if not is_lipschitz(recipe):
        return UNKNOWN, "what matrices are applied to is not seen to be locally Lipschitz"
    until = "" if stays else ", until a variance becomes 0"
    return (
        "yes",
        f"means of locally Lipschitz functions of Gaussian neurons are locally Lipschitz in their covariances{until}",
    )


def _explodes(flow: Flow, moments: SecondMoments) -> tuple[str, str, sp.Expr | None]:
    if not moments.variances:
        return "cannot", "the variances are fixed, and correlations are bounded", None
    degrees = [moments.degree(rising(v)) for v in moments.velocities(flow)]
    if all(d is not None and d <= 1 for d in degrees):
        return "cannot", "the variances grow at most exponentially, and bound the covariances", None
    for alone, where in _scalars(flow, moments):
        (s,) = alone.states
        found = far_out(alone.drift[0], s)
        if found is None:
            continue
        power, sign = found
        if sign > 0 and power > 1:
            fast = f"like its power {power}" if power.is_finite else "faster than its powers"
            why = f"{where} moves by itself, and its velocity grows {fast}, so that it is infinite after a finite time"
            time = explosion_time(alone.drift[0], s)
            if time is None or time.has(sp.Integral):
                return "can", why, None
            return "can", f"{why}, {time} from a start {start} on", time
        if where == _ALONE:
            return (
                "cannot",
                "each variance moves by itself, and its velocity grows at most linearly or is negative far out",
                None,
            )
    if _has_exploding_mean(flow, moments):
        why = "one input's mean obeys a Riccati equation, whose solution from a large variance is infinite after a finite time"
        return "can", f"{why}, which derivations.kernels.explosion_depth gives", None
    return (
        UNKNOWN,
        "the velocity of a variance is not seen to grow at most linearly, and no variance is seen to explode",
        None,
    )


def _has_exploding_mean(flow: Flow, moments: SecondMoments) -> bool:
    """Whether mean and second moment of one input move by themselves and explode from a large start."""
    drift = dict(zip(flow.states, flow.drift, strict=True))
    means = [s for s in flow.states if s not in moments.places]
    if not means or not {*drift[means[0]].free_symbols} & {*moments.variances.values()}:
        return False
    m, k = means[0], moments.variances[0]
    if (drift[m].free_symbols | drift[k].free_symbols) & {*flow.states} - {m, k}:
        return False
    try:
        riccati, _ = mean_riccati(m, k, drift[m], drift[k])
    except NoClosedForm:
        return False
    # m' = α (m + β/2α)² + w/α has no bound where w > 0, on the side of α
    rate = sp.diff(riccati.discriminant, sp.Symbol(f"{k.name}_0", positive=True))
    return bool(rate.is_positive)


def _scalars(flow: Flow, moments: SecondMoments) -> list[tuple[Flow, str]]:
    """Flows of one number that it contains."""
    drift = dict(zip(flow.states, flow.drift, strict=True))
    alone = [v for v in moments.variances.values() if not drift[v].free_symbols & ({*flow.states} - {v})]
    if alone:
        where = _ALONE if len(alone) == len(moments.variances) else f"the variance {alone[0]}"
        return [(Flow((alone[0],), sp.ImmutableMatrix([drift[alone[0]]]), flow.time), where)]
    if len(moments.places) < len(flow.states):
        return []
    found = []
    s = sp.Symbol("K", positive=True)
    for same, where in ((s, "the variance of equal positions"), (sp.S.Zero, "the variance of uncorrelated positions")):
        at = {k: s if a == b else same for k, (a, b) in moments.places.items()}
        moved = {(a == b, drift[k].xreplace(at).doit()) for k, (a, b) in moments.places.items()}
        speeds = {sp.expand(v) for diagonal, v in moved if diagonal}
        rest = {sp.expand(v) for diagonal, v in moved if not diagonal}
        if len(speeds) == 1 and rest <= (speeds if same == s else {sp.S.Zero}):
            found.append((Flow((s,), sp.ImmutableMatrix([*speeds]), flow.time), where))
    return found
