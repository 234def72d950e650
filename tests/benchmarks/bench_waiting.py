"""Processor seconds of `deeplimits validate` and `report` for every recipe, load of the program included (run as a script; no timed test)."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

#: The options without which a recipe has no network of its own.
RECIPES = {
    "resnet": [],
    "resnet --activation tanh --width 4 --inputs 2": [],
    "shrinking": [],
    "conv": ["--positions", "4"],
    "mlp": [],
    "shaped": ["--c-plus", "0", "--c-minus", "-1"],
    "prenorm": [],
    "mlp-block": [],
    "gated-block": [],
    "conv-block": ["--positions", "4"],
    "attention-block": ["--positions", "3", "--width", "oo"],
    "transformer-block": ["--positions", "2", "--width", "oo"],
    "shaped-attention": ["--positions", "2"],
}
#: What is timed, with the seconds wished.
COMMANDS = {"validate": (["validate"], 15), "quick": (["validate", "--quick"], 4), "report": (["report"], 20)}


def seconds(command: list[str], timeout: float) -> tuple[float, int]:
    """User and system time of one command, and its exit status, 124 where it did not end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        run = subprocess.run([sys.executable, "-m", "numerics.cli", *command], capture_output=True, timeout=timeout)
        status = run.returncode
    except subprocess.TimeoutExpired:
        status = 124
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, status


def main(timeout: float = 300.0) -> None:
    """Print the table of the words given, or of all three."""
    shown = sys.argv[1:] or list(COMMANDS)
    print(f"{'recipe':<50}" + "".join(f"{f'{word} (<= {COMMANDS[word][1]})':>20}" for word in shown))
    with tempfile.TemporaryDirectory() as folder:
        for recipe, more in RECIPES.items():
            cells = []
            for word in shown:
                options, _ = COMMANDS[word]
                given = [*options, *recipe.split(), *more]
                out = ["--out", str(Path(folder) / f"{len(recipe)}{recipe[:6]}.html")] if word == "report" else []
                if out and "--inputs" in given:  # of a report the network inputs themselves
                    place = given.index("--inputs")
                    given[place : place + 2] = []
                taken, status = seconds([*given, *out], timeout)
                cells.append(f"{taken:.1f}" + (f" (status {status})" if status else ""))
            print(f"{recipe:<50}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
