"""What a reader sees: steps, LaTeX that compiles, text and JSON."""

import json
import pickle
import shutil

import pytest
import sympy as sp

from derivations import (
    MLP,
    MLPBlock,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    derive,
    dropout,
    epsilon,
    gelu,
    identity,
    jacobian,
    leaky_relu,
    ornstein_uhlenbeck,
    parse_layer,
    relu,
    sine,
    tanh,
)
from derivations.errors import DerivationError
from derivations.gaussian import expect, expect_pair
from derivations.notation.latex import escaped, line_latex
from derivations.notation.nodes import DifferentialOf, indexed, letter
from derivations.notation.plain import plain
from derivations.notation.steps import Line, Term, differential
from derivations.notation.typeset import PAGE, typeset_width
from derivations.symbols import time, width
from tests.helpers import derived, equal_symbolically
from tests.pdflatex import complaints, typeset

W_1, W_11 = Weights("W_1", bias_variance=2), Weights("W_11", out=4 * width, bias_variance=3)
CASES = {
    "relu-1": ResNet(relu, width=1),
    "relu-n": ResNet(relu, width=width),
    "leaky-n": ResNet(leaky_relu(sp.Rational(1, 10)), width=width),
    "identity-n": ResNet(identity, width=width),
    "ornstein-uhlenbeck-1": ResNet(ornstein_uhlenbeck, width=1),
    "tanh-1": ResNet(tanh, width=1),
    "sine-1": ResNet(sine, width=1),
    "gelu-8": ResNet(gelu, width=8),
    "relu-4-inputs-2": ResNet(relu, width=4, inputs=2),
    "relu-oo-inputs-2": ResNet(relu, width=sp.oo, inputs=2),
    "tanh-oo": ResNet(tanh, width=sp.oo),
    "program": Network(
        lambda x: x + epsilon * W_1(dropout(W_11(x), 0.5, name="d_2")) + epsilon * W_1(W_11(x)),
        width=width,
        inputs=2,
    ),
}
every = pytest.mark.parametrize("name", CASES)
X, DB = indexed("X", (time,)), DifferentialOf(indexed("B", (time,)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu-1", "relu-n", "ornstein-uhlenbeck-1", "relu-oo-inputs-2"])
def test_golden_latex(name, golden):
    golden(f"{name}.tex").check(derived(CASES[name]).latex() + "\n")


@pytest.mark.parametrize("name", ["relu-1", "relu-n"])
def test_golden_text(name, golden):
    golden(f"{name}.txt").check(str(derived(CASES[name])))


@every
def test_every_step_has_a_statement_and_a_reason(name):
    for step in derived(CASES[name]).steps:
        assert step.name
        assert step.statement
        assert step.reason.endswith(".")
        assert "\\" not in step.statement + step.reason, "LaTeX in plain text"


@every
@pytest.mark.slow
def test_json_holds_the_expressions(name):
    data = json.loads(derived(CASES[name]).to_json())
    rows = [line for step in data["steps"] for line in step["lines"]]
    assert rows
    assert all(row["latex"] and row["text"] for row in rows)


@pytest.mark.slow
def test_json_expressions_can_be_read_back():
    d = derived(ResNet(relu, width=1))
    data = json.loads(d.to_json())
    (noise,) = next(step for step in data["steps"] if step["name"] == "Limit for this activation")["lines"][0]["sympy"]
    (read,) = [sp.sympify(noise)]
    (variable,) = read.free_symbols
    assert equal_symbolically(read.subs(variable, 3), relu(3))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@every
def test_document_compiles_without_a_warning(name, tmp_path):
    source = derived(CASES[name]).write(tmp_path / "derivation.tex")
    assert not complaints(typeset(source))
    assert (tmp_path / "derivation.pdf").stat().st_size > 10_000


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_a_broken_document_is_noticed(tmp_path):
    """The control of the test above: an overfull line must show in the log that it reads."""
    long = "\\text{" + "wide " * 60 + "}"
    source = tmp_path / "wide.tex"
    source.write_text(
        "\\documentclass{article}\\usepackage{amsmath}\\begin{document}\\begin{equation*}\\begin{aligned}"
        + long
        + "\\end{aligned}\\end{equation*}\\end{document}"
    )
    assert any("Overfull" in line for line in complaints(typeset(source, halts=False)))


def test_drift_comes_before_noise():
    x = sp.Symbol("x", real=True)
    line = differential(X, -2 * x, x + 1, DB)
    assert line_latex(line) == r"\mathrm{d}X_{t} &= -2 x\,\mathrm{d}t + \left(x + 1\right)\,\mathrm{d}B_{t}"


def test_vanishing_terms_are_left_out():
    assert "mathrm{d}t" not in line_latex(differential(X, sp.S.Zero, sp.S.One, DB))
    assert line_latex(differential(X, sp.S.One, sp.S.Zero, DB)).endswith(r"= \mathrm{d}t")


def test_long_sums_are_wrapped_between_terms():
    terms = sp.symbols("alpha_1:40")
    rows = line_latex(Line(letter("S"), (Term(sp.Add(*terms)),))).split(" \\\\\n")
    assert len(rows) > 1
    assert all(typeset_width(row) <= PAGE for row in rows)
    assert sum(row.count(r"\alpha") for row in rows) == len(terms)


def test_escaping():
    assert escaped("x**2 & 50% of a_b") == r"x**2 \& 50\% of a\_b"


def test_plain_text_of_sets_and_pieces():
    x = sp.Symbol("x", real=True)
    assert plain(sp.Interval.Lopen(0, sp.oo)) == "(0, oo)"
    assert plain(sp.Piecewise((1, x < 0), (x, True))) == "{1 if x < 0; x otherwise}"


def test_plain_text_of_expectations_has_greek_letters():
    x, rho, psi = sp.Symbol("x", real=True), sp.Symbol("rho", real=True), sp.Function("psi", real=True)
    single = expect(psi(x) ** 2, x, sp.Symbol("kappa", positive=True))
    assert plain(single) == "E[ψ(z)**2, z ~ N(0, κ)]"
    assert str(single) == "E[psi(z)**2, z ~ N(0, kappa)]"
    pair = expect_pair(psi(x), psi(x), x, [[1, rho], [rho, 1]])
    assert plain(pair) == "E[ψ(u)*ψ(v), (u, v) ~ N(0, [[1, ρ], [ρ, 1]])]"


def test_notebook_shows_limit_and_law():
    shown = derived(ResNet(relu, width=1))._repr_latex_()
    assert shown.startswith("$\\displaystyle \\begin{aligned}")
    assert r"\mathrm{d}X_{t}" in shown
    assert r"p_{t}(x \mid x_{0})" in shown


@pytest.mark.slow
def test_notebook_shows_the_gram_matrix_of_a_program_and_its_law():
    """Whatever the steps are called: a control without a law shows the equations only."""
    a, b = Weights("A"), Weights("B", out=4 * width)
    shown = derive(Network(lambda x: x + epsilon * a(relu(b(x))), width=width))._repr_latex_()
    assert r"\mathrm{d}V_{t} &= \frac{V_{t}}{2}\,\mathrm{d}t" in shown
    assert r"p_{t}(V \mid V_{0})" in shown
    without = derive(Network(lambda x: x + epsilon * a(tanh(b(x))), width=width))._repr_latex_()
    assert r"\mathrm{d}V_{t}" in without
    assert "p_{t}" not in without


@pytest.mark.slow
def test_a_law_is_written_in_the_state_that_it_is_of():
    text = str(derive(MLP(relu, inputs=1)))
    assert "E[V_t] = V_0" in text
    assert "V in (0, oo): sqrt(a(V)) = sqrt(5)*V" in text
    assert "U = 5/4" in text, "the potential has another letter than the state"
    assert "x_0" not in text


@pytest.mark.parametrize("name", ["relu-1", "relu-n", "ornstein-uhlenbeck-1", "relu-4-inputs-2"])
def test_text_fits_a_terminal(name):
    _, *rows = str(derived(CASES[name])).splitlines()  # a title is one line, however long
    assert max(map(len, rows)) <= 80


def test_names_of_matrices_are_kept_whole():
    """A matrix W_1 that puts out numbers for inputs 1 and 2 is another than W_11."""
    text = " ".join(str(derived(CASES["program"])).split())
    for wanted in (
        "u_{W_1}^i = Sum_j W_{1,i,j} 2*d_2^j*u_{W_11}^j + b_i^{W_1}",
        "Cov[u_{W_11}^{i,1}, u_{W_11}^{i,2} | X_l] = V_12 + 3",
        "Cov[u_{W_1}^{i,1}, u_{W_1_2}^{i,1} | X_l] = 2*<d_2^{j,1}*(u_{W_11}^{j,1})**2> + 2",
        "b_i^{W_1} ~ N(0, 2)",
        "d_2^i ~ Bernoulli(1/2)",
        "Δ^{i,1} = (u_{W_1}^{i,1} + u_{W_1_2}^{i,1}) ε",
    ):
        assert wanted in text, wanted


def test_write_by_suffix(tmp_path):
    d = derived(ResNet(relu, width=1))
    assert d.write(tmp_path / "a.txt").read_text() == str(d)
    assert json.loads(d.write(tmp_path / "a.json").read_text())["title"] == d.title
    with pytest.raises(DerivationError, match=r"\.tex"):
        d.write(tmp_path / "a.docx")


@pytest.mark.parametrize(
    ("bad", "says"), [({"order": "both"}, "^unknown order 'both'; known: depth, width, joint$"), ({}, "architecture")]
)
def test_bad_requests(bad, says):
    with pytest.raises(DerivationError, match=says):
        derive(ResNet(relu, width=1) if bad else relu, **bad)


def test_a_flow_of_neurons_names_neurons_and_no_inputs():
    """At a width that is a number the states of a limit without noise are its neurons."""
    layer = parse_layer("x + A(relu(x), mean=1)/L")
    said = str(derive(Network(layer, width=3)))
    for k in (1, 2, 3):
        assert f"dX^{k}/dt" in said
    assert "d[X" not in said
    assert "X_i^2" not in said
    assert "Sum_j" in str(derive(Network(layer, width=width)))


def test_steps_that_are_too_small_are_said_to_do_nothing():
    said = " ".join(str(derive(Network(parse_layer("x + A(relu(x))/L"), width=3))).split())
    assert "the network tends to the identity" in said
    assert "tends to the identity" not in str(derive(Network(parse_layer("x + A(relu(x))/sqrt(L)"), width=3)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: derive(ShapedMLP(tanh, a=1), order="joint"),
        pytest.param(lambda: derive(MLPBlock(gelu, width=4, norm="rms")), marks=pytest.mark.slow),
        lambda: jacobian(ResNet(relu, width=2)),
    ],
    ids=["joint", "block", "jacobian"],
)
def test_what_was_printed_can_be_pickled_and_prints_alike(make):
    """Expansions that stayed behind hold functions that no pickle takes."""
    found = make()
    said = str(found)
    assert str(pickle.loads(pickle.dumps(found))) == said
