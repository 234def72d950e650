"""Help and complaints come before any mathematics is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from numerics.cli import table

_HEAVY = ("sympy", "scipy", "derivations.activations", "derivations.architectures")


def test_the_table_is_what_recipes_and_activations_say():
    assert table.table() == table.made(), "write it again with: python -m numerics.cli.table"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
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
    ],
    ids=lambda v: " ".join(v).replace(__file__, "a-file") if isinstance(v, list) else "",
)
def test_nothing_heavy_is_loaded_for_it(arguments, status):
    code = (
        "import sys\nfrom numerics.cli import main\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code or 0\n"
        f"print(code, [m for m in {_HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{status} []"
    assert done.stderr.count("\n") == (1 if status else 0)
