r"""Exponents of the first step against networks in NumPy, whose gradients and tangents are written out by hand.

Sizes are doubled thrice. The logarithm of a mean square over networks is fitted by a line in the logarithm of the size and one term in 1/size, the next
order; the slope's standard error is that of the fit, from the spread over networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, ResNet, Weights, epsilon, relu, rms_norm, scalings, symbols, tanh

n = symbols.width
HALF = sp.Rational(1, 2)
m, s = sp.symbols("m s", positive=True)
WIDTHS, DEPTHS = (32, 64, 128, 256), (8, 16, 32, 64)
ERRORS = 4.0


@dataclass(frozen=True)
class Layer:
    """x' = skip x + m A h with h = f(B x), or f(x), beside A an adapter D(C f(x)) of a fixed rank; entries have these deviations.

    ``normed`` says that B reads x over its root mean square.
    """

    f: object
    slope: object
    skip: float = 1.0
    inner: bool = False
    rank: int = 0
    deviations: tuple[float, float] = (1.0, 1.0)  # of C and D
    normed: bool = False

    def read(self, x):
        """What is read of a state."""
        return x / np.sqrt((x**2).mean()) if self.normed else x

    def moved(self, x, dx):
        """The derivative of that along a direction, a symmetric matrix."""
        if not self.normed:
            return dx
        unit = self.read(x)
        return (dx - unit * (unit * dx).mean()) / np.sqrt((x**2).mean())


def step_of(gradient, read, rule):
    """What the step of y = Ab, with the gradient in y, does to y."""
    if rule == "sgd":
        return gradient * (read @ read)
    return np.sign(gradient) * np.abs(read).sum() if gradient.any() else np.zeros_like(gradient)


def moved(layer, rule, width, depth, size, deviation, readout, rng):
    """The mean squares by which the step of each matrix moves what it puts out, the state and the output."""
    x = rng.standard_normal(width)
    states, drawn = [x], []
    for _ in range(depth):
        A = deviation * rng.standard_normal((width, width)) / np.sqrt(width)
        B = rng.standard_normal((width, width)) / np.sqrt(width) if layer.inner else None
        C = layer.deviations[0] * rng.standard_normal((layer.rank, width)) / np.sqrt(width)
        D = layer.deviations[1] * rng.standard_normal((width, layer.rank)) / np.sqrt(max(layer.rank, 1))
        y = B @ layer.read(x) if layer.inner else x
        h = layer.f(y)
        z = C @ h
        drawn.append((A, B, C, D, y, h, z))
        x = layer.skip * x + size * (A @ h + D @ z)
        states.append(x)
    v = width**-readout * rng.standard_normal(width)
    back, starts = v, []
    for (A, B, C, D, y, h, z), read in zip(reversed(drawn), reversed(states[:-1]), strict=True):
        d_out = size * back
        d_z = D.T @ d_out
        d_h = A.T @ d_out + C.T @ d_z
        d_y = d_h * layer.slope(y)
        starts.append({"A": step_of(d_out, h, rule), "C": step_of(d_z, h, rule), "D": step_of(d_out, z, rule)})
        if layer.inner:
            starts[-1]["B"] = step_of(d_y, layer.read(read), rule)
        back = layer.skip * back + (layer.moved(read, B.T @ d_y) if layer.inner else d_y)
    starts.reverse()
    found = {}
    for name in starts[0]:
        if name in "CD" and not layer.rank:
            continue
        t = np.zeros(width)
        for (A, B, C, D, y, *_), x, start in zip(drawn, states[:-1], starts, strict=True):
            dy = (B @ layer.moved(x, t) if layer.inner else t) + (start["B"] if name == "B" else 0)
            dh = layer.slope(y) * dy
            dz = C @ dh + (start["C"] if name == "C" else 0)
            out = A @ dh + D @ dz + (start[name] if name in "AD" else 0)
            t = layer.skip * t + size * out
        found[name] = ((starts[-1][name] ** 2).mean(), (t**2).mean(), (v @ t) ** 2)
    first = back if rule == "sgd" else np.sign(back)
    t = first
    for (A, B, C, D, y, *_), x in zip(drawn, states[:-1], strict=True):
        dh = layer.slope(y) * (B @ layer.moved(x, t) if layer.inner else t)
        t = layer.skip * t + size * (A @ dh + D @ (C @ dh))
    found["input"] = ((first**2).mean(), (t**2).mean(), (v @ t) ** 2)
    last = states[-1] @ (states[-1] if rule == "sgd" else np.sign(states[-1]))
    found["readout"] = (last**2, 0.0, last**2)
    return found


def exponents(sizes, tables, order=1.0):
    """Slopes of the roots of mean squares over a size, and their standard errors; the next term is smaller by a power of the size, or left out (0)."""
    means = np.array([t.mean(axis=0) for t in tables])
    errors = np.array([t.std(axis=0, ddof=1) / np.sqrt(len(t)) for t in tables]) / means / 2
    x = np.array(sizes, float)
    terms = [np.ones_like(x), np.log(x)] + ([(x[0] / x) ** order] if order else [])
    design = np.stack(terms, axis=1)
    slopes = []
    for mean, error in zip(means.T, errors.T, strict=True):
        weighted = design / error[:, None]
        covariance = np.linalg.inv(weighted.T @ weighted)
        slopes.append((covariance @ weighted.T @ (np.log(mean) / 2 / error), covariance))
    return [(float(c[1]), float(np.sqrt(v[1, 1]))) for c, v in slopes]


TANH = (np.tanh, lambda y: 1 - np.tanh(y) ** 2)
RELU = (lambda y: np.maximum(y, 0), lambda y: (y > 0).astype(float))
A, B = Weights("A"), Weights("B")


def adapter(zero):
    first = Weights("C", out=8, variance=int(zero != "C"))
    second = Weights("D", variance=int(zero != "D"))
    return Network(lambda x: x + epsilon * (A(tanh(x)) + second(first(tanh(x)))), width=n)


#: The layer, its networks in NumPy, the power of the depth of its branch and of A's entries, r, where it is looked at, and what is trained.
CASES = {
    "one matrix, r = 1/2": (ResNet(relu, width=n), Layer(*RELU), 0.5, 0.0, HALF, {}, True),
    "two matrices": (
        Network(lambda x: x + epsilon * A(tanh(B(x))), width=n), Layer(*TANH, inner=True), 0.5, 0.0, 1, {}, True
    ),
    "branch 1/L": (
        Network(lambda x: x + epsilon * A(tanh(B(x))), width=n), Layer(*TANH, inner=True), 1.0, 0.0, 1, {epsilon: 1}, True
    ),
    "1/L with larger weights": (
        Network(lambda x: x + m * Weights("A", variance=s**2)(tanh(B(x))), width=n, parameters=(m, s)),
        Layer(*TANH, inner=True), 1.0, 0.5, 1, {m: 1, s: -HALF}, True,
    ),
    "behind a norm": (
        Network(lambda x: x + epsilon * A(tanh(B(rms_norm(x)))), width=n),
        Layer(*TANH, inner=True, normed=True), 0.5, 0.0, 1, {}, True,
    ),
    "perceptron": (MLP(relu), Layer(*RELU, skip=0.0), 0.0, 0.0, HALF, {}, True),
    "adapter, output matrix 0": (adapter("D"), Layer(*TANH, rank=8, deviations=(1.0, 0.0)), 0.5, 0.0, 1, {}, ("C", "D")),
    "adapter, input matrix 0": (adapter("C"), Layer(*TANH, rank=8, deviations=(0.0, 1.0)), 0.5, 0.0, 1, {}, ("C", "D")),
}  # fmt: skip


def measured(case, rule, along, samples, seed=0, sizes=None, order=1.0):
    """Slopes and errors by matrix and by what moves."""
    _, layer, p, raised, r, _, _ = CASES[case]
    sizes = sizes or (WIDTHS if along == "n" else DEPTHS)
    gain = np.sqrt(2) if case == "perceptron" else 1.0
    tables = []
    for size in sizes:
        rng = np.random.default_rng([seed, size])
        width, depth = (size, 4) if along == "n" else (32, size)
        rows = [
            moved(layer, rule, width, depth, gain * depth**-p, depth**raised, float(r), rng) for _ in range(samples)
        ]
        keys = [(k, j) for k in rows[0] for j in range(3)]
        tables.append(np.array([[row[k][j] for k, j in keys] for row in rows]))
    alive = [c for c in range(len(keys)) if all(t[:, c].std() > 1e-9 * t[:, c].mean() > 0 for t in tables)]
    found = exponents(sizes, [t[:, alive] for t in tables], order)
    return {(keys[c][0], ("own", "state", "output")[keys[c][1]]): f for c, f in zip(alive, found, strict=True)}


def expected(case, rule, along):
    """The derived exponents at the case's own point."""
    net, *_, r, small, trained = CASES[case]
    given = small if m in small else None
    found = scalings(net, small=given, training=trained)
    at = {} if given else small
    point = {e: sp.Rational(v.numerator, v.denominator) for e, v in found.point(at, r).items()}
    made = {}
    for row in found.moved(rule, at, readout=r):
        for word in ("own", "state", "output"):
            power = getattr(row, word)
            if not power.vanishes:
                exponent = power.width if along == "n" else power.depth
                made[row.name, word] = float(sp.sympify(exponent).subs(point))
    return made


def compare(seen, right):
    """Each measured exponent is the derived one, and neither of the next ones that there could be."""
    assert len(set(seen) & set(right)) >= 2
    for key in set(seen) & set(right):
        slope, error = seen[key]
        assert abs(slope - right[key]) < ERRORS * error, (key, slope, error, right[key])
        for wrong in (-0.5, 0.5):
            assert abs(slope - right[key] - wrong) > ERRORS * error, (key, slope, error)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "sign"])
@pytest.mark.parametrize("case", CASES)
def test_networks_of_doubled_widths_have_the_exponents(case, rule):
    few = case in ("two matrices", "branch 1/L", "1/L with larger weights", "behind a norm")
    compare(measured(case, rule, "n", 50 if few else 200), expected(case, rule, "n"))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sgd", "sign"])
@pytest.mark.parametrize("case", [c for c in CASES if "adapter" not in c and c != "perceptron"])
def test_networks_of_doubled_depths_have_the_exponents(case, rule):
    # the depth of a perceptron is held fixed; an adapter of a fixed rank has its exponents where the width is much larger than the depth
    compare(measured(case, rule, "L", 100), expected(case, rule, "L"))


@pytest.mark.slow
def test_a_line_over_few_depths_is_off_by_the_next_term():
    # networks: the slopes between doubled depths from 4 on are 0.40, 0.46, 0.48, 0.49 and 0.49, and tend to the derived 1/2 as 1/L does
    depths, key = (4, 8, 16, 32), ("B", "state")
    right = expected("behind a norm", "sign", "L")[key]
    (line, error), (slope, wider) = (
        measured("behind a norm", "sign", "L", 100, 3, depths, order)[key] for order in (0, 1.0)
    )
    assert abs(line - right) > ERRORS * error
    assert abs(slope - right) < ERRORS * wider


def adapted(zero, width, rate, rng, depth=3, rank=8, steps=3, size=0.5):
    """The mean squares by which three sign steps at a rate move what C puts out and the state, in networks with every weight."""
    A = rng.standard_normal((depth, width, width)) / np.sqrt(width)
    C = (zero != "C") * rng.standard_normal((depth, rank, width)) / np.sqrt(width)
    D = (zero != "D") * rng.standard_normal((depth, width, rank)) / np.sqrt(rank)
    x0, v = rng.standard_normal(width), rng.standard_normal(width) / width
    first = None
    for step in range(steps + 1):
        states, inner = [x0], []
        for a, c, d in zip(A, C, D, strict=True):
            h = np.tanh(states[-1])
            inner.append((h, c @ h))
            states.append(states[-1] + size * (a @ h + d @ inner[-1][1]))
        if first is None:
            first = states[-1], inner[-1][1]
        if step == steps:
            break
        back = v
        for k in reversed(range(depth)):
            h, z = inner[k]
            out = size * back
            d_z = D[k].T @ out
            back = back + (A[k].T @ out + C[k].T @ d_z) * (1 - h**2)
            C[k] -= rate * np.sign(np.outer(d_z, h))
            D[k] -= rate * np.sign(np.outer(out, z))
    return ((inner[-1][1] - first[1]) ** 2).mean(), ((states[-1] - first[0]) ** 2).mean()


@pytest.mark.slow
@pytest.mark.parametrize("zero", ["C", "D"])
def test_adapters_after_three_steps(zero):
    verdict = scalings(adapter(zero), training=("C", "D")).after(3, "sign")
    tables = []
    for width in WIDTHS:
        rng = np.random.default_rng([7, width])
        rate = 0.2 * width ** -float(verdict.a)
        tables.append(np.array([adapted(zero, width, rate, rng) for _ in range(100)]))
    # beside its change of order n^(1/2), what C puts out is of order 1 at the start: a term that is smaller by n^(-1/2)
    seen = dict(zip(("C", "state"), exponents(WIDTHS, tables, 0.5), strict=True))
    compare(seen, {"C": float(verdict.changes["C"].own.width), "state": 0.0})
