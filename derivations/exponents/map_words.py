"""The maps of a layer that is not near the identity, in words: what variances and correlations do from layer to layer."""

from __future__ import annotations

import sympy as sp

from derivations.exponents.maps import FixedPoint, LayerMaps, sign_of, variance
from derivations.notation.nodes import Word
from derivations.notation.plain import Words
from derivations.notation.steps import Line, Step, Term
from derivations.symbols import depth, width

_LONG = 200  # characters; a longer map is not shown
_DIGITS = 6


def maps_step(maps: LayerMaps) -> Step:
    """What a layer that is not near the identity makes of variances and correlations."""
    lines = []
    if len(sp.sstr(maps.variances)) < _LONG:
        lines.append(Line(Word("new variance"), (Term(maps.variances),)))
    one, slope = maps.at_one, maps.slope_at_one
    lines.append(Line(Word("new variance at 1"), (Term(number_shown(one)),)))
    lines.append(Line(Word("slope there"), (Term(number_shown(slope)),)))
    lines.append(Line(Word("gain with which 1 rests"), (Term(number_shown(maps.gain)),)))
    return Step(
        "The layer as it stands",
        (
            "It is not near the identity. At infinite width it maps the variance ",
            variance,
            " and the correlation of two inputs:",
        ),
        tuple(lines),
        (
            "Given what it reads, a layer puts out Gaussian neurons. For one matrix behind an activation the value at variance 1 is "
            "E φ(Z)², and its slope E φ(Z)φ'(Z)Z.",
        ),
        tuple(_variances(maps)),
    )


def _variances(maps: LayerMaps) -> list[Words]:
    """What variances do, and where they rest, correlations."""
    if maps.factor is not None:
        return [_multiplied(maps.factor), *_correlations(maps, sp.S.One)]
    if maps.rests is None:
        return [
            ("Which variances rest depends on ", *_listed(maps.parameters), "; with numbers in their place it is said.")
        ]
    if not maps.rests:
        return [("No variance ", *_where_looked(maps), " rests", _without_rest(maps), ".")]
    found: list[Words] = []
    for point in maps.rests:
        found += [("The variance ", *_resting(point)), *_correlations(maps, point.value)]
    return found


def _multiplied(factor: sp.Expr) -> Words:
    sign = sign_of(factor - 1)
    if sign == 0:
        return (
            "Every variance rests: a layer keeps it, at width n up to random factors, which act for a time of ",
            depth / width,
            ".",
        )
    moves = {1: "it grows", -1: "it vanishes", None: "above 1 it grows, and below 1 it vanishes,"}[sign]
    return ("Every variance is multiplied by ", number_shown(factor), f": {moves} geometrically with depth.")


def _where_looked(maps: LayerMaps) -> Words:
    looked = maps.looked
    return ("above 0",) if looked is None else ("between ", number_shown(looked[0]), " and ", number_shown(looked[1]))


def _without_rest(maps: LayerMaps) -> str:
    sign = sign_of(maps.at_one - 1)
    return "" if sign is None else f": it {'grows' if sign > 0 else 'shrinks'} with every layer"


def _correlations(maps: LayerMaps, at: sp.Expr) -> list[Words]:
    points = maps.correlation_rests(at)
    relative = "There" if maps.factor in (None, 1) else "Relative to the variance"
    multiplied = f"{relative} a layer multiplies the squared distance of close inputs by "
    said: list[Words] = [(multiplied, number_shown(points[-1].slope), f": {_close(maps, at, points[-1])}.")]
    return said + [("The correlation ", *_resting(point)) for point in points[:-1]]


def _close(maps: LayerMaps, at: sp.Expr, one: FixedPoint) -> str:
    """What inputs do that are close."""
    together, apart = "inputs come together", "inputs come apart (chaos)"
    sign = sign_of(one.slope - 1)
    if sign is None:
        return f"below 1 {together}, and above 1 {apart}"
    if sign:
        stable = f"{together}: correlation 1 is stable, and deep networks see all inputs alike in finitely many layers"
        return stable if sign < 0 else apart
    edge = "the edge of chaos, where inputs neither come together nor apart to first order"
    kept = maps.keeps_correlations(at)
    return (
        edge
        if kept is None
        else f"{edge}; {'correlations are kept' if kept else f'{together} more slowly than geometrically'}"
    )


def _resting(point: FixedPoint) -> Words:
    stability = {True: "stable", False: "unstable", None: "neutral to first order"}[point.is_stable]
    return (number_shown(point.value), f" rests, {stability} (slope ", number_shown(point.slope), ").")


def _listed(symbols: tuple[sp.Symbol, ...]) -> Words:
    return tuple(part for symbol in symbols for part in (symbol, ", "))[:-1]


def number_shown(value: sp.Expr) -> sp.Expr:
    """A number as it is where it is short, else with a few digits."""
    if len(sp.sstr(value)) <= 24 and not value.has(sp.Float):
        return value
    return value if value.free_symbols else sp.N(value, _DIGITS)
