"""Laws made of kernels as measures: what is compiled of each family."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, singledispatch

import mpmath
import numpy as np
import sympy as sp

from derivations.calculus.logs import log_of_positive
from derivations.laws.interval import IntervalLaw
from derivations.laws.kernel import KernelLaw
from derivations.laws.numbers import compiled
from derivations.laws.radial import RadialLaw
from derivations.laws.recipes import Inversion
from derivations.symbols import initial, time
from numerics.compile.constants import constant
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.samplers import compile_sampler
from numerics.densities import KernelMeasure, Measure, PointMass
from numerics.special import log_interval_kernel, log_scaled_bessel_i

Array = np.ndarray
Densities = tuple[Callable[[Array], Array], Callable[[Array], Array]]


def kernel_measures(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    """The moving part of a law and the atoms at its absorbing ends, from left to right."""
    chart, form = part.chart, part.form
    left, right = (float(end) for end in form.interval)
    y0 = float(constant(part.chart.coordinate.subs(form.state, initial), start, when))
    root = float(np.sqrt(float(when)))
    length = float(chart.length)
    in_x, in_y = densities(part, start, when)
    atoms = [PointMass(float(a.location), number(a.mass, start, when)) for a in part.atoms]
    coordinate, back = maps(part)
    sampler = compile_sampler(part)

    by_quantiles = isinstance(part.sampler(), Inversion)
    absorbed = {atom.location for atom in atoms}

    def sample(generator: np.random.Generator, size: int) -> Array:
        if by_quantiles:
            return moving.quantile(moving.mass * generator.random(size))
        found = np.empty(0)
        while found.size < size:
            drawn = sampler(np.full(max(64, 2 * (size - found.size)), float(start)), float(when), generator)
            # states closer to an end than doubles can tell are rounded to it: they stay, where the end is no atom of its own
            at_end = [(drawn == end) & (end not in absorbed) & np.isfinite(end) for end in (left, right)]
            found = np.concatenate([found, drawn[((drawn > left) & (drawn < right)) | at_end[0] | at_end[1]]])
        return found[:size]

    moving = KernelMeasure(
        left,
        right,
        coordinate,
        back,
        chart.direction,
        -np.inf if chart.on_line else 0.0,
        length,
        y0,
        min(root, length / 8) if np.isfinite(length) else root,
        in_x,
        in_y,
        1.0 - sum(atom.mass for atom in atoms),
        sample,
    )
    parts: list[Measure] = [moving, *atoms]
    return tuple(sorted(parts, key=lambda m: (m.support[0], m.support[1])))


def number(expr: sp.Expr, start: sp.Expr, when: sp.Expr) -> float:
    """A constant of a law that may hold integrals."""
    if not expr.has(sp.Integral):
        return float(constant(expr, start, when))
    with mpmath.workdps(20):
        return float(compiled((), expr.subs({initial: start, time: when}, simultaneous=True))())


@cache
def maps(part: KernelLaw) -> tuple[CompiledFunction, CompiledFunction]:
    """X to y and y to x, as functions of arrays."""
    y = part.chart.back.variables[0]
    return (
        compile_expression((part.form.state,), part.chart.coordinate),
        compile_expression((y,), part.chart.back.expr),
    )


@cache
def log_scale(part: KernelLaw) -> CompiledFunction:
    r""":math:`\log\varphi(x)`."""
    return compile_expression((part.form.state,), log_of_positive(part.form.scale, part.form))


@singledispatch
def densities(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> Densities:
    """The logarithm of the density per unit of x and per unit of y; by the law's own formula unless a family knows better."""
    x = part.form.state
    y = part.chart.back.variables[0]
    at = {initial: start, time: when}
    in_x = compile_expression((x,), part.logpdf(x).subs(at, simultaneous=True))
    carried = part.logpdf(x) + sp.log(part.form.scale)
    folded = carried.subs(at, simultaneous=True).subs(x, part.chart.back(y))
    return in_x, compile_expression((y,), folded)


@densities.register
def _(part: RadialLaw, start: sp.Expr, when: sp.Expr) -> Densities:
    n, order = (float(constant(e, start, when)) for e in (part.index, part.order))
    m = float(constant(part.centre(time, initial), start, when))
    v = float(constant(part.variance(time), start, when))
    coordinate, _ = maps(part)
    scale = log_scale(part)
    front = -np.log(v) - n * np.log(m)

    def in_y(y: Array) -> Array:
        gauss = np.square(y - m) / (2 * v)
        return front + (1 + n) * np.log(y) - gauss + log_scaled_bessel_i(order, y * (m / v))

    return lambda x: in_y(coordinate(x)) - scale(x), in_y


@densities.register
def _(part: IntervalLaw, start: sp.Expr, when: sp.Expr) -> Densities:
    chart, x = part.chart, part.form.state
    assert chart.complement is not None
    ends = (chart.coordinate / chart.length, chart.complement / chart.length)
    at = {initial: start, time: when}
    b, b_left = (float(constant(e.subs(x, initial), start, when)) for e in ends)
    tau = float(constant(time / chart.length**2, start, when))
    shift = float(constant(-part.form.potential * time / 2 - sp.log(chart.length), start, when))
    both = compile_expression((x,), ends)
    front = compile_expression((x,), part.log_prefactor(x).subs(at, simultaneous=True))
    _, back = maps(part)
    scale, length = log_scale(part), float(chart.length)

    def in_x(points: Array) -> Array:
        a, a_left = both(points)
        return front(points) + log_interval_kernel(tau, a, b, a_left, b_left) + shift

    def in_y(y: Array) -> Array:
        points = back(y)
        kernel = log_interval_kernel(tau, y / length, b, b_left=b_left)
        return front(points) + scale(points) + kernel + shift

    return in_x, in_y
