"""Exact transitions of a law as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, singledispatch

import mpmath
import numpy as np
import sympy as sp
from scipy import special

from derivations.laws import Law, Recipe
from derivations.laws.kernel import KernelLaw
from derivations.laws.mehler import MehlerLaw
from derivations.laws.numbers import compiled
from derivations.laws.recipes import ConditionedRecipe, CrossingRecipe, HalfLineRecipe, Inversion, RadialRecipe
from derivations.symbols import initial, time
from numerics.compile.constants import parts_of
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.densities.inversion import invert_each
from numerics.special import log_interval_kernel

#: From starts, a duration and a generator to samples.
Draw = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class CompiledSampler:
    """Exact transitions of a law: from an array of starts, a time and normals to samples.

    Parameters
    ----------
    law : Law
        Picklable, as all laws are; the parts' recipes are compiled where they are used.
    """

    law: Law

    @cached_property
    def _rows(self) -> list[tuple[CompiledFunction, Draw]]:
        rows = []
        for part in parts_of(self.law):
            inside = sp.Piecewise((1, part.diffusion.domain.as_relational(initial)), (0, True))
            rows.append((compile_expression((initial,), inside), transition(part.sampler())))
        return rows

    def __call__(self, start: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        """One sample after a time for each start; ``nan`` for a start outside the law's domain.

        A start at an end that the process has been absorbed in stays there.
        """
        result = np.full(start.shape, np.nan)
        for end in self._resting:
            result[start == end] = end
        for inside, draw in self._rows:
            here = inside(start) == 1
            if here.any():
                result[here] = draw(start[here], duration, generator)
        return result

    @cached_property
    def _resting(self) -> tuple[float, ...]:
        parts = [p for p in parts_of(self.law) if isinstance(p, KernelLaw)]
        return tuple(float(atom.location) for part in parts for atom in part.atoms)


@singledispatch
def transition(recipe: object) -> Draw:
    """A recipe as a function of starts, a duration and a generator; a kind of recipe registers how."""
    raise ValueError(
        f"recipes of the kind {type(recipe).__name__} cannot be compiled; register a rule with transition.register"
    )


@transition.register
def _(recipe: Recipe) -> Draw:
    weights = compile_expression((initial, time), tuple(recipe.weights))
    values = compile_expression((initial, time, recipe.normal), tuple(recipe.values))

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        normal = generator.standard_normal(x0.shape)
        if len(recipe.weights) == 1:
            return values(x0, duration, normal)[0]
        upto = np.cumsum(weights(x0, duration), axis=0)
        which = (generator.random(x0.shape) >= upto[:-1]).sum(axis=0)
        return np.choose(which, values(x0, duration, normal))

    return draw


@transition.register
def _(recipe: RadialRecipe) -> Draw:
    numbers = compile_expression((initial, time), (recipe.index, recipe.variance, recipe.centre))
    value = compile_expression(recipe.value.variables, recipe.value.expr)

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        n, v, m = numbers(x0, duration)
        if not recipe.absorbed:
            return value(np.sqrt(v * generator.noncentral_chisquare(2 + 2 * n, m * m / v)))
        weight = m * m / (2 * v)
        gamma = generator.standard_gamma(-n)
        alive = gamma < weight
        result = np.full(x0.shape, float(recipe.end))
        count = generator.poisson((weight - gamma)[alive])
        result[alive] = value(np.sqrt(2 * v[alive] * generator.standard_gamma(count + 1.0)))
        return result

    return draw


@transition.register
def _(recipe: CrossingRecipe) -> Draw:
    numbers = compile_expression(
        (initial, time), (recipe.index, recipe.variance, recipe.centre, recipe.side, recipe.share)
    )
    left, right = (compile_expression(back.variables, back.expr) for back in (recipe.left, recipe.right))

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        n, v, m, side, share = numbers(x0, duration)
        y = np.sqrt(v * generator.noncentral_chisquare(2 + 2 * n, m * m / v))
        z = y * m / v
        with np.errstate(invalid="ignore"):
            never = np.where(z > _FAR, 1.0, special.ive(-n, z) / special.ive(n, z))  # has been at the zero
        again = generator.random(x0.shape) >= never
        beyond = np.where(again, generator.random(x0.shape) < share, side > 0)
        return np.where(beyond, right(y), left(y))

    return draw


@transition.register
def _(recipe: HalfLineRecipe) -> Draw:
    numbers = compile_expression((initial, time), (recipe.up, recipe.down, recipe.start))
    value = compile_expression(recipe.value.variables, recipe.value.expr)
    k = float(recipe.rate)

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        up, down, y0 = numbers(x0, duration)
        root, kind = np.sqrt(duration), generator.random(x0.shape)
        g = root * generator.standard_normal((3, *x0.shape))
        met, angle = generator.random((2, *x0.shape))
        # on a line, with drift ±k; met the end on the way with probability e^{-2 y0 y/t}
        line = y0 + np.where(kind < up, k, -k) * duration + g[0]
        with np.errstate(over="ignore"):
            absorbed = (line <= 0) | (met < np.exp(-2 * y0 * np.maximum(line, 0) / duration))
        # in space, with a drift of size k at an angle of density ∝ e^{k y0 c}
        rise = k * y0
        with np.errstate(
            divide="ignore", invalid="ignore", over="ignore"
        ):  # of a drift to the end, which is not tilted
            tilted = 1 + np.log(angle + (1 - angle) * np.exp(-2 * rise)) / rise
        c = np.clip(np.where(rise > 1e-8, tilted, 2 * angle - 1), -1, 1)
        ahead, aside = y0 * c + k * duration + g[0], y0 * np.sqrt(1 - c * c) + g[1]
        space = np.sqrt(ahead**2 + aside**2 + g[2] ** 2)
        on_line = kind < up + down
        result = value(np.where(on_line, np.where(absorbed, 1.0, line), space))
        result[on_line & absorbed] = float(recipe.end)
        return result

    return draw


@transition.register
def _(recipe: ConditionedRecipe) -> Draw:
    numbers = compile_expression((initial, time), (recipe.scaled_time, recipe.start))
    value = compile_expression(recipe.value.variables, recipe.value.expr)
    length = float(recipe.length)

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        tau, b = numbers(x0, duration)
        b = np.clip(b, np.finfo(float).tiny, 1 - np.finfo(float).epsneg)
        turned = b > 0.5
        b = np.where(turned, 1 - b, b)
        a = np.full(x0.shape, np.nan)
        while (left := np.flatnonzero(np.isnan(a))).size:
            proposed, accept = (_near_end if tau.flat[0] < _SHORT else _long_run)(tau[left], b[left], generator)
            kept = generator.random(left.size) < accept
            a[left[kept]] = proposed[kept]
        return value(length * np.where(turned, 1 - a, a))

    return draw


_FAR = 40.0  # argument from which on the quotient of both Bessel functions is 1 in doubles
_SHORT = 0.2  # scaled time up to which the nearest end is all that matters


def _near_end(tau: np.ndarray, b: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A Bessel process from b, and the probability with which to accept it."""
    g = np.sqrt(tau) * generator.standard_normal((3, *b.shape))
    a = np.sqrt((b + g[0]) ** 2 + g[1] ** 2 + g[2] ** 2)
    with np.errstate(all="ignore"):
        half_line = -((a - b) ** 2) / (2 * tau) + np.log(-np.expm1(-2 * a * b / tau)) - np.log(2 * np.pi * tau) / 2
        ratio = np.exp(log_interval_kernel(tau, a, b) - half_line) * np.sinc(a)
    return a, np.where(a < 1, ratio, 0.0)


def _long_run(tau: np.ndarray, b: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A uniform point, and the probability with which to accept it, once for sin² and once for the kernel."""
    a = generator.random(b.shape)
    m = np.arange(1, 9)
    bound = np.sum(m**2 * np.exp(-(m**2 - 1) * np.pi**2 * tau.flat[0] / 2))
    sines = np.sin(np.pi * a) * np.sin(np.pi * b)
    with np.errstate(all="ignore"):
        ratio = np.exp(log_interval_kernel(tau, a, b) + np.pi**2 * tau / 2) / (2 * sines * bound)
    return a, np.sin(np.pi * a) ** 2 * np.where(sines > 0, ratio, 0.0)


@transition.register
def _(recipe: Inversion) -> Draw:
    law = recipe.law
    assert isinstance(law, KernelLaw)
    chart, form = law.chart, law.form
    y, y0 = chart.back.variables[0], sp.Dummy("y0", positive=not chart.on_line, real=True)
    transformed = {form.state: chart.back(y), initial: chart.back(y0)}
    log_density = compile_expression(
        (y0, y, time), (law.logpdf(form.state) + sp.log(form.scale)).subs(transformed, simultaneous=True)
    )
    coordinate = compile_expression((form.state,), chart.coordinate)
    value = compile_expression((y,), chart.back.expr)
    length = float(chart.length)

    def draw(x0: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        at = coordinate(x0)
        reach = 9 * np.sqrt(duration)
        low, high = at - reach, at + reach
        if chart.on_line:  # the mean may drift outwards
            slope = np.exp(float(law.alpha) * duration) if isinstance(law, MehlerLaw) else 1.0
            low, high = np.minimum(low, at * slope - reach * slope), np.maximum(high, at * slope + reach * slope)
        else:
            low, high = np.maximum(low, 0.0), np.minimum(high, length)
        alive = generator.random(x0.shape)
        moving = invert_each(lambda a, b: log_density(a, b, duration), at, low, high, alive)
        result = value(moving)
        if not law.atoms:
            return result
        kind, upto = generator.random(x0.shape), np.zeros(x0.shape)
        for atom in law.atoms:
            starts, which = np.unique(x0, return_inverse=True)
            mass = np.array([_mass(atom.mass, float(x), duration) for x in starts])[which]
            result[(kind >= upto) & (kind < upto + mass)] = float(atom.location)
            upto = upto + mass
        return result

    return draw


def _mass(mass: sp.Expr, x0: float, duration: float) -> float:
    with mpmath.workdps(15):
        return float(compiled((initial, time), mass)(x0, duration))


def compile_sampler(law: Law) -> CompiledSampler:
    """The exact sampler of a law, by its recipe.

    Examples
    --------
    >>> from derivations.laws.frozen import FrozenLaw
    >>> compile_sampler(FrozenLaw(sp.Interval(-sp.oo, 0)))(np.array([-2.0, 1.0]), 1.0, np.random.default_rng(0))
    array([-2., nan])
    """
    parts_of(law)
    return CompiledSampler(law)
