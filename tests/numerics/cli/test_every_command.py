"""Every recipe that can be typed through every command: it prints a result, or one line that says why not in the user's terms."""

from __future__ import annotations

import re
import sys

import pytest

from numerics.cli import main
from numerics.cli.arguments import _COMMANDS
from numerics.cli.table import words

#: How each command is asked for little.
ASKED = {
    "derive": (),
    "density": ("--points", "3"),
    "output": ("--points", "3", "--samples", "20"),
    "simulate": ("--of", "sde", "--samples", "20"),
    "kernel": ("--t", "0.5", "{inputs}"),
    "validate": ("--quick", "--depth", "8", "--samples", "20"),
    "scalings": (),
    "jacobian": (),
    "dynamics": (),
}
#: What needs files of its own, an option to look for, or no recipe has tests of its own; a report is what validate and density say.
ELSEWHERE = {"compare", "claims", "train", "choose", "report"}
#: Samples of every limit and the checks on them cost more: of these recipes only.
SAMPLED = ("resnet", "mlp", "two matrices", "dead units", "norm behind")
LAYERS = {
    "two matrices": ("--layer", "x + eps*A(relu(B(x)))"),
    "gate": ("--layer", "x + eps*A(relu(B(x))*C(x))"),
    "norm behind": ("--layer", "rms_norm(x + eps*A(relu(B(x))))"),
    "dead units": ("--layer", "x + eps*A(max(B(relu(x)) - 1/2, 0))"),
    "positions": ("--layer", "x + eps*A(over_positions(other(x)))", "--positions", "2"),
}
TWO = ("--positions", "2")
#: What a recipe needs besides its name.
NEEDED = {
    "shaped": ("--c-plus", "0", "--c-minus=-1"),
    "conv": (*TWO, "--filter", "1"),
    "conv-block": (*TWO, "--filter", "1"),
    "attention-block": (*TWO, "--size", "2"),
    "transformer-block": (*TWO, "--size", "2"),
    "shaped-attention": TWO,
}
RECIPES = {word: (word, *NEEDED.get(word, ())) for word in words()} | LAYERS
REGIMES = {
    "depth": ("--order", "depth", "--width", "2"),
    "width": ("--order", "width", "--width", "oo"),
    "joint": ("--order", "joint", "--width", "n"),
}
#: A reason has no type of ours or of Python's in it, no word left empty, and says more than a word.
WRONG = ("NoneType", "attribute", "Traceback", "SymPy", "unexpected", "  ", "symbols.")


@pytest.fixture
def inputs(tmp_path):
    file = tmp_path / "inputs.csv"
    file.write_text("1,0\n0.6,0.8\n")
    return str(file)


def check(capsys, inputs: str, command: str, recipe: str) -> list[str]:
    """What the command says in each regime, empty where it ran."""
    said = []
    for regime in REGIMES.values():
        asked = (word.format(inputs=inputs) for word in ASKED[command])
        try:
            code = main([command, *RECIPES[recipe], *regime, *asked])
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        if code in (0, 1):  # 1: a check failed, as with so few samples
            assert captured.out.strip()
            said.append("")
            continue
        (reason,) = re.findall(r"deeplimits: error: (.+)\n", captured.err)
        assert len(reason) > 30, reason
        assert not any(word in reason for word in WRONG), reason
        said.append(reason)
    return said


def test_the_table_has_every_command_and_every_recipe():
    assert set(ASKED) | ELSEWHERE == set(_COMMANDS)
    assert set(words()) <= set(RECIPES)


@pytest.mark.parametrize("command", ["derive", "density", "kernel"])
@pytest.mark.parametrize("recipe", ["resnet", "dead units"])
def test_quick_commands_run_or_say_why(capsys, inputs, command, recipe):
    check(capsys, inputs, command, recipe)


@pytest.mark.parametrize(
    "reason", ["'NoneType' object has no attribute 'width' in this layer", "no limit", "the limit in  does not give it"]
)
def test_the_check_sees_what_is_no_reason(capsys, inputs, monkeypatch, reason):
    def refused(_: list[str]) -> int:
        print(f"deeplimits: error: {reason}", file=sys.stderr)
        return 2

    monkeypatch.setattr(f"{__name__}.main", refused)
    with pytest.raises(AssertionError):
        check(capsys, inputs, "derive", "resnet")


#: A readout of neurons by their paths takes long where the covariance has cases.
CELLS = [
    (c, r)
    for c in ASKED
    for r in RECIPES
    if (r in SAMPLED or c not in ("output", "simulate", "validate")) and (c, r) != ("output", "dead units")
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "recipe"), CELLS)
def test_every_command_runs_or_says_why(capsys, inputs, command, recipe):
    said = check(capsys, inputs, command, recipe)
    if command in ("derive", "scalings"):
        assert "" in said  # each recipe has a limit in some regime
