"""How long until something stands: ``python tests/benchmarks/bench_start.py`` prints processor seconds of fresh interpreters.

The unit is ``import sympy`` in a fresh interpreter on the same machine in the same run. ``import derivations`` must cost at
most 1.25 of it. Its names load when they are first used, so that figure alone says little: the names that everybody uses
are measured too, against SymPy with its first sum (which loads SymPy's tensors); so are a first derivation from nothing, a warm one with its
steps, the start of what simulates, the command's help and its complaints of wrong input.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 7
ROOT = Path(__file__).parents[2]


def fresh(*arguments: str) -> float:
    """Processor seconds of a fresh interpreter with some arguments, the interpreter's own start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(*commands: tuple[str, ...]) -> list[float]:
    """Medians of some commands, run in turn, so that a drift of the machine's speed meets all alike."""
    rounds = [[fresh(*command) for command in commands] for _ in range(RUNS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def warm_derivation() -> float:
    """Median processor seconds of a derivation with its steps, caches of SymPy cleared before each."""
    from sympy.core.cache import clear_cache

    from derivations import ResNet, derive, relu

    times = []
    for _ in range(RUNS):
        clear_cache()
        start = time.process_time()
        steps = derive(ResNet(relu, width=1)).steps
        times.append(time.process_time() - start)
        assert steps
    return statistics.median(times[1:])


CODE = {
    "import derivations": 1.25,
    "from derivations import ResNet, derive, relu": 1.5,
    "from derivations import ResNet, derive, relu; str(derive(ResNet(relu, width=1)).limit)": 1.5,
    "import sympy, numpy, scipy.special, scipy.integrate, scipy.optimize": None,
    "import numerics.validation": None,
    "import scipy.stats": None,
}
#: The command, with 0.3 s for each.
COMMANDS = (
    ("--help",),
    ("derive", "--help"),
    ("derive", "--activation", "relu("),
    ("derive", "--widht", "3"),
    ("derive", "resnet", "--width", "-1"),
    ("simulate", "--samples", "x"),
    ("distribution", "--t", "-1"),
)


def main() -> None:
    """Print the seconds, and the units where these are asked for."""
    bare, unit, *times = medians(("-c", "pass"), ("-c", "import sympy"), *(("-c", code) for code in CODE))
    print(f"{unit:.2f} s import sympy, of which {bare:.2f} s are the interpreter's own start")
    for (code, most), seconds in zip(CODE.items(), times, strict=True):
        wished = f" (at most {most})" if most else ""
        print(f"{seconds:.2f} s {code}: {(seconds - bare) / (unit - bare):.2f} of import sympy{wished}")
    for command, seconds in zip(COMMANDS, medians(*(("-m", "numerics.cli", *c) for c in COMMANDS)), strict=True):
        print(f"{seconds:.2f} s deeplimits {' '.join(command)} (at most 0.3)")
    print(f"{warm_derivation():.2f} s a derivation with its steps, warm (at most 0.5)")


if __name__ == "__main__":
    main()
