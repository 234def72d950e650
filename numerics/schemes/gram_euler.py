r"""Euler–Maruyama steps of neurons, taken in law on their Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial

import numpy as np

from derivations.diffusion import Limit
from derivations.errors import kind_of
from derivations.limits import GramDiffusion
from derivations.limits.gram import upper
from numerics.compile import compile_expression
from numerics.compile.pair_tables import MANY, with_pair_tables
from numerics.linalg import factor_of_rank, nearest_semidefinite, semidefinite_factor, times_transposed
from numerics.schemes.base import Advance, Array, Scheme


@dataclass(frozen=True)
class GramEuler(Scheme):
    r"""A step of a network's Gram matrix at finite width, :math:`V' = MM^\top + h\,(b - kG)`, :math:`M = L + \sqrt h\,R\,\Gamma`.

    Here k is the number m of inputs or the largest rank of V, if that is smaller, :math:`V = LL^\top` with an m × k matrix L,
    :math:`G = RR^\top`, :math:`\Gamma` has m × k independent standard normal entries, and the covariance of the
    limit is that of neurons with independent noises of covariance nG,

    .. math:: V_{\alpha\gamma}G_{\beta\delta} + V_{\alpha\delta}G_{\beta\gamma} + V_{\beta\gamma}G_{\alpha\delta}
              + V_{\beta\delta}G_{\alpha\gamma} ;

    G is read off it.
    *Derivation.* :math:`\mathbb{E}MM^\top = V + hkG`, and the noise of :math:`MM^\top` is :math:`\sqrt h\,(L\Gamma^\top R^\top + R\Gamma L^\top)` to first
    order. For n ≥ m neurons this is the Gram matrix of :math:`X + \sqrt h\,\xi R^\top` but for the noise of the n − m directions
    that no input has, whose mean is in b: it stays on the cone where :math:`b \succeq mG`. Fewer neurons than inputs are stepped themselves.

    Where that fails, the step is projected back to the cone, and to matrices of the rank that V may have. Where the covariance is of
    another form, as that of a state and its tangent in a ReLU perceptron, the step is :math:`V + hb + \sqrt h\,\sigma\xi` with any square root
    of it, projected. So it is where a norm fixes the diagonal, which rows and columns are scaled to afterwards.
    """

    name: str = "gram_euler"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile the coefficients, and what G is."""
        if not isinstance(limit, GramDiffusion):
            raise ValueError(
                "the scheme steps Gram matrices of a finite number of neurons, as derive(...).gram gives, "
                f"got {kind_of(limit)} in {', '.join(map(str, limit.states))}"
            )
        m, pairs = limit.inputs, upper(limit.inputs)
        rank = int(min(m, limit.rank)) if limit.rank.is_number else m
        factor = semidefinite_factor if rank == m else partial(factor_of_rank, rank=rank)
        if len(limit.pairs) < len(pairs) or not has_neurons(limit):
            return _projected(limit, rank)
        index = {pair: k for k, pair in enumerate(pairs)}
        at = lambda a, b: index[min(a, b), max(a, b)]  # noqa: E731
        arguments = (*limit.states, limit.time)
        # of each diagonal entry with itself and with the others of its row: all of G
        wanted = [(at(a, a), at(a, b)) for a, b in pairs]
        both = (*limit.drift, *(limit.covariance[p, q] for p, q in wanted))  # which share their means
        exact, tabulated = compile_expression(arguments, both), cache(lambda: with_pair_tables(arguments, both))

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h, count = duration / steps, len(x)
            coefficients = exact if count * steps < MANY else tabulated()
            v = np.empty((count, m, m))
            for k, (a, b) in enumerate(pairs):
                v[:, a, b] = v[:, b, a] = x[:, k]
            lower = factor(v)
            _require_possible(v, lower, rank)
            for step in range(steps):
                v = times_transposed(lower, lower)
                states = [_inside(v, a, b) for a, b in pairs]
                now = time + step * h
                found = coefficients(*states, now)
                velocity, own = found[: len(pairs)], found[len(pairs) :]
                g, rest = np.empty((2, count, m, m))
                for k, (a, b) in enumerate(pairs):
                    norm = states[at(a, a)]
                    g_aa = own[at(a, a)] / (4 * norm)
                    g[:, a, b] = g[:, b, a] = g_aa if a == b else (own[k] / 2 - states[k] * g_aa) / norm
                    rest[:, a, b] = rest[:, b, a] = velocity[k]
                gamma = rng.standard_normal((count, m, rank))
                noise = semidefinite_factor(g)
                noise = times_transposed(noise, gamma.swapaxes(1, 2)) if rank == m else noise @ gamma
                moved = lower + np.sqrt(h) * noise
                lower = factor(times_transposed(moved, moved) + h * (rest - rank * g))
            v = times_transposed(lower, lower)
            return np.stack([v[:, a, b] for a, b in pairs], axis=1)

        return advance


def has_neurons(limit: GramDiffusion) -> bool:
    """Whether the covariance is that of neurons with independent noises, looked at in a few places of the cone."""
    m, pairs = limit.inputs, upper(limit.inputs)
    places = np.random.default_rng(0).standard_normal((5, m, m + 1))
    v = places @ places.swapaxes(1, 2) / m
    states = [v[:, a, b] for a, b in pairs]
    entries = sorted({*limit.generic_entries, *((pairs.index((a, a)), k) for k, (a, b) in enumerate(pairs))})
    read = compile_expression((*limit.states, limit.time), tuple(limit.entry(*places) for places in entries))
    rates = dict(zip(entries, np.broadcast_arrays(*read(*states, 0.5), states[0]), strict=False))
    g = np.empty_like(v)
    for k, (a, b) in enumerate(pairs):
        own = rates[pairs.index((a, a)), pairs.index((a, a))] / (4 * v[:, a, a])
        g[:, a, b] = g[:, b, a] = own if a == b else (rates[pairs.index((a, a)), k] / 2 - v[:, a, b] * own) / v[:, a, a]
    for (i, j), rate in rates.items():
        (a, b), (c, d) = pairs[i], pairs[j]
        form = v[:, a, c] * g[:, b, d] + v[:, a, d] * g[:, b, c] + v[:, b, c] * g[:, a, d] + v[:, b, d] * g[:, a, c]
        if np.max(np.abs(rate - form)) > _ALIKE * np.max(np.abs(form) + np.abs(rate)):
            return False
    return True


def _require_possible(v: Array, lower: Array, rank: int) -> None:
    off = np.abs(v - times_transposed(lower, lower)).max(axis=(1, 2))
    if np.any(off > _SINGULAR * np.abs(v).max(axis=(1, 2))):
        few = (
            f" of so few neurons, which has rank {rank} at most"
            if rank < v.shape[1]
            else ": it has a negative eigenvalue"
        )
        raise ValueError(f"the start is no Gram matrix{few}; start from X^T X/n of states X of the neurons")


def _projected(limit: GramDiffusion, rank: int) -> Advance:
    """Steps of Euler and Maruyama, each followed by the nearest matrix of the cone, and of the rank that it may have.

    A diagonal that is fixed is restored by a factor for each row and column. Both are smooth maps to the matrices that V may be and leave these
    alone, so that steps keep their mean, as :func:`numerics.compile.surface.back_to_surface` derives.
    """
    m, pairs = limit.inputs, limit.pairs
    arguments, count = (*limit.states, limit.time), len(pairs)
    drift = compile_expression(arguments, tuple(limit.drift))
    places = [(i, j) for i in range(count) for j in range(i, count)]
    rates = compile_expression(arguments, tuple(limit.entry(i, j) for i, j in places))
    diagonal = {a: float(limit.matrix[a, a]) for a in range(m) if (a, a) not in pairs}
    fixed, norms = list(diagonal), np.array(list(diagonal.values()))

    def restored(v: Array) -> Array:
        v = nearest_semidefinite(v) if rank == m else times_transposed(*2 * [factor_of_rank(v, rank)])
        scale = np.ones(v.shape[:2])
        scale[:, fixed] = np.sqrt(norms / v[:, fixed, fixed])
        return v * scale[:, :, None] * scale[:, None, :]

    def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
        h, samples = duration / steps, len(x)
        v, covariance = np.empty((samples, m, m)), np.empty((samples, count, count))
        gone = np.zeros(samples, dtype=bool)  # beyond the range of numbers, where an identity stands in
        v[:, fixed, fixed] = norms
        for k, (a, b) in enumerate(pairs):
            v[:, a, b] = v[:, b, a] = x[:, k]
        known = v[np.isfinite(v).all(axis=(1, 2))]  # paths that exploded in an earlier span start beyond numbers
        _require_possible(known, factor_of_rank(known, rank), rank)
        for step in range(steps):
            states = [_inside(v, a, b) for a, b in pairs]
            now = time + step * h
            for (i, j), rate in zip(places, rates(*states, now), strict=True):
                covariance[:, i, j] = covariance[:, j, i] = rate
            noise = semidefinite_factor(covariance) @ (np.sqrt(h) * rng.standard_normal((samples, count, 1)))
            for k, ((a, b), velocity) in enumerate(zip(pairs, drift(*states, now), strict=True)):
                v[:, a, b] = v[:, b, a] = states[k] + h * velocity + noise[:, k, 0]
            gone |= ~np.isfinite(v).all(axis=(1, 2))
            v[gone] = np.eye(m)
            v = restored(v)
        return np.where(gone[:, None], np.inf, np.stack([v[:, a, b] for a, b in pairs], axis=1))

    return advance


#: Relative error up to which formulas are alike.
_ALIKE = 1e-9
#: Relative, of a matrix whose smallest eigenvalues are 0 but for rounding.
_SINGULAR = 1e-8
#: Of a squared norm: at 0 itself angles have no value.
_LEAST = 1e-100


def _inside(v: Array, a: int, b: int) -> Array:
    """An entry within the bounds of Cauchy and Schwarz, which rounding may break."""
    if a == b:
        return np.maximum(v[:, a, a], _LEAST)
    bound = np.sqrt(v[:, a, a] * v[:, b, b]) * (1.0 - 2.0**-50)
    return np.clip(v[:, a, b], -bound, bound)
