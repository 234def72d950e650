"""Help and complaints come before any mathematics is loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from numerics.cli import table

_HEAVY = ("sympy", "scipy", "derivations.activations", "derivations.architectures")


def test_the_table_is_what_recipes_and_activations_say():
    assert table.table() == table.made(), "write it again with: python -m numerics.cli.table"


REQUESTS = [
    (["--help"], 0),
    (["kernel", "--help"], 0),
    (["derive", "resnets"], 2),
    (["derive", "--widht", "3"], 2),
    (["derive", "--width", "x"], 2),
    (["derive", "--activation", "rellu"], 2),
    (["derive", "--activation", "x*tanhh(x)"], 2),
    (["derive", "conv"], 2),
    (["derive", "--padding", "zeros"], 2),
    (["density", "--x0", "nan"], 2),
    (["compare", "--samples", "no-such-file.npy"], 2),
    (["report", "--inputs", "no-such-file.csv"], 2),
    (["train", "--data", "no-such-file.csv"], 2),
    (["train", "--checkpoint", __file__], 2),
    (["simulate", "--checkpoint", __file__ + "/run/here"], 2),
    (["choose", "mlp", "--depth", "?"], 2),
    (["choose", "mlp", "--depth", "?", "--correlation", "0.5", "--t", "-1"], 2),
]

#: Answers one after the other in one process: what an earlier one loads would still be there at the next.
_ASK = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from numerics.cli import main
for arguments in json.loads(sys.argv[1]):
    complaints = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(complaints):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code or 0
    print(json.dumps([status, complaints.getvalue().count("\\n"), [m for m in json.loads(sys.argv[2]) if m in sys.modules]]))
"""


@pytest.fixture(scope="module")
def answers():
    """Exit status, lines of complaint and heavy modules loaded, for each request and, last, for a density."""
    asked = json.dumps([*(arguments for arguments, _ in REQUESTS), ["density", "--x0", "1"]])
    done = subprocess.run(
        [sys.executable, "-c", _ASK, asked, json.dumps(_HEAVY)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "row", range(len(REQUESTS)), ids=[" ".join(arguments).replace(__file__, "a-file") for arguments, _ in REQUESTS]
)
def test_nothing_heavy_is_loaded_for_it(row, answers):
    _, status = REQUESTS[row]
    assert answers[row] == [status, 1 if status else 0, []]


def test_a_density_loads_what_is_heavy(answers):
    """The control of the test above."""
    assert answers[-1] == [0, 0, list(_HEAVY)]
