"""How long until a derivation stands: ``python tests/benchmarks/bench_start.py`` prints three ratios.

The unit is ``import sympy`` in a fresh interpreter on the same machine in the same run. ``import derivations`` must cost at
most 1.25 of it. Its names load when they are first used, so that figure alone says little: the names that everybody uses
are measured too, against SymPy with its first sum (which loads SymPy's tensors). A warm ``derive(ResNet(relu, width=1))``
with its steps is measured in the same unit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 9
ROOT = Path(__file__).parents[2]


def fresh(code: str) -> float:
    """Seconds that a statement takes in a fresh interpreter, without the interpreter's own start."""
    timed = f"import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
    found = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(found.stdout)


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


IMPORTS = (
    ("import derivations", "import sympy"),
    ("from derivations import ResNet, derive, relu", "from sympy.abc import x; x - 1"),
)


def main() -> None:
    """Print the ratios."""
    for statement, unit_statement in IMPORTS:
        ours, theirs = alternating(statement, unit_statement)
        ratio = statistics.median([a / b for a, b in zip(ours, theirs, strict=True)])
        print(f"{statement} / {unit_statement}: {ratio:.2f} (at most 1.25)")
    unit = statistics.median([fresh("import sympy") for _ in range(RUNS)])
    seconds = warm_derivation()
    print(
        f"derive(ResNet(relu, width=1)) with steps / import sympy: {seconds / unit:.2f} (at most 0.5 s; here {seconds:.2f} s)"
    )


if __name__ == "__main__":
    main()
