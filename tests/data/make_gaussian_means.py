r"""Gaussian means of sixty activations to 30 digits, by mpmath alone: writes ``gaussian_means.json`` beside itself.

It shares no code with the packages. Each activation is written out with its derivative, the points where it is not smooth (with
the power p of the substitution d = uᵖ that makes it smooth beside them), and how far from the real line its next singularity is.
For :math:`(U, V)` Gaussian the mean :math:`\mathbb{E} f(U) f(V)` is an integral over U of an integral over V given U: by the trapezoidal rule
where f is analytic in a strip, by Gauss–Legendre between the points otherwise; around the images of the points the panels
double from the width of V given U on, for there the inner mean bends.

Run as ``python make_gaussian_means.py [names...]``, without names for all of them; ``test_gaussian_means`` recomputes some of it in the slow lane.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
from mpmath import mpf

DIGITS = 34
EDGE = 13  # deviations
PLAIN, BENT = 28, 48  # nodes of a panel
INFINITE = "infinite"
Function = Callable[[mpf], mpf]


class Case(NamedTuple):
    """An activation: what the package parses, f, f', points with powers, and the half-width of the strip (0: entire)."""

    formula: str
    f: Function
    slope: Function | None
    points: tuple[tuple[float | str, int], ...] = ()
    strip: float = 0.0


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def dsigmoid(x):
    return 1 / (2 + mp.exp(x) + mp.exp(-x))


def sech2(x):
    return 1 / mp.cosh(x) ** 2


def phi(x):
    return mp.npdf(x)


def cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def step(x):
    return mpf(x > 0)


def sign(x):
    return mpf(x > 0) - mpf(x < 0)


def softplus(x):
    return max(x, mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def mish(x):
    return x * mp.tanh(softplus(x))


def dmish(x):
    return mp.tanh(softplus(x)) + x * sech2(softplus(x)) * sigmoid(x)


def gate(x):  # the cubic under GELU's tanh
    return mp.sqrt(2 / mp.pi) * (x + mpf(44715) / 10**6 * x**3)


def dgelu_tanh(x):
    inner = mp.sqrt(2 / mp.pi) * (1 + 3 * mpf(44715) / 10**6 * x**2)
    return (1 + mp.tanh(gate(x))) / 2 + x * sech2(gate(x)) * inner / 2


SCALE, ALPHA = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
PI = float(mp.pi)

CASES: dict[str, Case] = {
    "relu": Case("max(x,0)", lambda x: max(x, 0), step, ((0, 1),)),
    "relu6": Case("min(max(x,0),6)", lambda x: min(max(x, 0), 6), lambda x: mpf(0 < x < 6), ((0, 1), (6, 1))),
    "elu": Case(
        "max(x,0)+min(exp(x)-1,0)",
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mpf(1) if x > 0 else mp.exp(x),
        ((0, 1),),
    ),
    "elu again": Case(
        "max(x,0)+exp(min(x,0))-1",
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mpf(1) if x > 0 else mp.exp(x),
        ((0, 1),),
    ),
    "selu": Case(
        "1.0507009873554804934193349852946*(max(x,0)+1.6732632423543772848170429916717*(exp(min(x,0))-1))",
        lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)),
        lambda x: SCALE * (mpf(1) if x > 0 else ALPHA * mp.exp(x)),
        ((0, 1),),
    ),
    "mish": Case("x*tanh(log(1+exp(x)))", mish, dmish, (), 1.2),
    "hardtanh": Case("min(max(x,-1),1)", lambda x: min(max(x, -1), 1), lambda x: mpf(-1 < x < 1), ((-1, 1), (1, 1))),
    "hardswish": Case(
        "x*min(max(x+3,0),6)/6",
        lambda x: x * min(max(x + 3, 0), 6) / 6,
        lambda x: mpf(0) if x < -3 else mpf(1) if x > 3 else (2 * x + 3) / 6,
        ((-3, 1), (3, 1)),
    ),
    "hardsigmoid": Case(
        "min(max(x+3,0),6)/6",
        lambda x: min(max(x + 3, 0), 6) / 6,
        lambda x: mpf(-3 < x < 3) / 6,
        ((-3, 1), (3, 1)),
    ),
    "softsign": Case("x/(1+abs(x))", lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2, ((0, 1),), 1.0),
    "sigmoid": Case("1/(1+exp(-x))", sigmoid, dsigmoid, (), PI),
    "quick gelu": Case(
        "x*sigmoid(1.702*x)",
        lambda x: x * sigmoid(mpf("1.702") * x),
        lambda x: sigmoid(mpf("1.702") * x) + mpf("1.702") * x * dsigmoid(mpf("1.702") * x),
        (),
        PI / 1.703,
    ),
    "gelu tanh": Case(
        "x*(1+tanh(sqrt(2/pi)*(x+0.044715*x**3)))/2", lambda x: x * (1 + mp.tanh(gate(x))) / 2, dgelu_tanh, (), 0.7
    ),
    "gelu": Case("gelu", lambda x: x * cdf(x), lambda x: cdf(x) + x * phi(x)),
    "silu": Case("silu", lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * dsigmoid(x), (), PI),
    "squared relu": Case("max(x,0)**2", lambda x: max(x, 0) ** 2, lambda x: 2 * max(x, mpf(0)), ((0, 1),)),
    "softshrink": Case(
        "max(x-0.5,0)-max(-x-0.5,0)",
        lambda x: sign(x) * max(abs(x) - 0.5, 0),
        lambda x: mpf(abs(x) > 0.5),
        ((-0.5, 1), (0.5, 1)),
    ),
    "hardshrink": Case(
        "x*heaviside(x-0.5)+x*heaviside(-x-0.5)", lambda x: x * (abs(x) > 0.5), None, ((-0.5, 1), (0.5, 1))
    ),
    "abs": Case("abs(x)", abs, sign, ((0, 1),)),
    "root": Case("sqrt(abs(x))", lambda x: mp.sqrt(abs(x)), None, ((0, 2),)),
    "signed root": Case("sign(x)*sqrt(abs(x))", lambda x: sign(x) * mp.sqrt(abs(x)), None, ((0, 2),)),
    "power 3/5": Case(
        "abs(x)**(3/5)",
        lambda x: abs(x) ** (mpf(3) / 5),
        lambda x: sign(x) * 3 / (5 * abs(x) ** (mpf(2) / 5)),
        ((0, 5),),
    ),
    "signed power 3/4": Case(
        "sign(x)*abs(x)**(3/4)",
        lambda x: sign(x) * abs(x) ** (mpf(3) / 4),
        lambda x: 3 / (4 * abs(x) ** (mpf(1) / 4)),
        ((0, 4),),
    ),
    "power 3/2": Case(
        "abs(x)**(3/2)", lambda x: abs(x) ** (mpf(3) / 2), lambda x: sign(x) * 3 * mp.sqrt(abs(x)) / 2, ((0, 2),)
    ),
    "root elsewhere": Case("sqrt(abs(x-1))", lambda x: mp.sqrt(abs(x - 1)), None, ((1, 2),)),
    "power 2/3 elsewhere": Case(
        "abs(x-0.5)**(2/3)",
        lambda x: abs(x - 0.5) ** (mpf(2) / 3),
        lambda x: sign(x - 0.5) * 2 / (3 * abs(x - 0.5) ** (mpf(1) / 3)),
        ((0.5, 3),),
    ),
    "half root": Case("sqrt(max(x,0))", lambda x: mp.sqrt(max(x, 0)), None, ((0, 2),)),
    "logarithm": Case("log(abs(x))", lambda x: mp.log(abs(x)), None, ((0, 20),)),
    "entropy": Case("x*log(abs(x))", lambda x: x * mp.log(abs(x)), lambda x: mp.log(abs(x)) + 1, ((0, 20),)),
    "cube": Case("x**3", lambda x: x**3, lambda x: 3 * x**2),
    "snake": Case("x+sin(x)**2", lambda x: x + mp.sin(x) ** 2, lambda x: 1 + mp.sin(2 * x)),
    "bump": Case("exp(-x**2)", lambda x: mp.exp(-x * x), lambda x: -2 * x * mp.exp(-x * x)),
    "sinc": Case(
        "sin(x)/x",
        lambda x: mp.sinc(x),
        lambda x: (x * mp.cos(x) - mp.sin(x)) / x**2 if abs(x) > 1e-6 else -x / 3 + x**3 / 30 - x**5 / 840,
    ),
    "log square": Case("log(1+x**2)", lambda x: mp.log1p(x * x), lambda x: 2 * x / (1 + x * x), (), 1.0),
    "arctan": Case("atan(x)", mp.atan, lambda x: 1 / (1 + x * x), (), 1.0),
    "sine": Case("sin(x)", mp.sin, mp.cos),
    "x tanh": Case("x*tanh(x)", lambda x: x * mp.tanh(x), lambda x: mp.tanh(x) + x * sech2(x), (), PI / 2),
    "softplus": Case("log(1+exp(x))", softplus, sigmoid, (), PI),
    "log cosh": Case("log(cosh(x))", lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2), mp.tanh, (), PI / 2),
    "heaviside": Case("heaviside(x)", step, None, ((0, 1),)),
    "sign": Case("sign(x)", sign, None, ((0, 1),)),
    "half tanh": Case("max(tanh(x),0)", lambda x: max(mp.tanh(x), 0), lambda x: step(x) * sech2(x), ((0, 1),), PI / 2),
    "tanh relu": Case("tanh(max(x,0))", lambda x: mp.tanh(max(x, 0)), lambda x: step(x) * sech2(x), ((0, 1),), PI / 2),
    "tanh abs": Case("tanh(abs(x))", lambda x: mp.tanh(abs(x)), lambda x: sign(x) * sech2(x), ((0, 1),), PI / 2),
    "log modulus": Case("log(1+abs(x))", lambda x: mp.log1p(abs(x)), lambda x: sign(x) / (1 + abs(x)), ((0, 1),), 1.0),
    "tanhshrink": Case("x-tanh(x)", lambda x: x - mp.tanh(x), lambda x: mp.tanh(x) ** 2, (), PI / 2),
    "tanh": Case("tanh(x)", mp.tanh, sech2, (), PI / 2),
    "steep tanh": Case("tanh(3*x)", lambda x: mp.tanh(3 * x), lambda x: 3 * sech2(3 * x), (), PI / 6),
    "large": Case(
        "50*x*tanh(x)", lambda x: 50 * x * mp.tanh(x), lambda x: 50 * (mp.tanh(x) + x * sech2(x)), (), PI / 2
    ),
    "small": Case("tanh(x)/1000", lambda x: mp.tanh(x) / 1000, lambda x: sech2(x) / 1000, (), PI / 2),
    "gap": Case("max(x**2-1,0)", lambda x: max(x * x - 1, 0), lambda x: 2 * x * (abs(x) > 1), ((-1, 1), (1, 1))),
    "exponential gap": Case(
        "max(exp(x)-2,0)", lambda x: max(mp.exp(x) - 2, 0), lambda x: mp.exp(x) * (mp.exp(x) > 2), (("log2", 1),)
    ),
    "cosine kink": Case(
        "max(cos(x)-x,0)",
        lambda x: max(mp.cos(x) - x, 0),
        lambda x: -(mp.sin(x) + 1) * (mp.cos(x) > x),
        (("dottie", 1),),
    ),
    "four kinks": Case(
        "abs(x+2)-abs(x+1)+max(x-1,0)-2*max(x-2,0)",
        lambda x: abs(x + 2) - abs(x + 1) + max(x - 1, 0) - 2 * max(x - 2, 0),
        lambda x: sign(x + 2) - sign(x + 1) + step(x - 1) - 2 * step(x - 2),
        ((-2, 1), (-1, 1), (1, 1), (2, 1)),
    ),
    "leaky relu": Case(
        "max(x,0)+0.2*min(x,0)", lambda x: x if x > 0 else x / 5, lambda x: mpf(1) if x > 0 else mpf(1) / 5, ((0, 1),)
    ),
    "log sigmoid": Case("-log(1+exp(-x))", lambda x: -softplus(-x), lambda x: sigmoid(-x), (), PI),
    "erf": Case("erf(x)", mp.erf, lambda x: 2 * mp.exp(-x * x) / mp.sqrt(mp.pi)),
    "relu bump": Case(
        "max(x,0)*exp(-x**2)",
        lambda x: max(x, 0) * mp.exp(-x * x),
        lambda x: step(x) * (1 - 2 * x * x) * mp.exp(-x * x),
        ((0, 1),),
    ),
    "tent": Case(
        "max(1-abs(x),0)", lambda x: max(1 - abs(x), 0), lambda x: -sign(x) * (abs(x) < 1), ((-1, 1), (0, 1), (1, 1))
    ),
    "arcsinh": Case("asinh(x)", mp.asinh, lambda x: 1 / mp.sqrt(1 + x * x), (), 1.0),
    "odd kink": Case(
        "tanh(x)*abs(x)",
        lambda x: mp.tanh(x) * abs(x),
        lambda x: sign(x) * (mp.tanh(x) + x * sech2(x)),
        ((0, 1),),
        PI / 2,
    ),
    "staircase": Case(
        "sign(x-0.5)+sign(x+0.5)+x", lambda x: sign(x - 0.5) + sign(x + 0.5) + x, None, ((-0.5, 1), (0.5, 1))
    ),
}

#: Variances and correlation: one for all, and one of these in turn.
COMMON = ("0.8", "1.7", "0.6")
OTHERS = (
    ("1", "1", "0.999999"),
    ("0.0001", "25", "-0.7"),
    ("0.5", "2", "-1"),
    ("0.01", "0.02", "0.3"),
    ("1", "2", "-0.999"),
)


def point(place: float | str) -> mpf:
    """A point by its value or name."""
    if place == "log2":
        return mp.log(2)
    if place == "dottie":
        return mp.findroot(lambda x: mp.cos(x) - x, 0.739)
    return mpf(place)


@cache
def legendre(size: int) -> list[tuple[mpf, mpf]]:
    """Nodes and weights on (0, 1), by Newton's method on the three-term recurrence."""
    found = []
    for k in range(1, size + 1):
        x = mp.cos(mp.pi * (k - mpf(1) / 4) / (size + mpf(1) / 2))
        for _ in range(8):
            before, now = mpf(1), x
            for n in range(2, size + 1):
                before, now = now, ((2 * n - 1) * x * now - (n - 1) * before) / n
            slope = size * (x * now - before) / (x * x - 1)
            x -= now / slope
        found.append(((1 - x) / 2, 1 / ((1 - x * x) * slope**2)))
    return found


def panel(a: mpf, b: mpf) -> list[tuple[mpf, mpf]]:
    """Nodes of a panel, and weights times the density."""
    return [(a + (b - a) * t, (b - a) * w * mp.npdf(a + (b - a) * t)) for t, w in legendre(PLAIN)]


whole = cache(panel)


@lru_cache(maxsize=64)
def grid(h: mpf) -> list[tuple[mpf, mpf]]:
    """The trapezoidal rule times the density."""
    count = int(EDGE / h)
    return [(k * h, h * mp.npdf(k * h)) for k in range(-count, count + 1)]


def rule(
    mean: mpf, deviation: mpf, points: Sequence[tuple[mpf, int]], strip: float, extra: Sequence[mpf] = ()
) -> list[tuple[mpf, mpf]]:
    """Places and weights of a mean over N(mean, deviation²)."""
    special = {(p - mean) / deviation: power for p, power in points}
    special = {z: power for z, power in special.items() if abs(z) < EDGE}
    inside = [z for z in ((p - mean) / deviation for p in extra) if abs(z) < EDGE]
    if not special and not inside:
        h = min(mpf("0.3"), mpf("0.2") / deviation)  # of entire functions such as exp(-x²), as narrow as that
        if strip:
            h = min(h, mpf(strip) / deviation * 2 * mp.pi / 76)
        return [(mean + deviation * z, weight) for z, weight in grid(h)]
    rough = [z for z, power in special.items() if power > 1]  # beside these panels widen by powers of two
    near = {z + way * d for z in rough for way in (-1, 1) for d in (mpf("0.5"), mpf(1))}
    even = {mpf(k) for k in range(-EDGE, EDGE + 1, 2)}
    cuts = {c for c in even | near | set(inside) if all(abs(c - z) >= mpf("0.5") for z in rough) or c in inside}
    ends = sorted(cuts | set(special))
    ends += [(a + b) / 2 for a, b in pairwise(ends) if a in special and b in special]
    ends = sorted(ends)
    if strip:  # no panel much longer than the distance of the next singularity
        longest = mpf("1.2") * mpf(strip) / deviation
        finer = []
        for a, b in pairwise(ends):
            parts = int(mp.ceil((b - a) / longest))
            finer += [a + (b - a) * k / parts for k in range(parts)]
        ends = [*finer, ends[-1]]
    nodes = []
    for a, b in pairwise(ends):
        power, start, way = special.get(a, 1), a, 1
        if power == 1:
            power, start, way = special.get(b, 1), b, -1
        if power == 1:
            made = whole(a, b) if a == int(a) and b == int(b) else panel(a, b)
            nodes += [(mean + deviation * z, weight) for z, weight in made]
            continue
        end = (b - a) ** (mpf(1) / power)
        for t, w in legendre(BENT):
            d = (end * t) ** power
            at = mean + deviation * start + way * deviation * d
            nodes.append((at, end * w * power * (end * t) ** (power - 1) * mp.npdf(start + way * d)))
    return nodes


def pair_mean(f: Function, case: Case, v1: mpf, v2: mpf, rho: mpf) -> mpf:
    """E f(U) f(V)."""
    s1, s2 = mp.sqrt(v1), mp.sqrt(v2)
    points = [(point(p), power) for p, power in case.points]
    if abs(rho) == 1:
        slope = rho * s2 / s1
        both = dict(points)
        for p, power in points:
            both[p / slope] = max(power, both.get(p / slope, 1))
        strip = min(case.strip, case.strip / abs(slope)) if case.strip else 0.0
        return mp.fsum(w * f(u) * f(slope * u) for u, w in rule(mpf(0), s1, list(both.items()), strip))
    slope, left = rho * s2 / s1, s2 * mp.sqrt((1 - rho) * (1 + rho))
    width, extra = left / abs(slope), []
    for p, _ in points:
        step_ = width
        while step_ < 4 * s1:
            extra += [p / slope + step_, p / slope - step_]
            if any(power > 1 for _, power in points):
                extra += [p + step_, p - step_]
            step_ *= 2
        extra.append(p / slope)
    extra = [e for e in extra if all(abs(e - p) > width / 2 for p, power in points if power > 1)]
    total = mpf(0)
    for u, w in rule(mpf(0), s1, points, case.strip, extra):
        inner = rule(slope * u, left, points, case.strip)
        total += w * f(u) * mp.fsum(weight * f(v) for v, weight in inner)
    return total


def means(name: str) -> list[dict[str, object]]:
    """All entries of an activation."""
    case, found = CASES[name], []
    with mp.workdps(DIGITS):
        for law in (COMMON, OTHERS[list(CASES).index(name) % len(OTHERS)]):
            v1, v2, rho = map(mpf, law)
            values = [pair_mean(f, case, v1, v2, rho) if f is not None else INFINITE for f in (case.f, case.slope)]
            texts = [value if value == INFINITE else mp.nstr(value, 30) for value in values]
            found.append({"formula": case.formula, "law": law, "nngp": texts[0], "slope": texts[1]})
    return found


def main(names: Sequence[str]) -> None:
    """Make the entries of some activations, or of all, and keep them beside those of the file."""
    path = Path(__file__).with_name("gaussian_means.json")
    found = json.loads(path.read_text())
    for name in names or CASES:
        found[name] = means(name)
        print(name, flush=True)
        path.write_text(json.dumps({name: found[name] for name in CASES if name in found}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
