"""One letter means one thing on a page, no index is both free and summed, and lines fit on a page."""

import re

import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    ConvBlock,
    MLPBlock,
    Network,
    ResNet,
    ShrinkingResNet,
    TransformerBlock,
    Weights,
    derive,
    epsilon,
    gelu,
    jacobian,
    relu,
    silu,
)
from derivations.explain import network_steps
from derivations.notation.latex import fitting, line_rows
from derivations.notation.text import document
from derivations.notation.typeset import fits, typeset_width
from derivations.symbols import width as n

NARROW = ResNet(relu, width=n, inputs=2)
WIDE = {
    "a mean inside": lambda: derive(MLPBlock(gelu, width=n, bias_variance=1, weight_mean=sp.Rational(1, 2))),
    "expectations": lambda: derive(
        Network("x + eps*A(where(B(x) > C(x), B(x)**3, tanh(C(x)))*softplus(C(x)))", width=n)
    ),
    "a sum under a root": lambda: derive(ResNet("x*tanh(x)", width=3)),
    "a factor in a sum": lambda: jacobian(ConvBlock(relu, width=n, positions=(2,), filter=(1,))),
}


def recursion(recipe):
    """The first step, without a derivation."""
    return " ".join(document("", (network_steps(recipe)[0],)).split())


def widest(step):
    """Of a display the widest left side beside each line's rows."""
    rows = [line_rows(line) for line in step.lines]
    left = max((left for left, *_ in rows), key=typeset_width)
    return [(left, right) for *_, right in rows]


def test_a_softmax_is_summed_over_an_index_of_its_own():
    said = recursion(AttentionBlock(width=n, positions=2))
    assert "a^αβ = exp(Y^αβ)/(Sum_γ exp(Y^αγ))" in said
    assert "X_{l+1}^iα = X_l^iα + u_O^iα/sqrt(L)" in said
    assert "at each of 2 positions" in said


def test_every_filter_says_which_position_it_reads():
    said = recursion(ConvBlock(relu, width=n, positions=(4,), filter=(3,)))
    assert "u_B^iα = Sum_{j,r} W_ijr^B X_l^{j,α+r}" in said
    assert "u_A^iα = Sum_{j,r} W_ijr^A {0 if u_B^{j,α+r} <= 0; u_B^{j,α+r} otherwise}" in said
    assert "A filter T reads position α + r at α." in said


def test_matrices_are_not_called_as_what_the_page_calls_otherwise():
    """V is the Gram matrix and B a Brownian motion; a matrix A or K keeps its name beside others that are not taken."""
    assert "u_V^iα = Sum_j W_ij^V X_l^jα" in recursion(AttentionBlock(width=n, positions=2))
    assert "W_ij^B ~ N(0, 1/n)" in recursion(MLPBlock(relu, width=n))
    assert "u_K^i = Sum_j K_ij X_l^j" in recursion(Network("x + eps*A(tanh(K(x)))", width=n))
    page = derive(AttentionBlock(width=n, positions=2)).latex()
    assert (
        r"u_{\mathrm{V}}^{i \alpha} &= \sum_{j=1}^{n} W_{i j}^{\mathrm{V}}" in page
    )  # a label is upright, the Gram matrix is not
    assert not re.search(r"[uW]_(\{i j\}\^)?\{[VQKO]\}", page)


@pytest.mark.parametrize("recipe", [NARROW, ResNet(relu, width=n)], ids=["two inputs", "one input"])
def test_the_state_has_one_letter_on_both_sides(recipe):
    d = derive(recipe)
    assert "x_j" not in str(d)
    assert "x_{j}" not in d.latex()
    assert "x_(j)" not in d.typst()
    given = next(s for s in d.steps if s.name == "Pre-activations given the state")
    assert "X_l^j" in document("", (given,)) or "X_l^{j,2}" in document("", (given,))
    limit = next(s for s in d.steps if s.name.startswith("Limit"))
    assert "X_t^j" in document("", (limit,)) or "X_t^{j,2}" in document("", (limit,))
    assert not re.search(r"X_[ij]|X\^j", str(d))
    assert "x_j" in str(d.limit.covariance[0, 0])  # the control: in SymPy's own text it is the symbol of the result


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("a mean inside", "a factor in a sum"))) for n in WIDE]
)
def test_lines_that_are_too_wide_get_letters_for_their_parts(name):
    """And what the letters stand for, put back, is the derivation as it was."""
    steps = WIDE[name]().steps
    assert not all(fits([row]) for step in steps if step.lines for row in widest(step))  # the control
    shown = fitting(steps)
    for before, after in zip(steps, shown, strict=True):
        assert all(fits([row]) for row in (widest(after) if after.lines else ()))
        rule = {line.left: line.terms[0].coefficient for line in after.lines[len(before.lines) :]}
        for _ in rule:  # a letter may stand inside what another one means
            rule = {letter: part.xreplace(rule) for letter, part in rule.items()}
        assert tuple(line.xreplace(rule) for line in after.lines[: len(before.lines)]) == before.lines


def test_a_sum_inside_a_sum_has_an_index_of_its_own():
    """Both were over j, so that j was free in one and summed in the other."""
    d = derive(Network("x + eps*A(relu(x - average(x)))", width=3))
    assert "Sum_r({0 if X_t^r <= Sum_j(X_t^j)/3; X_t^r otherwise})" in " ".join(str(d.limit).split())
    assert r"\#\left\{r : X^{r}_{t} > \frac{\sum_{j=1}^{3} X^{j}_{t}}{3}\right\}" in d.limit._repr_latex_()


def test_scores_are_called_alike_where_they_are_defined_and_where_their_law_is():
    said = " ".join(str(derive(TransformerBlock(relu, width=n, positions=2))).split())
    assert "s^α = 1/n Sum_j (X_l^jα)**2" in said
    assert "Y^αβ = 1/sqrt(n) Sum_j u_K^jβ*u_Q^jα" in said
    assert "Cov[Y^αβ, Y^γδ] = C_αγ C_βδ" in said
    assert "s_2^α = 1/n Sum_j (X_l^jα + u_O^jα/sqrt(L))**2" in said


def test_shares_of_the_gram_matrix_itself_need_no_second_letter():
    """C was the matrix of sums in one step and V in the next."""
    said = " ".join(str(derive(AttentionBlock(width=n, positions=2))).split())
    assert "F_12 = E[a_2ᵀ V a_1]" in said
    assert "E[dV_αβ | V] = F_αβ dt" in said
    assert said.count("V_αβ = 1/n Sum_j") == 2  # in a layer, and at a time
    assert "Cov[Y^αβ, Y^γδ] = V_αγ V_βδ" in said


def test_what_is_averaged_over_neurons_is_not_that_of_neuron_i():
    """The index i stood inside the average and beside it."""
    d = derive(Network("layer_norm(x + eps*A(gelu(B(x))))", width=3))
    said = " ".join(str(d).split())
    assert "<X_l*u_A>*X_l^i" in said
    assert "E[dX^1 | X] = " in said  # all neurons together, called as in the recursion
    assert "X_t^1" in said
    assert "x_1" not in said
    said = " ".join(str(derive(AttentionBlock(width=n, positions=2, masked=True))).split())
    assert "Cov[u_O^{i,1}, u_O^{i,2} | X_l] = <m^{j,1}*m^{j,2}>" in said
    assert "M^αβ = {1 if α >= β; 0 otherwise}" in said


def test_weights_of_one_law_stand_in_one_line():
    said = recursion(MLPBlock(relu, width=n, experts=2))
    assert "W_ij^B1, W_ij^B2, W_j^R1, W_j^R2 ~ N(0, 1/n)" in said
    assert "softmax(u_R1 | u_R2)*u_A1^i" in said


def test_lines_that_fit_stay_as_they_are():
    steps = derive(NARROW).steps
    assert fitting(steps) == steps


def test_jacobians_are_ascii_in_latex():
    """A minus sign of the text would stop pdflatex."""
    assert "−" in str(jacobian(ResNet("tanh", width=n)))
    assert "−" not in jacobian(ResNet("tanh", width=n)).latex()


def test_correlated_entries_say_how_they_covary():
    """They were said to have a law of mean 0 and some variance, which is not theirs."""
    said = recursion(MLPBlock(relu, width=2, row_covariance=[[2, 1], [1, 2]]))
    assert "Cov[W_ij^A, W_kl^A] = 1/8 Σ_ik^O δ_jl" in said
    assert "Σ^O = [[2, 1], [1, 2]]" in said
    assert "W_ij^B ~ N(0, 1/2)" in said


@pytest.mark.slow
def test_a_bessel_process_is_called_so():
    """ "The radius of a process" was said, which no one can look up."""
    (law,) = (
        step for step in derive(Network("x + eps*A(relu(B(rms_norm(x))))", width=n)).steps if step.name == "Law of V"
    )
    assert "Y_t is a Bessel process of dimension n" in law.statement


@pytest.mark.parametrize(
    ("net", "letter", "other"),
    [
        (ShrinkingResNet(silu, relu, width=3), "ψ", "φ"),
        (Network(lambda x: x + epsilon * Weights("W")(relu(x)), width=3), "φ", "ψ"),
    ],
    ids=["two activations", "a layer of one's own"],
)
def test_the_norm_is_that_of_an_activation_which_the_page_has_introduced(net, letter, other):
    # the norm was called after the outer activation, and after a letter that no step had said
    said = str(derive(net))
    assert said.index(f"{letter}(x) = {{0 if x <= 0; x otherwise}}") < said.index(f"S = ‖{letter}(X_t)‖**2")
    assert f"‖{other}(" not in said


@pytest.mark.slow
def test_functions_inside_means_get_no_letter():
    """A mean that is continued to where a variance is 0 holds a function of the variance, which is on no page; it was said again and again, as w = w."""
    said = "x + eps*A(gelu(B(max(x, relu(x)/2), out=2*n, variance=2, mean=1))*sigmoid(C(x, out=1)), variance=2)"
    steps = fitting(derive(Network(said, width=n)).steps)
    for step in steps:
        named = [line for line in step.lines if line.left.is_Symbol and re.fullmatch(r"[wghqr]_\d+", line.left.name)]
        assert len({line.left for line in named}) == len(named)
        for line in named:
            (term,) = line.terms
            assert not isinstance(term.coefficient, sp.Lambda)
            assert line.left not in term.coefficient.free_symbols
    assert sum(line.left.is_Symbol and line.left.name.startswith("w_") for step in steps for line in step.lines) > 5
