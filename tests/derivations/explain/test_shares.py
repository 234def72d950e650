"""How means over a softmax are explained."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations import AttentionBlock, TransformerBlock, derive, relu


@pytest.mark.slow
def test_means_over_a_softmax_are_said_once():
    text = " ".join(str(derive(TransformerBlock(width=sp.oo, positions=4, activation=relu), order="width")).split())
    assert "dK_11/dt = E[a_1ᵀ C a_1] + 1/2" in text
    assert "Cov[Y^αβ, Y^γδ] = C_αγ C_βδ" in text
    assert "likewise for other indices" in text
    assert "dK_13/dt" not in text
    masked = str(derive(TransformerBlock(width=sp.oo, positions=4, activation=relu, masked=True), order="width"))
    assert "likewise" not in masked
    assert "dK_44/dt" in masked
    heads = " ".join(
        str(derive(AttentionBlock(width=sp.oo, positions=2, size=3, bias_variance=1), order="width")).split()
    )
    assert heads.startswith("AttentionBlock with weights K, O, Q, V, width oo")
    assert "of 3 Gaussian queries and keys" in heads


def test_turned_scores_say_by_which_angles():
    said, plain = (
        " ".join(str(derive(AttentionBlock(width=sp.oo, positions=2, masked=True, frequencies=w))).split())
        for w in ((1, sp.Rational(1, 10)), ())
    )
    for words in (
        "R turns neurons in pairs, as many of each kind f, by the angle θ_f^β less θ_f^α.",
        "Sum_j Sum_k u_Q^jα R_jk^αβ u_K^kβ",
        "θ = [[0, 1], [0, 1/10]]",
        "K_αγ K_βδ <cos(θ^α - θ^β + θ^δ - θ^γ)>",
        "shows, with the mean over the pairs of neurons in angle brackets.",
    ):
        assert words in said
        assert words not in plain
    assert "over what the mask [[1, 0], [1, 1]] shows" in plain  # m is what attention puts out
    many = str(derive(AttentionBlock(width=sp.oo, positions=2, frequencies=[sp.Integer(2) ** -k for k in range(9)])))
    assert "the 9 kinds turn by about 1 to 1/256 a position" in " ".join(many.split())


@pytest.mark.parametrize("positions", [3, 11])
def test_a_limit_by_itself_says_what_its_scores_are(positions):
    """Each mean had the Gram matrix written out three times, "of oo queries"."""
    limit = derive(AttentionBlock(width=sp.oo, positions=positions, masked=True)).limit
    lines = str(limit).splitlines()
    assert lines[1].startswith("dK_12/dt = E[softmax(Y_2)' K softmax(Y_1); Y ~ N(0, K ⊗ K), mask [[1, 0, 0")
    moved = limit.drift[1].xreplace({limit.states[0]: limit.states[1], limit.states[1]: limit.states[0]})
    assert "N(0, [[K_12, K_11" in str(moved).replace("{", "").replace("}", "").replace(",1", "1")  # the control
    few = derive(AttentionBlock(width=sp.oo, positions=2, size=3)).limit
    assert "softmax(Y_1); Y of 3 queries K and keys K]" in str(few)
