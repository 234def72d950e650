"""What a notebook shows of results of every kind: LaTeX between dollars or the text itself, as HTML that holds nothing else."""

import html
from html.parser import HTMLParser

import numpy as np
import pytest
import sympy as sp

from derivations import Diffusion, ResNet, derive, recognise, relu
from derivations.laws import LAWS
from derivations.laws.frozen import FrozenLaw
from derivations.limits.gram import GramDiffusion, cone, gram_matrix
from numerics import compile_law, count_outcomes, solve_flow
from numerics.expectations.budget import Budget
from numerics.statistics import Estimate
from numerics.validation.base import Validation, number_row
from tests.helpers import Made

x = sp.Symbol("x", real=True)
RESULTS = Made(
    {
        **{kind.__name__: kind.example for kind in LAWS},
        "frozen": lambda: FrozenLaw(sp.Interval(-sp.oo, 0)),
        "law": lambda: recognise(Diffusion((x,), [-x], [[2]])),
        "kernel flow": lambda: derive(ResNet(relu, width=sp.oo, inputs=2)).limit,
        "proof": lambda: RESULTS["law"].prove(),
        "existence": lambda: derive(ResNet(relu, width=1)).existence,
        "distribution": lambda: compile_law(RESULTS["law"], x0=1.0, t=1.0),
        "path": lambda: solve_flow(RESULTS["kernel flow"], [1.0, 0.2, 1.0], 0.5),
        "budget": lambda: Budget(1.25, 0.01, step_bias=0.002, samples=100, cost=1000, method="levels < 3 & more"),
        "estimate": lambda: Estimate(1.0, 0.1),
        "outcomes": lambda: count_outcomes(Diffusion((x,), [-x], [[2]]), [[1.0], [np.inf]]),
        "validation": lambda: Validation((number_row("E X < 2 & more", Estimate(1.0, 0.1), 1.0, 2.0),), title="X & Y"),
    }
)
FORMULAS = ("law", "kernel flow", "frozen", *(kind.__name__ for kind in LAWS))


class Reader(HTMLParser):
    """The text of a page, its elements closed in their order."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.text = [], ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_results_of_every_kind(name):
    result = RESULTS[name]
    page = result._repr_html_()
    read = Reader(page).text
    assert "object at 0x" not in page + repr(result)
    assert "\n" not in repr(result) or name in ("proof", "validation")
    if name in FORMULAS:
        assert "$" in read
        assert read == result._repr_latex_()
        assert page == html.escape(read)
    elif name == "validation":
        assert all(cell in read for row in result.table() for cell in row)
    else:
        assert read == str(result)


def test_what_is_no_html_is_escaped():
    page = RESULTS["budget"]._repr_html_()
    assert "levels &lt; 3 &amp; more" in page
    assert "levels < 3 & more" in str(RESULTS["budget"])


def test_the_equation_of_a_gram_matrix_comes_back_with_its_matrix():
    v = gram_matrix(2)
    states, drift = (v[0, 0], v[0, 1], v[1, 1]), [0, 0, 0]
    pairs = ((0, 0), (0, 1), (1, 1))
    covariance = [[v[a, c] * v[b, d] + v[a, d] * v[b, c] for c, d in pairs] for a, b in pairs]
    gram = GramDiffusion(states, drift, covariance, cone(v), matrix=v)
    read = Diffusion.from_json(gram.to_json())
    assert type(read) is GramDiffusion
    assert read == gram
    assert GramDiffusion.from_json(gram.to_json()) == gram
    assert (read.inputs, read.matrix, read.strength, read.is_of_products) == (2, v, 1, True)
    assert Diffusion(states, drift, covariance, cone(v)) != read


def test_laws_are_said_in_words():
    assert str(RESULTS["frozen"]).startswith("frozen, on (-oo, 0]: the state stays at ")
    assert RESULTS["frozen"]._repr_latex_().startswith("frozen, on $")
