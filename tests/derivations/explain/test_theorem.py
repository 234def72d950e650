"""A derivation as a theorem, its sources, and the notation of both."""

from __future__ import annotations

import re
import shutil
from math import erf, sqrt

import numpy as np
import pytest
import sympy as sp

from derivations import (
    DerivationError,
    MLPBlock,
    ResNet,
    ShapedAttention,
    ShapedMLP,
    ShrinkingResNet,
    derive,
    gelu,
    identity,
    jacobian,
    relu,
    silu,
    symbols,
    tanh,
)
from derivations.notation.latex import latex
from derivations.notation.plain import plain
from tests.pdflatex import typeset

n = symbols.width
BLOCK = derive(MLPBlock(silu, width=n, norm="rms"))


@pytest.mark.slow
def test_a_theorem_states_network_limit_and_existence_and_proves_after_it(tmp_path):
    source = BLOCK.write(tmp_path / "paper.tex", style="theorem").read_text()
    statement = source.split(r"\begin{theorem}")[1].split(r"\end{theorem}")[0]
    proof = source.split(r"\begin{proof}")[1].split(r"\end{proof}")[0]
    assert all(
        part in statement for part in (r"X_{\ell + 1}^{i}", r"c &\approx 0.35", r"\mathrm{d}X_{t}^{i} &= \sqrt{c}")
    )
    assert "has a unique solution, and it does not explode" in statement
    assert "Taylor's formula" in proof
    assert source.count(r"\bibitem") == len(BLOCK.sources)


@pytest.mark.slow
def test_equations_have_labels_that_two_results_in_one_document_can_tell_apart():
    one, two = (re.findall(r"\\label\{(.*?)\}", BLOCK.latex(label)) for label in ("eq", "block"))
    assert "eq:limit-of-infinite-depth" in one
    assert len({*one, *two}) == 2 * len(one) == 2 * sum(bool(step.lines) for step in BLOCK.steps)
    for label in ("", "a:b", "a b", "\\x", None):
        with pytest.raises(DerivationError, match="label must be a word of letters, digits, dots and hyphens"):
            BLOCK.latex(label)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_a_theorem_with_a_figure_compiles(tmp_path):
    (tmp_path / "in").mkdir()
    figure = tmp_path / "a figure_1.pdf"
    plainest = r"\documentclass{article}\begin{document}x\end{document}"
    (tmp_path / "fig.tex").write_text(plainest)
    typeset(tmp_path / "fig.tex")
    (tmp_path / "fig.pdf").rename(figure)
    BLOCK.write(tmp_path / "paper.tex", style="theorem", figure=figure.name, caption="100 % of x_1 & more")
    said = typeset(tmp_path / "paper.tex")
    assert not re.search("Overfull|undefined control", said, re.IGNORECASE)
    assert "(1 page" in said
    page = (tmp_path / "paper.tex").read_text()
    assert r"\figurecaption{100 \% of x\_1 \& more}" in page


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("The law at $t = \\frac{1}{2}$, 5 % off", r"The law at $t = \frac{1}{2}$, 5 \% off"),
        ("$x_1$ & $x_2$", r"$x_1$ \& $x_2$"),
        ("it costs 5 $", r"it costs 5 \$"),
        ("x_1", r"x\_1"),
    ],
)
def test_a_caption_may_hold_mathematics_between_dollars(words, source, tmp_path):
    BLOCK.write(tmp_path / "paper.tex", style="theorem", figure="a.pdf", caption=words)
    assert rf"\figurecaption{{{source}}}" in (tmp_path / "paper.tex").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "keys"),
    [
        (lambda: derive(ResNet(relu, width=1)), ["hayou2023", "ethierkurtz1986"]),
        (lambda: derive(ResNet(relu, width=sp.oo)), ["hayou2023"]),
        (lambda: derive(ShrinkingResNet(inner=identity, outer=tanh, width=n)), ["peluchetti2021", "ethierkurtz1986"]),
        (lambda: derive(ShapedMLP(tanh, a=1)), ["linicaroy2022", "linica2023", "ethierkurtz1986"]),
        (lambda: BLOCK, ["ethierkurtz1986"]),
        (lambda: jacobian(ResNet(relu, width=1)), []),
    ],
    ids=["ResNet", "kernel", "shrinking", "shaped", "block", "jacobian"],
)
def test_what_is_cited(d, keys):
    entries = d().citation()
    assert re.findall(r"^@\w+\{(\w+),", entries, flags=re.MULTILINE) == ["deeplimits", "sympy2017", *keys]
    assert entries.count("{") == entries.count("}")


def test_every_published_network_that_is_cited_exists():
    from derivations import RECIPES
    from derivations.derivation import _STUDIED

    assert set(_STUDIED) <= {kind.__name__ for kind in RECIPES}
    assert ShapedAttention.__name__ in _STUDIED


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("a.tex", {"style": "lemma"}, "unknown style 'lemma'"),
        ("a.txt", {"style": "theorem"}, "a theorem is written as LaTeX, got a.txt"),
        ("a.tex", {"figure": "b.pdf"}, 'a figure belongs to a theorem; give style="theorem" beside it'),
        ("a.pdf", {}, "unknown suffix '.pdf' of a.pdf"),
    ],
    ids=["style", "suffix", "figure", "format"],
)
def test_what_cannot_be_written_is_refused(name, options, says, tmp_path):
    with pytest.raises(DerivationError, match=re.escape(says)):
        BLOCK.write(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_neuron_has_no_index_and_no_sum_of_one_term():
    text = derive(ResNet(relu, width=1)).latex()
    assert r"\sum_{j=1}^{1}" not in text
    assert r"u &= W\,\varphi{\left(X_{\ell} \right)}" in text
    assert r"\sum_{j=1}^{n}" in derive(ResNet(relu, width=n)).latex()


def test_the_density_of_a_squared_bessel_process_is_in_its_usual_form():
    (line,) = str(BLOCK.gram_law).splitlines()[-1:]  # one exponential, and no letter that is not in it
    assert line.count("*exp(-n*(V + V_0)/(2*t*") == 1
    assert "besseli(n/2 - 1, " in line
    assert "p_t(V | V_0) = " in line


def test_the_log_normal_density_is_in_its_usual_form():
    assert str(derive(ResNet(identity, width=1)).law).splitlines()[-1].endswith(
        "p_t(x | x_0) = exp(-(t/2 + log(x/x_0))**2/(2*t))/(sqrt(2*pi*t)*x)"
    )  # fmt: skip


def test_the_kernel_of_gelu_is_short_and_the_same():
    drift = derive(ResNet(gelu, width=sp.oo, inputs=2)).limit.drift[1]
    assert sp.count_ops(drift) <= 81
    states = {s.name: s for s in drift.free_symbols}
    at = {states["K_11"]: sp.Rational(3, 2), states["K_12"]: sp.Rational(-1, 3), states["K_22"]: sp.Rational(2, 3)}
    value = float(drift.subs(at))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    root = np.linalg.cholesky([[1.5, -1 / 3], [-1 / 3, 2 / 3]])
    both = root @ np.stack(np.meshgrid(nodes, nodes, indexing="ij")).reshape(2, -1)
    phi = np.vectorize(lambda u: u * (1 + erf(u / sqrt(2))) / 2)
    assert abs(value - (phi(both[0]) * phi(both[1])) @ np.outer(weights, weights).ravel()) < 1e-9


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (lambda t, x: sp.sqrt(2) / (2 * sp.sqrt(sp.pi) * sp.sqrt(t)), "1/sqrt(2*pi*t)"),
        (lambda t, x: sp.sqrt(t) / sp.sqrt(x), "sqrt(t/x)"),
        (lambda t, x: 2 * sp.sqrt(2) / 3 * t, "2*sqrt(2)*t/3"),
        (lambda t, x: -sp.sqrt(2) / sp.sqrt(t), "-sqrt(2/t)"),
        (lambda t, x: sp.sqrt(t) * sp.sqrt(sp.Symbol("y", real=True)), "sqrt(t)*sqrt(y)"),
    ],
    ids=["density", "ratio", "number", "sign", "of unknown sign"],
)
def test_square_roots_stand_together_where_what_is_below_is_positive(expr, shown):
    t, x = sp.symbols("t x", positive=True)
    assert plain(expr(t, x)) == shown
    assert latex(expr(t, x)).count(r"\sqrt") == shown.count("sqrt")


def test_powers_of_functions_and_inverse_functions():
    x = sp.Symbol("x", real=True)
    assert latex(sp.Function("varphi")(x) ** 2) == r"\varphi{\left(x \right)}^{2}"
    assert latex(sp.asin(x)).startswith(r"\arcsin")


def test_constants_have_a_letter_and_a_value_only_where_they_are_met_twice():
    assert [step.name for step in BLOCK.steps][1] == "Constants"
    assert "c ≈ 0.355776" in str(BLOCK)
    assert "Constants" not in str(derive(ResNet(relu, width=n)))
