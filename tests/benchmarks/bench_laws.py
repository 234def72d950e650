"""Every family of laws: seconds to recognise it, seconds for its compiled density, and how many digits that has.

Run with ``python tests/benchmarks/bench_laws.py`` from the top of the repository. A time is printed as a share of its limit
(2 s to recognise, 50 ms for 100 000 points), an error as a share of 1e-10; SciPy's own density stands beside where there is one.

An end such as √5 is no double: at a relative distance d from it the distance itself has only 1e-16/d digits, and so has a density that
depends on it. Errors are taken at points with d ≥ 1e-5.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mpmath
import numpy as np
import sympy as sp
from scipy import stats

from derivations import ResNet, depth_limit, recognise
from derivations.activations import absolute, activation_from_potential, leaky_relu, ornstein_uhlenbeck, relu
from derivations.activations import unstable_ornstein_uhlenbeck as erf_activation
from derivations.diffusion import Diffusion
from derivations.laws.numbers import compiled
from derivations.symbols import initial, state
from derivations.symbols import time as moment
from numerics import compile_law

RECOGNITION, POINTS, SECONDS, ERROR = 2.0, 100_000, 0.05, 1e-10
x, z = state, sp.Symbol("z", real=True)
HALF = sp.Interval.open(0, sp.oo)


@dataclass(frozen=True)
class Case:
    """A process with a start, a time, and the same density of SciPy's where there is one."""

    name: str
    make: Callable[[], Diffusion]
    x0: float = 1.0
    t: float = 0.7
    peer: Callable[[np.ndarray], np.ndarray] | None = None

    @cached_property
    def process(self) -> Diffusion:
        """Made when first asked for, so that a list of cases costs nothing."""
        return self.make()


def network(activation: object) -> Diffusion:
    """The limit of a network of width one."""
    return depth_limit(ResNet(activation, width=1))


def cases() -> list[Case]:
    """One or more of every family."""
    t = 0.7
    lognormal = stats.lognorm(np.sqrt(t), scale=np.exp(-t / 2))
    decay = np.exp(-2 * t)
    cir = stats.ncx2(12, 8 * decay / (1 - decay), scale=(1 - decay) / 8)
    return [
        Case("constant", lambda: Diffusion((x,), [0], [[4]]), peer=stats.norm(1, 2 * np.sqrt(t)).pdf),
        Case("affine", lambda: network(2 * x + 1)),
        Case("ReLU", lambda: network(relu), peer=lognormal.pdf),
        Case("leaky ReLU", lambda: network(leaky_relu(sp.Rational(1, 3))), x0=-1.0),
        Case("|x|", lambda: network(absolute), x0=-1.0),
        Case("x(1 − x)", lambda: network(x * (1 - x)), x0=0.3),
        Case("x²", lambda: network(x**2)),
        Case("1 + x²", lambda: network(1 + x**2)),
        Case("x² + x − 1", lambda: network(x**2 + x - 1), x0=0.2),
        Case("x² + x + 3", lambda: network(x**2 + x + 3)),
        Case("√x", lambda: Diffusion((x,), [0], [[x]], HALF)),
        Case("x^(3/2)", lambda: Diffusion((x,), [0], [[x**3]], HALF)),
        Case("e^(−x)", lambda: network(sp.exp(-x))),
        Case("erfi activation", lambda: network(ornstein_uhlenbeck), t=0.3),
        Case("erf activation", lambda: network(erf_activation), x0=0.3, t=0.3),
        Case("parabolic cylinder", lambda: network(activation_from_potential(z**2 + 3, z)), x0=0.2, t=0.3),
        Case("GBM with drift", lambda: Diffusion((x,), [x / 3], [[x**2]], HALF)),
        Case("Ornstein–Uhlenbeck", lambda: Diffusion((x,), [-x], [[1]])),
        Case("drift tanh x", lambda: Diffusion((x,), [sp.tanh(x)], [[1]])),
        Case("Bessel, dimension 3/2", lambda: Diffusion((x,), [1 / (4 * x)], [[1]], HALF)),
        Case("Cox–Ingersoll–Ross", lambda: Diffusion((x,), [3 - 2 * x], [[x]], HALF), peer=cir.pdf),
        Case("stopped at two walls", lambda: Diffusion((x,), [0], [[1]], sp.Interval.open(0, 2))),
        Case("reflected", lambda: Diffusion((x,), [1], [[4 * x]], HALF)),
    ]


def fastest(function: Callable[[np.ndarray], object], points: np.ndarray, repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, which other work on the machine has disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(points)
        times.append(time.perf_counter() - start)
    return min(times)


def resolved(point: float, ends: tuple[sp.Expr, sp.Expr]) -> bool:
    """Whether a point inside the interval is so far from an irrational end that it is known to how far."""
    low, high = map(float, ends)
    gaps = ((point - low, ends[0]), (high - point, ends[1]))
    return low < point < high and all(
        end.is_Rational or not end.is_finite or d > 1e-5 * abs(float(end)) for d, end in gaps
    )


def measure(case: Case) -> tuple[float, float, float, float, float]:
    """Seconds to recognise, seconds of the density, SciPy's, error in the bulk, error of the logarithm in the tails."""
    start = time.perf_counter()
    law = recognise(case.process)
    recognised = time.perf_counter() - start
    compiled_law = compile_law(law, x0=case.x0, t=case.t)
    low, high = compiled_law.ppf(1e-6), compiled_law.isf(1e-6)
    low = low if np.isfinite(low) else compiled_law.ppf(1e-2)
    points = np.linspace(low, high, POINTS + 2)[1:-1]
    part = law.part(sp.Rational(case.x0))
    formula = compiled(
        (x,), part.logpdf(x).subs({initial: sp.Rational(case.x0), moment: sp.Rational(case.t)}, simultaneous=True)
    )
    levels = np.array([1e-3, 0.05, 0.3, 0.6, 0.95, 0.999])
    inside = np.unique(compiled_law.ppf(levels * compiled_law.cdf(high)))
    ends = part.form.interval
    left, right = map(float, ends)
    near = [left + 1e-3 * (right - left), right - 1e-3 * (right - left)] if np.isfinite(right - left) else []
    far = np.concatenate([compiled_law.ppf([1e-40, 1e-12]), compiled_law.isf([1e-12, 1e-40]), near])
    inside, far = (np.array([v for v in p if v != case.x0 and resolved(v, ends)]) for p in (inside, far))
    with mpmath.workdps(40):
        bulk = [formula(mpmath.mpf(float(p))) for p in inside]
        tails = [formula(mpmath.mpf(float(p))) for p in far]
        pdf_error = max(
            abs(float(mpmath.mpf(float(v)) / mpmath.exp(e) - 1))
            for v, e in zip(compiled_law.pdf(inside), bulk, strict=True)
        )
        log_error = max(
            (
                abs(float((mpmath.mpf(float(v)) - e) / max(1, abs(e))))
                for v, e in zip(compiled_law.logpdf(far), tails, strict=True)
            ),
        )
    peers = fastest(case.peer, points) if case.peer is not None else float("nan")
    return recognised, fastest(compiled_law.pdf, points), peers, pdf_error, log_error


def main() -> int:
    """Print the table; 1 if a limit is exceeded."""
    print(f"{'family':<24}{'recognised':>16}{'pdf':>18}{'of SciPy':>10}{'bulk error':>20}{'tail error':>20}")
    worst = 0.0
    for case in cases():
        recognised, seconds, peer, bulk, tail = measure(case)
        ratios = recognised / RECOGNITION, seconds / SECONDS, bulk / ERROR, tail / ERROR
        worst = max(worst, *ratios)
        against = "" if np.isnan(peer) else f"{seconds / peer:.2f}"
        print(
            f"{case.name:<24}{recognised:>8.2f} s {ratios[0]:>6.2f}{seconds * 1e3:>10.2f} ms {ratios[1]:>5.2f}{against:>10}"
            f"{bulk:>12.1e} {ratios[2]:>7.4f}{tail:>12.1e} {ratios[3]:>7.4f}"
        )
    print(f"the worst share of a limit is {worst:.2f}")
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
