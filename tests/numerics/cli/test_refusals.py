"""What the command refuses, in one line, and with which words."""

from __future__ import annotations

import sys

import pytest

from numerics.cli import main
from tests.command_line import complaint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["conv"], "--positions 8x8"),
        (["conv", "--positions", "4", "--filter", "2"], "odd"),
        (["conv", "--positions", "4", "--filter", "3x3"], "one for each dimension"),
        (["conv", "--positions", "2x2x2"], "one or two positive whole numbers"),
        (["conv", "--positions", "0"], "positions must be whole numbers from 1 to 999"),
        (["shrinking", "--positions", "4"], "--positions is for conv"),
        (["resnet", "--no-circular"], "--no-circular is for conv, conv-block, got it with resnet"),
        (["resnet", "--bias-variance", "1"], "--bias-variance is for shrinking, conv, "),
        (["mlp", "--weight-variance", "2"], "--weight-variance is for resnet, "),
        (["mlp-block", "--norm", "rmsnorm"], "unknown norm 'rmsnorm'; close names: rms"),
        (["mlp-block", "--place", "before"], "unknown place 'before'; known: pre, post"),
        (["mlp-block", "--hidden", "0"], "positive whole number of neurons"),
        (["mlp-block", "--hidden", "4*x"], "hidden must be a number"),
        (["mlp-block", "--hidden", "n/2", "--width", "3"], "positive whole number of neurons"),
        (["mlp-block", "--keep", "2"], "probability"),
        (["gated-block", "--keep-branch", "A(2)"], "keep-branch must be a number"),
        (["shaped", "--c-plus", "1", "--c-minus", "0", "--rate", "1,2,3"], "a pair for two"),
        (["shaped", "--rate", "1"], "needs either c-plus and c-minus"),
        (["resnet", "--activation", "tanh", "--a", "2"], "shaped_tanh tends to a linear function as the width grows"),
        (["shrinking", "--bias-variance", "-1"], "bias-variance must be"),
        (["shrinking", "--outer", "relu"], "not twice differentiable"),
        (["shrinking", "--outer", "cos(x)"], "at 0, not 0"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_networks_that_make_no_sense_are_refused(capsys, arguments, says):
    assert says in complaint(capsys, "derive", *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required"),
        (["frobnicate"], "error: unknown command 'frobnicate'"),
        (["simulat"], "error: unknown command 'simulat'; close names: simulate"),
        (["derive", "transformer"], "error: unknown architecture 'transformer'"),
        (["derive", "resnets"], "error: unknown architecture 'resnets'; close names: resnet"),
        (["derive", "resnet", "mlp"], "error: 'mlp' is one argument too many"),
        (
            ["train", "--recipe", "resnet"],
            "error: the architecture is a word without --recipe, such as deeplimits train resnet",
        ),
        (["density", "--ti", "1"], "error: unknown option of density '--ti'"),
        (["density", "--a", "1"], "error: relu has a kink at 0, and s φ(x/s) keeps it"),
        (["compare"], "--samples"),
        (["compare", "--samples", "no-such-file.npy"], "error: no-such-file.npy does not exist"),
        (["derive", "--activatio", "relu"], "error: unknown option of derive '--activatio'; close names: --activation"),
        (["simulate", "--samp=5"], "error: unknown option of simulate '--samp'; close names: --samples"),
        (["derive", "--order", "dept"], "error: unknown --order 'dept'; close names: depth"),
        (["simulate", "--of", "nets"], "error: unknown --of 'nets'"),
        (["simulate", "--method", "conditionl"], "error: unknown --method 'conditionl'; close names: conditional"),
        (["derive", "--activation", "__import__('os').system('true')"], "cannot be read"),
        (["derive", "--activation", "rellu"], "error: unknown word 'rellu'; close names: relu,"),
        (["derive", "shrinking", "--outer", "tanhh"], "error: unknown word 'tanhh'; close names: tanh"),
        (["derive", "--activation", "9**9**9**9"], "the power"),
        (["derive", "--activation", "x*y"], "variables"),
        (["derive", "--width", "0"], "width"),
        (["derive", "--width", "-3"], "width"),
        (["derive", "--width", "2.5"], "width"),
        (["derive", "--width", "9" * 5000], "width"),
        (["derive", "--weight-variance", "-1"], "weight-variance"),
        (["derive", "--weight-variance", "1e999999999"], "weight-variance"),
        (["derive", "--inputs", "0"], "inputs"),
        (["derive", "--format", "pdf"], "error: unknown --format 'pdf'"),
        (["derive", "--out", "x.pdf"], "error: unknown suffix '.pdf'"),
        (["derive", "--out", "x.jsn"], "error: unknown suffix '.jsn'; close names: .json"),
        (["derive", "--out", "x"], "error: --out must end in .tex"),
        (["derive", "--out", "no/such/folder/x.txt"], "no/such/folder does not exist"),
        (["derive", "--out", ".", "--format", "text"], "error: . is a folder"),
        (["density", "--out", "x.npy"], "error: unknown suffix '.npy'; --out must end in .csv or .json"),
        (["density", "--out", "x"], "error: --out must end in .csv"),
        (["density", "--out", "no/such/folder/x.csv"], "no/such/folder does not exist"),
        (["density", "--x0", "1e308"], "quantiles of the law are beyond double precision"),
        (["density", "--width", "oo"], "has no density of one number"),
        (["density", "--t", "0"], "t"),
        (["density", "--t", "-1"], "t"),
        (["density", "--x0", "nan"], "finite"),
        (["density", "--x0", "inf"], "finite"),
        (["simulate", "--depth", "-1"], "depth"),
        (["simulate", "--width", "n"], "width"),
        (["simulate", "--width", "oo"], "width"),
        (["simulate", "--samples", "5", "--depth", "2", "--out", "x.pdf"], ".npy or .csv"),
        (["simulate", "--samples", "zero"], "error: samples must be a whole number"),
        (["simulate", "--samples", "999999999999", "--depth", "30"], "hours on 1 worker, more than --hours 24"),
        (["simulate", "--samples", "999999999999", "--depth", "9999999999"], "hours on 1 worker, more than --hours 24"),
        (["simulate", "--depth", "9999999999"], "10000 networks of 9999999999 layers would take about "),
        (["simulate", "--of", "sde", "--depth", "9999999999"], "10000 paths of 9999999999 steps would take about "),
        (["simulate", "--samples", "999999999999", "--out", "x.npy"], "more than this machine's"),
        (["simulate", "--width", "999999999", "--samples", "100"], "more than this machine's"),
        (["density", "--points", "99999999999"], "error: points must be a whole number of at most 10000000"),
        (["derive", "--weight-variance", "1e1000"], "weight-variance must be"),
        (["report", "--inputs", "no-such-file.csv"], "error: no-such-file.csv does not exist"),
        (["report", "--inputs", "."], "error: . is a folder"),
        (["report", "--x0", "1", "--inputs", "a.csv"], "both"),
        (["report", "--out", "no/such/folder/report.html"], "no/such/folder does not exist"),
        (["validate", "--x0", "-1"], "nothing moves"),
        (["train", "--checkpoint", __file__ + "/a/b"], f"lies below {__file__}, which is a file, not a directory"),
        (["train", "--learning-rate", "0"], "learning-rate must be above 0"),
        (["derive", "--layer"], "error: --layer needs a value"),
        (["derive", "--activation", ""], "the formula is an empty text"),
        (["derive", "--activation", "тангенс"], "the character 'т' in 'тангенс' cannot be read"),
        (["derive", "--activation", "0**x"], "'0 ** x' is 0, 1 or infinite"),
        (["derive", "--inputs", "999999"], "inputs must be a whole number of at most 1000"),
        (["claims", "--quick=3"], "--quick takes no value"),
        (["claims", "--claim", "é"], "unknown claim 'é'; all are listed by deeplimits claims --list"),
        (["validate", "--x0", "1e-200"], "x0 must be 0 or of a size from 1e-75 to 1e75"),
        (["validate", "--t", "1e308"], "t must be a number above 0, at most 10^9"),
        (["validate", "--width", "999999999"], "a limit of 999999999 coordinates is not written out"),
        (["compare", "--samples", "/dev/null"], "/dev/null is no regular file"),
        (["output", "--of", "1e308"], "of must be 0 or of a size from 1e-75 to 1e75"),
        (["output", "--of", "1,2"], "--of gives one coefficient for each of the 1 outputs"),
        (["output", "--readout-variance", "1e-320"], "variance must be 0 or of a size"),
        (["output", "--quantiles", "0.5,2"], "probabilities between 0 and 1"),
        (["output", "--quantiles", "a"], "quantiles must be numbers between commas"),
        (["scalings", "--figure", "."], "--figure must end in .svg or .pdf or .png"),
        (["report", "--out", "a.pdf"], "--out must end in .html, got a.pdf"),
        (["dynamics", "--width", "8"], "got --width 8; use --width oo"),
        (["dynamics", "--out", "a.csv"], "--out must end in .tex or .typ or .txt or .json, got a.csv"),
        (
            ["density", "resnet", "--width", "8", "--points=3"],
            "at width 1: deeplimits density resnet --points=3 --width 1; several are drawn by deeplimits simulate --of sde",
        ),
        (["scalings", "--training", "A,,B"], "unknown matrix 'A'"),
        (["jacobian", "--validate", "--width", "2", "--format", "latex"], "leave out --out and --format"),
        (["choose"], "one option must be ?"),
        (["choose", "--a", "?", "--bounds", "3,1"], "bounds must be two finite numbers, the lower one first"),
        (["choose", "--a", "?"], "one of --mean-square and --correlation must be given"),
        (["choose", "--a", "?", "--mean-square", "-1"], "--mean-square must be a positive number"),
        (
            ["choose", "--t", "?", "--mean-square", "0.5", "--width", "oo"],
            "0.5 is not reached; ask for a value between them, or give other --bounds",
        ),
        (["kernel", "--random", "999x999999"], "at most 10000000 numbers together"),
        (["kernel", "--t", "1e6"], "larger than a double can be at depth t = 1"),
        (["kernel", "--activation", "tanh", "--t", "1e100"], "t must be a number from 0 to 10^9"),
        (["derive", "shaped"], "needs either c-plus and c-minus"),
        (["derive", "shaped", "--c-plus", "x", "--c-minus", "0"], "c-plus must be a number"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_bad_request_is_refused_in_one_line(arguments, said, capsys):
    assert said in complaint(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--activation", "exp(exp(x))"], 1, "of 20 networks are not finite at t = 1, the first is sample"),
        (["--x0", "1e308"], 1, "of 20 networks exploded"),
        (["--of", "sde", "--x0", "1e308"], 1, "20 of 20 paths exploded"),
        (["--activation", "1/(x-1)"], 2, "1/(x - 1) has no value at x = 1: layer 1 of 5, sample"),
        (["--activation", "x**(1/3)"], 2, "error: x**(1/3) is not real at x = "),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_no_number_is_never_printed_as_a_result(arguments, status, says, capsys):
    assert main(["simulate", "--samples", "20", "--depth", "5", *arguments]) == status
    captured = capsys.readouterr()
    assert "nan" not in captured.out
    assert says in captured.err
    assert all(line.startswith("deeplimits: ") for line in captured.err.splitlines())


def test_ten_megabytes_of_formula_are_refused_at_once(capsys):
    assert "characters" in complaint(capsys, "derive", "--activation", "x+" * 5_000_000 + "x")


def test_missing_extra_says_how_to_get_it(monkeypatch, capsys):
    for name in [
        m for m in sys.modules if m.startswith("numerics.report") or m.split(".")[0] in ("jinja2", "matplotlib")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert 'pip install "deeplimits[report]"' in complaint(capsys, "derive", "--width", "1", "--format", "html")


def test_each_missing_package_is_looked_up_in_the_extras(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax", None)
    assert 'needs the package jax; install it with: pip install "deeplimits[jax]"' in complaint(
        capsys, "claims", "--claim", "trained, 1000 layers"
    )


def test_our_own_mistake_is_reported_in_one_line_too(monkeypatch, capsys):
    from numerics.cli import commands

    def broken(options):
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setitem(commands.COMMANDS, "derive", broken)
    assert "unexpected ZeroDivisionError: division by zero" in complaint(capsys, "derive")


@pytest.mark.parametrize("beside", [["resnet"], ["--activation", "tanh"]])
def test_a_layer_and_a_recipe_beside_it_are_refused(beside, capsys):
    assert main(["derive", *beside, "--layer", "x + eps*A(relu(x))"]) == 2
    assert "--layer says the whole layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--layer", "x + eps*A(x)", "--bias-variance", "1"], "and --bias-variance 1 stands beside it"),
        (["--layer", "x + eps*A(x)", "--no-circular"], "and --no-circular stands beside it"),
        (["--layer", "x + eps*A(x, filter=3)"], "one for each dimension of the grid, got filter=(3,) for positions=()"),
        (["--layer", "x + eps*A(x, fliter=3)"], "unknown option of the matrix A 'fliter'; close names: filter"),
        (["--layer", "x + eps*A(x)", "--positions", "4x"], "positions must be whole numbers"),
        (["--layer", "x + eps*A(x)", "--rate", "1"], "the depth must be tied to it too"),
        (["--layer", "x + eps*A(x)", "--depth-rate=-1"], "rates must be positive"),
        (
            ["--layer", "x + eps*A(x)*c"],
            "unknown symbol 'c' in the update; the symbols of a layer are x, eps, L, n and t, and its parameters",
        ),
        (["--layer", "x + eps*A(relu(B(c*x)))"], "unknown symbol 'c' in B(c * x)"),
        (["--layer", "x + eps*A(relu(epss*x))"], "unknown symbol 'epss' in relu(epss * x); close names: eps"),
        (["--layer", "x + eps*A(x)", "--parameter", "A"], "a parameter is a word in small letters such as g, got 'A'"),
        (["--layer", "x + eps*A(x)", "--parameter", "g,eps"], "the parameter 'eps' has a meaning of its own"),
        (["--layer", "x + h*eps*A(x)", "--parameter", "g"], "unknown symbol 'h' in the update"),
        (["resnet", "--parameter", "g"], "--parameter names letters of --layer, which is not given"),
        (["--layer", "x + eps*A(x, out=3)"], "give the matrix that puts them out out=n"),
        (["--layer", "x + eps*relu.T(x)"], "is no transpose of a matrix"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_layers_that_make_no_sense_are_refused(arguments, says, capsys):
    assert says in complaint(capsys, "derive", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--random", "9000000x2"], "random must be at most 10000000 numbers together, got 9000000x2"),
        (["--random", "4000000x2"], "1 kernel of 4000000 with 4000000 inputs takes about"),
        (["--random", "12345678901x2"], "random must be two whole numbers"),
        (["--random", "3"], "random must be two whole numbers such as 3x4"),
        (["--random", "0x4"], "random must be two whole numbers"),
        (["--random", "2x2", "--inputs", "a.csv"], "given both"),
        (["--width", "3"], "infinitely wide"),
        (["--t", "-1"], "t must be a number from 0 to 10^9, got -1.0"),
        (["--of", "ntkk"], "unknown --of 'ntkk'; close names: ntk"),
        (["--tolerance", "2"], "tolerance must be between"),
        (["--out", "k.txt"], "unknown suffix '.txt'"),
        (["--inputs", "no-such.csv"], "does not exist"),
        (["conv", "--positions", "3", "--random", "2x4"], "has none for each of 3 positions"),
        (["shaped", "--c-plus", "0", "--c-minus", "1"], ""),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_kernels_that_make_no_sense_are_refused(arguments, says, capsys):
    assert says in complaint(capsys, "kernel", *arguments)
