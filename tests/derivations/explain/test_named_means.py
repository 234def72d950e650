"""A long mean that comes more than once is a function of its covariance, said once; what stands for it, put back, is the limit."""

import pickle
from dataclasses import replace

import pytest
import sympy as sp

from derivations import AttentionBlock, Diffusion, Network, derive, tanh
from derivations.architectures import ResNet
from derivations.gaussian.node import GaussianMean
from derivations.notation.means import NamedMeans
from derivations.symbols import width as n

GATED = derive(Network("x + eps*A(silu(B(rms_norm(x)))*C(rms_norm(x)))", width=4, inputs=2))
KAPPA = "κ(ρ) = E[(u/(1 + exp(-u)))*(v/(1 + exp(-v))), (u, v) ~ N(0, [[1, ρ], [ρ, 1]])]"


def test_a_mean_of_a_correlation_is_said_once():
    said = " ".join(str(GATED).split())
    assert said.count(KAPPA) == 1
    assert "F_12 = V_12*κ(V_12/sqrt(V_11*V_22))/sqrt(V_11*V_22)" in said
    assert said.count("(u, v) ~ N(") == 1
    (step,) = (step for step in GATED.steps if step.name == "Constants and functions")
    assert r"\kappa{\left(\rho \right)} &= " in GATED.latex()
    assert "the function" in "".join(map(str, step.claim))


@pytest.mark.parametrize("part", ["limit", "gram"])
def test_an_equation_by_itself_says_its_functions_too(part):
    text = str(getattr(GATED, part))
    assert "c ≈ 0.355776" in text
    assert text.count("E[z**2") == 1
    assert (KAPPA in text) == (part == "gram")  # the neurons' equation has it in one line only


def test_what_stands_for_means_put_back_is_the_limit():
    lines = GATED.gram.lines
    named = NamedMeans.of(lines)
    back = {name: node for node, name in named.rule.items()}
    assert len(named.functions) == 1
    assert tuple(line.xreplace(named.rule).xreplace(back) for line in lines) == lines
    (node, value), *_ = named.functions.items()
    said = next(line for line in named.lines if line.left.func == value.func)
    meant = said.terms[0].coefficient.xreplace({said.left.args[0]: value.args[0]})
    assert meant == node
    assert isinstance(meant, GaussianMean)
    wrong = said.terms[0].coefficient.xreplace({said.left.args[0]: 2 * value.args[0]})  # the control
    assert wrong != node


def test_two_functions_have_two_names_and_their_own_arguments():
    said = str(derive(Network("x + eps*A(silu(B(x)))", width=n, inputs=2)).gram)
    assert "d[V_11, V_12]_t = 2*(V_11*κ_2(V_11, V_12, V_22) + V_12*κ_1(V_11))/n dt" in said
    assert "κ_1(a) = E[z**2/(1 + 2*exp(-z) + exp(-2*z)), z ~ N(0, a)]" in said
    assert "(u, v) ~ N(0, [[a, b], [b, d]])]" in said


def test_short_means_and_single_ones_stay():
    limit = derive(ResNet(tanh, width=sp.oo, inputs=2)).limit
    assert str(limit).count("κ") == 0
    assert "tanh(z)**2" in str(limit)


def test_an_equation_of_attention_names_shares_and_their_covariance():
    said = str(derive(AttentionBlock(width=n)).limit)
    assert "d[X^{i,1}, X^{k,2}]_t = E[a_2ᵀ C a_1] δ_ik dt" in said
    assert "C = [[" in said
    assert "softmax(" not in said
    here = "here: a_α is the softmax of row α of the scores Y, of n Gaussian queries and keys"
    assert said.splitlines()[-1] == here
    masked = str(derive(AttentionBlock(width=n, masked=True)).limit)
    assert masked.splitlines()[-1] == f"{here}, over what the mask [[1, 0], [1, 1]] shows"
    turned = str(derive(AttentionBlock(width=n, frequencies=(1, sp.Rational(1, 10)))).limit)
    assert "turned by [[0, 1], [0, 1/10]]" in turned  # as it was: a line for the angles would be needed


def test_entries_that_are_made_when_read_come_back_equal():
    """A number before a sum is multiplied out on the way through JSON and pickles; entries that are made later are so too."""
    gram = GATED.gram
    assert pickle.loads(pickle.dumps(gram)) == gram
    assert Diffusion.from_json(gram.to_json()) == gram
    assert any(isinstance(entry, sp.Add) for entry in gram.covariance)
    assert replace(gram, drift=2 * gram.drift) != gram  # the control
