"""How long until a derivation stands: ``python tests/benchmarks/bench_start.py`` prints two ratios.

The unit is ``import sympy`` in a fresh interpreter on the same machine in the same run. Importing the engine must cost
at most 1.25 of it; a warm ``derive(ResNet(relu, width=1))`` with its steps is measured in the same unit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9


def fresh(code: str) -> float:
    """Seconds that a statement takes in a fresh interpreter, without the interpreter's own start."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def alternating(first: str, second: str) -> tuple[list[float], list[float]]:
    """Both statements in turn, so that a drift of the machine's speed meets both alike."""
    pairs = [(fresh(first), fresh(second)) for _ in range(RUNS)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def warm_derivation() -> float:
    """Median seconds of a derivation with its steps, caches of SymPy cleared before each."""
    from sympy.core.cache import clear_cache

    from derivations import ResNet, derive, relu

    times = []
    for _ in range(RUNS):
        clear_cache()
        start = time.perf_counter()
        steps = derive(ResNet(relu, width=1)).steps
        times.append(time.perf_counter() - start)
        assert steps
    return statistics.median(times[1:])


def main() -> None:
    """Print the ratios."""
    ours, sympy = alternating("import derivations", "import sympy")
    unit = statistics.median(sympy)
    print(
        f"import derivations / import sympy: {statistics.median([a / b for a, b in zip(ours, sympy, strict=True)]):.2f} (at most 1.25)"
    )
    seconds = warm_derivation()
    print(
        f"derive(ResNet(relu, width=1)) with steps / import sympy: {seconds / unit:.2f} (at most 0.5 s; here {seconds:.2f} s)"
    )


if __name__ == "__main__":
    main()
