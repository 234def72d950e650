"""The emitted derivations of joint limits: they compile, say what they must, and carry their expressions."""

import json
import shutil

import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    Network,
    PreNormResNet,
    ResNet,
    ShapedMLP,
    Weights,
    average,
    derive,
    epsilon,
    equivalence,
    gelu,
    identity,
    joint_limit,
    relu,
    tanh,
    width_limit,
)
from derivations.explain.collapse import collapse_steps
from derivations.explain.equivalence import equivalence_steps
from derivations.limits.collapse import root_gap
from derivations.notation.latex import document
from derivations.notation.text import document as text
from derivations.symbols import width
from tests.helpers import derived
from tests.pdflatex import complaints, typeset

A = sp.Symbol("a", positive=True)
UP, DOWN = sp.symbols("c_+ c_-", real=True)
CASES = {
    "shaped-relu": ShapedMLP(relu, inputs=2, c_plus=UP, c_minus=DOWN),
    "shaped-tanh": ShapedMLP(tanh, inputs=1, a=A),
    "shaped-gelu": ShapedMLP(gelu, inputs=2, a=A),
    "skip": ShapedMLP(relu, inputs=2, c_plus=1, c_minus=0, skip=sp.Rational(1, 2)),
    "linear": MLP(identity, inputs=2),
    "unshaped": MLP(relu, inputs=2),
    "one-input": MLP(relu, inputs=1),
    "residual": ResNet(relu, width=4, inputs=2),
    "prenorm": PreNormResNet(relu, inputs=2),
}
every = pytest.mark.parametrize("name", CASES)


@every
@pytest.mark.slow
def test_every_step_says_what_and_why(name):
    d = derived(CASES[name], "joint")
    assert "depth and width together" in d.title
    assert all(
        (step.statement and step.reason and step.lines) or step.name.startswith(("No closed", "Proof", "Existence"))
        for step in d.steps
    )
    assert "Limit for this activation" in [step.name for step in d.steps]
    assert len(json.loads(d.to_json())["steps"]) == len(d.steps)
    assert d._repr_latex_()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@every
@pytest.mark.slow
def test_document_compiles_without_a_warning(name, tmp_path):
    source = derived(CASES[name], "joint").write(tmp_path / "derivation.tex")
    assert not complaints(typeset(source))


@pytest.mark.slow
def test_limits_of_the_front_door():
    assert [str(s) for s in derived(CASES["shaped-tanh"], "joint").limit.states] == ["V"]
    unshaped = derived(CASES["unshaped"], "joint")
    assert [str(s) for s in unshaped.limit.states] == ["q"]
    assert unshaped.law is None
    assert "exponential functional" in unshaped.why_no_law
    assert derived(CASES["one-input"], "joint").law.name == "geometric Brownian motion"
    assert "deterministic flow" in derived(CASES["residual"], "joint").why_no_law


@pytest.mark.slow
def test_feller_and_gamma_are_explained():
    text = str(derived(CASES["shaped-tanh"], "joint"))
    assert "Gamma law, rate = 2/a**2" in text
    assert "explosion: never" in text


@pytest.mark.slow
def test_a_program_says_its_small_parameter_in_the_width():
    """The control is the same program at infinite depth, whose small parameter is in the depth."""
    a, b = Weights("A"), Weights("B", out=4 * width)
    net = Network(lambda x: x + epsilon * a(relu(b(x))), width=width)
    together, deep = str(derive(net, order="joint")), str(derive(net))
    assert "X_{l+1}^i = X_l^i + u_A^i/sqrt(n)" in together
    assert "X_{l+1}^i = X_l^i + u_A^i/sqrt(L)" in deep
    assert "Limit of infinite depth and width" in together
    assert "choice of c" not in together, "there is no c"


@pytest.mark.parametrize(("law", "said"), [("orthogonal", "Haar(0, 1/n)"), ("gaussian", "N(0, c/n)")])
def test_the_law_of_a_single_matrix_is_said(law, said):
    keep = sp.sqrt(1 - epsilon**2)
    net = Network(lambda x: keep * x + epsilon * Weights("W", law=law)(x / sp.sqrt(average(x**2))), width=width)
    assert said in text("", derive(net, order="joint").steps[:1])


@pytest.mark.slow
def test_equivalence_is_a_theorem_with_its_steps():
    v, eta = sp.symbols("v eta", positive=True)
    residual = width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=v))
    shaped = ShapedMLP(relu, inputs=2, c_plus=UP, c_minus=DOWN, rate=(1 - eta) / 2, depth_rate=1 - eta)
    found = equivalence(residual, joint_limit(shaped), v)
    assert sp.expand(found.value - (UP - DOWN) ** 2) == 0
    steps = equivalence_steps(found, "residual network", "shaped perceptron")
    assert steps[0].name == "Theorem"
    assert found.value in steps[0].expression
    assert r"\begin{document}" in document("Equivalence", tuple(steps))


def test_flows_that_are_not_the_same_are_refused():
    v, eta = sp.symbols("v eta", positive=True)
    residual = width_limit(ResNet(tanh, width=sp.oo, inputs=2, weight_variance=v))
    shaped = ShapedMLP(relu, inputs=2, c_plus=UP, c_minus=DOWN, rate=(1 - eta) / 2, depth_rate=1 - eta)
    with pytest.raises(DerivationError):
        equivalence(residual, joint_limit(shaped), v)
    with pytest.raises(DerivationError, match="without noise"):
        equivalence(
            width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=v)), joint_limit(CASES["shaped-relu"]), v
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shaped-relu", "shaped-gelu", "skip", "unshaped", "prenorm"])
def test_golden_latex(name, golden):
    golden(f"{name}.tex").check(derived(CASES[name]).latex() + "\n")


@pytest.mark.parametrize("name", ["shaped-relu", "shaped-tanh", "skip", "prenorm", "unshaped"])
def test_golden_text(name, golden):
    golden(f"{name}.txt").check(str(derived(CASES[name])))  # shown in the documentation


def test_golden_equivalence(golden):
    v, eta = sp.symbols("v eta", positive=True)
    residual = width_limit(ResNet(relu, width=sp.oo, inputs=2, weight_variance=v))
    shaped = joint_limit(ShapedMLP(relu, inputs=2, c_plus=UP, c_minus=DOWN, rate=(1 - eta) / 2, depth_rate=1 - eta))
    steps = equivalence_steps(equivalence(residual, shaped, v), "residual network", "shaped perceptron")
    golden("equivalence.txt").check(text("Equivalence", tuple(steps)))


def test_the_map_of_collapse_is_the_series_of_the_gap():
    limit = joint_limit(MLP(relu, inputs=2))
    line = collapse_steps(limit)[0].lines[1]
    said = sp.Add(*(term.coefficient for term in line.terms[:2]))  # the third is the remainder
    gap, kappa = (next(s for s in said.free_symbols if s.name == name) for name in ("delta", "kappa"))
    r = sp.Symbol("r", positive=True)
    series = sp.series(limit.gap.subs(root_gap, r), r, 0, 4).removeO()
    assert sp.expand(said.subs({gap: r**2, kappa: limit.curvature}) - series) == 0
    assert sp.expand(said.subs({gap: r**2, kappa: 2 * limit.curvature}) - series) != 0  # the control
